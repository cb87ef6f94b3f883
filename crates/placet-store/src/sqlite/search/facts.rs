//! What an entry makes its request findable by.
//!
//! The same function reads a draft that is about to be written and an entry that was, so that the index can be remade.

use placet_core::c14n::Value;
use placet_core::entry::{Draft, Kind};
use placet_core::id::RequestId;
use placet_core::time::Timestamp;

use super::super::sealer::Sealer;
use crate::StoredEntry;
use crate::search::STEPS;

/// What stands in the index instead of a fact: half an HMAC, so that it tells nothing without the key.
pub(in crate::sqlite) type Token = [u8; 16];

/// A fact about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fact<'a> {
    /// Its action.
    Action(&'a str),
    /// Who asked, or on whose behalf.
    By(&'a str),
    /// Its resource, as people may see it.
    Resource(&'a str),
    /// Who voted on it.
    Reviewer(&'a str),
    /// A vote that it got.
    Verdict(&'a str),
    /// Who voted what.
    Vote(&'a str, &'a str),
}

impl Fact<'_> {
    pub(super) fn token(self, sealer: &Sealer) -> Token {
        let (name, parts): (&str, [&str; 2]) = match self {
            Fact::Action(action) => ("action", [action, ""]),
            Fact::By(who) => ("by", [who, ""]),
            Fact::Resource(resource) => ("resource", [resource, ""]),
            Fact::Reviewer(who) => ("reviewer", [who, ""]),
            Fact::Verdict(verdict) => ("verdict", [verdict, ""]),
            Fact::Vote(who, verdict) => ("vote", [who, verdict]),
        };
        sealer.search_token(name, parts)
    }
}

/// What an entry tells: some of it in clear, some of it as disclosures.
struct Told<'a, F: Fn(&str) -> Option<&'a str>> {
    kind: Kind,
    action: Option<&'a str>,
    verdict: Option<&'a str>,
    disclosed: F,
}

impl<'a, F: Fn(&str) -> Option<&'a str>> Told<'a, F> {
    fn facts(&self) -> Vec<Fact<'a>> {
        let disclosed = |name| (self.disclosed)(name);
        match self.kind {
            Kind::RequestReceived => {
                let mut facts: Vec<Fact<'a>> = self.action.map(Fact::Action).into_iter().collect();
                facts.extend(disclosed("requester").map(Fact::By));
                facts.extend(disclosed("on_behalf_of").map(Fact::By));
                facts.extend(disclosed("resource").map(Fact::Resource));
                facts
            }
            Kind::VoteCast => {
                let mut facts: Vec<Fact<'a>> = self.verdict.map(Fact::Verdict).into_iter().collect();
                if let Some(person) = disclosed("person") {
                    facts.push(Fact::Reviewer(person));
                    facts.extend(self.verdict.map(|verdict| Fact::Vote(person, verdict)));
                }
                facts
            }
            _ => Vec::new(),
        }
    }

    fn tokens(&self, sealer: &Sealer) -> Vec<Token> {
        let mut tokens: Vec<Token> = self.facts().into_iter().map(|fact| fact.token(sealer)).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }
}

/// The tokens of an entry that is about to be written.
pub(in crate::sqlite) fn of_draft(sealer: &Sealer, draft: &Draft) -> Vec<Token> {
    let committed = |name: &str| {
        let found = draft.committed.iter().find(|(known, _)| *known == name);
        found.and_then(|(_, value)| value.as_str())
    };
    let action = draft.action.as_ref().map(|action| action.as_str());
    Told { kind: draft.kind, action, verdict: draft.verdict, disclosed: committed }.tokens(sealer)
}

/// The tokens of an entry that was written. What was erased gives none.
pub(super) fn of_entry(sealer: &Sealer, entry: &StoredEntry) -> Vec<Token> {
    let clear = Value::parse(&entry.bytes).ok();
    let clear = |name: &str| clear.as_ref()?.as_object()?.get(name)?.as_str();
    let opened: Vec<(String, Value)> =
        entry.disclosures.iter().filter_map(|disclosure| disclosure.open().ok()).collect();
    let disclosed =
        |name: &str| opened.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_str());
    Told { kind: entry.kind, action: clear("action"), verdict: clear("verdict"), disclosed }.tokens(sealer)
}

/// How long after a request's id this step of its life came, in milliseconds; none if it is none.
pub(in crate::sqlite) fn life(kind: Kind, request: RequestId, time: Timestamp) -> Option<i64> {
    STEPS.contains(&kind).then(|| time.as_millis().saturating_sub(millis_of(request)).max(0))
}

/// The millisecond that a request's id begins with: never after that of its first entry, but for a clock that was set
/// back in between.
pub(super) fn millis_of(request: RequestId) -> i64 {
    let [a, b, c, d, e, f, ..] = *request.as_bytes();
    i64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

/// The smallest id of this millisecond.
pub(super) fn first_id(millis: i64) -> [u8; 16] {
    let [_, _, a, b, c, d, e, f] = millis.max(0).to_be_bytes();
    [a, b, c, d, e, f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
