//! Recordings of executions: [asciicast version 3](https://docs.asciinema.org/manual/asciicast/v3/), which other
//! programs play, with what they ignore and we need beside it.
//!
//! ```text
//! {"version":3,"term":{…},"timestamp":…,"placet":{…}}     the header, and ours in it
//! # stderr                                                a comment: whose the text after it is
//! [0.120,"o","connecting\r\n"]                            text, so many seconds after the line before
//! [1.000,"s","stdout 65536"]                              ours: bytes whose text is not kept
//! [0.310,"m","…"]                                         a marker: placet's own words
//! [0.002,"x","0"]                                         the exit code
//! ```
//!
//! Text in it was made visible by whoever wrote it: no character steers a terminal or hides. `\n` is written as a
//! terminal needs it, `\r\n`, and read back as `\n`.

use serde::{Deserialize, Serialize};

/// Its media type.
pub const MEDIA_TYPE: &str = "application/x-asciicast";

/// Which stream something came on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Stream::Stdout, Stream::Stderr].into_iter().find(|stream| stream.as_str() == text)
    }
}

/// The first line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// 3.
    pub version: u32,
    /// How large a terminal has to be; the program had none.
    pub term: Term,
    /// When it began, in seconds since 1970.
    pub timestamp: i64,
    /// What players do not ask for.
    pub placet: About,
}

/// A terminal's size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "asciicast's own words")]
pub struct Term {
    pub cols: u16,
    pub rows: u16,
}

/// How the recording came to be, so that nobody takes it for more than it is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct About {
    /// Of which execution.
    pub execution: String,
    /// What was to be recorded: `stderr` or `all`.
    pub record: String,
    /// How many bytes were delivered.
    pub stdout_bytes: u64,
    /// How many bytes were delivered.
    pub stderr_bytes: u64,
    /// How many bytes were no UTF-8; each stands as `\xff`.
    pub invalid_bytes: u64,
    /// How many colours and styles were left out.
    pub styles_left_out: u64,
    /// The streams that turned out to be no text; from there on only their sizes are kept.
    pub binary: Vec<Stream>,
    /// Whether the program wrote more than is kept.
    pub truncated: bool,
    /// Whether all text was dropped, because a released secret stood in it.
    pub withheld: bool,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// The program wrote this.
    Text(Stream, String),
    /// The program wrote so many bytes.
    Bytes(Stream, u64),
    /// Placet says this.
    Note(String),
    /// The program ended, with this exit code, or 128 and the signal.
    Exit(i32),
}

/// Something that happened, and how long after what stands before it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// In milliseconds.
    pub after_ms: u64,
    /// What.
    pub what: What,
}

impl Event {
    /// Its lines; `last` is the stream of the text before it.
    pub fn lines(&self, last: Option<Stream>) -> String {
        let (comment, code, data) = match &self.what {
            What::Text(stream, text) => {
                let comment = if last == Some(*stream) { None } else { Some(stream.as_str()) };
                (comment, "o", text.replace('\n', "\r\n"))
            }
            What::Bytes(stream, bytes) => (None, "s", format!("{} {bytes}", stream.as_str())),
            What::Note(text) => (None, "m", text.clone()),
            What::Exit(code) => (None, "x", code.to_string()),
        };
        let comment = comment.map(|stream| format!("# {stream}\n")).unwrap_or_default();
        let (seconds, millis) = (self.after_ms / 1000, self.after_ms % 1000);
        let data = serde_json::Value::String(data);
        format!("{comment}[{seconds}.{millis:03},\"{code}\",{data}]\n")
    }
}

/// A recording that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// The first line.
    pub header: Header,
    /// The others.
    pub events: Vec<Event>,
}

/// The bytes are not a recording of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a recording: line {line} is not one that this placet knows")]
pub struct RecordingError {
    line: usize,
}

impl Recording {
    /// Reads it. Codes that are not known are passed over, as the format wants it.
    pub fn parse(bytes: &[u8]) -> Result<Self, RecordingError> {
        let text = std::str::from_utf8(bytes).map_err(|_| RecordingError { line: 1 })?;
        let mut lines = text.lines().enumerate();
        let header = lines.next().and_then(|(_, line)| serde_json::from_str::<Header>(line).ok());
        let header = header.filter(|header| header.version == 3).ok_or(RecordingError { line: 1 })?;
        let (mut events, mut stream) = (Vec::new(), Stream::Stdout);
        for (number, line) in lines {
            let refused = RecordingError { line: number + 1 };
            if let Some(comment) = line.strip_prefix('#') {
                stream = Stream::parse(comment.trim()).unwrap_or(stream);
                continue;
            }
            let (after, code, data) =
                serde_json::from_str::<(f64, String, String)>(line).map_err(|_| refused.clone())?;
            let after_ms = std::time::Duration::try_from_secs_f64(after).map_err(|_| refused.clone())?;
            let after_ms = u64::try_from((after_ms + HALF_A_MILLISECOND).as_millis()).unwrap_or(u64::MAX);
            let what = match code.as_str() {
                "o" => What::Text(stream, data.replace("\r\n", "\n")),
                "s" => bytes_of(&data).ok_or(refused)?,
                "m" => What::Note(data),
                "x" => What::Exit(data.parse().map_err(|_| refused)?),
                _ => continue,
            };
            events.push(Event { after_ms, what });
        }
        Ok(Recording { header, events })
    }
}

/// A fraction that no float holds exactly is rounded, not cut off.
const HALF_A_MILLISECOND: std::time::Duration = std::time::Duration::from_micros(500);

fn bytes_of(data: &str) -> Option<What> {
    let (stream, bytes) = data.split_once(' ')?;
    Some(What::Bytes(Stream::parse(stream)?, bytes.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            version: 3,
            term: Term { cols: 120, rows: 40 },
            timestamp: 1_790_000_000,
            placet: About {
                execution: "exe_1".to_owned(),
                record: "all".to_owned(),
                stdout_bytes: 1,
                stderr_bytes: 2,
                invalid_bytes: 0,
                styles_left_out: 0,
                binary: vec![Stream::Stdout],
                truncated: false,
                withheld: false,
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let events: Vec<Event> = [
            (120, What::Text(Stream::Stderr, "a \"b\"\nc\\r\n".to_owned())),
            (0, What::Text(Stream::Stderr, "d".to_owned())),
            (1_001, What::Text(Stream::Stdout, "é".to_owned())),
            (61_999, What::Bytes(Stream::Stdout, 7)),
            (3, What::Note("placet says".to_owned())),
            (29, What::Exit(137)),
        ]
        .map(|(after_ms, what)| Event { after_ms, what })
        .to_vec();
        let mut text = format!("{}\n", serde_json::to_string(&header()).unwrap());
        let mut last = None;
        for event in &events {
            text.push_str(&event.lines(last));
            if let What::Text(stream, _) = event.what {
                last = Some(stream);
            }
        }
        assert!(
            text.contains("# stderr\n[0.120,\"o\",\"a \\\"b\\\"\\r\\nc\\\\r\\r\\n\"]\n[0.000,"),
            "{text}"
        );
        assert_eq!(text.matches('#').count(), 2, "{text}");
        let read = Recording::parse(text.as_bytes()).unwrap();
        assert_eq!((read.header, read.events), (header(), events));
    }

    #[test]
    fn refuses_what_is_no_recording_and_passes_over_what_is_new() {
        let first = serde_json::to_string(&header()).unwrap();
        let lines = |rest: &str| Recording::parse(format!("{first}\n{rest}").as_bytes());
        assert_eq!(lines("[0.1,\"r\",\"80x24\"]\n# a comment\n").unwrap().events, []);
        for rest in
            ["[0.1,\"s\",\"stdout\"]", "[-1,\"o\",\"\"]", "[1e300,\"o\",\"\"]", "{}", "[0,\"x\",\"\"]", "\n"]
        {
            assert_eq!(lines(rest), Err(RecordingError { line: 2 }), "{rest}");
        }
        for whole in ["", "{}", "{\"version\":2,\"width\":80,\"height\":24}"] {
            assert!(Recording::parse(whole.as_bytes()).is_err(), "{whole}");
        }
        assert!(Recording::parse(first.replace(":3", ":4").as_bytes()).is_err());
    }
}
