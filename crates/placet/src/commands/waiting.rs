//! Waiting for people, and saying so: a live line on a terminal, plain lines otherwise, nothing among JSON.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use placet_api::WAIT_SECONDS_MAX;
use placet_api::client::{Agents, ClientError};
use placet_api::request::{NeedPart, RequestDocument, Status};
use placet_core::time::{Clock as _, Timestamp};

use super::interrupt::Interrupts;
use super::requests::resource;
use crate::exit::Failure;
use crate::machine::SystemClock;
use crate::output::{Output, Paint, paint, plain};

/// How waiting ended, with the request as it was last seen.
pub(crate) enum Waited {
    /// It is as it was waited for.
    Reached(RequestDocument),
    /// Ctrl-C.
    Stopped(RequestDocument),
    /// The time that was given is up.
    TimeUp(RequestDocument),
}

impl Waited {
    /// The request.
    pub(crate) fn request(&self) -> &RequestDocument {
        match self {
            Waited::Reached(request) | Waited::Stopped(request) | Waited::TimeUp(request) => request,
        }
    }
}

/// Between two attempts to reach placet.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// A restart takes seconds; after so many attempts in a row it is gone.
const RETRIES_MAX: u32 = 30;

/// Waits until the request is `done`, Ctrl-C or the time is up. People take their time, so a placet that restarts
/// meanwhile is waited for too.
pub(crate) async fn until(
    agents: &Agents,
    mut request: RequestDocument,
    limit: Option<Duration>,
    interrupts: &mut Interrupts,
    output: Output,
    done: impl Fn(&RequestDocument) -> bool,
) -> Result<Waited, Failure> {
    if done(&request) {
        return Ok(Waited::Reached(request));
    }
    let mut display = Display::begin(output, &request);
    let time_up = sleep_or_never(limit);
    tokio::pin!(time_up);
    let mut retries = 0;
    let mut redraw = tokio::time::interval(Duration::from_secs(1));
    loop {
        let event = {
            let newer = newer(agents, &request, retries);
            tokio::pin!(newer);
            loop {
                tokio::select! {
                    answer = &mut newer => break Event::Answer(Box::new(answer)),
                    _ = redraw.tick() => display.redraw(&request),
                    () = &mut time_up => break Event::TimeUp,
                    () = interrupts.next() => break Event::Stop,
                }
            }
        };
        let answer = match event {
            Event::Answer(answer) => *answer,
            Event::TimeUp => return Ok(Waited::TimeUp(request)),
            Event::Stop => return Ok(Waited::Stopped(request)),
        };
        match answer {
            Ok(newer) => {
                retries = 0;
                request = newer;
            }
            Err(ClientError::Unreachable { .. }) if retries < RETRIES_MAX => {
                retries += 1;
                display.note("placet cannot be reached; trying again");
            }
            Err(error) => return Err(Failure::from(error)),
        }
        if done(&request) {
            return Ok(Waited::Reached(request));
        }
    }
}

enum Event {
    Answer(Box<Result<RequestDocument, ClientError>>),
    TimeUp,
    Stop,
}

/// The request as soon as it changes; not before a pause if placet could not be reached.
async fn newer(
    agents: &Agents,
    request: &RequestDocument,
    retries: u32,
) -> Result<RequestDocument, ClientError> {
    if retries > 0 {
        tokio::time::sleep(RETRY_EVERY).await;
    }
    agents.wait(&request.id, request.version, Duration::from_secs(WAIT_SECONDS_MAX)).await
}

async fn sleep_or_never(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// What whoever waits sees.
struct Display {
    output: Output,
    bar: Option<ProgressBar>,
    said: String,
}

impl Display {
    fn begin(output: Output, request: &RequestDocument) -> Self {
        let mut display = Display { output, bar: None, said: String::new() };
        if output.is_json() {
            return display;
        }
        for line in introduction(request) {
            output.say(&line);
        }
        if io::stderr().is_terminal() {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            display.bar = Some(bar);
        } else {
            display.said = state(request);
        }
        display.redraw(request);
        display
    }

    /// The line on a terminal moves with the time; plain lines come only when something has changed.
    fn redraw(&mut self, request: &RequestDocument) {
        if self.output.is_json() {
            return;
        }
        let state = state(request);
        match &self.bar {
            Some(bar) => {
                let left = left(request).map(|left| format!("{left} left, ")).unwrap_or_default();
                bar.set_message(format!("{left}{state}  (Ctrl-C stops waiting)"));
            }
            None if state != self.said => {
                self.output.say(&format!("placet: {state}"));
                self.said = state;
            }
            None => {}
        }
    }

    fn note(&mut self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None if self.said != text && !self.output.is_json() => {
                self.output.say(&format!("placet: {text}"));
                self.said = text.to_owned();
            }
            None => {}
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn introduction(request: &RequestDocument) -> Vec<String> {
    let waits = match request.status {
        Status::Pending => "waits for people",
        Status::Granted => "is approved and not carried out yet",
        _ => "is being carried out",
    };
    let what = format!("{} on {}", plain(&request.action), resource(request));
    let mut lines = vec![format!("placet: {} {waits}", paint(Paint::Strong, &what))];
    if let Some(review) = request.review.as_ref().filter(|_| request.status == Status::Pending) {
        lines.push(format!("placet:   review    {}", plain(&review.url)));
        lines.push(format!("placet:   code      {}", plain(&request.short_code)));
    }
    if let (Some(until), Some(left)) = (&request.expires_at, left(request)) {
        lines.push(format!("placet:   deadline  {}, in {left}", plain(until)));
    }
    let needs = progress(request);
    if !needs.is_empty() {
        lines.push(format!("placet:   has       {needs}"));
    }
    lines
}

/// Where it stands, in a few words.
fn state(request: &RequestDocument) -> String {
    match request.status {
        Status::Pending => {
            let progress = progress(request);
            if progress.is_empty() { "waiting".to_owned() } else { progress }
        }
        status => status.as_str().to_owned(),
    }
}

/// How long until its present state ends, for people.
fn left(request: &RequestDocument) -> Option<String> {
    let until = Timestamp::parse(request.expires_at.as_deref()?).ok()?;
    Some(spoken(until.since(SystemClock.now())))
}

/// `2d 3h`, `29m 5s`.
fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// What is there of what is asked for: `1 of 2 data-owners`. Empty if nothing is asked for.
pub(crate) fn progress(request: &RequestDocument) -> String {
    let requirement = request.review.as_ref().and_then(|review| review.requirement.as_ref());
    let mut said: Vec<String> = Vec::new();
    for guard in requirement.iter().flat_map(|requirement| &requirement.guards) {
        let need = need(&guard.needs);
        if !need.is_empty() && !said.contains(&need) {
            said.push(need);
        }
    }
    said.join(", ")
}

fn need(part: &NeedPart) -> String {
    let joined = |parts: &[NeedPart], word: &str| {
        let said: Vec<String> = parts.iter().map(need).filter(|said| !said.is_empty()).collect();
        said.join(word)
    };
    match part {
        NeedPart::All(parts) => joined(parts, ", "),
        NeedPart::Any(parts) => joined(parts, " or "),
        NeedPart::AtLeast { count, have, role, assurance } => {
            let assurance = assurance.as_deref().map(|level| format!(" at {level}")).unwrap_or_default();
            format!("{have} of {count} {}{assurance}", plain(role))
        }
        NeedPart::Distinct { count, have } => format!("{have} of {count} different people"),
        // Not something that grows.
        NeedPart::WithinSeconds(_) | NeedPart::Condition { .. } => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_spoken() {
        let role =
            |role: &str, have| NeedPart::AtLeast { count: 2, have, role: role.into(), assurance: None };
        for (part, said) in [
            (role("data-owners", 1), "1 of 2 data-owners"),
            (
                NeedPart::All(vec![role("a", 0), NeedPart::WithinSeconds(60), role("b", 2)]),
                "0 of 2 a, 2 of 2 b",
            ),
            (
                NeedPart::Any(vec![role("a", 0), NeedPart::Distinct { count: 3, have: 1 }]),
                "0 of 2 a or 1 of 3 different people",
            ),
            (NeedPart::Condition { holds: None }, ""),
        ] {
            assert_eq!(need(&part), said);
        }
    }

    #[test]
    fn durations_are_spoken() {
        for (seconds, said) in [(0, "0s"), (59, "59s"), (65, "1m 5s"), (3_660, "1h 1m"), (183_600, "2d 3h")] {
            assert_eq!(spoken(Duration::from_secs(seconds)), said);
        }
    }
}
