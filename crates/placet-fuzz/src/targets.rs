//! The targets, and what is known about the answers of each.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use placet_api::admin::{ActivateRequest, NewAgentRequest, NewPersonRequest};
use placet_api::command::CommandIntake;
use placet_api::intake::{ClaimRequest, OutcomeRequest, SubmitRequest};
use placet_api::policy::StageRequest;
use placet_api::problem::Problem;
use placet_api::read::InputError;
use placet_api::review::{ResolveRequest, VoteRequest};
use placet_core::action::{ActionName, ActionRequest, Canonical};
use placet_core::c14n::{Reason, Value};
use placet_core::digest::{ActionDigest, BundleDigest, Sha256Digest, ShortCode};
use placet_core::entry::{Disclosure, Kind};
use placet_core::id::{AgentId, ExecutionId, PersonId, RequestId};
use placet_core::text::visible;
use placet_core::time::Timestamp;
use placet_gateway::frames::{Decoder, End, Frame, encode};
use placet_policy::{Bundle, BundleFiles};
use placet_server::test_support;

use crate::{Target, Verdict, ledger};

/// Every reader of what strangers send.
pub static TARGETS: [Target; 14] = [
    Target {
        name: "c14n",
        check: c14n,
        words: &[
            "{\"a\":", "[[", "]]", "1e999", "-0", "1.0", "\\ud83d", "\\udc00", "\\u0000", "null", "true",
            ",\"a\":",
        ],
        seeds: Vec::new,
        short_run: 60_000,
    },
    Target { name: "bodies", check: bodies, words: BODY_WORDS, seeds: Vec::new, short_run: 20_000 },
    Target {
        name: "problem",
        check: problem,
        words: &["\"code\":", "\"status\":", "null"],
        seeds: Vec::new,
        short_run: 30_000,
    },
    Target {
        name: "disclosures",
        check: disclosures,
        words: &["WyI", "=", "-_", "+/"],
        seeds: Vec::new,
        short_run: 30_000,
    },
    Target {
        name: "names",
        check: names,
        words: &["req_", "per_", "7zzz", "8000", "O0", "I1", "-", "T", "Z", "+00:00", "sha256:"],
        seeds: Vec::new,
        short_run: 60_000,
    },
    Target {
        name: "frames",
        check: frames,
        words: &["\u{1}\0\0\0\0\0\0\u{1}x", "{\"status\":"],
        seeds: Vec::new,
        short_run: 30_000,
    },
    Target {
        name: "notes",
        check: ledger::notes,
        words: &["\n\n", "— ", "placet.example/ledger", "\n"],
        seeds: ledger::notes_seeds,
        short_run: 4_000,
    },
    Target {
        name: "vkeys",
        check: ledger::vkeys,
        words: &["+", "Ad", "BA"],
        seeds: ledger::vkeys_seeds,
        short_run: 20_000,
    },
    Target {
        name: "tiles",
        check: ledger::tiles,
        words: &["tile/", "entries/", "x001/", "000", ".p/", "255", "256", "../"],
        seeds: Vec::new,
        short_run: 60_000,
    },
    Target {
        name: "frontiers",
        check: ledger::frontiers,
        words: &["\u{1}"],
        seeds: ledger::frontiers_seeds,
        short_run: 40_000,
    },
    Target {
        name: "proofs",
        check: ledger::proofs,
        words: &["c2sp.org/tlog-proof@v1\n", "index ", "extra "],
        seeds: ledger::proofs_seeds,
        short_run: 1_500,
    },
    Target {
        name: "forms",
        check: forms,
        words: &["=", "&", "%00", "%2", "+", ";", "placet_session_7070=", "localhost:7070", "[::1]:7070"],
        seeds: Vec::new,
        short_run: 40_000,
    },
    Target {
        name: "visible",
        check: visible_text,
        words: &["\\u{202e}", "\u{202e}", "\\\\", "\u{e0041}"],
        seeds: Vec::new,
        short_run: 30_000,
    },
    Target { name: "bundles", check: bundles, words: BUNDLE_WORDS, seeds: Vec::new, short_run: 150 },
];

const BODY_WORDS: &[&str] = &[
    "\"action\":",
    "\"resource\":",
    "\"arguments\":",
    "\"argv\":[",
    "\"inputs\":[",
    "\"stdin\":",
    "\"verdict\":\"approve\"",
    "\"digest\":",
    "\"claim\":",
    "\"outcome\":\"failed\"",
    "\"measures\":{",
    "\"files\":{",
    "null",
    "[]",
    "{}",
    "\"\\ud800\"",
];

const BUNDLE_WORDS: &[&str] = &[
    "forbid (principal, action, resource)",
    "permit",
    "when {",
    "unless {",
    "context.approvals[\"",
    "@id(\"",
    "@timeout(\"",
    "has",
    "like",
    "[external]",
    "[[command]]",
    "argv = [",
    "\n=== ",
    "9999999999999999999",
    "((((((((",
    "Action::\"",
];

/// What we take, `serde_json` takes, and reads the same; what we refuse for its syntax, it refuses. One spelling.
fn c14n(input: &[u8]) -> Verdict {
    let theirs = serde_json::from_slice::<serde_json::Value>(input);
    let value = match Value::parse(input) {
        Ok(value) => value,
        Err(error) => {
            let strict = matches!(error.reason, Reason::Syntax | Reason::NotUtf8 | Reason::LoneSurrogate);
            return match theirs {
                Ok(_) if strict => Err(format!("serde_json reads what we refuse: {error}")),
                _ => Ok(format!("{:?}", error.reason)),
            };
        }
    };
    let canonical = value.canonical();
    match Value::parse(canonical.as_bytes()) {
        Ok(again) if again == value && again.canonical() == canonical => {}
        other => return Err(format!("{canonical:?} reads as {other:?}")),
    }
    match theirs {
        Ok(theirs) => same(&value, &theirs).map(|()| format!("{:.20}", shape(&value))),
        // It has no place for what is beyond a double.
        Err(error) if error.to_string().contains("out of range") => Ok("beyond a double".to_owned()),
        Err(error) => Err(format!("serde_json refuses {canonical}: {error}")),
    }
}

fn shape(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}", items.first().map(shape).unwrap_or_default()),
        Value::Object(members) => format!("{{{}", members.values().next().map(shape).unwrap_or_default()),
        Value::String(_) => "s".to_owned(),
        Value::Number(number) => if number.as_integer().is_some() { "i" } else { "f" }.to_owned(),
        Value::Bool(_) | Value::Null => "b".to_owned(),
    }
}

/// The same double, or its neighbour: theirs rounds for speed.
fn close(ours: Option<f64>, theirs: Option<f64>) -> bool {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => (ours - theirs).abs() <= ours.abs() * 1e-15,
        _ => false,
    }
}

fn same(ours: &Value, theirs: &serde_json::Value) -> Result<(), String> {
    use serde_json::Value as Theirs;
    let differs = || Err(format!("{} and {theirs} differ", ours.canonical()));
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => Ok(()),
        (Value::Bool(a), Theirs::Bool(b)) if a == b => Ok(()),
        (Value::String(a), Theirs::String(b)) if a == b => Ok(()),
        (Value::Number(a), Theirs::Number(b)) => match (a.as_integer(), b.as_i64()) {
            (Some(a), Some(b)) if a == b => Ok(()),
            (None, _) if close(a.as_str().parse().ok(), b.as_f64()) => Ok(()),
            _ => differs(),
        },
        (Value::Array(a), Theirs::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| same(a, b))
        }
        (Value::Object(a), Theirs::Object(b)) if a.len() == b.len() => {
            a.iter().try_for_each(|(key, a)| b.get(key).map_or_else(differs, |b| same(a, b)))
        }
        _ => differs(),
    }
}

/// A body that is read is written as one that reads the same. The canonical action is what it is.
fn bodies(input: &[u8]) -> Verdict {
    fn twice<T: PartialEq + std::fmt::Debug>(
        input: &[u8],
        read: fn(&[u8]) -> Result<T, InputError>,
        write: fn(&T) -> String,
    ) -> Verdict {
        let first = match read(input) {
            Ok(first) => first,
            Err(error) => return Ok(error.code.to_owned()),
        };
        match read(write(&first).as_bytes()) {
            Ok(second) if second == first => Ok("read".to_owned()),
            other => Err(format!("{first:?} is written as {other:?}")),
        }
    }
    let classes = [
        twice(input, SubmitRequest::from_json, SubmitRequest::to_json)?,
        twice(input, ClaimRequest::from_json, ClaimRequest::to_json)?,
        twice(input, OutcomeRequest::from_json, OutcomeRequest::to_json)?,
        twice(input, CommandIntake::from_json, CommandIntake::to_json)?,
        twice(input, VoteRequest::from_json, VoteRequest::to_json)?,
        twice(input, ResolveRequest::from_json, ResolveRequest::to_json)?,
        twice(input, NewPersonRequest::from_json, NewPersonRequest::to_json)?,
        twice(input, NewAgentRequest::from_json, NewAgentRequest::to_json)?,
        twice(input, StageRequest::from_json, StageRequest::to_json)?,
        twice(input, ActivateRequest::from_json, ActivateRequest::to_json)?,
    ];
    let text = String::from_utf8_lossy(input);
    let stored = Canonical::from_stored(text.into_owned());
    let action = match ActionRequest::from_canonical(&stored) {
        Ok(action) => {
            let again = action.canonical().and_then(|canonical| ActionRequest::from_canonical(&canonical));
            match again {
                Ok(again) if again == action => "an action",
                other => return Err(format!("an action is written as {other:?}")),
            }
        }
        Err(_) => "no action",
    };
    Ok(format!("{} {action}", classes.join(" ")))
}

/// What a client reads of a failed call.
fn problem(input: &[u8]) -> Verdict {
    let Ok(problem) = serde_json::from_slice::<Problem>(input) else { return Ok("no problem".to_owned()) };
    let again = serde_json::to_vec(&problem).and_then(|written| serde_json::from_slice::<Problem>(&written));
    match again {
        Ok(again) if again == problem => Ok(format!("a problem {}", problem.pointer.is_some())),
        other => Err(format!("it is written as {other:?}")),
    }
}

/// A disclosure opens to what its own bytes say, and to nothing that is not three parts.
fn disclosures(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let Ok((name, value)) = Disclosure::from_stored(text.as_ref()).open() else {
        return Ok("closed".to_owned());
    };
    let json =
        URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(|error| format!("it is no base64url: {error}"))?;
    let theirs: Vec<serde_json::Value> = match serde_json::from_slice(&json) {
        Ok(theirs) => theirs,
        Err(error) if error.to_string().contains("out of range") => return Ok("beyond a double".to_owned()),
        Err(error) => return Err(format!("serde_json refuses it: {error}")),
    };
    match theirs.as_slice() {
        [serde_json::Value::String(_), serde_json::Value::String(theirs), of] if *theirs == name => {
            same(&value, of)?
        }
        other => return Err(format!("it opens, and is {other:?}")),
    }
    Ok(shape(&value))
}

/// Ids, codes, digests, times, kinds and names have one spelling.
fn names(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else { return Ok("not text".to_owned()) };
    let mut class = String::new();
    let mut one_spelling = |what: &str, written: Option<String>| match written {
        None => Ok(()),
        Some(written) if written == text => {
            class += what;
            Ok(())
        }
        Some(written) => Err(format!("the {what} {text:?} is written {written:?}")),
    };
    one_spelling("request", RequestId::parse(text).ok().map(|id| id.to_string()))?;
    one_spelling("person", PersonId::parse(text).ok().map(|id| id.to_string()))?;
    one_spelling("agent", AgentId::parse(text).ok().map(|id| id.to_string()))?;
    one_spelling("execution", ExecutionId::parse(text).ok().map(|id| id.to_string()))?;
    one_spelling("digest", Sha256Digest::parse(text).ok().map(|digest| digest.to_string()))?;
    one_spelling("action's digest", ActionDigest::parse(text).ok().map(|digest| digest.to_string()))?;
    one_spelling("bundle's digest", BundleDigest::parse(text).ok().map(|digest| digest.to_string()))?;
    one_spelling("kind", Kind::parse(text).map(|kind| kind.as_str().to_owned()))?;
    one_spelling("action", ActionName::parse(text).ok().map(|name| name.as_str().to_owned()))?;
    // People type codes and times in several ways: what is read is one code, one time.
    if let Ok(code) = ShortCode::parse(text) {
        let again = ShortCode::parse(code.as_str());
        if again.as_ref() != Ok(&code) {
            return Err(format!("the code {text:?} reads as {code}, and that as {again:?}"));
        }
        class += "code";
    }
    if let Ok(time) = Timestamp::parse(text) {
        let again = Timestamp::parse(&time.to_string());
        if again.as_ref() != Ok(&time) {
            return Err(format!("the time {text:?} reads as {time}, and that as {again:?}"));
        }
        class += "time";
    }
    Ok(class)
}

/// Frames read the same in one piece and in many, and are written as they were.
fn frames(input: &[u8]) -> Verdict {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut decoder = Decoder::default();
        let mut frames: Vec<Frame> = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => return (frames, Err(error)),
                }
            }
        }
        let end = decoder.finish().map(|()| decoder.offset());
        (frames, end)
    };
    let whole = read(&mut std::iter::once(input));
    let pieces = read(&mut input.chunks(1 + input.len() % 7));
    if format!("{whole:?}") != format!("{pieces:?}") {
        return Err(format!("{whole:?} in one piece, {pieces:?} in many"));
    }
    let (frames, end) = whole;
    if end.is_ok() {
        let mut written = Vec::new();
        frames.iter().for_each(|frame| encode(frame.kind, &frame.payload, &mut written));
        if written != input {
            return Err("it is written differently".to_owned());
        }
    }
    if let Ok(end) = End::from_payload(input)
        && End::from_payload(&end.to_payload()).as_ref() != Ok(&end)
    {
        return Err(format!("{end:?} is not written as it is read"));
    }
    let kinds: String = frames.iter().take(6).map(|frame| format!("{:?}", frame.kind)).collect();
    let end = format!("{end:?}");
    Ok(format!("{kinds} {}", end.split('(').take(2).collect::<String>()))
}

/// Queries, forms, cookies and hosts: what browsers send to the reviewers' door.
fn forms(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let mut class = match test_support::pairs(&text) {
        None => "no pairs".to_owned(),
        Some(pairs) => {
            let written: Vec<String> = pairs
                .iter()
                .map(|(name, value)| {
                    format!("{}={}", test_support::encoded(name), test_support::encoded(value))
                })
                .collect();
            if test_support::pairs(&written.join("&")).as_ref() != Some(&pairs) {
                return Err(format!("{pairs:?} are written {written:?}"));
            }
            format!("{} pairs", pairs.len().min(8))
        }
    };
    if let Some(cookie) = test_support::session_cookie(&text) {
        // It stands there, and once.
        let name = "placet_session_7070=";
        let bare = text.split(';').filter(|pair| pair.trim().starts_with(name)).count();
        if bare != 1 || !text.contains(&format!("{name}{cookie}")) {
            return Err(format!("the cookie {cookie:?} is read from {text:?}"));
        }
        class += " a cookie";
    }
    if let Some(host) = test_support::host(&text) {
        let ours = ["localhost", "127.0.0.1", "[::1]"];
        if !ours.contains(&host.as_str()) || !text.to_ascii_lowercase().ends_with(":7070") {
            return Err(format!("{text:?} is taken for our host {host}"));
        }
        class += " a host";
    }
    if let Some(url) = test_support::public_url(&text) {
        if test_support::public_url(&url).as_ref() != Some(&url) {
            return Err(format!("the address {url} does not read as itself"));
        }
        class += " an address";
    }
    Ok(class)
}

/// Whatever was written, nothing of it hides once it is made visible, and nothing else reads the same.
fn visible_text(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let shown = visible(&text);
    let hides = |character: char| character.is_control() || ('\u{200b}'..='\u{202e}').contains(&character);
    if let Some(hidden) = shown.chars().find(|character| hides(*character)) {
        return Err(format!("{hidden:?} is not visible in {shown:?}"));
    }
    // It has one reading: undoing the escapes gives the text back.
    let mut read = String::new();
    let mut rest = shown.as_str();
    while let Some((before, after)) = rest.split_once('\\') {
        read += before;
        let (escape, more) = after.split_at(1);
        rest = more;
        match escape {
            "\\" => read.push('\\'),
            "n" => read.push('\n'),
            "r" => read.push('\r'),
            "t" => read.push('\t'),
            _ => {
                let (digits, more) = rest[1..].split_once('}').ok_or("an escape without an end")?;
                read.extend(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32));
                rest = more;
            }
        }
    }
    read += rest;
    if read == text {
        Ok(format!("{}", shown.len().min(64) / 8))
    } else {
        Err(format!("{text:?} reads as {read:?}"))
    }
}

/// A bundle's files, each after a line `=== path`, over those of the starter. It is refused, or stays what it is.
fn bundles(input: &[u8]) -> Verdict {
    let text = String::from_utf8_lossy(input);
    let mut files: BTreeMap<String, Vec<u8>> =
        STARTER.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
    for part in format!("\n{text}").split("\n=== ").skip(1) {
        let (path, content) = part.split_once('\n').unwrap_or((part, ""));
        files.insert(path.to_owned(), content.as_bytes().to_vec());
    }
    let files = BundleFiles::new(files);
    match Bundle::load(&files) {
        Ok(loaded) => {
            let bundle = loaded.bundle;
            let again = Bundle::load(bundle.files()).map_err(|_| "its own files are refused")?.bundle;
            if again.digest() != bundle.digest() || again.generated_rules() != bundle.generated_rules() {
                return Err("loading it again gives another bundle".to_owned());
            }
            Ok(format!("loads; {} roles", bundle.roles().len()))
        }
        Err(findings) if findings.is_empty() => Err("it is refused for no reason".to_owned()),
        Err(findings) => {
            let shown: String = findings.iter().map(ToString::to_string).take(1).collect();
            Ok(shown.chars().filter(|character| character.is_ascii_alphabetic()).take(40).collect())
        }
    }
}

macro_rules! starter {
    ($($path:literal),*) => {
        [$(($path, include_str!(concat!("../../placet/starters/solo/", $path)))),*]
    };
}

/// The starter's files, without its tests: they cost more than everything else.
const STARTER: [(&str, &str); 10] = starter!(
    "allow.cedar",
    "ask.cedar",
    "bundle.toml",
    "entities.toml",
    "invariants.cedar",
    "mapping.toml",
    "never.cedar",
    "review.cedar",
    "runner.toml",
    "schema.cedarschema"
);
