//! What accepted tools say against themselves.
//!
//! A server's annotations are hints that nobody checks. They may add a question and never take one away: policy sees as
//! `context.warns` only what a tool says against itself in so many words, and only where a guard or a ban looks for it.
//!
//! ```text
//! mcp/files.tools.jsonl   {"name":"delete", "annotations":{"destructiveHint":true}, …}
//!                                                   │
//! mcp.call on Tool::"files/delete"                  └─► context.warns == ["destructive"]
//! ```

use std::collections::{BTreeMap, BTreeSet};

use placet_core::c14n::Value;

/// The fact.
pub(crate) const WARNS: &str = "warns";
/// The annotations that speak against a tool when they are true, and what policy calls them.
const HINTS: [(&str, &str); 2] = [("destructiveHint", "destructive"), ("openWorldHint", "open-world")];

/// Of the tools that warn of themselves, by server and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Warnings(BTreeMap<(String, String), BTreeSet<String>>);

impl Warnings {
    /// Reads the accepted definitions: of each server its name and its file, a definition on each line. What is no
    /// definition is refused where the servers are set up, and says nothing here.
    pub(crate) fn read<'a>(servers: impl Iterator<Item = (&'a str, &'a str)>) -> Warnings {
        let mut all = Warnings::default();
        for (server, tools) in servers {
            for definition in tools.lines().filter_map(|line| Value::parse(line.as_bytes()).ok()) {
                let Some((tool, warns)) = warnings_of(&definition) else { continue };
                all.0.entry((server.to_owned(), tool)).or_default().extend(warns);
            }
        }
        all
    }

    /// What this tool warns of, if it does.
    pub(crate) fn of(&self, server: &str, tool: &str) -> Option<&BTreeSet<String>> {
        self.0.get(&(server.to_owned(), tool.to_owned()))
    }
}

fn warnings_of(definition: &Value) -> Option<(String, BTreeSet<String>)> {
    let members = definition.as_object()?;
    let tool = members.get("name")?.as_str()?.to_owned();
    let annotations = members.get("annotations")?.as_object()?;
    let said = HINTS.iter().filter(|(hint, _)| annotations.get(*hint) == Some(&Value::Bool(true)));
    let warns: BTreeSet<String> = said.map(|(_, name)| (*name).to_owned()).collect();
    (!warns.is_empty()).then_some((tool, warns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_tool_says_against_itself_counts() {
        let tools = r#"{"name":"delete","annotations":{"destructiveHint":true,"openWorldHint":true,"readOnlyHint":true}}
{"name":"read","annotations":{"readOnlyHint":true,"destructiveHint":false}}
{"name":"odd","annotations":{"destructiveHint":"true"}}
{"name":"plain"}
no definition
"#;
        let warnings = Warnings::read([("files", tools)].into_iter());
        let warns =
            |server, tool| warnings.of(server, tool).map(|names| names.iter().cloned().collect::<Vec<_>>());
        assert_eq!(warns("files", "delete").unwrap(), ["destructive", "open-world"]);
        for (server, tool) in [("files", "read"), ("files", "odd"), ("files", "plain"), ("other", "delete")] {
            assert_eq!(warns(server, tool), None, "{server}/{tool}");
        }
    }
}
