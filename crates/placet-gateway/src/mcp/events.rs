//! Server-sent events as MCP uses them: only their data matters.

/// The data of server-sent events, put together from chunks.
pub struct Events {
    bytes_max: usize,
    held: Vec<u8>,
    /// The data of the event so far; none before its first line of data.
    data: Option<String>,
}

/// One event has more bytes than the reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("read a stream of events: one has more than {0} bytes")]
pub struct EventTooLarge(usize);

impl Events {
    /// None yet; one may have so many bytes.
    pub fn bounded(bytes_max: usize) -> Self {
        Events { bytes_max, held: Vec::new(), data: None }
    }

    /// Takes bytes; gives the data of the events that they complete.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<String>, EventTooLarge> {
        self.held.extend_from_slice(chunk);
        if self.held.len() + self.data.as_ref().map_or(0, String::len) > self.bytes_max {
            return Err(EventTooLarge(self.bytes_max));
        }
        let mut whole = Vec::new();
        let mut start = 0;
        while let Some(length) = self.held.iter().skip(start).position(|byte| *byte == b'\n') {
            let line = self.held.get(start..start + length).unwrap_or_default();
            start += length + 1;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                whole.extend(self.data.take().filter(|data| !data.is_empty()));
            } else if let Some(data) = line.strip_prefix(b"data:") {
                let data = String::from_utf8_lossy(data.strip_prefix(b" ").unwrap_or(data));
                match &mut self.data {
                    Some(before) => {
                        before.push('\n');
                        before.push_str(&data);
                    }
                    None => self.data = Some(data.into_owned()),
                }
            }
        }
        self.held.drain(..start);
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_put_together_from_chunks() {
        let stream =
            b": hello\r\nevent: message\r\ndata: {\"id\":1,\r\ndata: \"result\":{}}\r\n\r\ndata:2\n\n";
        for size in 1..stream.len() {
            let mut events = Events::bounded(16 * 1024 * 1024);
            let whole: Vec<String> =
                stream.chunks(size).flat_map(|chunk| events.push(chunk).unwrap()).collect();
            assert_eq!(whole, ["{\"id\":1,\n\"result\":{}}", "2"], "in chunks of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut events = Events::bounded(16 * 1024 * 1024);
        let chunk = vec![b'x'; 1024 * 1024];
        assert!((0..20).any(|_| events.push(&chunk).is_err()));
    }
}
