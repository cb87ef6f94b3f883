//! The targets, by the crate whose readers they try.

mod api;
mod core;
mod gateway;
mod identity;
mod ledger;
mod placet;
mod policy;
#[path = "../../../placet-ledger/tests/it/rfc6962.rs"]
mod rfc6962;
mod server;

use crate::{Target, seeds};

const JSON: &[&str] = &[
    "{}", "[]", "\"\"", "null", "true", "1e0", "\\u0041", "\\ud800", "\\udc00", "\"a\":", ",\"a\":1", "-0",
    "0.5",
];
const BODY: &[&str] = &[
    "\"action\":",
    "\"resource\":",
    "\"type\":",
    "\"arguments\":",
    "\"justification\":",
    "\"on_behalf_of\":",
    "\"idempotency_key\":",
    "\"argv\":",
    "\"inputs\":",
    "\"sha256\":",
    "\"stdin\":",
    "\"digest\":",
    "\"claim\":",
    "\"execution_id\":",
    "\"outcome\":",
    "\"unknown\"",
    "\"measures\":",
    "\"verdict\":",
    "\"version\":",
    "\"card\":",
    "{}",
    "[]",
    "null",
    "\\u0000",
    "\\u202e",
];
const NOTE: &[&str] =
    &["\n\n", "\n", "— ", " ", "+", "AAAA", "=", "placet.example/ledger", "extra ", "index "];
const CEDAR: &[&str] = &[
    "permit ",
    "forbid ",
    "(principal, action, resource)",
    "when { ",
    "unless { ",
    " };",
    "@id(\"x\")",
    "@title(\"x\")",
    "context.approvals",
    "[\"data-owners\"]",
    ".reviewers",
    ">= 1",
    "has ",
    "like \"*\"",
    "if true then ",
    " else ",
    "&&",
    "||",
    "!",
    "duration(\"30m\")",
    ".age <= ",
    "\\u{0}",
    "//",
    "\n",
    "9223372036854775807",
    "entity ",
    "namespace ",
    "type ",
    "[role.x]",
    "group = \"x\"",
    "[[command]]",
    "[[tool]]",
    "resource = '",
    "{database}",
];
const HTTP: &[&str] = &[
    "%2B",
    "%00",
    "%ff",
    "%",
    "&",
    "=",
    "+",
    ";",
    "; ",
    "placet_session_7070=",
    "__Host-placet_session=",
    "a=1",
];
const RPC: &[&str] = &[
    "\"jsonrpc\":\"2.0\"",
    "\"id\":",
    "\"method\":",
    "\"params\":",
    "\"_meta\":",
    "\"result\":{}",
    "\"error\":{}",
    "io.modelcontextprotocol/protocolVersion",
    "2026-07-28",
    "2025-06-18",
    "tools/call",
    "\"name\":",
    "taskId",
    "null",
];
const TIME: &[&str] = &[
    "tuesday",
    "today",
    "yesterday",
    " afternoon",
    "morning",
    "night",
    "12:00-18:00",
    "2026-11-24",
    "T12:00",
    "Z",
    "+01:00",
    "Europe/Berlin",
    "America/Santiago",
    "9999-12-31",
    "-0001-01-01",
    "24:00",
];

/// All of them.
pub(crate) const ALL: &[Target] = &[
    Target { name: "canonical", run: core::canonical, seeds: seeds::json, words: JSON, rounds: 20_000 },
    Target { name: "action", run: core::action, seeds: seeds::actions, words: JSON, rounds: 4_000 },
    Target {
        name: "names",
        run: core::names,
        seeds: seeds::names,
        words: &["-", "_", "O", "I", "req_"],
        rounds: 20_000,
    },
    Target {
        name: "text",
        run: core::text,
        seeds: seeds::texts,
        words: &["\u{202e}", "\\u{", "\u{0}"],
        rounds: 20_000,
    },
    Target { name: "bodies", run: api::bodies, seeds: seeds::bodies, words: BODY, rounds: 4_000 },
    Target { name: "recording", run: api::recording, seeds: seeds::recordings, words: JSON, rounds: 4_000 },
    Target { name: "note", run: ledger::note, seeds: seeds::notes, words: NOTE, rounds: 4_000 },
    Target { name: "vkey", run: ledger::vkey, seeds: seeds::vkeys, words: NOTE, rounds: 4_000 },
    Target { name: "proof", run: ledger::proof, seeds: seeds::proofs, words: NOTE, rounds: 1_000 },
    Target {
        name: "tile",
        run: ledger::tile,
        seeds: seeds::tiles,
        words: &["tile/", "x001/", ".p/", "entries"],
        rounds: 10_000,
    },
    Target { name: "entries", run: ledger::entries, seeds: seeds::entries, words: &[], rounds: 20_000 },
    Target {
        name: "frames",
        run: gateway::frames,
        seeds: seeds::frames,
        words: &["\u{3}\0\0\0", "\"signal\":9"],
        rounds: 4_000,
    },
    Target {
        name: "scanner",
        run: gateway::scanner,
        seeds: seeds::scans,
        words: &["secret", "[redacted]"],
        rounds: 1_000,
    },
    Target { name: "mcp_wire", run: gateway::mcp_wire, seeds: seeds::calls, words: RPC, rounds: 10_000 },
    Target {
        name: "mcp_events",
        run: gateway::mcp_events,
        seeds: seeds::events,
        words: &["data:", "\r\n", "\n\n", ": "],
        rounds: 4_000,
    },
    Target {
        name: "mcp_catalogue",
        run: gateway::mcp_catalogue,
        seeds: seeds::catalogues,
        words: RPC,
        rounds: 1_000,
    },
    Target { name: "mcp_lists", run: gateway::mcp_lists, seeds: seeds::lists, words: RPC, rounds: 4_000 },
    Target {
        name: "workload_token",
        run: identity::workload_token,
        seeds: seeds::workload_tokens,
        words: &[".", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJub25lIn0", "e30", "AAAA", "=", "-", "_"],
        rounds: 10_000,
    },
    Target {
        name: "configuration",
        run: placet::configuration,
        seeds: seeds::configurations,
        words: &[
            "agents.",
            "listen",
            "\n[limits]\n",
            "PLACET__",
            "LISTEN=",
            "\0",
            "'0.0.0.0:0'",
            "https://a.example",
        ],
        rounds: 2_000,
    },
    Target { name: "query", run: server::query, seeds: seeds::queries, words: HTTP, rounds: 20_000 },
    Target { name: "cookies", run: server::cookies, seeds: seeds::cookies, words: HTTP, rounds: 10_000 },
    Target { name: "times", run: server::times, seeds: seeds::times, words: TIME, rounds: 10_000 },
    Target { name: "bundle", run: policy::bundle, seeds: seeds::bundles, words: CEDAR, rounds: 60 },
    Target { name: "format", run: policy::format, seeds: seeds::cedar, words: CEDAR, rounds: 200 },
    Target {
        name: "mapping",
        run: policy::mapping,
        seeds: seeds::commands,
        words: &["\0", "-h", "-t", "shop", "127.0.0.1"],
        rounds: 4_000,
    },
];

/// A text, whatever the bytes are.
fn lossy(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

/// What the next byte says, and the rest; nothing of nothing.
fn first(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}
