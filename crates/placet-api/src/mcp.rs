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
