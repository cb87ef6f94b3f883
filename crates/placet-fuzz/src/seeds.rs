//! Inputs that the readers take, made from our own vectors, starters and examples, and from what our own code writes.

use placet_gateway::frames::{End, EndStatus, Kind, encode};
use placet_ledger::proof::{HashReader, Node, prove_inclusion};
use placet_ledger::vkey::KeyName;
use placet_ledger::{Checkpoint, Frontier, Hash, ReadError, Signer, TlogProof, TreeHead, leaf_hash};
use serde_json::{Value, json};

/// The files of a bundle that stands in this repository, without its tests: they take longer than all the rest.
macro_rules! bundle {
    ($directory:literal) => {
        bundle!(
            $directory,
            [
                "allow.cedar",
                "ask.cedar",
                "bundle.toml",
                "entities.toml",
                "invariants.cedar",
                "mapping.toml",
                "never.cedar",
                "review.cedar",
                "runner.toml",
                "schema.cedarschema",
            ]
        )
    };
    ($directory:literal, [$($path:literal),* $(,)?]) => {
        &[$(($path, include_str!(concat!("../../../", $directory, "/", $path)))),*]
    };
}

/// The starter for one person.
pub(crate) const BUNDLE: &[(&str, &str)] = bundle!("crates/placet/starters/solo");

/// The example of an export.
pub(crate) const EXPORTS: &[(&str, &str)] = bundle!("examples/export-postgres/policy");

fn bytes(texts: impl IntoIterator<Item = impl Into<Vec<u8>>>) -> Vec<Vec<u8>> {
    texts.into_iter().map(Into::into).collect()
}

fn vectors(text: &str, list: &str, member: &str) -> Vec<Vec<u8>> {
    let vectors: Value = serde_json::from_str(text).expect("committed vectors are JSON");
    let texts = vectors[list].as_array().expect("a list").iter().filter_map(|vector| vector[member].as_str());
    bytes(texts.filter(|text| text.len() < 2048))
}

pub(crate) fn json() -> Vec<Vec<u8>> {
    let text = include_str!("../../placet-core/vectors/c14n.json");
    [vectors(text, "accepted", "input"), vectors(text, "refused", "input")].concat()
}

pub(crate) fn actions() -> Vec<Vec<u8>> {
    vectors(include_str!("../../placet-core/vectors/action.json"), "actions", "canonical")
}

pub(crate) fn names() -> Vec<Vec<u8>> {
    let digest = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
    bytes([
        "req_01m83h9wvhfak8x9dj99qvte71",
        "agt_01040g2081040g2081040g2081",
        "per_7zzzzzzzzzzzzzzzzzzzzzzzzz",
        "exe_00000000000000000000000000",
        digest,
        "7F3K-9Q2M",
        "data.export",
        "Dataset:shop.accounts",
    ])
}

pub(crate) fn texts() -> Vec<Vec<u8>> {
    bytes([
        "plain, ümlaut, 日本",
        "a\u{202e}b\u{200b}\u{feff}",
        "line\nbreak\r\t\0",
        "\\u{202e}",
        "\u{e0041}tag\u{a0}",
    ])
}

pub(crate) fn bodies() -> Vec<Vec<u8>> {
    let digest = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
    let execution = "exe_01m83h9wvhfak8x9dj99qvte71";
    bytes(
        [
            json!({ "action": "example.deploy", "resource": { "type": "Example", "id": "production" },
                "arguments": { "build": 7 }, "justification": "release", "on_behalf_of": "Ada", "idempotency_key": "k" }),
            json!({ "argv": ["pg_dump", "shop"], "inputs": [{ "name": "plan", "sha256": digest }], "stdin": digest,
                "justification": "weekly" }),
            json!({ "digest": digest, "claim": "c1" }),
            json!({ "execution_id": execution, "outcome": "succeeded", "summary": "done", "measures": { "rows": 3 },
                "result_digest": digest }),
            json!({ "verdict": "approve", "reason": "read", "digest": digest, "version": 1, "card": digest }),
            json!({ "text": "it was done" }),
            json!({ "argv": ["printenv"], "token": "placet_agent_0" }),
            json!({ "execution_id": execution, "reason": "lost" }),
        ]
        .map(|body| body.to_string()),
    )
}

pub(crate) fn recordings() -> Vec<Vec<u8>> {
    let header = json!({ "version": 3, "term": { "cols": 120, "rows": 40 }, "timestamp": 1_790_000_000, "placet": {
        "execution": "exe_1", "record": "all", "stdout_bytes": 1, "stderr_bytes": 2, "invalid_bytes": 0,
        "styles_left_out": 0, "binary": ["stdout"], "truncated": false, "withheld": false } });
    let lines = "# stderr\n[0.120,\"o\",\"a \\\"b\\\"\\r\\nc\"]\n[1.000,\"s\",\"stdout 65536\"]\n[0.310,\"m\",\"note\"]\n\
                 # stdout\n[0,\"o\",\"é\"]\n[0.002,\"x\",\"137\"]\n";
    bytes([format!("{header}\n{lines}"), format!("{header}\n")])
}

/// The key of the log that the targets trust.
pub(crate) fn signer() -> Signer {
    Signer::from_seed(KeyName::parse("placet.example/ledger").expect("a name"), &[7; 32])
}

/// Everything that it ever signed.
pub(crate) fn signed() -> Vec<String> {
    let head = |size, root| TreeHead { size, root };
    let alone = Checkpoint::sign(head(1, leaf_hash(&entry(0))), &signer());
    let later =
        Checkpoint::sign(head(70_000, leaf_hash(b"root")), &signer()).cosigned(&signer(), 1_790_000_000);
    [alone, later].map(|checkpoint| checkpoint.note().to_owned()).to_vec()
}

/// An entry of its log.
pub(crate) fn entry(number: u64) -> Vec<u8> {
    format!("{{\"seq\":{number}}}").into_bytes()
}

pub(crate) fn notes() -> Vec<Vec<u8>> {
    let mut notes = bytes(signed());
    notes.extend(bytes(
        signed().iter().filter_map(|note| note.split("\n\n").next().map(|text| format!("{text}\n"))),
    ));
    notes
}

pub(crate) fn vkeys() -> Vec<Vec<u8>> {
    let known = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    bytes([signer().verifier_key().to_string(), signer().cosigner_key().to_string(), known.to_owned()])
}

/// A tree with nothing in it but one entry.
struct Alone;

impl HashReader for Alone {
    fn hash(&mut self, _: Node) -> Result<Hash, ReadError> {
        Ok(leaf_hash(&entry(0)))
    }
}

pub(crate) fn proofs() -> Vec<Vec<u8>> {
    let hashes = prove_inclusion(&mut Alone, 0, 1).expect("the only entry");
    let checkpoint = signed().swap_remove(0);
    let proof = TlogProof { unverified_extra: Some(b"extra".to_vec()), index: 0, hashes, checkpoint };
    let more =
        TlogProof { hashes: vec![leaf_hash(b"a"), leaf_hash(b"b")], unverified_extra: None, ..proof.clone() };
    let numbers = [[1, 2, 3, 4, 5, 6, 7, 8], [69, 68, 64, 0, 1, 0, 0, 0], [255; 8]];
    [bytes([proof.to_string(), more.to_string()]), bytes(numbers.map(|numbers| numbers.repeat(9)))].concat()
}

pub(crate) fn tiles() -> Vec<Vec<u8>> {
    bytes([
        "tile/0/000",
        "tile/3/x001/x234/067.p/255",
        "tile/entries/x001/000.p/1",
        "tile/7/000.p/1",
        "\0\0\u{1}\0\0\0\0\0\u{2}",
    ])
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let mut bundle = vec![3];
    for entry in [&b"first"[..], b"", b"third"] {
        placet_ledger::bundle::push_entry(&mut bundle, entry).expect("short");
    }
    let mut frontier = Frontier::new();
    for leaf in 0..7_u8 {
        frontier.append(leaf_hash(&[leaf])).expect("there is room");
    }
    vec![bundle, frontier.to_bytes(), Frontier::new().to_bytes()]
}

pub(crate) fn frames() -> Vec<Vec<u8>> {
    let end = End {
        status: EndStatus::Failed,
        exit_code: None,
        signal: Some(9),
        reason: Some("cancelled".to_owned()),
        stdout_bytes: 3,
        stderr_bytes: 1,
        sha256: "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b".to_owned(),
        duration_ms: 12,
        truncated: false,
    };
    let mut stream = vec![5];
    encode(Kind::Stdout, b"out", &mut stream);
    encode(Kind::KeepAlive, b"", &mut stream);
    encode(Kind::Stderr, b"err", &mut stream);
    encode(Kind::End, &end.to_payload(), &mut stream);
    vec![stream.clone(), stream[..20].to_vec(), [&b"\0"[..], &end.to_payload()].concat()]
}

pub(crate) fn scans() -> Vec<Vec<u8>> {
    bytes([
        "\u{5}secret\u{3}rows\nsecret, c2VjcmV0, 736563726574, secsecret",
        "\u{2}aba\u{1}ababababa",
        "\u{9}[redacted]\u{2}[redacted][redacted",
        "\u{0}a\u{7}nothing here",
    ])
}

pub(crate) fn calls() -> Vec<Vec<u8>> {
    bytes([
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
        r#"2025-06-18||
{"jsonrpc":"2.0","id":"a\"b","method":"tools/call","params":{"name":"echo","arguments":{"n":9007199254740993}}}"#,
        r#"2026-07-28|tools/call|echo
{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ])
}

pub(crate) fn lists() -> Vec<Vec<u8>> {
    bytes([
        "0{\"resources\":[{\"uri\":\"note:///1\",\"name\":\"note\",\"size\":1.50}],\"nextCursor\":\"2\"}",
        "1{\"resourceTemplates\":[{\"uriTemplate\":\"note:///{n}\",\"name\":\"notes\"}]}",
        "2{\"prompts\":[{\"name\":\"greet\",\"arguments\":[{\"name\":\"who\"}]},{\"name\":\"a__b\"}],\"nextCursor\":\"\"}",
    ])
}

pub(crate) fn workload_tokens() -> Vec<Vec<u8>> {
    bytes([
        // {"alg":"ES256"}.{"iss":"https://idp.example","sub":"ci","aud":"x","exp":1}
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwic3ViIjoiY2kiLCJhdWQiOiJ4IiwiZXhwIjoxfQ.AAAA",
        // {"alg":"none"}.{}
        "eyJhbGciOiJub25lIn0.e30.",
    ])
}

pub(crate) fn configurations() -> Vec<Vec<u8>> {
    bytes([
        "",
        "dir = './data'\ntrusted_proxy = true\n[agents]\nlisten = '0.0.0.0:0'\npublic_url = 'https://agents.example.com'\nissuers = 'https://idp.example, https://ci.example=/keys'\n",
        "[limits]\npending = 5\n[lifetimes]\ngrant = '15m'\n[runner]\nrun_as = 'placet-runner'\n\0PLACET__LIMITS__PENDING=6\nPLACET_ROOT_KEY_FILE=/run/key\n",
        "'limits.pending' = 5\n[limits]\npending = 6\n",
        "log = { origin = 'placet.example/ledger', public = false }\n[mcp]\nhold = '45s'\n\0PLACET__AGENTS__LISTEN=[::1]:1\n",
    ])
}

pub(crate) fn events() -> Vec<Vec<u8>> {
    bytes([
        "\u{4}: hello\r\nevent: message\r\ndata: {\"id\":1,\r\ndata: \"result\":{}}\r\n\r\ndata:2\n\n",
        "\u{1}data\n\ndata: \n\n",
    ])
}

pub(crate) fn catalogues() -> Vec<Vec<u8>> {
    let tool =
        r#"{"name":"read_file","description":"Reads.","inputSchema":{"type":"object"},"x-vendor":1.0}"#;
    let process =
        "command = [\"/usr/bin/files\", \"/srv\"]\ndanger_same_user = true\nsecrets = { KEY = \"shop\" }\n";
    let http = "url = \"https://files.example/mcp\"\n[headers.authorization]\nsecret = \"shop\"\nprefix = \"Bearer \"\n";
    bytes([format!("{process}\0{tool}\n\0Be careful."), format!("{http}\0{tool}\n"), tool.to_owned()])
}

pub(crate) fn queries() -> Vec<Vec<u8>> {
    bytes([
        "status=pending&wait=50&limit=7",
        "a=1%2B2&b=c+d&e",
        "k=%C3%A9%00&k=&=v&&",
        "http://localhost:7070",
        "https://Placet.Example:443/",
    ])
}

pub(crate) fn cookies() -> Vec<Vec<u8>> {
    bytes([
        "\0a=b; placet_session_7070=abc; c=d",
        "\0a=b\nplacet_session_7070=abc",
        "\u{1}__Host-placet_session=abc",
        "\0placet_session_7070=a; placet_session_7070=b",
    ])
}

pub(crate) fn times() -> Vec<Vec<u8>> {
    bytes([
        "tuesday afternoon||||Europe/Berlin",
        "2026-11-24|12:00-18:00|||America/Santiago",
        "yesterday|night|||",
        "||2026-11-01|2026-11-30|Asia/Tokyo",
        "||2026-03-29T02:30|2026-10-25T02:30|Europe/Berlin",
    ])
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let named = BUNDLE.iter().enumerate();
    named.map(|(number, (_, text))| [&[number as u8][..], text.as_bytes()].concat()).collect()
}

pub(crate) fn cedar() -> Vec<Vec<u8>> {
    let cedar = BUNDLE.iter().chain(EXPORTS).filter(|(path, _)| path.ends_with(".cedar"));
    bytes(cedar.map(|(_, text)| *text))
}

pub(crate) fn commands() -> Vec<Vec<u8>> {
    let commands = [
        "pg_dump -h 127.0.0.1 -U exporter -t pgbench_accounts shop",
        "pg_dump shop -t pgbench_branches",
        "pg_dump -tpgbench_accounts -h127.0.0.1 shop",
        "ls -l",
    ];
    // Words end where no word can have a byte.
    bytes(commands.map(|command| command.replace(' ', "\0")))
}
