//! A bundle: one directory of policy, read whole, checked whole, or refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use cedar_policy::{Entity, EntityUid, PolicySet};
use placet_core::action::{ActionName, ResourceRef};
use placet_core::decision::RoleName;
use placet_core::digest::BundleDigest;
use placet_core::directory::{Directory, Status};

use crate::cases::{CaseResult, Cases};
use crate::context::FixedEvidence;
use crate::electorates::Electorates;
use crate::entities::{self, Resources};
use crate::explain::Parts;
use crate::files::{BundleFiles, FILES_MAX, TOOLS_SUFFIX, file_bytes_max};
use crate::finding::{Finding, Severity, Source};
use crate::guard;
use crate::mapping::Mapping;
use crate::policies::{self, CEDAR_FILES, Kind, Rule, Surroundings, named_actions};
use crate::schema::{PRIVILEGED, VOTE_ACTIONS, Vocabulary};
use crate::settings::{ConflictRule, Manifest, RoleRule, Settings};
use crate::warnings::Warnings;

/// A bundle that was read and checked. Immutable: decisions are functions over it.
#[derive(Clone, Debug)]
pub struct Bundle {
    digest: BundleDigest,
    files: BundleFiles,
    runner: Option<String>,
    pub(crate) manifest: Manifest,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) resources: Resources,
    pub(crate) rules: BTreeMap<String, Rule>,
    pub(crate) buckets: BTreeMap<String, Bucket>,
    pub(crate) mapping: Mapping,
    /// What the accepted tools of MCP servers say against themselves.
    pub(crate) warnings: Warnings,
    /// Whether `review.cedar` permits votes beside those that bundle.toml's roles give.
    pub(crate) votes_by_policy: bool,
    pub(crate) fixed: FixedEvidence,
    /// Who may vote as what, as it was found out before.
    pub(crate) electorates: Electorates,
    cases: Cases,
}

/// A bundle, and what somebody should look at in it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The bundle.
    pub bundle: Bundle,
    /// What is doubtful, but keeps nothing from working.
    pub warnings: Vec<Finding>,
}

/// Where a policy stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line where it begins, from one.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Where the policy of this id stands in a bundle's files. It reads text only, so it answers for bundles that do not load
/// any more, too.
pub fn place_of(files: &BundleFiles, policy: &str) -> Option<Place> {
    let annotation = format!("@id(\"{policy}\")");
    for (file, _) in CEDAR_FILES {
        let Some(text) = files.get(file).and_then(|bytes| std::str::from_utf8(bytes).ok()) else { continue };
        let stands = policies::statements(text)
            .into_iter()
            .find(|place| text.get(place.clone()).is_some_and(|statement| statement.contains(&annotation)));
        if let Some(place) = stands {
            let line = text.get(..place.start).map_or(0, |before| before.matches('\n').count()) + 1;
            return Some(Place { file: file.to_owned(), line });
        }
    }
    None
}

/// The policies that can say something about one action, and the action itself.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) policies: PolicySet,
    pub(crate) action: EntityUid,
    pub(crate) entity: Entity,
}

/// Enough for the deepest policy that is let through, without optimisation; only what is touched is memory.
const LOAD_STACK_BYTES: usize = 64 * 1024 * 1024;
const MANIFEST: &str = "bundle.toml";
const SCHEMA: &str = "schema.cedarschema";
const ENTITIES: &str = "entities.toml";
const MAPPING: &str = "mapping.toml";
const RUNNER: &str = "runner.toml";
/// The directory that says which MCP servers there are, for the enforcement point to read.
const MCP: &str = "mcp/";
/// What its files may be: how a server is reached, its accepted tools, what it tells models about itself.
const MCP_SUFFIXES: [&str; 3] = [".toml", TOOLS_SUFFIX, ".instructions"];
/// What the rules that placet adds are called in findings.
const GENERATED: &str = "(placet's own rules)";
/// The guard by which a bundle says who is asked about what policy cannot represent.
const UNREPRESENTABLE: &str = "unrepresentable";
/// Its situation.
const UNREPRESENTABLE_WHEN: &str = "when { !context.unrepresentable.isEmpty() }";

impl Bundle {
    /// Reads and checks a bundle. Every error keeps it from loading, warnings do not.
    ///
    /// It is read on a stack of its own: Cedar's type checker goes down with each operator of a policy, and an overflow
    /// would end the process.
    pub fn load(files: &BundleFiles) -> Result<Loaded, Vec<Finding>> {
        let unread = || {
            let message = "reading this bundle failed: report it with the bundle's files";
            vec![Source { file: MANIFEST, text: "" }.error("file", 0..0, message)]
        };
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().name("bundle".to_owned()).stack_size(LOAD_STACK_BYTES);
            let reading = reader.spawn_scoped(scope, || Bundle::read(files)).map_err(|_| unread())?;
            reading.join().unwrap_or_else(|_| Err(unread()))
        })
    }

    fn read(files: &BundleFiles) -> Result<Loaded, Vec<Finding>> {
        let texts = Texts::of(files)?;
        let mut findings = Vec::new();
        let manifest = Manifest::read(texts.source(MANIFEST))?;
        let vocabulary = Vocabulary::read(texts.source(SCHEMA), &manifest.roles)?;
        let rules = read_rules(&texts, &manifest, &vocabulary, &mut findings);
        check_external(texts.source(MANIFEST), &manifest, &vocabulary, &mut findings);
        let resources = collect(Resources::read(texts.source(ENTITIES), &vocabulary), &mut findings);
        let mapping = collect(Mapping::read(texts.source(MAPPING), &vocabulary), &mut findings);
        let cases = collect(Cases::read(texts.tests()), &mut findings);
        let runner = files.get(RUNNER).map(|_| texts.source(RUNNER).text.to_owned());
        if let Some(text) = &runner
            && let Err(error) = toml::from_str::<toml::Table>(text)
        {
            findings.push(texts.source(RUNNER).toml(&error));
        }
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(findings);
        }
        let buckets = fill_buckets(&rules, &vocabulary)
            .map_err(|message| vec![texts.source(SCHEMA).error("L8", 0..0, message)])?;
        check_permits(texts.source(SCHEMA), &vocabulary, &buckets, &rules, &mut findings);
        let votes_by_policy = rules.values().any(|rule| {
            rule.kind == Kind::Review
                && rule.span != GENERATED_SPAN
                && rule.policy.effect() == cedar_policy::Effect::Permit
        });
        let fixed = FixedEvidence::of(&manifest.roles)
            .map_err(|message| vec![texts.source(MANIFEST).error("L8", 0..0, message)])?;
        let by_the_clock = rules
            .values()
            .any(|rule| rule.kind == Kind::Review && guard::policy_speaks_of_time(&rule.policy));
        let electorates = if by_the_clock { Electorates::forgetful() } else { Electorates::default() };
        let bundle = Bundle {
            digest: files.digest(),
            files: files.clone(),
            runner,
            manifest,
            vocabulary,
            resources,
            rules,
            buckets,
            mapping,
            warnings: Warnings::read(texts.tools()),
            votes_by_policy,
            fixed,
            electorates,
            cases,
        };
        Ok(Loaded { bundle, warnings: findings })
    }

    /// The digest over the bundle's files.
    pub fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// The bundle's files.
    pub fn files(&self) -> &BundleFiles {
        &self.files
    }

    /// The bundle's switches.
    pub fn settings(&self) -> &Settings {
        &self.manifest.settings
    }

    /// The reviewer roles, and how each resolves to people.
    pub fn roles(&self) -> &BTreeMap<RoleName, RoleRule> {
        &self.manifest.roles
    }

    /// What the bundle knows of a resource, by attribute, as people may read it.
    pub fn resource_facts(&self, resource: &ResourceRef) -> Vec<(String, String)> {
        self.resources.facts(resource)
    }

    /// Whether the action is listed under `[external]`: agents may ask for it and carry it out by themselves.
    pub fn is_external(&self, action: &ActionName) -> bool {
        self.manifest.external.contains(action)
    }

    /// The actions that the bundle's schema declares, by name.
    pub fn own_actions(&self) -> Vec<String> {
        let own = self.vocabulary.actions.iter().filter(|(_, shape)| !shape.built_in);
        own.map(|(action, _)| action.to_string()).collect()
    }

    /// The text of `runner.toml`. The runner reads it.
    pub fn runner_toml(&self) -> Option<&str> {
        self.runner.as_deref()
    }

    /// The texts below `mcp/`, by path. The enforcement point for tools reads them.
    pub fn mcp_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter(|(path, _)| path.starts_with(MCP)).filter_map(|(path, bytes)| {
            // The bundle was read as text, so this leaves nothing out.
            Some((path, std::str::from_utf8(bytes).ok()?))
        })
    }

    /// The rules that placet adds to the bundle's own, as Cedar: for those who want to see all that decides.
    pub fn generated_rules(&self) -> String {
        generated_rules(
            &self.manifest,
            self.rules.get(UNREPRESENTABLE).is_none_or(|rule| rule.guard.is_none()),
        )
    }

    /// Where a policy of this bundle stands. placet's own rules stand in no file.
    pub fn place(&self, policy: &str) -> Option<Place> {
        place_of(&self.files, policy)
    }

    /// L6: guards that ask for more people than there are today. What a group has changes without the bundle, so these
    /// are looked for when a bundle is staged, and by `placet doctor`.
    pub fn quorums_out_of_reach(&self, directory: &Directory) -> Vec<Finding> {
        // Of each role the guard that asks for most: who mends that mends the others.
        let mut most: BTreeMap<RoleName, (u32, &Rule)> = BTreeMap::new();
        for rule in self.rules.values() {
            for (role, wanted) in rule.guard.iter().flat_map(|guard| guard::wanted(&guard.needs)) {
                let known = most.entry(role).or_insert((wanted, rule));
                if known.0 < wanted {
                    *known = (wanted, rule);
                }
            }
        }
        let text = self.files.get("ask.cedar").map(String::from_utf8_lossy).unwrap_or_default();
        let source = Source { file: "ask.cedar", text: &text };
        let finding = |(role, (wanted, rule)): (&RoleName, &(u32, &Rule))| {
            let (group, there) = self.people_in(role, directory)?;
            let message = format!(
                "{} asks for {wanted} {role}; {there} active {} in the group {group}",
                rule.id,
                if there == 1 { "person is" } else { "people are" }
            );
            let finding = source.error("L6", rule.span.clone(), message).warning().help(
                "until there are enough, whatever this guard asks about is refused with nobody_can_approve",
            );
            (there < *wanted as usize).then_some(finding)
        };
        most.iter().filter_map(finding).collect()
    }

    /// The group behind a role that has the fewest people today, and how many. None where no group says who has it.
    fn people_in(&self, role: &RoleName, directory: &Directory) -> Option<(String, usize)> {
        let count = |group: &str| {
            let active = directory.people.values().filter(|person| {
                person.status == Status::Active && person.groups.iter().any(|of| of.as_str() == group)
            });
            directory.distinct(active.map(|person| person.id)).len()
        };
        let groups = match self.roles().get(role)? {
            RoleRule::Group(group) => BTreeSet::from([group.as_str().to_owned()]),
            RoleRule::ResourceAttr(attribute) => self.resources.groups_named(attribute),
            RoleRule::Policy => return None,
        };
        groups.into_iter().map(|group| (count(&group), group)).min().map(|(there, group)| (group, there))
    }

    /// Runs the cases of `tests/`.
    pub fn run_tests(&self) -> Vec<CaseResult> {
        self.cases.run(self)
    }

    /// The rules of these ids, sorted by id.
    pub(crate) fn sorted_rules(&self, ids: &[String]) -> Vec<&Rule> {
        let ids: BTreeSet<&String> = ids.iter().collect();
        ids.into_iter().filter_map(|id| self.rules.get(id)).collect()
    }
}

fn collect<T: Default>(read: Result<T, Vec<Finding>>, findings: &mut Vec<Finding>) -> T {
    read.unwrap_or_else(|found| {
        findings.extend(found);
        T::default()
    })
}

/// The texts of a bundle's files, all of them known and UTF-8.
struct Texts<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Texts<'a> {
    fn of(files: &'a BundleFiles) -> Result<Self, Vec<Finding>> {
        let mut texts = BTreeMap::new();
        let mut findings = Vec::new();
        for (file, bytes) in files.iter() {
            let empty = Source { file, text: "" };
            if !is_known(file) {
                let help = "a bundle has bundle.toml, schema.cedarschema, allow.cedar, never.cedar, ask.cedar, review.cedar, invariants.cedar, mapping.toml, runner.toml, entities.toml, tests/*.toml and mcp/*";
                findings.push(empty.error("file", 0..0, "this file has no meaning in a bundle").help(help));
            }
            let max = file_bytes_max(file);
            if bytes.len() > max {
                findings.push(empty.error(
                    "L14",
                    0..0,
                    format!("this file of a bundle may have at most {} KiB", max / 1024),
                ));
                continue;
            }
            match std::str::from_utf8(bytes) {
                Ok(text) => {
                    texts.insert(file, text);
                }
                Err(error) => {
                    let message = format!("not UTF-8 at byte {}", error.valid_up_to());
                    findings.push(empty.error("file", 0..0, message));
                }
            }
        }
        if files.len() > FILES_MAX {
            findings.push(Source { file: MANIFEST, text: "" }.error(
                "L14",
                0..0,
                "a bundle has at most 256 files",
            ));
        }
        if !texts.contains_key(MANIFEST) && findings.is_empty() {
            let help = "it names the bundle, its format and its reviewer roles";
            findings.push(
                Source { file: MANIFEST, text: "" }.error("file", 0..0, "this file is missing").help(help),
            );
        }
        if findings.is_empty() { Ok(Texts(texts)) } else { Err(findings) }
    }

    /// A file's text; one that is not there is empty.
    fn source<'b>(&'b self, file: &'b str) -> Source<'b> {
        Source { file, text: self.0.get(file).copied().unwrap_or_default() }
    }

    /// Of each MCP server its name and its accepted tools.
    fn tools(&self) -> impl Iterator<Item = (&str, &str)> {
        let name = |file: &'a str| file.strip_prefix(MCP)?.strip_suffix(TOOLS_SUFFIX);
        self.0.iter().filter_map(move |(file, text)| Some((name(file)?, *text)))
    }

    fn tests(&self) -> Vec<Source<'_>> {
        let tests = self.0.iter().filter(|(file, _)| file.starts_with("tests/"));
        tests.map(|(file, text)| Source { file, text }).collect()
    }
}

fn is_known(file: &str) -> bool {
    let below = |directory: &str, suffix: &str| {
        file.strip_prefix(directory)
            .and_then(|name| name.strip_suffix(suffix))
            .is_some_and(|name| !name.is_empty() && !name.contains('/'))
    };
    below("tests/", ".toml")
        || MCP_SUFFIXES.iter().any(|suffix| below(MCP, suffix))
        || [MANIFEST, SCHEMA, ENTITIES, MAPPING, RUNNER].contains(&file)
        || CEDAR_FILES.iter().any(|(known, _)| *known == file)
}

fn read_rules(
    texts: &Texts<'_>,
    manifest: &Manifest,
    vocabulary: &Vocabulary,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, Rule> {
    let around = Surroundings { roles: manifest.roles.keys().collect(), settings: &manifest.settings };
    let mut rules: BTreeMap<String, Rule> = BTreeMap::new();
    let mut homes: BTreeMap<String, &str> = BTreeMap::new();
    let mut add = |rule: Rule, source: Source<'_>, file: &'static str, findings: &mut Vec<Finding>| {
        if let Some(home) = homes.insert(rule.id.clone(), file) {
            let message = format!("@id(\"{}\") stands in {home} already", rule.id);
            findings.push(
                source
                    .error("L1", rule.span.clone(), message)
                    .help("every policy of a bundle has its own @id"),
            );
        } else if rule.kind != Kind::Invariant {
            // Invariants are about the others; they never take part in a decision.
            rules.insert(rule.id.clone(), rule);
        }
    };
    let mut asks_about_unrepresentable = false;
    for (file, kind) in CEDAR_FILES {
        let source = texts.source(file);
        let errors_before = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        let read = policies::read_file(source, kind, &around, findings);
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
        if errors == errors_before {
            policies::validate(source, &unique(&read), vocabulary, findings);
        }
        for rule in &read {
            if rule.id == UNREPRESENTABLE {
                asks_about_unrepresentable |= kind == Kind::Ask;
                findings.extend(check_unrepresentable(source, rule));
            }
        }
        read.into_iter().for_each(|rule| add(rule, source, file, findings));
    }
    let text = generated_rules(manifest, !asks_about_unrepresentable);
    let source = Source { file: GENERATED, text: &text };
    let generated = read_generated(source);
    policies::validate(source, &generated, vocabulary, findings);
    generated.into_iter().for_each(|rule| add(rule, source, GENERATED, findings));
    rules
}

/// Rules whose ids stand once: duplicates are a finding of their own.
fn unique(rules: &[Rule]) -> Vec<Rule> {
    let mut seen = BTreeSet::new();
    rules.iter().filter(|rule| seen.insert(rule.id.clone())).cloned().collect()
}

/// The guard that takes the place of placet's own ban has to ask wherever the ban would have held.
fn check_unrepresentable(source: Source<'_>, rule: &Rule) -> Option<Finding> {
    let own =
        format!("forbid (principal, action in Action::\"{PRIVILEGED}\", resource)\n{UNREPRESENTABLE_WHEN};");
    let always_asks = rule.guard.as_ref().is_some_and(|guard| guard::takes_a_vote(&guard.needs));
    (!(always_asks && guard::has_situation_of(&rule.policy, &own))).then(|| {
        let message = format!("@id(\"{UNREPRESENTABLE}\") replaces placet's own rule, and asks about less");
        source.error("L3", rule.span.clone(), message).help(
            "write forbid (principal, action in Action::\"privileged\", resource) when { !context.unrepresentable.isEmpty() } unless { … }, where each way takes a vote",
        )
    })
}

/// What marks a rule as placet's own.
const GENERATED_SPAN: std::ops::Range<usize> = 0..0;

/// The rules that placet adds: nobody approves what is theirs, roles resolve as bundle.toml says, and what policy cannot
/// represent does not happen unless the bundle says who is asked.
fn generated_rules(manifest: &Manifest, forbid_unrepresentable: bool) -> String {
    let mut text = String::new();
    let mut rule = |id: &str, because: &str, policy: &str| {
        let _ = writeln!(text, "@id(\"{id}\") @because(\"{because}\")\n{policy}");
    };
    if manifest.settings.conflict == ConflictRule::Never {
        for (id, kind) in [("no-self-approval", "Agent"), ("no-self-approval-pipeline", "Pipeline")] {
            rule(
                id,
                "The person who answers for an agent cannot approve its action.",
                &format!(
                    "forbid (principal is {kind}, action in Action::\"{PRIVILEGED}\", resource)\nwhen {{ context.approvals.people.contains(principal.sponsor) }};"
                ),
            );
        }
    }
    rule(
        "no-self-approval-person",
        "Nobody approves their own action.",
        &format!(
            "forbid (principal is Person, action in Action::\"{PRIVILEGED}\", resource)\nwhen {{ context.approvals.people.contains(principal) }};"
        ),
    );
    if forbid_unrepresentable {
        rule(
            "never-unrepresentable",
            "The call carries something that policy cannot represent.",
            &format!(
                "forbid (principal, action in Action::\"{PRIVILEGED}\", resource)\n{UNREPRESENTABLE_WHEN};"
            ),
        );
    }
    for (role, resolves) in &manifest.roles {
        let condition = match resolves {
            RoleRule::Group(group) => format!("principal in Group::\"{}\"", group.as_str()),
            RoleRule::ResourceAttr(attr) => format!("resource has {attr} && principal in resource.{attr}"),
            RoleRule::Policy => continue,
        };
        rule(
            &format!("role-{role}"),
            "bundle.toml says who has this role.",
            &format!(
                "permit (principal, action in [Action::\"review.approve\", Action::\"review.deny\"], resource)\nwhen {{ context.role == \"{role}\" && {condition} }};"
            ),
        );
    }
    text
}

fn read_generated(source: Source<'_>) -> Vec<Rule> {
    let parsed: PolicySet = source.text.parse().unwrap_or_default();
    let read = parsed.policies().map(|policy| {
        let id = policy.annotation("id").unwrap_or_default().to_owned();
        let kind = match policy.effect() {
            cedar_policy::Effect::Permit => Kind::Review,
            cedar_policy::Effect::Forbid => Kind::Never,
        };
        Rule {
            policy: policy.new_id(cedar_policy::PolicyId::new(&id)),
            kind,
            title: id.clone(),
            id,
            because: policy.annotation("because").map(str::to_owned),
            guard: None,
            parts: Parts::of(policy).unwrap_or_default(),
            span: GENERATED_SPAN,
        }
    });
    read.collect()
}

fn check_external(
    source: Source<'_>,
    manifest: &Manifest,
    vocabulary: &Vocabulary,
    findings: &mut Vec<Finding>,
) {
    for (action, span) in &manifest.external_spans {
        match vocabulary.actions.get(action) {
            None => findings.push(
                source
                    .error("L8", span.clone(), format!("schema.cedarschema has no action {action}"))
                    .help("declare the action with what it applies to"),
            ),
            Some(shape) if shape.built_in => findings.push(source.error(
                "L8",
                span.clone(),
                format!("{action} is executed by placet and cannot be external"),
            )),
            Some(_) => {}
        }
    }
}

/// For each action the policies that can match: those about every action, about it, or about a group that it is in.
fn fill_buckets(
    rules: &BTreeMap<String, Rule>,
    vocabulary: &Vocabulary,
) -> Result<BTreeMap<String, Bucket>, String> {
    let actions = vocabulary.schema.action_entities().map_err(|error| error.to_string())?;
    let names = vocabulary.actions.keys().map(ActionName::as_str).chain(VOTE_ACTIONS);
    let mut buckets = BTreeMap::new();
    for name in names {
        let uid = entities::uid("Action", name).ok_or_else(|| format!("{name} is no action's name"))?;
        let ancestors: std::collections::HashSet<EntityUid> =
            actions.ancestors(&uid).into_iter().flatten().cloned().collect();
        let matches = |rule: &&Rule| {
            named_actions(&rule.policy)
                .is_none_or(|named| named.iter().any(|action| *action == uid || ancestors.contains(action)))
        };
        let policies =
            PolicySet::from_policies(rules.values().filter(matches).map(|rule| rule.policy.clone()))
                .map_err(|error| error.to_string())?;
        let entity = Entity::new_no_attrs(uid.clone(), ancestors);
        buckets.insert(name.to_owned(), Bucket { policies, action: uid, entity });
    }
    Ok(buckets)
}

/// L16: an action that nothing permits is a dead letter.
fn check_permits(
    source: Source<'_>,
    vocabulary: &Vocabulary,
    buckets: &BTreeMap<String, Bucket>,
    rules: &BTreeMap<String, Rule>,
    findings: &mut Vec<Finding>,
) {
    for (action, _) in vocabulary.actions.iter().filter(|(_, shape)| !shape.built_in) {
        let permitted = buckets.get(action.as_str()).is_some_and(|bucket| {
            let rule = |policy: &cedar_policy::Policy| rules.get(&policy.id().to_string());
            bucket.policies.policies().filter_map(rule).any(|rule| rule.kind == Kind::Allow)
        });
        if !permitted {
            let offset = source.text.find(action.as_str()).unwrap_or(0);
            let message = format!("nothing permits {action}: every request for it is refused");
            let help = "add a permit to allow.cedar, or take the action out of the schema";
            let span = offset..offset + action.as_str().len();
            findings.push(source.error("L16", span, message).help(help).warning());
        }
    }
}
