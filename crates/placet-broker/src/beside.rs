//! What a reviewer reads beside the card: what is different from the last similar call that was approved, and the
//! definition of the tool that would be called.
//!
//! Neither is part of the card. The card commits to both already, by its arguments and by the pin; what stands here
//! helps to read it.

use std::collections::BTreeMap;

use placet_core::action::{ActionRequest, PepKind, tool_pin};
use placet_core::c14n::Value;
use placet_core::digest::ShortCode;
use placet_core::id::RequestId;
use placet_core::request::{Request, Status};
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_policy::{Bundle, SERVER, TOOL};
use placet_store::{PAGE_MAX, RequestFilter};

use crate::Broker;
use crate::card::flattened;
use crate::error::CallError;

/// A call against the last similar one that was approved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    /// Which call it is held against.
    pub with: RequestId,
    /// Its code.
    pub short_code: ShortCode,
    /// When it came.
    pub asked_at: Timestamp,
    /// What is different, by path; nothing if the arguments are the same.
    pub changes: Vec<Change>,
}

/// One argument that is different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where it is.
    pub path: String,
    /// What it was; none if it was not there.
    pub was: Option<String>,
    /// What it is; none if it is not there.
    pub now: Option<String>,
}

/// A tool as its server defines it, and as somebody accepted it. Every text in it can be seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ToolShown {
    /// What the server says that it does.
    pub description: Option<String>,
    /// What the server tells models about itself.
    pub instructions: Option<String>,
    /// What the server claims about its effects. Nobody checked it, and policy does not read it.
    pub hints: Vec<(String, String)>,
    /// All of the definition.
    pub definition: String,
}

/// How a request stands to the definition that it was pinned to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PinnedTool {
    /// It is accepted as it was when the call came.
    Accepted(ToolShown),
    /// It is not accepted any more as it was: the call will not be carried out.
    Gone,
}

impl Broker {
    /// What is different from the last similar call of the same requester that was approved before this one came.
    pub(crate) async fn compared(&self, request: &Request) -> Result<Option<Compared>, CallError> {
        let Some(kind) = similarity(&request.action) else { return Ok(None) };
        let filter = RequestFilter {
            principal: Some(request.requester()),
            statuses: Status::ALL.into_iter().filter(|status| was_approved(*status)).collect(),
            reviewed_only: true,
            before: Some(request.id),
            limit: PAGE_MAX,
        };
        let page = self.0.views.requests(filter).await?;
        let before = page.into_iter().map(|stored| stored.request);
        let mut similar = before.filter(|before| similarity(&before.action).as_ref() == Some(&kind));
        Ok(similar.next().map(|before| {
            let (was, now) = (&before.action, &request.action);
            let mut changes = changes(&was.arguments, &now.arguments);
            let beside = |path: &str, was: String, now: String| {
                (was != now).then(|| Change { path: path.to_owned(), was: Some(was), now: Some(now) })
            };
            changes.extend(beside("target", visible(&was.target), visible(&now.target)));
            let pins = |action: &ActionRequest| visible(&action.pins.to_value().canonical());
            changes.extend(beside("pinned", pins(was), pins(now)));
            Compared { with: before.id, short_code: before.short_code, asked_at: before.created_at, changes }
        }))
    }
}

/// Whether people said yes to a request that stands so.
fn was_approved(status: Status) -> bool {
    match status {
        Status::Granted
        | Status::Executing
        | Status::Succeeded
        | Status::Failed
        | Status::Unknown
        | Status::Lapsed => true,
        Status::Pending | Status::Refused | Status::Denied | Status::Expired | Status::Cancelled => false,
    }
}

/// What two calls have to have in common to be held against each other: for a tool the tool, for a command the program,
/// for anything else the action.
fn similarity(action: &ActionRequest) -> Option<(PepKind, String)> {
    let members = action.arguments.as_object()?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let what = match action.pep {
        PepKind::Mcp => match (text(TOOL), text(placet_policy::METHOD)) {
            (Some(tool), _) => format!("{}/{tool}", text(SERVER)?),
            (None, Some(method)) => format!("{} {method}", text(SERVER)?),
            (None, None) => return None,
        },
        PepKind::Command => {
            members.get(placet_policy::ARGV)?.as_array()?.first()?.as_str().map(str::to_owned)?
        }
        PepKind::External => action.action.to_string(),
    };
    Some((action.pep, what))
}

fn changes(was: &Value, now: &Value) -> Vec<Change> {
    let differ = was.canonical() != now.canonical();
    let whole = (visible(&was.canonical()), visible(&now.canonical()));
    let (was, now): (BTreeMap<_, _>, BTreeMap<_, _>) =
        (flattened(was).into_iter().collect(), flattened(now).into_iter().collect());
    let gone = was.iter().filter(|(path, _)| !now.contains_key(*path));
    let gone = gone.map(|(path, was)| Change { path: path.clone(), was: Some(was.clone()), now: None });
    let moved = now.iter().filter(|(path, now)| was.get(*path) != Some(*now));
    let moved = moved.map(|(path, now)| Change {
        path: path.clone(),
        was: was.get(path).cloned(),
        now: Some(now.clone()),
    });
    let mut changes: Vec<Change> = gone.chain(moved).collect();
    changes.sort_by(|one, other| one.path.cmp(&other.path));
    // Two values may look alike leaf by leaf, such as "1" and 1.
    if changes.is_empty() && differ {
        changes.push(Change { path: String::new(), was: Some(whole.0), now: Some(whole.1) });
    }
    changes
}

/// The definition that a call of a tool was pinned to, if this bundle still accepts it.
pub(crate) fn pinned_tool(action: &ActionRequest, bundle: &Bundle) -> Option<PinnedTool> {
    let pin = action.pins.tool?;
    let members = action.arguments.as_object()?;
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let (server, tool) = (text(SERVER)?, text(TOOL)?);
    let file = |suffix: &str| {
        let path = format!("mcp/{server}{suffix}");
        bundle.mcp_files().find(|(known, _)| *known == path).map(|(_, text)| text)
    };
    let instructions = file(".instructions");
    let named = |definition: &Value| {
        definition.as_object().and_then(|members| members.get("name")).and_then(Value::as_str) == Some(tool)
    };
    let lines = file(".tools.jsonl").unwrap_or_default().lines();
    let accepted = lines.filter_map(|line| Value::parse(line.as_bytes()).ok()).find(named);
    let accepted = accepted.filter(|definition| tool_pin(server, instructions, definition) == pin);
    Some(
        accepted
            .map_or(PinnedTool::Gone, |definition| PinnedTool::Accepted(shown(&definition, instructions))),
    )
}

fn shown(definition: &Value, instructions: Option<&str>) -> ToolShown {
    let members = definition.as_object();
    let member = |name: &str| members.and_then(|members| members.get(name));
    ToolShown {
        description: member("description").and_then(Value::as_str).map(visible),
        instructions: instructions.map(visible),
        hints: member("annotations").map(flattened).unwrap_or_default(),
        definition: visible(&definition.canonical()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(was: &str, now: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let value = |json: &str| Value::parse(json.as_bytes()).unwrap();
        changes(&value(was), &value(now)).into_iter().map(|c| (c.path, c.was, c.now)).collect()
    }

    #[test]
    fn what_is_different_is_told_leaf_by_leaf() {
        let some = |text: &str| Some(text.to_owned());
        let was = r#"{"a":{"n":1,"gone":true},"list":["x","y"],"same":null}"#;
        let now = r#"{"a":{"n":1.0},"list":["x","z\u202e"],"new":"\u200b","same":null}"#;
        assert_eq!(
            of(was, now),
            [
                ("a.gone".to_owned(), some("true"), None),
                ("a.n".to_owned(), some("1"), some("1.0")),
                ("list[1]".to_owned(), some("y"), some("z\\u{202e}")),
                ("new".to_owned(), None, some("\\u{200b}")),
            ]
        );
        assert_eq!(of(was, was), []);
        for (was, now) in [(r#"{"dry":"false"}"#, r#"{"dry":false}"#), (r#"{"a.b":1}"#, r#"{"a":{"b":1}}"#)] {
            assert_eq!(of(was, now), [(String::new(), some(was), some(now))]);
        }
    }
}
