//! `placet audit watch`: every new entry, as it comes.
//!
//! It asks for what is after the last entry it has seen, and waits. When placet goes away it asks again until it is back,
//! and goes on at the same index: nothing is shown twice, and nothing is left out.

use std::time::Duration;

use placet_api::entry::{EntryDocument, EntryLog};

use super::interrupt::Interrupts;
use super::search::Asked;
use crate::exit::{Exit, Failure};
use crate::output::{Output, plain};

/// How long one call waits for an entry.
const WAIT_SECONDS: u64 = 25;
/// How many entries one call gives.
const LIMIT: u64 = 200;
/// How long to wait before asking again when placet is away.
const AWAY: Duration = Duration::from_secs(1);

/// Does it, until Ctrl-C.
pub(super) async fn watch(asked: &Asked, from: Option<u64>, output: Output) -> Result<Exit, Failure> {
    let mut interrupts = Interrupts::take()?;
    let (mut from, mut away, mut reached) = (from, false, false);
    loop {
        let answer = tokio::select! {
            answer = next(asked, from) => answer,
            () = interrupts.next() => return Ok(stopped(from, output)),
        };
        match answer {
            Ok(log) => {
                if away {
                    output.say("placet is back.");
                }
                (away, reached) = (false, true);
                for entry in &log.entries {
                    output.result(entry, || line(entry))?;
                }
                from = Some(log.next);
            }
            // The first call has to succeed: nobody waits for a placet that was never there.
            Err(failure) if failure.exit == Exit::NoBroker && reached => {
                if !away {
                    output.say(&format!("{}; asking again until it is back. Ctrl-C stops.", failure.message));
                    away = true;
                }
                tokio::select! {
                    () = tokio::time::sleep(AWAY) => {}
                    () = interrupts.next() => return Ok(stopped(from, output)),
                }
            }
            Err(failure) => return Err(failure),
        }
    }
}

async fn next(asked: &Asked, from: Option<u64>) -> Result<EntryLog, Failure> {
    let mut query = vec![("limit", LIMIT.to_string())];
    if let Some(from) = from {
        query.extend([("from", from.to_string()), ("wait", WAIT_SECONDS.to_string())]);
    }
    asked.get(&["audit", "log"], &query).await
}

fn stopped(from: Option<u64>, output: Output) -> Exit {
    if let Some(from) = from {
        output.say(&format!("Stopped. To go on: placet audit watch --from {from}"));
    }
    Exit::Done
}

/// One entry, one line.
fn line(entry: &EntryDocument) -> String {
    let request = entry.request.as_deref().map(|id| format!("  {id}")).unwrap_or_default();
    let sentence = plain(&entry.sentence);
    format!(
        "{:>8}  {}  {:<20} {sentence}{}",
        entry.index,
        plain(&entry.time),
        plain(&entry.kind),
        plain(&request)
    )
}
