//! `placet run`: asks for a command, waits for people, and is its terminal from afar.
//!
//! ```text
//! inputs, stdin ─► blobs     argv ─► request ─ pending … granted ─► run ─► frames ─► stdout, stderr, exit code
//!                                       └ Ctrl-C: stop waiting                └ Ctrl-C: end it
//! ```

use std::io::Write as _;
use std::time::Duration;

use placet_api::client::{Agents, ClientError, Output as Frames};
use placet_api::command::CommandIntake;
use placet_api::request::{RequestDocument, Status};
use placet_gateway::frames::{Decoder, End, EndStatus, Frame, Kind};
use serde_json::json;

use super::inputs;
use super::interrupt::Interrupts;
use super::requests::exit_of;
use super::waiting::{self, Waited};
use crate::cli::asking::RunArgs;
use crate::credentials;
use crate::exit::{Exit, Failure};
use crate::output::{self, Output, plain};

/// Does it.
pub(crate) async fn run(args: RunArgs, output: Output) -> Result<Exit, Failure> {
    let agents = credentials::agents()?;
    let mut interrupts = Interrupts::take()?;
    let request = match &args.resume {
        Some(id) => agents.request(id).await?,
        None => submit(&agents, &args, output).await?,
    };
    event(output, &json!({ "event": "request", "request": request }))?;
    let id = request.id.clone();
    let decided = |request: &RequestDocument| request.status != Status::Pending;
    let request = match waiting::until(&agents, request, None, &mut interrupts, output, decided).await? {
        Waited::Reached(request) => request,
        Waited::Stopped(request) | Waited::TimeUp(request) => {
            let resume = format!("placet run --resume {}", request.id);
            return Err(Failure::new(Exit::Waited, "stopped waiting; the request still waits for people")
                .hint(format!(
                    "Go on with `{resume}`, or withdraw it with `placet requests cancel {}`.",
                    request.id
                )));
        }
    };
    event(output, &json!({ "event": "request", "request": request }))?;
    match request.status {
        Status::Granted => {
            start(&agents, &id, &mut interrupts, output).await?;
            follow(&agents, &id, &mut interrupts, output).await
        }
        // Somebody attached to what runs already, or ran.
        Status::Executing | Status::Succeeded | Status::Failed | Status::Unknown => {
            follow(&agents, &id, &mut interrupts, output).await
        }
        _ => Err(not_executed(&request)),
    }
}

async fn submit(agents: &Agents, args: &RunArgs, output: Output) -> Result<RequestDocument, Failure> {
    let (inputs, stdin) = inputs::upload(agents, &args.inputs, args.stdin, output).await?;
    let command = CommandIntake {
        argv: args.argv.clone(),
        inputs,
        stdin,
        justification: args.justification.clone(),
        on_behalf_of: args.on_behalf_of.clone(),
        idempotency_key: args.idempotency_key.clone(),
    };
    Ok(agents.command(&command, Duration::ZERO).await?)
}

/// Why an action that is over was never carried out.
fn not_executed(request: &RequestDocument) -> Failure {
    let said = match request.status {
        Status::Refused => "policy refuses this",
        Status::Denied => "a reviewer denied this",
        Status::Expired => "nobody decided in time",
        Status::Lapsed => "it was approved and nobody carried it out in time",
        _ => "the request was withdrawn",
    };
    let denial = request.denial.as_ref();
    let reason = denial.and_then(|denial| denial.reason.as_deref());
    let reason = reason.map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    let mut failure = Failure::new(exit_of(request), format!("{said}{reason}"));
    failure.code = denial.map(|denial| denial.code.clone());
    let cooldown = denial.and_then(|denial| denial.cooldown_until.as_deref());
    match (denial.is_some_and(|denial| denial.retryable), cooldown) {
        (_, Some(until)) => failure.hint(format!("The same command gets this same answer until {until}.")),
        (true, None) => failure.hint("Asking again may end in another answer."),
        (false, None) => {
            failure.hint(format!("`placet requests show {}` tells which policy decided.", request.id))
        }
    }
}

/// Between two attempts to start where the runner has no place.
const START_AGAIN: Duration = Duration::from_secs(2);

/// Claims the grant. A runner that is busy leaves it untouched, so the grant's own end bounds the attempts.
async fn start(
    agents: &Agents,
    id: &str,
    interrupts: &mut Interrupts,
    output: Output,
) -> Result<(), Failure> {
    let mut said = false;
    loop {
        let error = match agents.run(id).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        if !matches!(error.code(), Some("runner_busy" | "starting")) {
            return Err(Failure::from(error));
        }
        if !said && !output.is_json() {
            output.say("placet: approved; waiting for a place to run");
            said = true;
        }
        tokio::select! {
            () = tokio::time::sleep(START_AGAIN) => {}
            () = interrupts.next() => {
                return Err(Failure::new(Exit::Waited, "stopped waiting; the grant is untouched")
                    .hint(format!("Go on with `placet run --resume {id}`.")));
            }
        }
    }
}

/// Passes the program's output on until its end, and its end on as ours.
async fn follow(
    agents: &Agents,
    id: &str,
    interrupts: &mut Interrupts,
    output: Output,
) -> Result<Exit, Failure> {
    let mut frames = agents.output(id, 0);
    let mut decoder = Decoder::default();
    let mut cancelled = false;
    loop {
        let bytes = tokio::select! {
            bytes = frames.next_frame() => bytes,
            () = interrupts.next() => {
                if cancelled {
                    return Err(left(id, &frames));
                }
                cancelled = true;
                output.say("placet: ending it; it has ten seconds (Ctrl-C again leaves it alone)");
                agents.cancel_command(id).await?;
                continue;
            }
        };
        let bytes = match bytes {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(Failure::new(Exit::Unknown, "the output ended without an outcome")),
            Err(error) => return ended_elsewhere(agents, id, error, interrupts, output).await,
        };
        decoder.push(&bytes);
        while let Some(frame) = decoder.next_frame().map_err(|error| Failure::of(Exit::Bug, &error))? {
            if frame.kind == Kind::End {
                let end =
                    End::from_payload(&frame.payload).map_err(|error| Failure::of(Exit::Bug, &error))?;
                return ended(&end, output);
            }
            pass_on(&frame, output)?;
        }
    }
}

fn left(id: &str, frames: &Frames<'_>) -> Failure {
    Failure::new(
        Exit::Waited,
        format!("left while it is being ended, {} bytes of output in", frames.offset()),
    )
    .hint(format!("`placet requests wait {id}` tells how it ended."))
}

/// The output is not there any more: it was read before, or placet was restarted. The request knows how it ended.
async fn ended_elsewhere(
    agents: &Agents,
    id: &str,
    error: ClientError,
    interrupts: &mut Interrupts,
    output: Output,
) -> Result<Exit, Failure> {
    if !matches!(error.status(), Some(404 | 409 | 410)) {
        return Err(Failure::from(error)
            .hint(format!("It goes on without us. Go on with `placet run --resume {id}`.")));
    }
    let over = |request: &RequestDocument| !request.status.is_open();
    let waited = waiting::until(agents, agents.request(id).await?, None, interrupts, output, over).await?;
    let request = waited.request();
    event(output, &json!({ "event": "request", "request": request }))?;
    let outcome = request.outcome.as_ref();
    let summary = outcome.map(|outcome| plain(&outcome.summary)).unwrap_or_default();
    let exit = match outcome.and_then(|outcome| outcome.measures.get("exit_code")) {
        Some(code) if request.status == Status::Failed => {
            u8::try_from(*code).map_or(Exit::Found, Exit::Program)
        }
        _ => exit_of(request),
    };
    if exit == Exit::Done {
        // Success without output would let a script replace what it has with nothing.
        let message =
            format!("read its output: it was carried out already, and its output is gone: {summary}");
        return Err(Failure::new(Exit::OutputGone, message).hint(
            "It ran once, and that is on record. To run it again, ask again when ten minutes have passed.",
        ));
    }
    Err(Failure::new(exit, format!("it is {}, and its output is gone: {summary}", request.status.as_str())))
}

fn pass_on(frame: &Frame, output: Output) -> Result<(), Failure> {
    let name = match frame.kind {
        Kind::Stdout => "stdout",
        Kind::Stderr => "stderr",
        Kind::KeepAlive | Kind::End => return Ok(()),
    };
    if output.is_json() {
        let (form, text) = match std::str::from_utf8(&frame.payload) {
            Ok(text) => ("text", text.to_owned()),
            Err(_) => ("base64", base64(&frame.payload)),
        };
        return event(output, &json!({ "event": name, form: text }));
    }
    if frame.kind == Kind::Stderr {
        // The program's own talk; nobody to hear it is no reason to stop the program.
        let mut stderr = std::io::stderr().lock();
        let _ = stderr.write_all(&frame.payload).and_then(|()| stderr.flush());
        return Ok(());
    }
    output::data(&frame.payload)
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// The program's end as ours.
fn ended(end: &End, output: Output) -> Result<Exit, Failure> {
    let exit = exit_of_end(end);
    event(output, &json!({ "event": "end", "end": end, "exit": exit.code() }))?;
    let said = match (end.status, end.reason.as_deref()) {
        (_, None) => return Ok(exit),
        (EndStatus::Unknown, Some(reason)) => format!("nobody knows how it ended ({reason})"),
        (_, Some("cancelled")) => "it was ended before it was done".to_owned(),
        (_, Some("secret_leaked")) => {
            "it was stopped: it wrote a secret to its output (secret_leaked)".to_owned()
        }
        (_, Some("output_cap")) => "it was stopped: it wrote more than may be kept (output_cap)".to_owned(),
        (_, Some(reason)) => {
            format!("it was not executed: what would run is not what was reviewed ({reason})")
        }
    };
    let mut failure = Failure::new(exit, said);
    failure.code = end.reason.clone();
    Err(failure)
}

fn exit_of_end(end: &End) -> Exit {
    let by_signal = |signal: i32| Exit::Program(u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX));
    // A code that no program can have is not cut down to one: 256 would become success.
    let by_code = |code: i32| Exit::Program(u8::try_from(code).unwrap_or(u8::MAX));
    match (end.status, end.reason.as_deref(), end.exit_code, end.signal) {
        (EndStatus::Unknown, ..) => Exit::Unknown,
        (EndStatus::Succeeded, ..) => Exit::Done,
        (_, Some("cancelled"), _, Some(signal)) | (_, None, _, Some(signal)) => by_signal(signal),
        // It may have ended politely, but it was not done: as if SIGTERM had killed it.
        (_, Some("cancelled"), Some(0) | None, None) => by_signal(15),
        (_, Some("cancelled") | None, Some(code), None) => by_code(code),
        (_, Some("not_started" | "runner_off"), ..) => Exit::NoBroker,
        (_, Some(_), ..) => Exit::Refused,
        (_, None, None, None) => Exit::Unknown,
    }
}

/// One line of JSON for whoever asked for it.
fn event(output: Output, event: &serde_json::Value) -> Result<(), Failure> {
    if output.is_json() { output.result(event, String::new) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_has_the_exit_code_that_scripts_expect() {
        let end = |status, exit_code, signal, reason: Option<&str>| End {
            status,
            exit_code,
            signal,
            reason: reason.map(str::to_owned),
            stdout_bytes: 0,
            stderr_bytes: 0,
            sha256: String::new(),
            duration_ms: 0,
            truncated: false,
        };
        use EndStatus::{Failed, Succeeded, Unknown};
        for (end, code) in [
            (end(Succeeded, Some(0), None, None), 0),
            (end(Failed, Some(3), None, None), 3),
            (end(Failed, Some(255), None, None), 255),
            (end(Failed, Some(256), None, None), 255),
            (end(Failed, Some(-1), None, None), 255),
            (end(Failed, None, Some(i32::MAX), None), 255),
            (end(Failed, None, Some(9), None), 137),
            (end(Failed, None, Some(15), Some("cancelled")), 143),
            (end(Failed, Some(0), None, Some("cancelled")), 143),
            (end(Failed, Some(2), None, Some("cancelled")), 2),
            (end(Failed, Some(0), None, Some("secret_leaked")), 77),
            (end(Failed, None, Some(9), Some("output_cap")), 77),
            (end(Failed, None, None, Some("program_changed")), 77),
            (end(Failed, None, None, Some("not_started")), 69),
            (end(Unknown, None, Some(9), Some("lease_expired")), 76),
            (end(Unknown, None, None, Some("supervisor_lost")), 76),
        ] {
            assert_eq!(exit_of_end(&end).code(), code, "{end:?}");
        }
    }
}
