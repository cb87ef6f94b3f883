//! The readers of this module for tests from outside, which try them with any bytes. No part of the interface.

use placet_core::c14n::Value;
use serde_json::value::RawValue;

use super::catalogue::ServerName;
use super::front::Scope;
use super::listings::{Item, Listed, name_in, page_of, uri_in};
use super::wire::{self, Call, Era, Incoming, Mirrored, RpcError};

/// A call that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCall {
    /// Its id.
    pub id: Value,
    /// What is called.
    pub method: String,
    call: Call,
}

/// Reads what a client sent, if it is a call that wants an answer.
pub fn call(body: &[u8]) -> Option<ReadCall> {
    match wire::read(body) {
        Ok(Incoming::Call(call)) => Some(ReadCall { id: call.id.clone(), method: call.method.clone(), call }),
        Ok(Incoming::Notification | Incoming::Answer) | Err(_) => None,
    }
}

/// Something in a page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadItem {
    /// As its server wrote it.
    pub written: String,
    /// By which name its server knows it.
    pub name: String,
    /// As it is offered among those of all servers.
    pub offered: Option<String>,
}

/// Reads a server's answer to one of `resources/list`, `resources/templates/list` and `prompts/list`.
pub fn page(method: &str, server: &ServerName, page: &str) -> Option<Vec<ReadItem>> {
    let listed = Listed::by(method)?;
    let page: Box<RawValue> = serde_json::from_str(page).ok()?;
    let items = page_of(&page, listed)?.0.into_iter().filter_map(|item| listed.item(item));
    let read = |item: Item| ReadItem {
        offered: listed.of_server(server, &item),
        written: item.written.get().to_owned(),
        name: item.name,
    };
    Some(items.map(read).collect())
}

/// Whose something is that is offered under this name, or at this address, among those of all servers; and by which name
/// its server knows it.
pub fn whose(method: &str, offered: &str) -> Option<(ServerName, String)> {
    match method {
        "prompts/list" => name_in(&Scope::All, offered),
        _ => uri_in(&Scope::All, offered),
    }
}

impl ReadCall {
    /// Whether it is of the revision without sessions, and these headers say what it says.
    pub fn is_modern(&self, version: Option<&str>, method: Option<&str>, name: Option<&str>) -> bool {
        self.call.era(Mirrored { version, method, name }) == Ok(Era::Modern)
    }

    /// The answer to it.
    pub fn answer(&self, result: &str) -> String {
        wire::answer(&self.call.id, result)
    }

    /// Its refusal.
    pub fn refusal(&self, message: &str) -> String {
        wire::refusal(Some(&self.call.id), &RpcError::bad_params(message))
    }
}
