//! The readers of this module for tests from outside, which try them with any bytes. No part of the interface.

use placet_core::c14n::Value;

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
