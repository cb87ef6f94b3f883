//! What policy said, and what would be enough evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::digest::BundleDigest;
use crate::id::{EvaluationId, PersonId};
use crate::review::Assurance;
use crate::time::Timestamp;

/// The name of a reviewer role that a bundle declares, `data-owners`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RoleName(String);

/// The text is not a role's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a role's name: write 1 to 64 of a-z 0-9 -, starting with a letter")]
pub struct RoleNameError;

impl RoleName {
    /// Reads a name of 1 to 64 of `a-z 0-9 -` that starts with a letter.
    pub fn parse(text: &str) -> Result<Self, RoleNameError> {
        let starts = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let fits = text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if starts && fits { Ok(RoleName(text.to_owned())) } else { Err(RoleNameError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One decision of policy, and what it was made under.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Which evaluation.
    pub evaluation: EvaluationId,
    /// Under which bundle.
    pub bundle: BundleDigest,
    /// When.
    pub at: Timestamp,
    /// What.
    pub effect: Effect,
    /// The policies that determined it, sorted by id.
    pub because: Vec<Because>,
}

/// Permit, forbid, or a human must decide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// The action may be carried out.
    Permit,
    /// It may not, and no vote would change that.
    Forbid(ForbidReason),
    /// It may if these people say so.
    RequireApproval(Requirement),
}

/// A policy that determined a decision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Because {
    /// Its `@id`.
    pub policy: String,
    /// Its `@title`, or its id.
    pub title: String,
    /// Its `@because`.
    pub text: Option<String>,
}

/// Why policy forbids. Every one of them fails closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForbidReason {
    /// No permit matches.
    NotPermitted,
    /// A policy forbids it, whatever anyone votes.
    Policy,
    /// A guard matches, but no votes could clear all that stands against it.
    CannotBeApproved,
    /// Fewer people than needed may review, in this role.
    NobodyCanApprove(RoleName),
    /// The action is not in the schema, or not for this principal or resource type.
    UnknownAction,
    /// The resource, or an entity of the context, is not known: its name, as people may see it.
    UnknownEntity(String),
    /// The call's facts do not fit the schema, or the mapping now says something else than what was reviewed.
    BadFacts(String),
    /// Somebody in the actor chain may not act any more.
    ChainBroken,
    /// A policy could not be evaluated.
    PolicyError(Vec<String>),
    /// It was approved, but the votes that count now are not enough under the policy in force now.
    EvidenceGone,
    /// As many people have denied it as the policy in force now asks for.
    Vetoed,
}

impl ForbidReason {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            ForbidReason::NotPermitted => "not_permitted",
            ForbidReason::Policy => "forbidden",
            ForbidReason::CannotBeApproved => "cannot_be_approved",
            ForbidReason::NobodyCanApprove(_) => "nobody_can_approve",
            ForbidReason::UnknownAction => "unknown_action",
            ForbidReason::UnknownEntity(_) => "unknown_entity",
            ForbidReason::BadFacts(_) => "bad_facts",
            ForbidReason::ChainBroken => "chain_broken",
            ForbidReason::PolicyError(_) => "policy_error",
            ForbidReason::EvidenceGone => "evidence_gone",
            ForbidReason::Vetoed => "vetoed",
        }
    }

    /// One sentence for the one who asked. Names no voters and no policy text.
    pub fn sentence(&self) -> String {
        match self {
            ForbidReason::NotPermitted => "No policy permits this action.".to_owned(),
            ForbidReason::Policy => "A policy forbids this action.".to_owned(),
            ForbidReason::CannotBeApproved => "No approval could permit this action.".to_owned(),
            ForbidReason::NobodyCanApprove(role) => format!("Not enough people can review it as {role}."),
            ForbidReason::UnknownAction => {
                "The active policy does not know this action for this resource.".to_owned()
            }
            // Already visible: a second time, its escapes would be escaped, and nobody could read the name.
            ForbidReason::UnknownEntity(name) => format!("{name} is not known to the active policy."),
            ForbidReason::BadFacts(what) => crate::text::visible(what),
            ForbidReason::ChainBroken => {
                "Someone in the chain of this request may not act any more.".to_owned()
            }
            ForbidReason::PolicyError(_) => "A policy could not be evaluated.".to_owned(),
            ForbidReason::EvidenceGone => "The approval does not suffice any more.".to_owned(),
            ForbidReason::Vetoed => "The denials on record end it under the policy in force now.".to_owned(),
        }
    }
}

/// What all matching guards ask for together, and who could give it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// The guards that match, sorted by id. All have to be cleared.
    pub guards: Vec<GuardAsk>,
    /// How long the review may take: the shortest among the guards.
    pub review_for: Duration,
    /// The shortest age that any guard accepts of the oldest vote; older votes do not count.
    pub age_max: Option<Duration>,
    /// How many denials end it; one unless all guards say more.
    pub veto: u32,
    /// Where to ask, `slack:#data-approvals`; the union over the guards.
    pub channels: BTreeSet<String>,
    /// Who may vote as what, right now. Persons in conflict are not in it.
    pub eligible: BTreeMap<RoleName, BTreeSet<PersonId>>,
    /// The sponsor who may approve by exception, as long as nobody else can.
    pub self_review: Option<PersonId>,
}

/// One guard that asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuardAsk {
    /// Its `@id`.
    pub id: String,
    /// Its `@title`, or its id.
    pub title: String,
    /// Its `@because`.
    pub because: Option<String>,
    /// What of its situation held.
    pub situation: Vec<Condition>,
    /// What it accepts as enough.
    pub needs: Need,
    /// `@escalate`, as written.
    pub escalate: Vec<Escalation>,
}

/// A part of a policy, and whether it held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Condition {
    /// Its text in the policy.
    pub text: String,
    /// The same in plain words, `resource.class is pii`.
    pub words: String,
    /// Whether it held; none if it could not be evaluated alone.
    pub holds: Option<bool>,
}

/// Whom to ask next if nobody decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Escalation {
    /// Whom.
    pub to: String,
    /// After how long.
    pub after: Duration,
}

/// A tree of evidence, read from a guard's `unless`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// All of these.
    All(Vec<Need>),
    /// One of these.
    Any(Vec<Need>),
    /// So many distinct persons in this role, at this assurance or above.
    AtLeast {
        /// How many.
        count: u32,
        /// Voting as what.
        role: RoleName,
        /// At least how sure of who they are; the bundle's minimum if none is named.
        assurance: Option<Assurance>,
    },
    /// So many distinct persons in all.
    Distinct(u32),
    /// The oldest counted vote is at most so old.
    Within(Duration),
    /// A condition that does not speak of votes, and whether it holds.
    Data(Condition),
}

/// Votes as counted by the host, for Cedar and for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Distinct persons by role, at the bundle's minimum assurance.
    pub roles: BTreeMap<RoleName, u32>,
    /// Distinct persons by role at an assurance or above.
    pub assured: BTreeMap<(RoleName, Assurance), u32>,
    /// Everyone who counts.
    pub people: BTreeSet<PersonId>,
    /// How old the oldest counted vote is; zero without one.
    pub age: Duration,
}

impl Need {
    /// Whether these votes satisfy it.
    pub fn is_met(&self, tally: &Tally) -> bool {
        match self {
            // Nothing is never enough.
            Need::All(parts) => !parts.is_empty() && parts.iter().all(|part| part.is_met(tally)),
            Need::Any(parts) => parts.iter().any(|part| part.is_met(tally)),
            Need::AtLeast { count, role, assurance } => tally.count(role, *assurance) >= *count,
            Need::Distinct(count) => tally.people.len() >= *count as usize,
            Need::Within(age) => tally.age <= *age,
            Need::Data(condition) => condition.holds == Some(true),
        }
    }

    /// Every role that it speaks of.
    pub fn roles(&self) -> BTreeSet<RoleName> {
        match self {
            Need::All(parts) | Need::Any(parts) => parts.iter().flat_map(Need::roles).collect(),
            Need::AtLeast { role, .. } => BTreeSet::from([role.clone()]),
            Need::Distinct(_) | Need::Within(_) | Need::Data(_) => BTreeSet::new(),
        }
    }

    /// One line for people: `1 of 2 data-owners and votes of the last 30m`.
    pub fn sentence(&self, tally: &Tally) -> String {
        let join = |parts: &[Need], word: &str| {
            let written: Vec<String> = parts.iter().map(|part| part.nested_sentence(tally)).collect();
            written.join(word)
        };
        match self {
            Need::All(parts) => join(parts, " and "),
            Need::Any(parts) => join(parts, " or "),
            Need::AtLeast { count, role, assurance } => {
                let have = tally.count(role, *assurance).min(*count);
                let level = assurance.map(|level| format!(" at {}", level.as_str())).unwrap_or_default();
                format!("{have} of {count} {role}{level}")
            }
            Need::Distinct(count) => {
                format!("{} of {count} different people", tally.people.len().min(*count as usize))
            }
            Need::Within(age) => format!("no vote older than {}", short_duration(*age)),
            Need::Data(condition) => condition.words.clone(),
        }
    }

    fn nested_sentence(&self, tally: &Tally) -> String {
        match self {
            Need::All(_) | Need::Any(_) => format!("({})", self.sentence(tally)),
            _ => self.sentence(tally),
        }
    }
}

impl Tally {
    /// How many distinct persons voted in this role, at this assurance or above.
    pub fn count(&self, role: &RoleName, assurance: Option<Assurance>) -> u32 {
        let counted = match assurance {
            None => self.roles.get(role),
            Some(level) => self.assured.get(&(role.clone(), level)),
        };
        counted.copied().unwrap_or(0)
    }
}

impl Requirement {
    /// Every role that any guard speaks of.
    pub fn roles(&self) -> BTreeSet<RoleName> {
        self.guards.iter().flat_map(|guard| guard.needs.roles()).collect()
    }

    /// Whether another requirement would show reviewers something else. Who happens to be eligible is not part of what
    /// is to be decided.
    pub fn same_content(&self, other: &Requirement) -> bool {
        let needs = |requirement: &Requirement| -> Vec<(String, Need)> {
            requirement.guards.iter().map(|guard| (guard.id.clone(), guard.needs.clone())).collect()
        };
        needs(self) == needs(other) && self.age_max == other.age_max && self.veto == other.veto
    }
}

/// A duration in its largest whole unit: `30m`, `4h`, `90s`.
pub fn short_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if millis >= unit && millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}
