//! `bundle.toml`: the bundle's name, its reviewer roles, and the few switches that a bundle has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use placet_core::action::ActionName;
use placet_core::decision::RoleName;
use placet_core::directory::GroupName;
use placet_core::review::Assurance;
use serde::Deserialize;
use toml::Spanned;

use crate::finding::{Finding, Source};

/// The only version of the directory's format so far.
const FORMAT: u32 = 1;
/// A review takes at least so long: less would be a refusal that looks like a question.
pub(crate) const TIMEOUT_MIN: Duration = Duration::from_secs(30);
/// And at most so long: thirty days.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const ROLES_MAX: usize = 64;
/// Names that the evidence record has for itself.
const RESERVED_ROLES: [&str; 3] = ["distinct", "people", "age"];

/// The switches of a bundle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What people call the bundle.
    pub name: String,
    /// Whether a sponsor may ever approve what their agent asks.
    pub conflict: ConflictRule,
    /// Whether a vote counts although somebody in conflict could have signed in in the voter's place.
    pub operator_vouches: bool,
    /// Whether a person's API token may approve.
    pub token_may_approve: bool,
    /// How sure placet must be of a voter at least.
    pub assurance_min: Assurance,
    /// How long a review takes where the guard does not say.
    pub timeout: Duration,
    /// How many denials end a review where the guard does not say.
    pub veto: u32,
}

/// Whether a sponsor may ever approve what their agent asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConflictRule {
    /// Never.
    Never,
    /// As long as nobody else can.
    SponsorMayApprove,
}

/// How a reviewer role resolves to people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoleRule {
    /// The people in this group.
    Group(GroupName),
    /// The people in the group that this attribute of the resource names.
    ResourceAttr(String),
    /// Whoever `review.cedar` permits.
    Policy,
}

/// All that `bundle.toml` says.
#[derive(Clone, Debug)]
pub(crate) struct Manifest {
    pub(crate) settings: Settings,
    pub(crate) roles: BTreeMap<RoleName, RoleRule>,
    pub(crate) external: BTreeSet<ActionName>,
    /// Where each external action is listed, for findings about it.
    pub(crate) external_spans: Vec<(ActionName, std::ops::Range<usize>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    format: Spanned<u32>,
    name: Spanned<String>,
    conflict: Option<Spanned<String>>,
    #[serde(default)]
    operator_vouches: bool,
    #[serde(default)]
    token_may_approve: bool,
    min_assurance: Option<Spanned<String>>,
    #[serde(default)]
    defaults: WrittenDefaults,
    #[serde(default)]
    role: BTreeMap<Spanned<String>, Spanned<WrittenRole>>,
    #[serde(default)]
    external: WrittenExternal,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenDefaults {
    timeout: Option<Spanned<String>>,
    veto: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRole {
    group: Option<String>,
    resource_attr: Option<String>,
    review_cedar: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WrittenExternal {
    #[serde(default)]
    actions: Vec<Spanned<String>>,
}

impl Manifest {
    pub(crate) fn read(source: Source<'_>) -> Result<Manifest, Vec<Finding>> {
        let written: Written = toml::from_str(source.text).map_err(|error| vec![source.toml(&error)])?;
        let mut findings = Vec::new();
        let settings = read_settings(source, &written, &mut findings);
        let roles = read_roles(source, &written.role, &mut findings);
        let mut external_spans = Vec::new();
        for action in &written.external.actions {
            match ActionName::parse(action.get_ref()) {
                Ok(name) => external_spans.push((name, action.span())),
                Err(error) => findings.push(source.error("toml", action.span(), error.to_string())),
            }
        }
        let external = external_spans.iter().map(|(name, _)| name.clone()).collect();
        if findings.is_empty() {
            Ok(Manifest { settings, roles, external, external_spans })
        } else {
            Err(findings)
        }
    }
}

fn read_settings(source: Source<'_>, written: &Written, findings: &mut Vec<Finding>) -> Settings {
    let mut refuse = |span, message: String| findings.push(source.error("toml", span, message));
    if *written.format.get_ref() != FORMAT {
        refuse(written.format.span(), format!("this placet reads bundles of format {FORMAT}"));
    }
    let name = written.name.get_ref();
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        refuse(written.name.span(), "a bundle's name has 1 to 64 bytes and no control characters".to_owned());
    }
    let conflict = match written.conflict.as_ref().map(|word| (word.get_ref().as_str(), word.span())) {
        None | Some(("never", _)) => ConflictRule::Never,
        Some(("sponsor-may-approve", _)) => ConflictRule::SponsorMayApprove,
        Some((_, span)) => {
            refuse(span, "conflict is \"never\" or \"sponsor-may-approve\"".to_owned());
            ConflictRule::Never
        }
    };
    let assurance_min =
        match written.min_assurance.as_ref().map(|word| (word.get_ref().as_str(), word.span())) {
            None | Some(("L1", _)) => Assurance::L1,
            Some(("L2", _)) => Assurance::L2,
            Some(("L3", span)) => {
                refuse(span, "assurance L3 is not built yet: write L1 or L2".to_owned());
                Assurance::L2
            }
            Some((_, span)) => {
                refuse(span, "min_assurance is \"L1\" or \"L2\"".to_owned());
                Assurance::L2
            }
        };
    let timeout = match &written.defaults.timeout {
        None => Duration::from_secs(60 * 60),
        Some(text) => read_timeout(text.get_ref()).unwrap_or_else(|message| {
            refuse(text.span(), message);
            TIMEOUT_MIN
        }),
    };
    let veto = match &written.defaults.veto {
        None => 1,
        Some(count) if (1..=100).contains(count.get_ref()) => *count.get_ref(),
        Some(count) => {
            refuse(count.span(), "veto is the number of denials that end a review, 1 to 100".to_owned());
            1
        }
    };
    Settings {
        name: name.clone(),
        conflict,
        operator_vouches: written.operator_vouches,
        token_may_approve: written.token_may_approve,
        assurance_min,
        timeout,
        veto,
    }
}

fn read_roles(
    source: Source<'_>,
    written: &BTreeMap<Spanned<String>, Spanned<WrittenRole>>,
    findings: &mut Vec<Finding>,
) -> BTreeMap<RoleName, RoleRule> {
    let mut roles = BTreeMap::new();
    for (name, rule) in written {
        let mut refuse = |span, message: &str| findings.push(source.error("L5", span, message));
        let role = match RoleName::parse(name.get_ref()) {
            Ok(role) if !RESERVED_ROLES.contains(&role.as_str()) => role,
            Ok(_) => {
                refuse(name.span(), "the evidence has this name for itself: call the role something else");
                continue;
            }
            Err(error) => {
                refuse(name.span(), &error.to_string());
                continue;
            }
        };
        let WrittenRole { group, resource_attr, review_cedar } = rule.get_ref();
        let read = match (group, resource_attr, review_cedar) {
            (Some(group), None, None) => {
                GroupName::parse(group).map(RoleRule::Group).map_err(|e| e.to_string())
            }
            (None, Some(attr), None) if is_identifier(attr) => Ok(RoleRule::ResourceAttr(attr.clone())),
            (None, Some(_), None) => Err("resource_attr is the plain name of an attribute".to_owned()),
            (None, None, Some(true)) => Ok(RoleRule::Policy),
            _ => {
                Err("a role has one of: group = \"…\", resource_attr = \"…\", review_cedar = true".to_owned())
            }
        };
        match read {
            Ok(rule) => {
                roles.insert(role, rule);
            }
            Err(message) => refuse(rule.span(), &message),
        }
    }
    if roles.len() > ROLES_MAX {
        findings.push(source.error("L5", 0..0, format!("a bundle has at most {ROLES_MAX} roles")));
    }
    roles
}

/// A review's timeout, within its bounds.
pub(crate) fn read_timeout(text: &str) -> Result<Duration, String> {
    let duration = read_duration(text).ok_or("write a duration like 90s, 30m, 4h or 2d")?;
    if duration < TIMEOUT_MIN {
        return Err("nobody can decide in less than 30s".to_owned());
    }
    if duration > TIMEOUT_MAX {
        return Err("a review takes at most 30d".to_owned());
    }
    Ok(duration)
}

/// Reads `90s`, `30m`, `4h` or `2d`: a whole number and one unit.
pub(crate) fn read_duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds_each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(seconds_each).map(Duration::from_secs)
}

/// Whether Cedar would take this as an attribute's plain name.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && text.len() <= 64
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
