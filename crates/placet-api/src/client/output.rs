//! A command's output as a stream of whole frames that survives lost connections.
//!
//! The client knows of a frame only what it takes to continue after it: where it ends, whether it is a keep-alive, and
//! whether it is the last. What frames mean is their reader's affair.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;

use super::error::ClientError;
use super::http::{Call, Door, shown};
use crate::command::FRAMES;

/// A frame's header: kind, three zero bytes, length in big endian.
const HEADER_BYTES: usize = 8;
/// No frame carries more.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
const KEEP_ALIVE: u8 = 0;
const END: u8 = 3;
/// placet sends a keep-alive at least every 15 seconds; after this silence the connection is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often in a row a connection may fail without bringing anything.
const FAILURES_MAX: u32 = 5;

/// An execution's output from an offset on.
#[derive(Debug)]
pub struct Output<'a> {
    door: &'a Door,
    id: String,
    offset: u64,
    connection: Option<Response>,
    buffer: BytesMut,
    failures: u32,
    ended: bool,
}

impl<'a> Output<'a> {
    pub(super) fn new(door: &'a Door, id: &str, from: u64) -> Self {
        Output {
            door,
            id: id.to_owned(),
            offset: from,
            connection: None,
            buffer: BytesMut::new(),
            failures: 0,
            ended: false,
        }
    }

    /// Where to continue: bytes of whole frames given so far, keep-alives left out.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next whole frame, header included, keep-alives left out; none after the end frame. A lost connection is
    /// taken up again where it broke, five times in a row at most.
    pub async fn next_frame(&mut self) -> Result<Option<Bytes>, ClientError> {
        while !self.ended {
            match self.take_frame()? {
                Some((KEEP_ALIVE, _)) => continue,
                Some((kind, frame)) => {
                    self.failures = 0;
                    self.offset += frame.len() as u64;
                    self.ended = kind == END;
                    return Ok(Some(frame));
                }
                None => self.receive().await?,
            }
        }
        Ok(None)
    }

    /// Cuts a whole frame off what was received.
    fn take_frame(&mut self) -> Result<Option<(u8, Bytes)>, ClientError> {
        let Some([kind, x, y, z, a, b, c, d]) = self.buffer.first_chunk::<HEADER_BYTES>().copied() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if kind > END || [x, y, z] != [0, 0, 0] || length > PAYLOAD_BYTES_MAX {
            return Err(self.unexpected("it is not a stream of frames"));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        Ok(Some((kind, self.buffer.split_to(HEADER_BYTES + length).freeze())))
    }

    /// Receives more, over a new connection if there is none.
    async fn receive(&mut self) -> Result<(), ClientError> {
        let Some(connection) = &mut self.connection else {
            let url = self
                .door
                .url(&["v1", "commands", &self.id, "output"], &[("from", self.offset.to_string())])?;
            match self.door.send(Call::get(url).streaming(FRAMES)).await {
                Ok(response) => self.connection = Some(response),
                Err(ClientError::Unreachable { url, source }) => self.lost(url, Some(source)).await?,
                Err(error) => return Err(error),
            }
            return Ok(());
        };
        let url = shown(connection.url());
        match tokio::time::timeout(SILENCE_MAX, connection.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                self.buffer.extend_from_slice(&chunk);
                Ok(())
            }
            Ok(Err(error)) => self.lost(url, Some(error.without_url())).await,
            Ok(Ok(None)) | Err(_) => self.lost(url, None).await,
        }
    }

    /// The connection is gone: what stood half in the buffer comes again.
    async fn lost(&mut self, url: String, source: Option<reqwest::Error>) -> Result<(), ClientError> {
        self.connection = None;
        self.buffer.clear();
        self.failures += 1;
        if self.failures > FAILURES_MAX {
            return Err(match source {
                Some(source) => ClientError::Unreachable { url, source },
                None => self.unexpected("the stream stops before its end frame, again and again"),
            });
        }
        tokio::time::sleep(Duration::from_millis(100 << self.failures)).await;
        Ok(())
    }

    fn unexpected(&self, reason: &str) -> ClientError {
        ClientError::Unexpected { url: format!("the output of {}", self.id), reason: reason.to_owned() }
    }
}
