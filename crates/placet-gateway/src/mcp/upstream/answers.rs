//! What comes of a call of a server, and what is heard of it meanwhile.

use placet_core::c14n::Value;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// Why a server did not answer with a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mcp) enum CallError {
    /// Nothing was sent: it did not happen.
    NotSent(String),
    /// The server refused the call.
    Refused(Refusal),
    /// It was sent, and nobody knows what came of it.
    Lost(String),
}

/// A server's no: what is said about it, and what programs read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mcp) struct Refusal {
    pub(in crate::mcp) words: String,
    /// The error's own code, message and data, if it is one of the protocol.
    pub(in crate::mcp) error: Option<ServerError>,
}

/// An error of the protocol, as a server wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mcp) struct ServerError {
    pub(in crate::mcp) code: i64,
    pub(in crate::mcp) message: String,
    pub(in crate::mcp) data: Option<Value>,
}

impl From<String> for Refusal {
    fn from(words: String) -> Self {
        Refusal { words, error: None }
    }
}

/// How far a call is, as its server says.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::mcp) struct Reported {
    pub(in crate::mcp) progress: f64,
    #[serde(default)]
    pub(in crate::mcp) total: Option<f64>,
    #[serde(default)]
    pub(in crate::mcp) message: Option<String>,
}

/// Who wants to hear how far a call is. Whoever does not keep up misses some.
pub(in crate::mcp) type Heard = mpsc::Sender<Reported>;

/// Who hears what a server says under one token.
pub(super) struct Listener {
    pub(super) token: u64,
    pub(super) heard: Heard,
}

/// The parameters of a progress notification.
#[derive(Deserialize)]
struct Progressed {
    #[serde(rename = "progressToken")]
    token: u64,
    #[serde(flatten)]
    reported: Reported,
}

impl Listener {
    /// Hears a notification, if it is about its call.
    pub(super) fn hear(&self, params: &RawValue) {
        if let Ok(Progressed { token, reported }) = serde_json::from_str(params.get())
            && token == self.token
        {
            let _ = self.heard.try_send(reported);
        }
    }
}

/// Why there is no connection to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::mcp) struct Unreached {
    /// For everybody.
    pub(in crate::mcp) why: String,
    /// What the server wrote to standard error meanwhile, for operators.
    pub(super) words: Option<String>,
}

impl Unreached {
    /// With the server's own words.
    pub(in crate::mcp) fn for_operators(&self) -> String {
        let words = self.words.as_ref().map(|words| format!("; its last words: {words}"));
        format!("{}{}", self.why, words.unwrap_or_default())
    }
}

impl From<String> for Unreached {
    fn from(why: String) -> Self {
        Unreached { why, words: None }
    }
}

impl CallError {
    pub(in crate::mcp) fn reason(&self) -> String {
        match self {
            CallError::NotSent(reason) | CallError::Lost(reason) => reason.clone(),
            CallError::Refused(refusal) => refusal.words.clone(),
        }
    }
}
