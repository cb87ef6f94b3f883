//! Server-sent events as MCP uses them: only their data matters.

/// The data of server-sent events, put together from chunks. Each byte is looked at once, whatever chunks it comes in.
pub struct Events {
    bytes_max: usize,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
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
        Events { bytes_max, line: Vec::new(), data: None }
    }

    /// Takes bytes; gives the data of the events that they complete.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<String>, EventTooLarge> {
        let mut whole = Vec::new();
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            let begun = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if begun + piece.len() > self.bytes_max {
                return Err(EventTooLarge(self.bytes_max));
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                whole.extend(self.take(&line));
            }
        }
        Ok(whole)
    }

    /// Takes a line; an empty one completes an event.
    fn take(&mut self, line: &[u8]) -> Option<String> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.data.take().filter(|data| !data.is_empty());
        }
        let data = line.strip_prefix(b"data:")?;
        let data = String::from_utf8_lossy(data.strip_prefix(b" ").unwrap_or(data));
        match &mut self.data {
            Some(before) => {
                before.push('\n');
                before.push_str(&data);
            }
            None => self.data = Some(data.into_owned()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn whatever_chunks_they_come_in_the_events_are_the_same(
            pieces in vec(prop::sample::select(&PIECES[..]), 0..40),
            cuts in vec(1usize..12, 1..40),
            bytes_max in 1usize..200,
        ) {
            let stream = pieces.concat();
            let read = |chunks: &mut dyn Iterator<Item = &[u8]>| {
                let mut events = Events::bounded(bytes_max);
                let mut told = Vec::new();
                for chunk in chunks {
                    told.extend(events.push(chunk)?);
                }
                Ok::<_, EventTooLarge>(told)
            };
            let whole = read(&mut std::iter::once(stream.as_slice()));
            let (mut rest, mut cuts) = (stream.as_slice(), cuts.iter().cycle());
            let mut cut = std::iter::from_fn(|| {
                let (chunk, left) = rest.split_at((*cuts.next()?).min(rest.len()));
                rest = left;
                (!chunk.is_empty()).then_some(chunk)
            });
            prop_assert_eq!(&whole, &read(&mut cut));
            let fits = whole.iter().flatten().all(|event| event.len() <= bytes_max);
            prop_assert!(fits, "the bound holds");
        }
    }

    const PIECES: [&[u8]; 9] =
        [b"data: ", b"data:", b"\n", b"\r\n", b"\n\n", b": c", b"event: x\n", b"\xc3\xa9", b"{}"];

    #[test]
    fn bytes_that_come_one_by_one_are_not_looked_at_over_and_over() {
        // Were each looked at again for each that follows it, this would take minutes.
        let mut events = Events::bounded(16 * 1024 * 1024);
        let stream = [b"data: ".as_slice(), &vec![b'x'; 1024 * 1024], b"\n\n"].concat();
        let told: Vec<String> =
            stream.chunks(1).flat_map(|chunk| events.push(chunk).expect("it is small")).collect();
        assert_eq!(told.iter().map(String::len).collect::<Vec<_>>(), [1024 * 1024]);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut events = Events::bounded(16 * 1024 * 1024);
        let chunk = vec![b'x'; 1024 * 1024];
        assert!((0..20).any(|_| events.push(&chunk).is_err()));
    }
}
