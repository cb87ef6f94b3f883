//! `application/vnd.placet.frames`: how a program's output travels to the one who asked for it.
//!
//! ```text
//! kind u8 │ 0 0 0 │ length u32, big endian │ payload
//! ```
//!
//! Stdout and stderr frames carry bytes as the program wrote them, keep-alives carry nothing, and the end frame carries
//! the outcome as JSON. Nothing follows the end. A stream is continued by its offset: the number of bytes of all frames
//! received so far, headers included, keep-alives left out.

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// The media type of a stream of frames.
pub const MEDIA_TYPE: &str = "application/vnd.placet.frames";
/// A header is this long.
pub const HEADER_BYTES: usize = 8;
/// No frame carries more: what a reader has to buffer is bounded.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the program is silent and still running.
    KeepAlive,
    /// Bytes of the program's standard output.
    Stdout,
    /// Bytes of its standard error, with released secrets scrubbed.
    Stderr,
    /// The outcome; the last frame.
    End,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// The payload; empty for a keep-alive.
    pub payload: Bytes,
}

/// The payload of the end frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// How it ended, in the words of the life cycle.
    pub status: EndStatus,
    /// The program's exit code, if it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended the program, if one did.
    pub signal: Option<i32>,
    /// Why it did not succeed, as a stable code; absent after exit code 0 and after an exit or signal of the program's own.
    pub reason: Option<String>,
    /// Bytes of standard output that were delivered.
    pub stdout_bytes: u64,
    /// Bytes of standard error that were delivered.
    pub stderr_bytes: u64,
    /// SHA-256 over standard output exactly as delivered, in lower-case hex.
    pub sha256: String,
    /// From the start of the program to its end, in milliseconds.
    pub duration_ms: u64,
    /// Whether the program wrote more than was delivered.
    pub truncated: bool,
}

/// The last word on an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndStatus {
    /// Exit code 0.
    Succeeded,
    /// It ran, or was refused, and did not succeed.
    Failed,
    /// Nobody can tell what it did.
    Unknown,
}

/// The bytes are not a stream of frames. There is nothing to resynchronise to: drop the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that this version does not know.
    #[error("read a frame: unknown kind {0}, upgrade placet")]
    UnknownKind(u8),
    /// The three bytes after the kind are not zero.
    #[error("read a frame: its reserved bytes are not zero")]
    Reserved,
    /// A length that no frame of this kind may have.
    #[error("read a frame: a length of {0} bytes is not allowed for its kind")]
    Length(u32),
    /// Something follows the end frame.
    #[error("read a frame: bytes follow the end frame")]
    AfterEnd,
    /// The end frame's payload is not an outcome.
    #[error("read the end frame: its payload is not an outcome")]
    End,
    /// The stream stops inside a frame or before the end frame: ask for the rest, from the offset reached.
    #[error("read frames: the stream stops before the end frame")]
    Truncated,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::KeepAlive => 0,
            Kind::Stdout => 1,
            Kind::Stderr => 2,
            Kind::End => 3,
        }
    }

    fn parse(code: u8) -> Result<Self, FrameError> {
        match code {
            0 => Ok(Kind::KeepAlive),
            1 => Ok(Kind::Stdout),
            2 => Ok(Kind::Stderr),
            3 => Ok(Kind::End),
            unknown => Err(FrameError::UnknownKind(unknown)),
        }
    }

    /// A keep-alive is empty, every other frame is not: each byte string has one reading.
    fn allows(self, length: usize) -> bool {
        match self {
            Kind::KeepAlive => length == 0,
            Kind::Stdout | Kind::Stderr | Kind::End => (1..=PAYLOAD_BYTES_MAX).contains(&length),
        }
    }
}

impl End {
    /// The payload of the end frame.
    pub fn to_payload(&self) -> Vec<u8> {
        // Strings and integers: serialising them cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the payload of the end frame.
    pub fn from_payload(payload: &[u8]) -> Result<Self, FrameError> {
        serde_json::from_slice(payload).map_err(|_| FrameError::End)
    }
}

/// Appends `payload` as one frame, or as several where it is longer than one may be. An empty payload adds nothing,
/// except as a keep-alive.
pub fn encode(kind: Kind, payload: &[u8], into: &mut Vec<u8>) {
    if kind == Kind::KeepAlive {
        into.extend_from_slice(&header(kind, 0));
        return;
    }
    for part in payload.chunks(PAYLOAD_BYTES_MAX) {
        into.extend_from_slice(&header(kind, part.len()));
        into.extend_from_slice(part);
    }
}

fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    // At most PAYLOAD_BYTES_MAX, which fits.
    let [a, b, c, d] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [kind.code(), 0, 0, 0, a, b, c, d]
}

/// Reads a header: the kind and the payload's length.
pub(crate) fn parse_header(header: [u8; HEADER_BYTES]) -> Result<(Kind, usize), FrameError> {
    let [kind, x, y, z, a, b, c, d] = header;
    let kind = Kind::parse(kind)?;
    if [x, y, z] != [0, 0, 0] {
        return Err(FrameError::Reserved);
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(fits) if kind.allows(fits) => Ok((kind, fits)),
        _ => Err(FrameError::Length(length)),
    }
}

/// Reads frames from bytes that arrive in pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
    offset: u64,
    ended: bool,
}

impl Decoder {
    /// A decoder that continues a stream of which `offset` bytes were received.
    pub fn from_offset(offset: u64) -> Self {
        Decoder { offset, ..Decoder::default() }
    }

    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there. After an error every call gives that error again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.ended {
            return if self.buffer.is_empty() { Ok(None) } else { Err(FrameError::AfterEnd) };
        }
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let (kind, length) = parse_header(*header)?;
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        if kind == Kind::End {
            End::from_payload(self.buffer.get(HEADER_BYTES..HEADER_BYTES + length).unwrap_or_default())?;
            self.ended = true;
        }
        self.buffer.advance(HEADER_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        if kind != Kind::KeepAlive {
            self.offset += (HEADER_BYTES + length) as u64;
        }
        Ok(Some(Frame { kind, payload }))
    }

    /// Where to continue if the connection is lost now.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// To be asked when the connection is closed: an error unless the end frame was the last thing on it.
    pub fn finish(&self) -> Result<(), FrameError> {
        match (self.ended, self.buffer.is_empty()) {
            (true, true) => Ok(()),
            (true, false) => Err(FrameError::AfterEnd),
            (false, _) => Err(FrameError::Truncated),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end() -> End {
        End {
            status: EndStatus::Succeeded,
            exit_code: Some(0),
            signal: None,
            reason: None,
            stdout_bytes: 2,
            stderr_bytes: 0,
            sha256: "00".repeat(32),
            duration_ms: 7,
            truncated: false,
        }
    }

    fn decode(bytes: &[u8], piece: usize) -> Result<Vec<Frame>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for part in bytes.chunks(piece.max(1)) {
            decoder.push(part);
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
        decoder.finish().map(|()| frames)
    }

    #[test]
    fn writes_the_bytes_that_the_format_names() {
        let mut bytes = Vec::new();
        encode(Kind::KeepAlive, b"", &mut bytes);
        encode(Kind::Stdout, b"hi", &mut bytes);
        encode(Kind::Stderr, b"", &mut bytes);
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, b'h', b'i']);
    }

    #[test]
    fn refuses_what_is_no_frame() {
        let with_end = |more: &[u8]| {
            let mut bytes = Vec::new();
            encode(Kind::End, &end().to_payload(), &mut bytes);
            bytes.extend_from_slice(more);
            bytes
        };
        for (bytes, refusal) in [
            (vec![4, 0, 0, 0, 0, 0, 0, 1, 9], FrameError::UnknownKind(4)),
            (vec![1, 0, 1, 0, 0, 0, 0, 1, 9], FrameError::Reserved),
            (vec![1, 0, 0, 0, 0, 0, 0, 0], FrameError::Length(0)),
            (vec![0, 0, 0, 0, 0, 0, 0, 1, 9], FrameError::Length(1)),
            (vec![1, 0, 0, 0, 0, 1, 0, 1], FrameError::Length(65537)),
            (vec![1, 0, 0, 0, 255, 255, 255, 255], FrameError::Length(u32::MAX)),
            (vec![3, 0, 0, 0, 0, 0, 0, 2, b'{', b'}'], FrameError::End),
            (vec![1, 0, 0, 0, 0, 0, 0, 2, b'h'], FrameError::Truncated),
            (vec![1, 0, 0, 0, 0, 0, 0, 1, b'h'], FrameError::Truncated),
            (Vec::new(), FrameError::Truncated),
            (with_end(&[0]), FrameError::AfterEnd),
        ] {
            assert_eq!(decode(&bytes, 3), Err(refusal.clone()), "{refusal}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            parts in prop::collection::vec((0u8..3, prop::collection::vec(any::<u8>(), 0..200)), 0..20),
            piece in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            let mut expected = (Vec::new(), Vec::new());
            for (kind, payload) in &parts {
                let kind = Kind::parse(*kind).unwrap();
                encode(kind, payload, &mut bytes);
                match kind {
                    Kind::Stdout => expected.0.extend_from_slice(payload),
                    Kind::Stderr => expected.1.extend_from_slice(payload),
                    Kind::KeepAlive | Kind::End => {}
                }
            }
            encode(Kind::End, &end().to_payload(), &mut bytes);
            let mut got = (Vec::new(), Vec::new());
            for frame in decode(&bytes, piece).unwrap() {
                match frame.kind {
                    Kind::Stdout => got.0.extend_from_slice(&frame.payload),
                    Kind::Stderr => got.1.extend_from_slice(&frame.payload),
                    Kind::KeepAlive => {}
                    Kind::End => prop_assert_eq!(End::from_payload(&frame.payload).unwrap(), end()),
                }
            }
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic_or_run_away(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, 7);
        }
    }
}
