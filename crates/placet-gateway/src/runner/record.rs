//! Keeps what a program writes, with the times at which it did, for those who review it later.
//!
//! ```text
//! bytes as delivered (secrets scrubbed) ─► text? ─► visible text ─► events ─┬─► asciicast
//!                                            └ no: their number ────────────┘
//! ```
//!
//! What is kept can be read and nothing else: it steers no terminal. A byte that is no UTF-8 becomes `\xff`, a control
//! character `\u{1b}`, a backslash two; colours and styles are left out and counted. What is not text, or is not to be
//! recorded, is counted. Memory is bounded for one recording and for all of them; beyond it nothing is kept but the end,
//! and the recording says so.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use placet_api::recording::{About, Event, Header, Stream, Term, What};
use placet_core::action::Recorded;
use placet_core::id::ExecutionId;
use placet_core::text::visible;
use placet_core::time::Timestamp;

use super::room::Room;
use super::scan::{Scanner, Seen};

/// How many bytes the events of one recording may have.
pub const RECORDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many bytes the recordings of all running programs may have together.
pub const ROOM_BYTES: usize = 64 * 1024 * 1024;

/// What the end of a recording may need, whatever it has become.
const TAIL_BYTES: usize = 4096;
/// Text that comes within so short a time is one event.
const TOGETHER: Duration = Duration::from_millis(50);
const TOGETHER_BYTES_MAX: usize = 4096;
/// Sizes are noted at most this often.
const SIZES_EVERY: Duration = Duration::from_secs(1);
/// More than a quarter of a read being no UTF-8, and at least this much, is not text with mistakes.
const INVALID_BYTES_MIN: usize = 32;
/// A longer escape sequence is not a style.
const STYLE_BYTES_MAX: usize = 64;

/// A finished recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its exact bytes, an asciicast.
    pub bytes: Arc<[u8]>,
    /// Whether the program wrote more than was kept.
    pub truncated: bool,
}

/// Records one execution. Both streams come in from threads of their own.
pub(super) struct Recorder(Mutex<State>);

struct State {
    execution: ExecutionId,
    record: Recorded,
    began: Timestamp,
    events: Events,
    /// Text that waits for more of its kind.
    pending: Option<Pending>,
    stdout: Lane,
    stderr: Lane,
    /// Looks for secrets that stand only in what people would read: cut by a style, or by the other stream.
    scanner: Scanner,
    withheld: bool,
}

/// The events as they are written, within their bounds.
struct Events {
    text: String,
    room: Room,
    /// What the room gave.
    taken: usize,
    last_at: Timestamp,
    last_stream: Option<Stream>,
    full: bool,
}

struct Pending {
    stream: Stream,
    text: String,
    since: Timestamp,
}

/// One stream.
struct Lane {
    bytes: u64,
    invalid: u64,
    styles: u64,
    is_binary: bool,
    /// The beginning of a character.
    cut: Vec<u8>,
    /// The beginning of an escape sequence.
    escape: String,
    after_return: bool,
    /// Bytes whose text is not kept, and when they were last noted.
    unnoted: u64,
    noted_at: Timestamp,
    unnoted_at: Timestamp,
}

impl Recorder {
    pub(super) fn new(
        execution: ExecutionId,
        record: Recorded,
        scanner: Scanner,
        room: Room,
        began: Timestamp,
    ) -> Self {
        let events =
            Events { text: String::new(), room, taken: 0, last_at: began, last_stream: None, full: false };
        Recorder(Mutex::new(State {
            execution,
            record,
            began,
            events,
            pending: None,
            stdout: Lane::from(began),
            stderr: Lane::from(began),
            scanner,
            withheld: false,
        }))
    }

    /// The program wrote this, and it was delivered.
    pub(super) fn take(&self, stream: Stream, bytes: &[u8], now: Timestamp) {
        self.state().take(stream, bytes, now);
    }

    /// The program has ended with this exit code, or 128 and its signal; none if nobody saw its end.
    pub(super) fn finish(&self, exit: Option<i32>, now: Timestamp) -> Kept {
        self.state().finish(exit, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, stream: Stream, bytes: &[u8], now: Timestamp) {
        let keeps_text = self.keeps_text(stream);
        let lane = self.lane(stream);
        lane.bytes = lane.bytes.saturating_add(bytes.len() as u64);
        if self.events.full || bytes.is_empty() {
            return;
        }
        if keeps_text && !self.lane(stream).is_binary {
            match self.lane(stream).text_of(bytes) {
                Some(text) => return self.say(stream, &text, now),
                None => self.turn_binary(stream, now),
            }
        }
        let lane = self.lane(stream);
        lane.unnoted = lane.unnoted.saturating_add(bytes.len() as u64);
        lane.unnoted_at = now;
        if now.since(lane.noted_at) >= SIZES_EVERY {
            self.note_size(stream);
        }
    }

    fn keeps_text(&self, stream: Stream) -> bool {
        match (self.record, stream) {
            (_, Stream::Stderr) | (Recorded::All, Stream::Stdout) => !self.withheld,
            (Recorded::Nothing | Recorded::Stderr, Stream::Stdout) => false,
        }
    }

    fn lane(&mut self, stream: Stream) -> &mut Lane {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn say(&mut self, stream: Stream, text: &str, now: Timestamp) {
        let fits = |pending: &Pending| {
            pending.stream == stream
                && pending.text.len() < TOGETHER_BYTES_MAX
                && now.since(pending.since) < TOGETHER
        };
        if !self.pending.as_ref().is_some_and(fits) {
            self.flush();
        }
        let pending = self.pending.get_or_insert_with(|| Pending { stream, text: String::new(), since: now });
        pending.text.push_str(text);
    }

    /// Writes the text that waits.
    fn flush(&mut self) {
        let Some(Pending { stream, text, since }) = self.pending.take() else { return };
        if text.is_empty() || self.withheld {
            return;
        }
        if self.scanner.push(text.as_bytes(), &mut Vec::new()) == Seen::Secret {
            return self.withhold();
        }
        self.events.put(What::Text(stream, text), since);
    }

    /// Nobody tells how much of the secret stands where, so all text goes.
    fn withhold(&mut self) {
        self.withheld = true;
        self.events.clear(self.began);
        let (stdout, stderr) = (self.stdout.bytes, self.stderr.bytes);
        (self.stdout.unnoted, self.stderr.unnoted) = (stdout, stderr);
        let note = "placet dropped this text: a secret that it had released stood in it".to_owned();
        self.events.put(What::Note(note), self.began);
    }

    fn turn_binary(&mut self, stream: Stream, now: Timestamp) {
        self.flush();
        self.lane(stream).is_binary = true;
        let note = format!("{} is not text from here on: only its size is kept", stream.as_str());
        self.events.put(What::Note(note), now);
    }

    fn note_size(&mut self, stream: Stream) {
        self.flush();
        let lane = self.lane(stream);
        let (bytes, at) = (std::mem::take(&mut lane.unnoted), lane.unnoted_at);
        lane.noted_at = at;
        if bytes > 0 {
            self.events.put(What::Bytes(stream, bytes), at);
        }
    }

    fn finish(&mut self, exit: Option<i32>, now: Timestamp) -> Kept {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.keeps_text(stream) && !self.events.full {
                let rest = self.lane(stream).rest();
                self.say(stream, &rest, now);
            }
        }
        self.flush();
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.note_size(stream);
        }
        let truncated = self.events.full;
        if truncated {
            let at = self.events.last_at;
            self.events.put_last(What::Note("the recording ends here; the program went on".to_owned()), at);
            // A player shows no marker's words.
            let text = "\n[placet: the recording ends here; the program went on]\n".to_owned();
            self.events.put_last(What::Text(Stream::Stderr, text), at);
        }
        if let Some(exit) = exit {
            self.events.put_last(What::Exit(exit), now);
        }
        let header = serde_json::to_string(&self.header(truncated)).unwrap_or_default();
        let bytes = [header.as_bytes(), b"\n", self.events.text.as_bytes()].concat();
        self.events.clear(now);
        Kept { bytes: bytes.into(), truncated }
    }

    fn header(&self, truncated: bool) -> Header {
        let lanes = [(Stream::Stdout, &self.stdout), (Stream::Stderr, &self.stderr)];
        Header {
            version: 3,
            term: Term { cols: 120, rows: 40 },
            timestamp: self.began.as_millis().div_euclid(1000),
            placet: About {
                execution: self.execution.to_string(),
                record: self.record.as_str().to_owned(),
                stdout_bytes: self.stdout.bytes,
                stderr_bytes: self.stderr.bytes,
                invalid_bytes: self.stdout.invalid.saturating_add(self.stderr.invalid),
                styles_left_out: self.stdout.styles.saturating_add(self.stderr.styles),
                binary: lanes.iter().filter(|(_, lane)| lane.is_binary).map(|(stream, _)| *stream).collect(),
                truncated,
                withheld: self.withheld,
            },
        }
    }
}

impl Events {
    fn put(&mut self, what: What, at: Timestamp) {
        if self.full {
            return;
        }
        let (event, stream) = self.next(what, at);
        let lines = event.lines(self.last_stream);
        let fits = self.text.len() + lines.len() + TAIL_BYTES <= RECORDING_BYTES_MAX;
        if !fits || !self.room.take(lines.len()) {
            self.full = true;
            return;
        }
        self.taken += lines.len();
        self.append(&lines, at, stream);
    }

    /// For the few lines that end a recording, whose place is always kept free.
    fn put_last(&mut self, what: What, at: Timestamp) {
        let (event, stream) = self.next(what, at);
        let lines = event.lines(self.last_stream);
        self.append(&lines, at, stream);
    }

    fn next(&self, what: What, at: Timestamp) -> (Event, Option<Stream>) {
        let after = at.since(self.last_at);
        let stream = match &what {
            What::Text(stream, _) => Some(*stream),
            _ => self.last_stream,
        };
        (Event { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX), what }, stream)
    }

    fn append(&mut self, lines: &str, at: Timestamp, stream: Option<Stream>) {
        self.text.push_str(lines);
        self.last_at = self.last_at.max(at);
        self.last_stream = stream;
    }

    fn clear(&mut self, at: Timestamp) {
        self.room.give_back(std::mem::take(&mut self.taken));
        self.text = String::new();
        (self.last_at, self.last_stream) = (at, None);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.room.give_back(std::mem::take(&mut self.taken));
    }
}

impl Lane {
    fn from(began: Timestamp) -> Self {
        Lane {
            bytes: 0,
            invalid: 0,
            styles: 0,
            is_binary: false,
            cut: Vec::new(),
            escape: String::new(),
            after_return: false,
            unnoted: 0,
            noted_at: began,
            unnoted_at: began,
        }
    }

    /// The text of what was read, as far as it can be told by now; none if it is not text.
    fn text_of(&mut self, bytes: &[u8]) -> Option<String> {
        if memchr::memchr(0, bytes).is_some() {
            return None;
        }
        let joined = [std::mem::take(&mut self.cut).as_slice(), bytes].concat();
        let (mut text, mut invalid, mut whole) = (String::new(), 0, joined.utf8_chunks().peekable());
        while let Some(chunk) = whole.next() {
            self.show(chunk.valid(), &mut text);
            if whole.peek().is_none() && is_cut(chunk.invalid()) {
                self.cut = chunk.invalid().to_vec();
            } else {
                invalid += chunk.invalid().len();
                self.show_invalid(chunk.invalid(), &mut text);
            }
        }
        if invalid >= INVALID_BYTES_MIN && invalid * 4 > joined.len() {
            return None;
        }
        self.invalid = self.invalid.saturating_add(invalid as u64);
        Some(text)
    }

    /// The stream is over: what was waited for does not come.
    fn rest(&mut self) -> String {
        let mut text = String::new();
        let cut = std::mem::take(&mut self.cut);
        self.invalid = self.invalid.saturating_add(cut.len() as u64);
        self.show_invalid(&cut, &mut text);
        self.end_of_escape(&mut text);
        self.end_of_return(&mut text);
        text
    }

    fn show(&mut self, valid: &str, text: &mut String) {
        let mut rest = valid;
        while let Some(next) = rest.chars().next() {
            if !self.escape.is_empty() {
                rest = self.go_on_with_escape(next, rest, text);
                continue;
            }
            let plain = rest.find(['\u{1b}', '\r', '\n', '\t']).unwrap_or(rest.len());
            let (before, after) = rest.split_at(plain);
            if !before.is_empty() {
                self.end_of_return(text);
                text.push_str(&visible(before));
            }
            let mut special = after.chars();
            match special.next() {
                Some('\u{1b}') => self.escape.push('\u{1b}'),
                Some('\r') => {
                    self.end_of_return(text);
                    self.after_return = true;
                }
                Some('\n') => {
                    self.after_return = false;
                    text.push('\n');
                }
                Some(tab) => {
                    self.end_of_return(text);
                    text.push(tab);
                }
                None => {}
            }
            rest = special.as_str();
        }
    }

    /// `ESC [ … m` is a style and is left out; any other sequence is shown.
    fn go_on_with_escape<'a>(&mut self, next: char, rest: &'a str, text: &mut String) -> &'a str {
        let fits = match next {
            '[' => self.escape.len() == 1,
            '0'..='9' | ';' | ':' => self.escape.len() > 1 && self.escape.len() < STYLE_BYTES_MAX,
            'm' if self.escape.len() > 1 => {
                self.escape.clear();
                self.styles = self.styles.saturating_add(1);
                return rest.get(1..).unwrap_or_default();
            }
            _ => false,
        };
        if !fits {
            self.end_of_escape(text);
            return rest;
        }
        self.escape.push(next);
        rest.get(1..).unwrap_or_default()
    }

    fn end_of_escape(&mut self, text: &mut String) {
        let escape = std::mem::take(&mut self.escape);
        if !escape.is_empty() {
            self.end_of_return(text);
            text.push_str(&visible(&escape));
        }
    }

    /// A carriage return that no line feed follows would write over the line: it is shown, and the line ends.
    fn end_of_return(&mut self, text: &mut String) {
        if std::mem::take(&mut self.after_return) {
            text.push_str("\\r\n");
        }
    }

    fn show_invalid(&mut self, bytes: &[u8], text: &mut String) {
        if bytes.is_empty() {
            return;
        }
        self.end_of_escape(text);
        self.end_of_return(text);
        for byte in bytes {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
}

/// Whether these bytes begin a character that more bytes may complete.
fn is_cut(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use placet_api::recording::Recording;
    use placet_core::secret::Secret;
    use proptest::prelude::*;

    use super::*;

    const BEGAN: Timestamp = Timestamp::from_millis(1_790_000_000_123);

    fn recorder(record: Recorded, secrets: &[&str], room: &Room) -> Recorder {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        let scanner = Scanner::new(&secrets).unwrap();
        Recorder::new(ExecutionId::from_bytes([7; 16]), record, scanner, room.clone(), BEGAN)
    }

    fn after(ms: u64) -> Timestamp {
        BEGAN.plus(Duration::from_millis(ms))
    }

    /// Records all of these, each a second after the one before, and reads the recording.
    fn recorded(record: Recorded, secrets: &[&str], writes: &[(Stream, &[u8])]) -> Recording {
        let recorder = recorder(record, secrets, &Room::of(ROOM_BYTES));
        for (place, (stream, bytes)) in writes.iter().enumerate() {
            recorder.take(*stream, bytes, after(1_000 * (place as u64 + 1)));
        }
        let kept = recorder.finish(Some(0), after(1_000 * (writes.len() as u64 + 1)));
        Recording::parse(&kept.bytes).unwrap()
    }

    fn text(recording: &Recording) -> String {
        let texts = recording.events.iter().filter_map(|event| match &event.what {
            What::Text(_, text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    #[test]
    fn keeps_errors_and_of_output_only_the_sizes() {
        use Stream::{Stderr, Stdout};
        let writes: [(Stream, &[u8]); 4] = [
            (Stderr, b"connecting\n"),
            (Stdout, b"ada@example.com\n"),
            (Stdout, &[0; 9]),
            (Stderr, b"done\n"),
        ];
        let told = |recording: &Recording| {
            let events = recording.events.iter().map(|event| (event.after_ms, event.what.clone()));
            events.collect::<Vec<_>>()
        };
        let by_default = recorded(Recorded::Stderr, &[], &writes);
        assert_eq!(
            told(&by_default),
            [
                (1_000, What::Text(Stderr, "connecting\n".into())),
                (1_000, What::Bytes(Stdout, 16)),
                (1_000, What::Bytes(Stdout, 9)),
                (1_000, What::Text(Stderr, "done\n".into())),
                (1_000, What::Exit(0)),
            ]
        );
        let about = &by_default.header.placet;
        assert_eq!((about.record.as_str(), about.stdout_bytes, about.stderr_bytes), ("stderr", 25, 16));
        assert!(about.binary.is_empty() && !about.truncated && !about.withheld);
        let all = recorded(Recorded::All, &[], &writes);
        assert_eq!(told(&all)[1], (1_000, What::Text(Stdout, "ada@example.com\n".into())));
        assert!(matches!(&told(&all)[2].1, What::Note(note) if note.contains("not text")));
        assert_eq!(all.header.placet.binary, [Stdout]);
    }

    #[test]
    fn what_hides_or_steers_is_shown_and_styles_are_left_out() {
        for (written, shown) in [
            ("plain \u{1b}[1;31mred\u{1b}[0m", "plain red"),
            ("\u{1b}]52;c;aGk=\u{7}", "\\u{1b}]52;c;aGk=\\u{7}"),
            ("\u{1b}]0;title\u{1b}\\", "\\u{1b}]0;title\\u{1b}\\\\"),
            ("\u{1b}[2J\u{1b}[", "\\u{1b}[2J\\u{1b}["),
            ("\u{1b}\u{1b}[mx", "\\u{1b}x"),
            ("\u{9b}31m\u{202e}evil", "\\u{9b}31m\\u{202e}evil"),
            ("10%\r20%\r\nend\r", "10%\\r\n20%\nend\\r\n"),
            ("a\r\r\n\tb\\n", "a\\r\n\n\tb\\\\n"),
            ("caf\u{e9} \u{1f600}", "caf\u{e9} \u{1f600}"),
            ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ] {
            for piece in 1..8 {
                let writes: Vec<_> =
                    written.as_bytes().chunks(piece).map(|part| (Stream::Stderr, part)).collect();
                let recording = recorded(Recorded::Stderr, &[], &writes);
                assert_eq!(text(&recording), shown, "{written:?} in pieces of {piece}");
            }
        }
        let styled = recorded(Recorded::Stderr, &[], &[(Stream::Stderr, b"\x1b[1ma\x1b[0m")]);
        assert_eq!(styled.header.placet.styles_left_out, 2);
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_or_only_counted() {
        let latin = recorded(Recorded::Stderr, &[], &[(Stream::Stderr, b"Gr\xfc\xdfe\xe2\x82")]);
        assert_eq!(text(&latin), "Gr\\xfc\\xdfe\\xe2\\x82");
        assert_eq!((latin.header.placet.invalid_bytes, latin.header.placet.binary.len()), (4, 0));
        for binary in [&[0xff; 200][..], b"PK\0\x03"] {
            let recording =
                recorded(Recorded::All, &[], &[(Stream::Stdout, binary), (Stream::Stdout, b"text")]);
            assert_eq!(text(&recording), "", "once binary, always binary");
            assert_eq!(recording.header.placet.binary, [Stream::Stdout]);
        }
    }

    #[test]
    fn a_secret_that_people_would_read_out_of_pieces_takes_all_text_with_it() {
        use Stream::{Stderr, Stdout};
        let cases: [&[(Stream, &[u8])]; 2] = [
            &[(Stderr, b"before "), (Stderr, b"hun\x1b[0mter2"), (Stderr, b"after")],
            &[(Stderr, b"before "), (Stdout, b"hun"), (Stderr, b"ter2"), (Stderr, b"after")],
        ];
        for writes in cases {
            let recorder = recorder(Recorded::All, &["hunter2"], &Room::of(ROOM_BYTES));
            for (stream, bytes) in writes {
                recorder.take(*stream, bytes, BEGAN);
            }
            let kept = recorder.finish(Some(0), after(5));
            let recording = Recording::parse(&kept.bytes).unwrap();
            assert!(recording.header.placet.withheld);
            let raw = String::from_utf8_lossy(&kept.bytes);
            for part in ["hun", "ter2", "before", "after"] {
                assert!(!raw.contains(part), "{part} is in {raw}");
            }
        }
        let clean = recorded(Recorded::All, &["hunter2"], &[(Stdout, b"hun"), (Stderr, b"ting")]);
        assert!(!clean.header.placet.withheld);
    }

    #[test]
    fn ends_at_the_bound_and_says_so() {
        let room = Room::of(ROOM_BYTES);
        let recorder = recorder(Recorded::All, &[], &room);
        let line = "x".repeat(63 * 1024) + "\n";
        for number in 0..1_000 {
            recorder.take(Stream::Stdout, line.as_bytes(), after(100 * number));
        }
        let kept = recorder.finish(Some(141), after(100_000));
        assert!(kept.truncated && kept.bytes.len() <= RECORDING_BYTES_MAX + 1024, "{}", kept.bytes.len());
        assert!(kept.bytes.len() > RECORDING_BYTES_MAX - 128 * 1024);
        let recording = Recording::parse(&kept.bytes).unwrap();
        assert!(recording.header.placet.truncated);
        assert_eq!(recording.header.placet.stdout_bytes, 1_000 * line.len() as u64);
        assert!(text(&recording).ends_with("the recording ends here; the program went on]\n"));
        assert_eq!(recording.events.last().unwrap().what, What::Exit(141));
        let total: u64 = recording.events.iter().map(|event| event.after_ms).sum();
        assert_eq!(total, 100_000, "the end keeps its time");
        assert_eq!(room.left(), ROOM_BYTES, "the room is free again");
    }

    #[test]
    fn recordings_share_their_room() {
        let room = Room::of(10_000);
        let (one, two) = (recorder(Recorded::All, &[], &room), recorder(Recorded::All, &[], &room));
        let line = vec![b'y'; 4_096];
        for recorder in [&one, &two] {
            for second in 1..3 {
                recorder.take(Stream::Stdout, &line, after(second * 1_000));
            }
            // What waits is written with what comes next.
            recorder.take(Stream::Stderr, b"z", after(9_000));
        }
        let (first, second) = (one.finish(Some(0), after(9_999)), two.finish(Some(0), after(9_999)));
        assert!(!first.truncated && second.truncated);
        assert_eq!(room.left(), 10_000);
        drop(recorder(Recorded::All, &[], &room));
        assert_eq!(room.left(), 10_000);
    }

    proptest! {
        #[test]
        fn whatever_comes_can_be_read_again_and_steers_nothing(
            writes in prop::collection::vec(
                (any::<bool>(), prop::collection::vec(prop_oneof![any::<u8>(), 0x08u8..0x1c, Just(b'[')], 0..60), 0u64..3_000),
                0..20,
            ),
        ) {
            let recorder = recorder(Recorded::All, &["a secret"], &Room::of(ROOM_BYTES));
            let mut now = 0;
            for (stdout, bytes, ms) in &writes {
                now += ms;
                let stream = if *stdout { Stream::Stdout } else { Stream::Stderr };
                recorder.take(stream, bytes, after(now));
            }
            let kept = recorder.finish(None, after(now));
            let recording = Recording::parse(&kept.bytes).unwrap();
            let total: u64 = recording.events.iter().map(|event| event.after_ms).sum();
            prop_assert!(total <= now);
            let text = text(&recording);
            prop_assert!(!text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')), "{:?}", text);
            let bytes: usize = writes.iter().map(|(_, bytes, _)| bytes.len()).sum();
            let about = &recording.header.placet;
            prop_assert_eq!(about.stdout_bytes + about.stderr_bytes, bytes as u64);
        }
    }
}
