//! The Cedar files of a bundle: one kind of rule a file, named by `@id`, annotated from a closed vocabulary.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, ValidationError, ValidationMode,
    Validator,
};
use placet_core::decision::{Escalation, RoleName};

use crate::explain::Parts;
use crate::finding::{Finding, Source};
use crate::guard::{self, Guard};
use crate::schema::{VOTE_ACTIONS, Vocabulary};
use crate::settings::{Settings, TIMEOUT_MAX, read_duration, read_timeout};

/// How many policies a bundle may have: each costs about 1.5 µs where its action is decided on.
const POLICIES_MAX: usize = 1000;
/// How many operators and dots a policy may have, and how deep brackets and `if` may nest: parsers and type checkers go
/// down with each, and a stack that overflows takes the whole server along. Lists of names may be as long as they like.
const OPERATORS_MAX: usize = 256;
const DEPTH_MAX: usize = 32;
/// Policies read principal, resource and their attributes, and nothing behind these.
const LEVEL_MAX: u32 = 1;

/// What a policy is for. The file says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// What may happen at all.
    Allow,
    /// What may never happen.
    Never,
    /// What a human must decide.
    Ask,
    /// Who may vote.
    Review,
    /// What must hold of all the others. Never evaluated.
    Invariant,
}

/// The Cedar files, in the order in which they are read.
pub(crate) const CEDAR_FILES: [(&str, Kind); 5] = [
    ("allow.cedar", Kind::Allow),
    ("never.cedar", Kind::Never),
    ("ask.cedar", Kind::Ask),
    ("review.cedar", Kind::Review),
    ("invariants.cedar", Kind::Invariant),
];

/// A policy with its name and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) policy: Policy,
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) because: Option<String>,
    pub(crate) guard: Option<Guard>,
    /// What can be told of a policy that is no guard, part by part.
    pub(crate) parts: Parts,
    /// Where in its file it stands.
    pub(crate) span: Range<usize>,
}

/// What reading a file needs to know of the bundle.
pub(crate) struct Surroundings<'a> {
    pub(crate) roles: BTreeSet<&'a RoleName>,
    pub(crate) settings: &'a Settings,
}

/// Reads one file. What it finds wrong goes to `findings`; the rules are worth something only if that stays empty of
/// errors.
pub(crate) fn read_file(
    source: Source<'_>,
    kind: Kind,
    around: &Surroundings<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Rule> {
    let places = statements(source.text);
    let tangled: Vec<Finding> = places.iter().filter_map(|place| tangle(source, place)).collect();
    if !tangled.is_empty() {
        findings.extend(tangled);
        return Vec::new();
    }
    let parsed: PolicySet = match source.text.parse() {
        Ok(parsed) => parsed,
        Err(errors) => {
            let errors: &cedar_policy::ParseErrors = &errors;
            findings.extend(errors.iter().map(|error| source.foreign("L8", error)));
            return Vec::new();
        }
    };
    let place = |id: &PolicyId| -> Range<usize> {
        // Cedar numbers what it parses in the order of the text.
        let number = id.to_string().strip_prefix("policy").and_then(|number| number.parse::<usize>().ok());
        number.and_then(|number| places.get(number)).cloned().unwrap_or(0..0)
    };
    for template in parsed.templates() {
        let message = "templates are not supported: what varies goes into entities";
        findings.push(source.error("L10", place(template.id()), message));
    }
    if parsed.num_of_policies() > POLICIES_MAX {
        findings.push(source.error("L14", 0..0, format!("a file has at most {POLICIES_MAX} policies")));
        return Vec::new();
    }
    let mut policies: Vec<(Range<usize>, &Policy)> =
        parsed.policies().map(|policy| (place(policy.id()), policy)).collect();
    policies.sort_by_key(|(span, _)| span.start);
    let mut rules = Vec::new();
    for (span, policy) in policies {
        let mut reader = PolicyReader { source, span, kind, around, findings };
        rules.extend(reader.read(policy));
    }
    rules
}

/// Strict validation and the level, file by file, so that each finding knows its file.
pub(crate) fn validate(
    source: Source<'_>,
    rules: &[Rule],
    vocabulary: &Vocabulary,
    findings: &mut Vec<Finding>,
) {
    let Ok(set) = PolicySet::from_policies(rules.iter().map(|rule| rule.policy.clone())) else {
        findings.push(source.error("L1", 0..0, "two policies have the same @id"));
        return;
    };
    let validator = Validator::new(vocabulary.schema.clone());
    let result = validator.validate_with_level(&set, ValidationMode::Strict, LEVEL_MAX);
    for error in result.validation_errors() {
        let code = if matches!(error, ValidationError::EntityDerefLevelViolation(_)) { "L9" } else { "L8" };
        let finding = source.foreign(code, error);
        findings.push(match error {
            // Cedar follows `has` through && and if, not through a negation and ||.
            ValidationError::UnsafeOptionalAttributeAccess(_) => finding.help(
                "test with `has` first, as in `context has rows && context.rows <= 10`; where an absent fact is the bad case, negate the whole: `!(context has rows && context.rows <= 10)`",
            ),
            _ => finding,
        });
    }
    // "This policy can never apply" is only a warning to Cedar; here it is a rule that somebody relies on.
    findings.extend(result.validation_warnings().map(|warning| source.foreign("L8", warning)));
}

/// L14: a statement that is too tangled to be read safely. Also of the schema, whose text has the same shape.
pub(crate) fn tangle(source: Source<'_>, place: &Range<usize>) -> Option<Finding> {
    let text = source.text.get(place.clone())?;
    // Only in a schema do these nest: in a policy they compare.
    let angles = source.file.ends_with(".cedarschema");
    let (mut operators, mut depth, mut deepest, mut ifs) = (0, 0usize, 0, 0);
    for (_, token) in plain_parts(text) {
        ifs += token.split(|letter: char| !letter.is_alphanumeric()).filter(|word| *word == "if").count();
        for letter in token.chars() {
            operators += usize::from("&|+-*.!<>=".contains(letter));
            match letter {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '<' if angles => depth += 1,
                '>' if angles => depth = depth.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(depth);
        }
    }
    (operators > OPERATORS_MAX || deepest > DEPTH_MAX || ifs > DEPTH_MAX).then(|| {
        let message = format!(
            "too tangled to be read safely: at most {OPERATORS_MAX} signs of operators and dots, {DEPTH_MAX} levels and {DEPTH_MAX} ifs"
        );
        source.error("L14", place.clone(), message).help("write several policies")
    })
}

/// The parts of a Cedar text outside strings and comments, with where they start.
fn plain_parts(text: &str) -> Vec<(usize, &str)> {
    let bytes = text.as_bytes();
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    let mut end_part =
        |start: usize, end: usize| parts.extend(text.get(start..end).map(|part| (start, part)));
    while let Some(byte) = bytes.get(at) {
        let skipped = match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                bytes.iter().skip(at).take_while(|byte| **byte != b'\n').count()
            }
            b'"' => {
                let mut length = 1;
                while bytes.get(at + length).is_some_and(|byte| *byte != b'"') {
                    length += if bytes.get(at + length) == Some(&b'\\') { 2 } else { 1 };
                }
                length + 1
            }
            _ => {
                at += 1;
                continue;
            }
        };
        end_part(start, at);
        at += skipped;
        start = at;
    }
    end_part(start, text.len());
    parts
}

/// The parts of a Cedar text that end with a semicolon, without the space before them. A text that does not end so has
/// one more.
pub(crate) fn statements(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = None;
    let mut last = 0;
    for (offset, part) in plain_parts(text) {
        // A string belongs to the statement around it; a comment may stand before one.
        if offset > last && text.get(last..offset).is_some_and(|skipped| skipped.starts_with('"')) {
            start.get_or_insert(last);
        }
        for (at, letter) in part.char_indices() {
            match letter {
                ';' => found.extend(start.take().map(|start| start..offset + at + 1)),
                space if space.is_whitespace() => {}
                _ => {
                    start.get_or_insert(offset + at);
                }
            }
        }
        last = offset + part.len();
    }
    // What is left is a string without an end, or a comment.
    if text.get(last..).is_some_and(|left| left.starts_with('"')) {
        start.get_or_insert(last);
    }
    found.extend(start.map(|start| start..text.len()));
    found
}

struct PolicyReader<'a, 'b> {
    source: Source<'a>,
    span: Range<usize>,
    kind: Kind,
    around: &'b Surroundings<'b>,
    findings: &'b mut Vec<Finding>,
}

impl PolicyReader<'_, '_> {
    fn refuse(&mut self, code: &'static str, message: impl Into<String>, help: &str) {
        let finding = self.source.error(code, self.span.clone(), message);
        self.findings.push(if help.is_empty() { finding } else { finding.help(help) });
    }

    fn read(&mut self, policy: &Policy) -> Option<Rule> {
        let id = match policy.annotation("id") {
            Some(id) if is_kebab(id) => id.to_owned(),
            Some(id) => {
                self.refuse(
                    "L1",
                    format!("@id({id:?}) is not a name"),
                    "write 1 to 64 of a-z 0-9 -, starting with a letter",
                );
                return None;
            }
            None => {
                self.refuse("L1", "a policy has an @id", "write @id(\"what-it-says\") in front of it");
                return None;
            }
        };
        let found_before = self.findings.len();
        self.check_kind(policy);
        self.check_vocabulary(policy);
        let title = policy.annotation("title").unwrap_or(&id).to_owned();
        let because = policy.annotation("because").map(str::to_owned);
        let guard =
            if self.kind == Kind::Ask { self.read_guard(policy, &id, &title, &because) } else { None };
        if self.findings.len() == found_before {
            self.check_warnings(policy);
        }
        let parts = match self.kind {
            Kind::Allow | Kind::Never => Parts::of(policy).unwrap_or_default(),
            Kind::Ask | Kind::Review | Kind::Invariant => Parts::default(),
        };
        let policy = policy.new_id(PolicyId::new(&id));
        Some(Rule { policy, kind: self.kind, id, title, because, guard, parts, span: self.span.clone() })
    }

    /// L3: what a tool says against itself adds a question, and takes none away.
    fn check_warnings(&mut self, policy: &Policy) {
        let heeds = match self.kind {
            Kind::Ask | Kind::Never => guard::only_heeds_warnings(policy),
            Kind::Allow | Kind::Review => !guard::policy_speaks_of_warnings(policy),
            Kind::Invariant => true,
        };
        if !heeds {
            self.refuse(
                "L3",
                "what a tool says against itself only adds a question or a ban",
                "write context has warns && context.warns.contains(\"destructive\") in the when clause of a guard or a ban, without ! around it",
            );
        }
    }

    /// L2: each file holds its own kind of rule. L11: a permit names its action.
    fn check_kind(&mut self, policy: &Policy) {
        let forbids = policy.effect() == Effect::Forbid;
        let actions = named_actions(policy);
        let is_vote = |uid: &EntityUid| VOTE_ACTIONS.contains(&uid.id().unescaped());
        let names_votes = actions.iter().flatten().any(is_vote);
        match self.kind {
            Kind::Allow if forbids => {
                self.refuse("L2", "allow.cedar holds permits only", "put it into never.cedar or ask.cedar")
            }
            Kind::Never if !forbids => {
                self.refuse("L2", "never.cedar holds forbids only", "put it into allow.cedar")
            }
            Kind::Ask if !forbids => {
                self.refuse("L2", "ask.cedar holds guards only: forbid … unless …", "put it into allow.cedar")
            }
            Kind::Invariant if forbids => {
                self.refuse(
                    "L2",
                    "an invariant is a permit with @prove",
                    "write which requests it is about as a permit",
                );
            }
            _ => {}
        }
        if matches!(self.kind, Kind::Allow | Kind::Ask) && names_votes {
            self.refuse("L2", "who may vote stands in review.cedar", "");
        }
        if self.kind == Kind::Review && !actions.as_ref().is_some_and(|named| named.iter().all(is_vote)) {
            self.refuse(
                "L2",
                "review.cedar holds rules about votes only",
                "write action == Action::\"review.approve\" or action in [Action::\"review.approve\", Action::\"review.deny\"]",
            );
        }
        if actions.is_none() && !forbids && self.kind == Kind::Allow {
            self.refuse("L11", "a permit names its action", "write action == Action::\"…\" or action in […]");
        }
        if actions.is_none() && self.kind == Kind::Ask {
            self.refuse(
                "L3",
                "a guard names its action",
                "for all actions write action in Action::\"privileged\"",
            );
        }
        if matches!(self.kind, Kind::Allow | Kind::Never | Kind::Review)
            && guard::policy_speaks_of_votes(policy)
        {
            self.refuse(
                "L3",
                "only guards and invariants speak of approvals",
                "what is enough evidence stands in ask.cedar",
            );
        }
    }

    /// L4: unknown annotations would be silent, so there are none.
    fn check_vocabulary(&mut self, policy: &Policy) {
        let annotations: BTreeMap<&str, &str> = policy.annotations().collect();
        for (key, value) in annotations {
            let known = match key {
                "id" => continue,
                "title" | "because" => {
                    if value.is_empty() || value.len() > 500 || value.chars().any(char::is_control) {
                        self.refuse("L4", format!("@{key} is 1 to 500 bytes of plain text"), "");
                    }
                    continue;
                }
                "timeout" | "veto" | "channel" | "escalate" => self.kind == Kind::Ask,
                "prove" => {
                    if self.kind == Kind::Invariant && !["never", "always"].contains(&value) {
                        self.refuse("L4", "@prove is \"never\" or \"always\"", "");
                    }
                    self.kind == Kind::Invariant
                }
                _ => false,
            };
            if !known {
                let help = match self.kind {
                    Kind::Ask => "guards have @id, @title, @because, @timeout, @veto, @channel and @escalate",
                    Kind::Invariant => "invariants have @id, @title, @because and @prove",
                    Kind::Allow | Kind::Never | Kind::Review => {
                        "these policies have @id, @title and @because"
                    }
                };
                self.refuse("L4", format!("@{key} means nothing here"), help);
            }
        }
        if self.kind == Kind::Invariant && policy.annotation("prove").is_none() {
            self.refuse(
                "L2",
                "an invariant says what is to be proved",
                "write @prove(\"never\") or @prove(\"always\")",
            );
        }
    }

    fn read_guard(
        &mut self,
        policy: &Policy,
        id: &str,
        title: &str,
        because: &Option<String>,
    ) -> Option<Guard> {
        let clauses = match guard::read(policy, &self.around.roles) {
            Ok(clauses) => clauses,
            Err(error) => {
                self.refuse(error.rule, error.message, error.help);
                return None;
            }
        };
        if guard::one_person_may_do_for_two(&clauses.needs) {
            let message = "one person with both roles clears this guard alone";
            let help = "add context.approvals.distinct >= 2 if it should take two people";
            self.findings.push(self.source.error("L7", self.span.clone(), message).help(help).warning());
        }
        Some(Guard {
            id: id.to_owned(),
            title: title.to_owned(),
            because: because.clone(),
            needs: clauses.needs,
            situation: clauses.situation,
            parts: clauses.parts,
            timeout: self.timeout(policy),
            veto: self.veto(policy),
            channels: self.channels(policy),
            escalate: self.escalate(policy),
        })
    }

    fn timeout(&mut self, policy: &Policy) -> Duration {
        let Some(text) = policy.annotation("timeout") else { return self.around.settings.timeout };
        read_timeout(text).unwrap_or_else(|message| {
            self.refuse("L4", format!("@timeout({text:?}): {message}"), "");
            self.around.settings.timeout
        })
    }

    fn veto(&mut self, policy: &Policy) -> u32 {
        let Some(text) = policy.annotation("veto") else { return self.around.settings.veto };
        match text.parse() {
            Ok(count) if (1..=100).contains(&count) => count,
            _ => {
                self.refuse(
                    "L4",
                    format!("@veto({text:?}) is the number of denials that end the review, 1 to 100"),
                    "",
                );
                1
            }
        }
    }

    fn channels(&mut self, policy: &Policy) -> BTreeSet<String> {
        let Some(text) = policy.annotation("channel") else { return BTreeSet::new() };
        let channels: BTreeSet<String> = text.split(',').map(|channel| channel.trim().to_owned()).collect();
        let is_channel = |channel: &String| {
            channel.split_once(':').is_some_and(|(kind, target)| {
                is_kebab(kind)
                    && !target.is_empty()
                    && target.len() <= 128
                    && target.chars().all(|letter| letter.is_ascii_graphic())
            })
        };
        if !channels.iter().all(is_channel) {
            self.refuse(
                "L4",
                format!("@channel({text:?}) is a list like \"slack:#approvals, mail:sre@example.com\""),
                "",
            );
        }
        channels
    }

    fn escalate(&mut self, policy: &Policy) -> Vec<Escalation> {
        let Some(text) = policy.annotation("escalate") else { return Vec::new() };
        let mut steps = Vec::new();
        for step in text.split(',') {
            let read = step.trim().split_once(" after ").and_then(|(role, after)| {
                let role = RoleName::parse(role).ok()?;
                let after = read_duration(after).filter(|after| !after.is_zero() && *after <= TIMEOUT_MAX)?;
                Some((role, after))
            });
            match read {
                Some((role, after)) if self.around.roles.contains(&role) => {
                    steps.push(Escalation { to: role.as_str().to_owned(), after });
                }
                Some((role, _)) => self.refuse(
                    "L5",
                    format!("@escalate: no role {role} is declared"),
                    "declare it in bundle.toml",
                ),
                None => self.refuse(
                    "L4",
                    format!("@escalate({text:?}) is a list like \"security after 10m\""),
                    "",
                ),
            }
        }
        steps
    }
}

/// The actions that a policy's scope names, or none if it is about all.
pub(crate) fn named_actions(policy: &Policy) -> Option<Vec<EntityUid>> {
    match policy.action_constraint() {
        ActionConstraint::Any => None,
        ActionConstraint::Eq(action) => Some(vec![action]),
        ActionConstraint::In(actions) => Some(actions),
    }
}

fn is_kebab(text: &str) -> bool {
    text.len() <= 64
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_end_with_semicolons_outside_strings_and_comments() {
        let text = "// a; b\n@id(\"x;\\\"y\") permit(a);\n\n  forbid(b) // c;\n;";
        let found: Vec<&str> = statements(text).into_iter().map(|range| &text[range]).collect();
        assert_eq!(found, ["@id(\"x;\\\"y\") permit(a);", "forbid(b) // c;\n;"]);
        let open =
            |text: &str| statements(text).into_iter().map(|range| text[range].to_owned()).collect::<Vec<_>>();
        assert_eq!(open("a; b // c"), ["a;", "b // c"]);
        assert_eq!(open("\"a; b"), ["\"a; b"]);
        assert_eq!(open("// only a comment"), Vec::<String>::new());
    }
}
