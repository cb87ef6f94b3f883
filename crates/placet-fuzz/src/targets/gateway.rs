//! Frames of a program's output, secrets in it, and what clients and servers of MCP send.

use placet_core::c14n::Value;
use placet_core::digest::BundleDigest;
use placet_core::secret::Secret;
use placet_gateway::frames::{
    Decoder, End, Frame, FrameError, HEADER_BYTES, Kind, PAYLOAD_BYTES_MAX, encode,
};
use placet_gateway::mcp::catalogue::{Catalogue, Definition, ServerName, acceptance};
use placet_gateway::mcp::events::Events;
use placet_gateway::mcp::readers;
use placet_gateway::runner::scan::{REDACTED, Scanner, Seen};

use super::{first, lossy};

/// Frames are those of a reader written from the description alone, in whatever pieces they come, and are written as they
/// were read.
pub(super) fn frames(data: &[u8]) {
    let (size, stream) = first(data);
    let expected = described(stream);
    for size in [usize::from(size).max(1), stream.len().max(1)] {
        let (mut decoder, mut found) = (Decoder::default(), Vec::new());
        let mut error = None;
        'pieces: for piece in stream.chunks(size) {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => found.push(frame),
                    Ok(None) => break,
                    Err(said) => {
                        assert_eq!(decoder.next_frame(), Err(said.clone()), "an error stays");
                        error = Some(said);
                        break 'pieces;
                    }
                }
            }
        }
        let error = error.or_else(|| decoder.finish().err());
        assert_eq!((&found, error.is_none()), (&expected.0, expected.1), "in pieces of {size}: {error:?}");
        let mut written = Vec::new();
        found.iter().for_each(|frame| encode(frame.kind, &frame.payload, &mut written));
        assert_eq!(written, stream[..written.len()], "written as read");
        let counted = found.iter().filter(|frame| frame.kind != Kind::KeepAlive);
        assert_eq!(
            decoder.offset(),
            counted.map(|frame| (HEADER_BYTES + frame.payload.len()) as u64).sum::<u64>()
        );
        if error.is_none() {
            assert_eq!(written, stream, "nothing is left over");
        }
    }
    match End::from_payload(stream) {
        Ok(end) => assert_eq!(End::from_payload(&end.to_payload()), Ok(end)),
        Err(error) => assert_eq!(error, FrameError::End),
    }
}

/// The frames of a stream up to what is wrong, and whether nothing is.
fn described(mut rest: &[u8]) -> (Vec<Frame>, bool) {
    let mut frames = Vec::new();
    loop {
        let [kind, 0, 0, 0, a, b, c, d, behind @ ..] = rest else { return (frames, false) };
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let kind = match (kind, length) {
            (0, 0) => Kind::KeepAlive,
            (1, 1..=PAYLOAD_BYTES_MAX) => Kind::Stdout,
            (2, 1..=PAYLOAD_BYTES_MAX) => Kind::Stderr,
            (3, 1..=PAYLOAD_BYTES_MAX) => Kind::End,
            _ => return (frames, false),
        };
        let Some((payload, behind)) = behind.split_at_checked(length) else { return (frames, false) };
        if kind == Kind::End && End::from_payload(payload).is_err() {
            return (frames, false);
        }
        frames.push(Frame { kind, payload: payload.to_vec().into() });
        if kind == Kind::End {
            return (frames, behind.is_empty());
        }
        rest = behind;
    }
}

/// No secret comes through, nothing else is lost, and pieces change nothing.
pub(super) fn scanner(data: &[u8]) {
    let (length, rest) = first(data);
    let Some((secret, rest)) = rest.split_at_checked(1 + usize::from(length % 24)) else { return };
    let (size, output) = first(rest);
    let secret = Secret::new(secret.to_vec());
    let scan = |size: usize| {
        let mut scanner = Scanner::new([&secret]).expect("a secret has bytes");
        let mut clean = Vec::new();
        let seen = output.chunks(size).any(|piece| scanner.push(piece, &mut clean) == Seen::Secret);
        if !seen {
            scanner.finish(&mut clean);
        }
        (clean, seen)
    };
    let scrub = |size: usize| {
        let mut scanner = Scanner::new([&secret]).expect("a secret has bytes");
        let mut clean = Vec::new();
        output.chunks(size).for_each(|piece| scanner.scrub(piece, &mut clean));
        scanner.finish(&mut clean);
        clean
    };
    let has = |bytes: &[u8]| bytes.windows(secret.expose().len()).any(|window| window == secret.expose());
    for size in [usize::from(size).max(1), output.len().max(1)] {
        let (clean, seen) = scan(size);
        assert!(output.starts_with(&clean) && !has(&clean), "what is passed on is a clean beginning");
        assert_eq!(clean.len() == output.len(), !seen, "nothing is lost without a reason");
        assert!(seen || !has(output), "a secret is seen");
        let scrubbed = scrub(size);
        let differs = seen && secret.expose() != REDACTED;
        assert_eq!(scrubbed != output, differs, "scrubbed where it is seen");
        let mut rest = scrubbed.as_slice();
        while let Some(at) = rest.windows(REDACTED.len()).position(|window| window == REDACTED) {
            assert!(!has(&rest[..at]), "a secret is scrubbed");
            rest = &rest[at + REDACTED.len()..];
        }
        assert!(!has(rest), "a secret is scrubbed");
    }
}

/// A call has one reading, its id comes back as it was written, and headers that say something else are refused.
pub(super) fn mcp_wire(data: &[u8]) {
    let (headers, body) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (lossy(&data[..at]), &data[at + 1..]),
        None => (String::new(), data),
    };
    let Some(call) = readers::call(body) else { return };
    let value = Value::parse(body).expect("a call is a value");
    let members = value.as_object().expect("of members");
    assert_eq!(Some(&call.id), members.get("id"));
    assert_eq!(Some(call.method.as_str()), members.get("method").and_then(Value::as_str));
    assert_eq!(readers::call(value.canonical().as_bytes()).as_ref(), Some(&call), "one reading");
    let answer = Value::parse(call.answer("{}").as_bytes()).expect("an answer is a value");
    assert_eq!(answer.as_object().and_then(|answer| answer.get("id")), Some(&call.id));
    let refusal = Value::parse(call.refusal(&headers).as_bytes()).expect("a refusal is a value");
    assert_eq!(refusal.as_object().and_then(|refusal| refusal.get("id")), Some(&call.id));

    let mut said = headers.split('|').map(|header| (!header.is_empty()).then_some(header));
    let (version, method, name) = (said.next().flatten(), said.next().flatten(), said.next().flatten());
    if call.is_modern(version, method, name) {
        assert_eq!(method, Some(call.method.as_str()), "headers say what the body says");
        if call.method == "tools/call" {
            let params = members.get("params").and_then(Value::as_object).expect("they say so");
            let named = params.get("name").and_then(Value::as_str);
            assert_eq!(name, named.or_else(|| params.get("taskId").and_then(Value::as_str)));
        }
    }
}

/// Events are the same in whatever pieces they come, and those of a reader that has all lines before it.
pub(super) fn mcp_events(data: &[u8]) {
    let (size, stream) = first(data);
    let read = |size: usize| {
        let mut events = Events::bounded(1 << 20);
        stream
            .chunks(size)
            .flat_map(|piece| events.push(piece).expect("it is small"))
            .collect::<Vec<String>>()
    };
    let whole = read(stream.len().max(1));
    assert_eq!(read(usize::from(size).max(1)), whole, "in pieces of {size}");
    let (mut expected, mut data) = (Vec::new(), Vec::new());
    for line in stream.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n")) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(text) = line.strip_prefix(b"data:") {
            data.push(lossy(text.strip_prefix(b" ").unwrap_or(text)));
        } else if line.is_empty() {
            expected.extend(Some(data.join("\n")).filter(|text| !text.is_empty()));
            data.clear();
        }
    }
    assert_eq!(whole, expected);
    let mut bounded = Events::bounded(8);
    let told = stream.chunks(3).map_while(|piece| bounded.push(piece).ok()).flatten();
    assert!(told.into_iter().all(|event| event.len() <= 8 * 3), "a bound holds");
}

/// What a server lists has the names that another reader finds, all of it but its name stays as it was written, and under
/// the name that says whose it is it is found again.
pub(super) fn mcp_lists(data: &[u8]) {
    const METHODS: [(&str, &str, &str); 3] = [
        ("resources/list", "resources", "uri"),
        ("resources/templates/list", "resourceTemplates", "uriTemplate"),
        ("prompts/list", "prompts", "name"),
    ];
    let (which, page) = first(data);
    let (method, member, name) = METHODS[usize::from(which) % METHODS.len()];
    let server = ServerName::parse("my_files-2").expect("it is a name");
    let page = lossy(page);
    let Some(items) = readers::page(method, &server, &page) else { return };
    // What it reads of numbers and escapes is narrower in what is no item, and no item is narrower.
    let theirs: Option<serde_json::Value> = serde_json::from_str(&page).ok();
    let theirs = theirs.as_ref().map(|page| page[member].as_array().expect("it was a list"));
    for item in items {
        let value = Value::parse(item.written.as_bytes()).expect("it was read");
        let members = value.as_object().expect("it has a name");
        assert_eq!(members.get(name).and_then(Value::as_str), Some(item.name.as_str()));
        let is_it = |other: &serde_json::Value| other[name].as_str() == Some(&item.name);
        assert!(theirs.is_none_or(|theirs| theirs.iter().any(is_it)));
        let offered =
            Value::parse(item.offered.expect("it has a name").as_bytes()).expect("it is written as JSON");
        let mut named = offered.as_object().expect("it is one still").clone();
        let Some(Value::String(as_offered)) = named.remove(name) else { panic!("it has a name still") };
        assert_eq!(readers::whose(method, &as_offered), Some((server.clone(), item.name)));
        let mut kept = members.clone();
        kept.remove(name);
        assert_eq!(named, kept, "all but its name");
    }
}

/// What a bundle accepts of a server is read back from what it would be accepted with.
pub(super) fn mcp_catalogue(data: &[u8]) {
    let text = lossy(data);
    let mut files = text.splitn(3, '\0');
    let (server, tools, instructions) =
        (files.next().unwrap_or(""), files.next().unwrap_or(""), files.next());
    let mut written = vec![("mcp/fixture.toml", server), ("mcp/fixture.tools.jsonl", tools)];
    written.extend(instructions.map(|text| ("mcp/fixture.instructions", text)));
    let digest = BundleDigest::of_files([]);
    if let Ok(catalogue) = Catalogue::read(digest, written.iter().copied()) {
        let server = catalogue.servers().next().expect("one");
        let accepted = acceptance(
            &server.name,
            server.instructions.as_deref(),
            server.tools().map(|tool| &tool.definition),
        );
        let again = accepted.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)));
        let again = Catalogue::read(digest, again.chain([("mcp/fixture.toml", files_first(&text))]));
        assert_eq!(again.as_ref(), Ok(&catalogue), "accepted as it is");
    }
    if let Ok(definition) = Definition::read(data) {
        assert_eq!(Definition::read(definition.value().canonical().as_bytes()), Ok(definition));
    }
}

fn files_first(text: &str) -> &str {
    text.split('\0').next().unwrap_or_default()
}
