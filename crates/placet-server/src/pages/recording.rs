//! The recording of an execution: a transcript that needs no script, and the events that the player plays.
//!
//! What the program wrote stands in its own blocks and nowhere else; between them stand placet's words. A text from a
//! recording was made visible when it was recorded.

use askama::Template;
use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use placet_api::recording::{Event, Recording, Stream, What};
use placet_broker::execution::SeenRecording;
use placet_broker::review::{Review, Reviewer};

use super::{Chrome, page};
use crate::app::App;
use crate::assets::PLAYER_PATH;
use crate::failure::{Failure, Outcome};
use crate::query::{Query, whole};
use crate::reviewers::api::find;

/// How many bytes of text a block and a page of the transcript have; a single event may be larger.
const BLOCK_BYTES: usize = 8 * 1024;
const PAGE_BYTES: usize = 128 * 1024;
/// And how many blocks, for programs that change streams with every line.
const PAGE_BLOCKS: usize = 500;
/// After so long a silence a new block tells the time again.
const SILENCE_MS: u64 = 2_000;

#[derive(Template)]
#[template(path = "recording.html")]
struct RecordingPage {
    chrome: Chrome,
    player: &'static str,
    name: String,
    code: String,
    status: &'static str,
    facts: Vec<(&'static str, String)>,
    blocks: Vec<Block>,
    number: usize,
    pages: usize,
}

/// Something in the transcript.
struct Block {
    /// `1:02.345` after the beginning.
    at: String,
    /// Whose words.
    stream: Option<&'static str>,
    text: String,
}

/// One event, as the player gets it: milliseconds after the one before, `stdout`, `stderr` or `placet`, and the words.
type Played = (u64, &'static str, String);

pub(super) async fn show(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(name): Path<String>,
    uri: Uri,
) -> Outcome<Response> {
    let mut query = Query::of(&uri)?;
    let number = query.take_as("page", "write a number", whole)?.unwrap_or(1);
    query.end()?;
    let review = find(&app, &reviewer, &name).await?;
    let recording = recording(&app, &review).await?;
    let mut pages = pages(&recording.events);
    let count = pages.len();
    let number = usize::try_from(number).ok().filter(|number| (1..=count).contains(number));
    let number = number.ok_or_else(Failure::not_found)?;
    let request = &review.seen.stored.request;
    let shown = RecordingPage {
        chrome: Chrome::new(format!("Recording of {}", request.short_code), Some(&reviewer), ""),
        player: &PLAYER_PATH,
        name: request.id.to_string(),
        code: request.short_code.to_string(),
        status: request.status().as_str(),
        facts: facts(&review, &recording),
        blocks: pages.swap_remove(number - 1),
        number,
        pages: count,
    };
    page(StatusCode::OK, &shown)
}

pub(super) async fn events(
    State(app): State<App>,
    Extension(reviewer): Extension<Reviewer>,
    Path(name): Path<String>,
) -> Outcome<Json<Vec<Played>>> {
    let review = find(&app, &reviewer, &name).await?;
    let recording = recording(&app, &review).await?;
    Ok(Json(recording.events.into_iter().map(played).collect()))
}

/// The recording of a review, or why there is none to see.
async fn recording(app: &App, review: &Review) -> Outcome<Recording> {
    let bytes = bytes(app, review).await?.1;
    Recording::parse(&bytes).map_err(|error| Failure::internal(&format!("show a recording: {error}")))
}

/// The bytes of a review's recording and the name of its execution.
pub(crate) async fn bytes(app: &App, review: &Review) -> Outcome<(String, Vec<u8>)> {
    match app.broker.recording_of(&review.seen.stored.request).await? {
        SeenRecording::Whole(execution, bytes) => Ok((execution.to_string(), bytes)),
        SeenRecording::Erased => Err(gone()),
        SeenRecording::None => Err(no_recording()),
    }
}

pub(crate) fn gone() -> Failure {
    Failure::new(
        StatusCode::GONE,
        "recording_gone",
        "The recording was erased. Its hash is still in the ledger.",
    )
}

pub(crate) fn no_recording() -> Failure {
    let detail = "No recording was kept: nothing was executed by placet, the policy bundle says record = \"none\", or placet \
                  ended before the program did.";
    Failure::new(StatusCode::NOT_FOUND, "no_recording", detail)
}

fn facts(review: &Review, recording: &Recording) -> Vec<(&'static str, String)> {
    let about = &recording.header.placet;
    let mut facts = vec![
        ("Kept", kept(&about.record).to_owned()),
        ("Standard output", format!("{} bytes", about.stdout_bytes)),
        ("Standard error", format!("{} bytes", about.stderr_bytes)),
    ];
    if about.withheld {
        let why = "all text was dropped: a secret that placet had released stood in it";
        facts.push(("Withheld", why.to_owned()));
    }
    if about.truncated {
        facts.push(("Cut off", "the program wrote more than placet keeps; the end is missing".to_owned()));
    }
    for stream in &about.binary {
        facts.push(("Not text", format!("{}: only its size was kept", stream.as_str())));
    }
    if about.invalid_bytes > 0 {
        facts.push(("No UTF-8", format!("{} bytes, each written like \\xff", about.invalid_bytes)));
    }
    if about.styles_left_out > 0 {
        facts.push(("Left out", format!("{} colours and styles", about.styles_left_out)));
    }
    let outcome = review.seen.stored.request.outcome();
    let sha256 = outcome.and_then(|outcome| outcome.recording).map(|kept| kept.sha256.to_string());
    facts.extend(sha256.map(|sha256| ("SHA-256", sha256)));
    facts
}

fn kept(record: &str) -> &'static str {
    match record {
        "all" => "standard error and standard output",
        "stderr" => "standard error; of standard output, when how much came",
        _ => "when how much was written",
    }
}

fn played(event: Event) -> Played {
    let (who, words) = match event.what {
        What::Text(stream, text) => (stream.as_str(), text),
        What::Bytes(stream, bytes) => ("placet", size(stream, bytes)),
        What::Note(text) => ("placet", text),
        What::Exit(code) => ("placet", ended(code)),
    };
    (event.after_ms, who, words)
}

fn size(stream: Stream, bytes: u64) -> String {
    format!("{bytes} bytes on {}, not kept", stream.as_str())
}

fn ended(code: i32) -> String {
    format!("the program ended with exit code {code}")
}

/// The transcript, in pages; at least one.
fn pages(events: &[Event]) -> Vec<Vec<Block>> {
    let (mut pages, mut blocks, mut bytes) = (Vec::new(), Vec::new(), 0);
    for block in blocks_of(events) {
        if bytes >= PAGE_BYTES || blocks.len() >= PAGE_BLOCKS {
            pages.push(std::mem::take(&mut blocks));
            bytes = 0;
        }
        bytes += block.text.len();
        blocks.push(block);
    }
    if !blocks.is_empty() || pages.is_empty() {
        pages.push(blocks);
    }
    pages
}

/// Text of one stream that came without a silence is one block.
fn blocks_of(events: &[Event]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut at_ms, mut last_ms): (u64, u64) = (0, 0);
    for event in events {
        at_ms = at_ms.saturating_add(event.after_ms);
        let (_, who, words) = played(event.clone());
        let stream = Some(who).filter(|who| *who != "placet");
        let silent = at_ms.saturating_sub(last_ms) >= SILENCE_MS;
        last_ms = at_ms;
        match blocks.last_mut() {
            Some(block)
                if stream.is_some()
                    && block.stream == stream
                    && !silent
                    && block.text.len() + words.len() <= BLOCK_BYTES =>
            {
                block.text.push_str(&words);
            }
            _ => blocks.push(Block { at: clock(at_ms), stream, text: words }),
        }
    }
    blocks
}

/// `1:02.345`
fn clock(ms: u64) -> String {
    let (minutes, seconds, ms) = (ms / 60_000, ms / 1_000 % 60, ms % 1_000);
    format!("{minutes}:{seconds:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(after_ms: u64, stream: Stream, text: &str) -> Event {
        Event { after_ms, what: What::Text(stream, text.to_owned()) }
    }

    #[test]
    fn text_is_told_in_blocks_and_placets_words_stand_alone() {
        let events = [
            text(1, Stream::Stderr, "one "),
            text(1_999, Stream::Stderr, "two\n"),
            text(2_000, Stream::Stderr, "three\n"),
            text(0, Stream::Stdout, "[placet: not me]\n"),
            Event { after_ms: 60_000, what: What::Bytes(Stream::Stdout, 7) },
            Event { after_ms: 0, what: What::Exit(0) },
        ];
        let blocks: Vec<_> =
            blocks_of(&events).into_iter().map(|block| (block.at, block.stream, block.text)).collect();
        let expected = [
            ("0:00.001", Some("stderr"), "one two\n"),
            ("0:04.000", Some("stderr"), "three\n"),
            ("0:04.000", Some("stdout"), "[placet: not me]\n"),
            ("1:04.000", None, "7 bytes on stdout, not kept"),
            ("1:04.000", None, "the program ended with exit code 0"),
        ];
        assert_eq!(blocks, expected.map(|(at, stream, text)| (at.to_owned(), stream, text.to_owned())));
    }

    #[test]
    fn every_event_is_on_one_page() {
        let events: Vec<Event> = (0..5_000)
            .map(|number| {
                let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
                text(1, stream, &format!("{number}\n").repeat(20))
            })
            .collect();
        let pages = pages(&events);
        assert!(pages.len() > 5 && pages.iter().all(|page| page.len() <= PAGE_BLOCKS));
        let told: String = pages.iter().flatten().map(|block| block.text.as_str()).collect();
        let written: String = events.into_iter().map(|event| played(event).2).collect();
        assert!(told == written);
        assert_eq!(super::pages(&[]).len(), 1);
    }
}
