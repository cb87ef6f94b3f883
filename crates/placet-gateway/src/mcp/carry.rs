//! Carrying out what was granted: once, by one of those who wait, with what was reviewed.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_core::digest::Sha256Digest;
use placet_core::entropy::random_bytes;
use placet_core::id::{ExecutionId, RequestId};
use placet_core::request::OutcomeKind;
use placet_core::secret::Secret;
use placet_core::text::Untrusted;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Mcp;
use super::catalogue::{Accepted, Definition, Server};
use super::gated::{Reviewed, What};
use super::told::{Told, failure, refused_call};
use super::upstream::{CallError, Freshness, Heard, Refusal, Session};
use crate::authority::{AuthorityError, AuthorityErrorKind, Caller, Claimed, Completion, Shown};

/// How many bytes the words of an outcome may have.
const SUMMARY_BYTES_MAX: usize = 4096;
/// How many bytes a result may have to be passed on and kept.
const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often an outcome is reported to an authority that cannot write.
const REPORTS_MAX: usize = 5;
/// What an agent is told when a task of ours ended before it could say something.
const LOST: &str = "placet failed while it carried this call out. What became of it is not known.";

/// Requests that this process is carrying out.
#[derive(Clone, Default)]
pub(super) struct Claims(Arc<Mutex<HashSet<RequestId>>>);

struct Holding {
    claims: Claims,
    request: RequestId,
}

impl Claims {
    fn take(&self, request: RequestId) -> Option<Holding> {
        let new = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(request);
        new.then(|| Holding { claims: self.clone(), request })
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.claims.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request);
    }
}

/// A connection over which something can be carried out right now.
pub(super) struct Ready {
    session: Arc<Session>,
    /// The tool, as it was accepted; none for another call.
    tool: Option<Definition>,
}

impl Mcp {
    /// Carries a granted request out, if nobody else in this process does. `None`: somebody else does, or it takes
    /// longer.
    ///
    /// In a task of its own: once it was claimed, nothing may be lost because a client hung up.
    pub(super) async fn carry_out_once(
        &self,
        caller: Caller,
        shown: &Shown,
        wait: Duration,
        heard: Option<Heard>,
    ) -> Option<Told> {
        let holding = self.0.claims.take(shown.id)?;
        let (mcp, canonical) = (self.clone(), shown.document.canonical.clone());
        let request = shown.id;
        let carrying = tokio::spawn(async move {
            let _holding = holding;
            mcp.carry_out(caller, request, &canonical, heard).await
        });
        within(wait, carrying).await
    }

    async fn carry_out(
        &self,
        caller: Caller,
        request: RequestId,
        canonical: &str,
        heard: Option<Heard>,
    ) -> Option<Told> {
        let reviewed = match Reviewed::of(canonical) {
            Ok(reviewed) => reviewed,
            Err(why) => return Some(failure(&format!("NOT EXECUTED. {why}"))),
        };
        // Whatever can keep it from being carried out is looked at before the grant is used up.
        let ready = match self.ready(&reviewed).await {
            Ok(ready) => ready,
            Err(told) => return Some(told),
        };
        let claimed = self.0.parts.authority.claim(caller, request, self.claim_value()).await;
        match claimed {
            Ok(claimed) => Some(self.execute(request, claimed, &ready, heard).await),
            // Another process was faster, or a decision moved: what is stored says which.
            Err(AuthorityError { kind: AuthorityErrorKind::Conflict, code, .. }) if code != "secret_gone" => {
                None
            }
            Err(error) => Some(refused_call(error).unwrap_or_else(|error| failure(&error.message))),
        }
    }

    /// The connection over which a reviewed call can be carried out right now.
    async fn ready(&self, reviewed: &Reviewed) -> Result<Ready, Told> {
        let not_now = |why: &str| {
            failure(&format!("NOT EXECUTED. {why} The approval stands; repeat this exact call later."))
        };
        let catalogue = self.catalogue().await.map_err(|error| not_now(&error.message))?;
        let gone = || failure("NOT EXECUTED. It is no longer offered here.");
        let server = catalogue.server(&reviewed.server).ok_or_else(gone)?;
        let name = match &reviewed.what {
            What::Tool { name, .. } => name,
            What::Method { method, .. } if server.takes(method) => return self.reached(server).await,
            What::Method { .. } => return Err(gone()),
        };
        let accepted = server.tool(name).ok_or_else(gone)?;
        if Some(accepted.pin) != reviewed.pin {
            return Err(failure(
                "NOT EXECUTED. The tool's definition is not the one that was reviewed. Call it again, to have it reviewed as it is now.",
            ));
        }
        self.unchanged(server, accepted, Freshness::Fresh).await
    }

    /// The connection to a server, if it offers the tool exactly as it was accepted.
    pub(super) async fn unchanged(
        &self,
        server: &Server,
        accepted: &Accepted,
        freshness: Freshness,
    ) -> Result<Ready, Told> {
        let name = accepted.definition.name();
        let Ready { session, .. } = self.reached(server).await?;
        let listing = session.listing(freshness).await.map_err(|why| unreachable(server, &why))?;
        match listing.pin(&server.name, name) {
            Some(pin) if pin == accepted.pin => {
                Ok(Ready { session, tool: Some(accepted.definition.clone()) })
            }
            Some(_) => Err(failure(&format!(
                "NOT EXECUTED. The definition of {name} has changed since an operator accepted it. It stays closed until somebody has looked at it."
            ))),
            None => {
                Err(failure(&format!("NOT EXECUTED. The server {} no longer offers {name}.", server.name)))
            }
        }
    }

    /// The connection to a server.
    pub(super) async fn reached(&self, server: &Server) -> Result<Ready, Told> {
        let session = self.session(server).await.map_err(|unreached| unreachable(server, &unreached.why))?;
        Ok(Ready { session, tool: None })
    }

    /// A value that claims one grant. Written in hex: it may travel as text.
    pub(super) fn claim_value(&self) -> Secret {
        let claim = Sha256Digest::from_bytes(random_bytes::<32>(self.0.parts.entropy.as_ref()));
        Secret::new(claim.to_string())
    }

    /// From here on there is an execution, and it gets an outcome whatever happens.
    pub(super) async fn execute(
        &self,
        request: RequestId,
        claimed: Claimed,
        ready: &Ready,
        heard: Option<Heard>,
    ) -> Told {
        let session = &ready.session;
        let execution = claimed.execution();
        let began = Instant::now();
        let mut is_tool = true;
        let (kind, told, summary) = match Reviewed::of(claimed.canonical().as_str()) {
            Ok(Reviewed { what, .. }) => {
                is_tool = what.is_tool();
                let left = claimed.lease_until().since(self.0.parts.clock.now());
                let wait = left.min(self.0.parts.pace.call_max);
                let asked = session.ask(what.method(), what.params(), ready.tool.as_ref(), wait, heard);
                judged(session, asked.await)
            }
            Err(why) => (OutcomeKind::Failed, failure(&format!("NOT EXECUTED. {why}")), why.to_owned()),
        };
        // Words of ours are a tool's result, and no other call's.
        let keep = is_tool || matches!(told, Told::Result(_));
        let kept = told.clone().into_tool_result().into_bytes();
        let number = |value: u128| i64::try_from(value).unwrap_or(i64::MAX);
        let measures = BTreeMap::from([
            ("bytes".to_owned(), number(kept.len() as u128)),
            ("duration_ms".to_owned(), number(began.elapsed().as_millis())),
        ]);
        let completion = Completion {
            kind,
            summary: Untrusted::new(cut(summary)),
            measures,
            result: Some(Sha256Digest::of(&kept)),
            recording: None,
            delivery: keep.then_some(kept),
        };
        self.report(request, execution, completion).await;
        told
    }

    async fn report(&self, request: RequestId, execution: ExecutionId, completion: Completion) {
        let mut last = None;
        for _ in 0..REPORTS_MAX {
            match self.0.parts.authority.complete(request, execution, completion.clone()).await {
                Ok(()) => return,
                Err(error) => {
                    let again = error.kind == AuthorityErrorKind::Unavailable;
                    last = Some(error);
                    if !again {
                        break;
                    }
                }
            }
            tokio::time::sleep(self.0.parts.pace.report_again).await;
        }
        tracing::error!(%request, %execution, error = ?last, "an outcome could not be recorded");
    }
}

/// As much of a summary as an outcome may have: one that is too long would be no outcome.
fn cut(mut summary: String) -> String {
    summary.truncate(summary.floor_char_boundary(SUMMARY_BYTES_MAX));
    summary
}

fn unreachable(server: &Server, why: &str) -> Told {
    failure(&format!("NOT EXECUTED. The server {} cannot be reached: {why}. Try again later.", server.name))
}

/// What a task has to tell within this time. It goes on in any case: once something has begun, nothing may be lost because
/// a client hung up or waits no longer.
pub(super) async fn within(wait: Duration, task: JoinHandle<Option<Told>>) -> Option<Told> {
    match tokio::time::timeout(wait, task).await {
        Ok(Ok(told)) => told,
        Ok(Err(_)) => Some(failure(LOST)),
        Err(_) => None,
    }
}

/// What a server's answer is worth, what the agent is told, and what the ledger is told.
fn judged(session: &Session, answered: Result<Box<RawValue>, CallError>) -> (OutcomeKind, Told, String) {
    #[derive(Deserialize)]
    struct Judged {
        #[serde(rename = "isError", default)]
        is_error: bool,
        #[serde(rename = "resultType", default)]
        result_type: Option<String>,
    }
    let withheld = |kind, why: &str| {
        let told = failure(&format!("The server was called, and its result is withheld: {why}."));
        (kind, told, format!("result withheld: {why}"))
    };
    let passed_on = |kind, result: Box<RawValue>, summary: &str| {
        (kind, Told::Result(result.get().to_owned()), summary.to_owned())
    };
    match answered {
        Ok(result) if result.get().len() > RESULT_BYTES_MAX => {
            withheld(OutcomeKind::Unknown, "it has more than 4 MiB")
        }
        Ok(result) if session.leaks(result.get()) => {
            withheld(OutcomeKind::Failed, "it contains a secret that placet holds")
        }
        Ok(result) => match serde_json::from_str::<Judged>(result.get()) {
            Ok(Judged { result_type: Some(kind), .. }) if kind != "complete" => withheld(
                OutcomeKind::Unknown,
                "the server wants something from the caller that placet does not pass on",
            ),
            Ok(Judged { is_error: true, .. }) => {
                passed_on(OutcomeKind::Failed, result, "the tool says that it failed")
            }
            Ok(_) => passed_on(OutcomeKind::Succeeded, result, "the server answered"),
            Err(_) => withheld(OutcomeKind::Unknown, "it is not a result"),
        },
        Err(CallError::NotSent(why)) => (
            OutcomeKind::Failed,
            failure(&format!("NOT EXECUTED. The server could not be reached: {why}.")),
            format!("not sent: {why}"),
        ),
        Err(CallError::Refused(Refusal { words, error })) => {
            let text = format!("The server refused the call: {words}");
            let told = match error {
                Some(error) => Told::Refused(text, error),
                None => failure(&text),
            };
            (OutcomeKind::Failed, told, format!("refused by the server: {words}"))
        }
        Err(CallError::Lost(why)) => {
            let told = format!(
                "The call was sent, and what came of it is not known ({why}). It is not sent again. Tell a person."
            );
            (OutcomeKind::Unknown, failure(&told), format!("sent, and not answered: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_too_long_for_an_outcome_are_cut_between_characters() {
        let long = cut("\u{4e00}".repeat(3000));
        assert_eq!((long.len(), long.chars().count()), (4095, 1365));
        assert_eq!(cut("short".to_owned()), "short");
    }
}
