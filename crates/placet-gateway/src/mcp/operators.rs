//! What operators see of the servers: what was accepted, what is offered now, and how the two differ.

use axum::Json;
use axum::extract::State;
use placet_api::mcp::{ServerDocument, ServersDocument, ToolDocument};
use placet_core::text::visible;

use super::Mcp;
use super::catalogue::{Reach, Server};
use super::upstream::{Freshness, Listing};

/// All servers with all tools, each held against what its server offers right now.
pub(super) async fn servers(State(mcp): State<Mcp>) -> Json<ServersDocument> {
    let catalogue = match mcp.catalogue().await {
        Ok(catalogue) => catalogue,
        Err(error) => return Json(ServersDocument { problem: Some(error.message), servers: Vec::new() }),
    };
    let mut servers = Vec::new();
    for server in catalogue.servers() {
        servers.push(mcp.described(server).await);
    }
    Json(ServersDocument { problem: None, servers })
}

impl Mcp {
    async fn described(&self, server: &Server) -> ServerDocument {
        let offered = match self.session(server).await {
            Ok(session) => session.listing(Freshness::Fresh).await,
            Err(unreached) => Err(unreached.for_operators()),
        };
        let (tools, problem) = match &offered {
            Ok(listing) => (standing(server, listing), None),
            Err(why) => (unseen(server), Some(visible(why))),
        };
        ServerDocument {
            name: server.name.to_string(),
            reach: match &server.reach {
                Reach::Process { command, .. } => command.join(" "),
                Reach::Http { url, .. } => url.clone(),
            },
            instructions: offered.ok().and_then(|listing| listing.instructions.clone()),
            accepted_instructions: server.instructions.clone(),
            problem,
            tools,
        }
    }
}

/// Each tool that was accepted or is offered.
fn standing(server: &Server, listing: &Listing) -> Vec<ToolDocument> {
    let mut tools: Vec<ToolDocument> = Vec::new();
    for (name, offered) in &listing.tools {
        let accepted = server.tool(name);
        let standing = match accepted {
            None => "new",
            Some(accepted) if listing.pin(&server.name, name) == Some(accepted.pin) => "accepted",
            Some(_) => "changed",
        };
        tools.push(ToolDocument {
            name: name.clone(),
            standing: standing.to_owned(),
            offered: Some(offered.value().canonical()),
            accepted: accepted.map(|accepted| accepted.definition.value().canonical()),
            problem: None,
        });
    }
    tools.extend(unseen(server).into_iter().filter(|tool| !listing.tools.contains_key(&tool.name)));
    tools.extend(listing.unusable.iter().map(|(name, why)| ToolDocument {
        name: visible(name),
        standing: "unusable".to_owned(),
        offered: None,
        accepted: None,
        problem: Some(visible(why)),
    }));
    tools.sort_by(|one, other| one.name.cmp(&other.name));
    tools
}

/// The accepted tools of a server that does not offer them.
fn unseen(server: &Server) -> Vec<ToolDocument> {
    let gone = |accepted: &super::catalogue::Accepted| ToolDocument {
        name: accepted.definition.name().to_owned(),
        standing: "gone".to_owned(),
        offered: None,
        accepted: Some(accepted.definition.value().canonical()),
        problem: None,
    };
    server.tools().map(gone).collect()
}
