//! What operators see of MCP servers and their tools.

use serde::{Deserialize, Serialize};

/// `GET /admin/v1/mcp`: all servers that the bundle in force names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServersDocument {
    /// Why there is nothing to see, if there is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The servers, by name.
    pub servers: Vec<ServerDocument>,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServerDocument {
    /// Its name.
    pub name: String,
    /// Its command or address.
    pub reach: String,
    /// What it tells models about itself now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// What it told them when it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_instructions: Option<String>,
    /// Why it cannot be reached, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Every tool that was accepted or is offered.
    pub tools: Vec<ToolDocument>,
}

/// A tool, as accepted and as offered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ToolDocument {
    /// Its name.
    pub name: String,
    /// `accepted`, `new`, `changed`, `gone` or `unusable`. Only an accepted one can be called.
    pub standing: String,
    /// The definition that is offered now, in canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<String>,
    /// The definition that was accepted, in canonical JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// Why it is unusable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// `POST /admin/v1/mcp/{server}/login`: begins a login.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLoginRequest {
    /// Where the operator's browser comes back to, on the operator's own machine: `http://127.0.0.1:PORT/…`.
    pub redirect: String,
}

/// What an operator's browser is sent to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewLoginDocument {
    /// The address.
    pub address: String,
    /// What the browser brings back, once.
    pub state: String,
    /// Who asks the operator there.
    pub issuer: String,
    /// What the token is to be good for.
    pub scopes: Vec<String>,
}

/// `PUT /admin/v1/mcp/{server}/login`: finishes a login.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FinishedLoginRequest {
    /// The whole address that the browser came back to.
    pub returned: String,
}

/// `GET /admin/v1/mcp/logins`: where placet stands with the authorization servers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LoginDocument {
    /// The server of tools.
    pub server: String,
    /// `good`, `none`, `ended`, or `own` where placet's own credentials are enough.
    pub standing: String,
    /// Who issues its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What they are good for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Until when the token is good that is in use now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Whether it is renewed by itself.
    pub renewable: bool,
}
