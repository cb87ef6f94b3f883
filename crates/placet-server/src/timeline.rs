//! Ledger entries as sentences for people.
//!
//! An entry says in clear what happened; who and why are its disclosures, which may have been erased. A sentence is made
//! of what is left, and never of more.

use std::collections::BTreeMap;

use placet_core::c14n::Value;
use placet_core::directory::Directory;
use placet_core::entry::Kind;
use placet_core::id::{AgentId, PepId, PersonId};
use placet_core::text::visible;
use placet_store::StoredEntry;

/// One line about what happened. Everything in it can be seen.
pub(crate) fn sentence(entry: &StoredEntry, directory: &Directory) -> String {
    let told = Told::of(entry, directory);
    let verdict = told.verdict.as_str();
    match entry.kind {
        Kind::LogOpened => "The ledger begins.".to_owned(),
        Kind::LogRestored => {
            "The database was restored from a backup that is older than the published ledger; a new epoch of the ledger \
             begins here, and everything that was open has ended."
                .to_owned()
        }
        Kind::BackupTaken => "A backup was taken.".to_owned(),
        Kind::BundleStaged => format!("{} staged policy {}.", told.operator(), told.short("bundle")),
        Kind::BundleActivated => format!("{} activated policy {}.", told.operator(), told.short("bundle")),
        Kind::RequestReceived => match verdict {
            "permit" => format!("{} asked, and policy permits it.", told.who("requester")),
            "forbid" => format!("{} asked, and policy forbids it.", told.who("requester")),
            _ => format!("{} asked, and policy wants people to decide.", told.who("requester")),
        },
        Kind::RequestAttached => "The same call came again and was attached.".to_owned(),
        Kind::RequestRefusedLater => "A later decision of policy forbids it.".to_owned(),
        Kind::RequestExpired => "Nobody decided in time.".to_owned(),
        Kind::RequestCancelled => "The requester withdrew it: cancelled.".to_owned(),
        Kind::RequestLapsed => "Nobody carried it out in time: the grant lapsed.".to_owned(),
        Kind::RequestResolved => {
            format!("{} said what really happened: {}", told.who("person"), told.text("text"))
        }
        Kind::VoteCast => told.vote(),
        Kind::VoteRefused => format!("A vote of {} was refused: {}.", told.who("person"), words(verdict)),
        Kind::DecisionMade => match verdict {
            "permit" => "The evidence is complete: policy permits it once.".to_owned(),
            "forbid" => format!("Policy decided again and forbids it{}.", told.decision_detail()),
            _ => "Policy decided again and still wants people to decide.".to_owned(),
        },
        Kind::ExecutionStarted => "The grant was claimed, and execution began.".to_owned(),
        Kind::ExecutionFinished => told.outcome(),
        Kind::ClaimRefused => format!("A claim was refused: {}.", words(verdict)),
        Kind::IntakeRefused => format!("A call was refused at the door: {}.", words(verdict)),
        Kind::CapReached => {
            format!(
                "{} reached a cap ({}): {} calls refused.",
                told.who("requester"),
                words(verdict),
                told.text("refused")
            )
        }
        Kind::PersonAdded => format!("{} added the person {}.", told.operator(), told.who("person")),
        Kind::PersonChanged => {
            format!("{} changed {}: {}.", told.operator(), told.who("person"), words(verdict))
        }
        Kind::PersonInvited => {
            format!(
                "{} made a sign-in link for {}; earlier access ended.",
                told.operator(),
                told.who("person")
            )
        }
        Kind::PersonSignedIn => format!("{} signed in on {}.", told.who("person"), told.text("host")),
        Kind::PersonSignedOut => format!("{} signed out.", told.who("person")),
        Kind::SignInRefused => {
            format!("A sign-in link of {} was refused: {}.", told.who("person"), words(verdict))
        }
        Kind::TokenMinted => format!("{} minted an API token of {}.", told.operator(), told.who("person")),
        Kind::TokenRevoked => format!("{} revoked an API token.", told.operator()),
        Kind::AgentAdded => format!("{} added the agent {}.", told.operator(), told.who("agent")),
        Kind::AgentChanged => {
            format!("{} changed the agent {}: {}.", told.operator(), told.who("agent"), words(verdict))
        }
        Kind::PepAdded => format!("{} added the enforcement point {}.", told.operator(), told.who("pep")),
        Kind::PepChanged => {
            format!(
                "{} changed the enforcement point {}: {}.",
                told.operator(),
                told.who("pep"),
                words(verdict)
            )
        }
        Kind::GroupChanged => {
            format!("{} changed the group {}: {}.", told.operator(), told.text("group"), words(verdict))
        }
        Kind::SecretSet => format!("{} set the secret {}.", told.operator(), told.text("secret")),
        Kind::SecretRemoved => format!("{} removed the secret {}.", told.operator(), told.text("secret")),
        Kind::KeyDestroyed => "A key was destroyed: what it protected is gone.".to_owned(),
        Kind::AuditExported => match told.disclosed.get("part").and_then(Value::as_str) {
            Some(part) => format!("{} exported the {} of a request.", told.operator(), visible(part)),
            None => format!("{} exported the evidence of a request.", told.operator()),
        },
    }
}

/// What an entry still tells.
struct Told<'a> {
    verdict: String,
    disclosed: BTreeMap<String, Value>,
    clear: BTreeMap<String, Value>,
    directory: &'a Directory,
}

/// What stands where a disclosure was erased, or never was.
const ERASED: &str = "somebody";

impl<'a> Told<'a> {
    fn of(entry: &StoredEntry, directory: &'a Directory) -> Self {
        let clear = match Value::parse(&entry.bytes) {
            Ok(Value::Object(members)) => members,
            _ => BTreeMap::new(),
        };
        let verdict = clear.get("verdict").and_then(Value::as_str).unwrap_or_default().to_owned();
        let disclosed = entry.disclosures.iter().filter_map(|disclosure| disclosure.open().ok()).collect();
        Told { verdict, disclosed, clear, directory }
    }

    /// A disclosed text or number, visible.
    fn text(&self, name: &str) -> String {
        match self.disclosed.get(name) {
            Some(Value::String(text)) => visible(text),
            Some(Value::Number(number)) => number.as_str().to_owned(),
            _ => "unknown".to_owned(),
        }
    }

    /// The first digits of a digest that stands in clear.
    fn short(&self, name: &str) -> String {
        let digest = self.clear.get(name).and_then(Value::as_str).unwrap_or("unknown");
        visible(digest.get(..12).unwrap_or(digest))
    }

    /// A person or agent by the name that they have now.
    fn who(&self, name: &str) -> String {
        match self.disclosed.get(name).and_then(Value::as_str) {
            None => ERASED.to_owned(),
            Some(id) => name_of(id, self.directory),
        }
    }

    fn operator(&self) -> String {
        match (self.disclosed.get("operator").and_then(Value::as_str), self.disclosed.get("operator_uid")) {
            (Some(id), _) => name_of(id, self.directory),
            (None, Some(Value::Number(uid))) => format!("The operator with uid {}", uid.as_str()),
            _ => "An operator".to_owned(),
        }
    }

    fn vote(&self) -> String {
        let verb = if self.verdict == "deny" { "denied" } else { "approved" };
        let roles = match self.disclosed.get("roles").and_then(Value::as_array) {
            Some(roles) if !roles.is_empty() => {
                let names: Vec<String> = roles.iter().filter_map(Value::as_str).map(visible).collect();
                format!(" as {}", names.join(", "))
            }
            _ => String::new(),
        };
        let own = match self.disclosed.get("self_reviewed") {
            Some(Value::Bool(true)) => ", reviewing what is their own agent's",
            _ => "",
        };
        let reason = match self.disclosed.get("reason").and_then(Value::as_str) {
            Some(reason) => format!(": {}", visible(reason)),
            None => ".".to_owned(),
        };
        format!("{} {verb} it{roles}{own}{reason}", self.who("person"))
    }

    fn decision_detail(&self) -> String {
        let decision = self.disclosed.get("decision").and_then(Value::as_object);
        let detail = decision.and_then(|members| members.get("detail")).and_then(Value::as_str);
        detail.map(|detail| format!(": {}", visible(detail).trim_end_matches('.'))).unwrap_or_default()
    }

    fn outcome(&self) -> String {
        let ended = match self.verdict.as_str() {
            "succeeded" => "It succeeded",
            "failed" => "It failed",
            _ => "Nobody knows how it ended",
        };
        let by = match self.disclosed.get("reported_by").and_then(Value::as_str) {
            Some("agent") => ", by the agent's own word",
            _ => "",
        };
        match self.disclosed.get("summary").and_then(Value::as_str) {
            Some(summary) if !summary.is_empty() => format!("{ended}{by}: {}", visible(summary)),
            _ => format!("{ended}{by}."),
        }
    }
}

/// A stable code as words.
fn words(code: &str) -> String {
    visible(&code.replace('_', " "))
}

fn name_of(id: &str, directory: &Directory) -> String {
    if let Some(person) = PersonId::parse(id).ok().and_then(|id| directory.people.get(&id)) {
        return visible(&person.name);
    }
    if let Some(agent) = AgentId::parse(id).ok().and_then(|id| directory.agents.get(&id)) {
        return visible(&agent.name);
    }
    if let Some(pep) = PepId::parse(id).ok().and_then(|id| directory.peps.get(&id)) {
        return visible(&pep.name);
    }
    visible(id)
}

#[cfg(test)]
mod tests {
    use placet_core::entropy::Entropy;
    use placet_core::entry::{Draft, Place};
    use placet_core::id::EntryId;
    use placet_core::time::Timestamp;

    use super::*;

    struct Zeros;

    impl Entropy for Zeros {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
        }
    }

    fn stored(draft: Draft) -> StoredEntry {
        let sealed = draft.seal(EntryId::from_bytes([0; 16]), &Zeros);
        let place = Place { log: "test", time: Timestamp::EPOCH, previous: None };
        StoredEntry {
            index: 0,
            bytes: sealed.entry(place).unwrap(),
            kind: sealed.draft.kind,
            time: Timestamp::EPOCH,
            request: None,
            disclosures: sealed.disclosures,
        }
    }

    #[test]
    fn a_vote_says_who_as_what_and_why_and_hides_nothing() {
        let vote = Draft::new(Kind::VoteCast)
            .verdict("deny")
            .commit("person", Value::string("Ada\u{202e}"))
            .commit("roles", Value::Array(vec![Value::string("data-owners")]))
            .commit("reason", Value::string("not\ntoday"));
        let mut entry = stored(vote);
        let directory = Directory::default();
        assert_eq!(sentence(&entry, &directory), "Ada\\u{202e} denied it as data-owners: not\\ntoday");
        entry.disclosures.clear();
        assert_eq!(sentence(&entry, &directory), "somebody denied it.");
    }

    #[test]
    fn every_kind_has_a_sentence_even_with_everything_erased() {
        for kind in Kind::ALL {
            let line = sentence(&stored(Draft::new(kind)), &Directory::default());
            assert!(line.len() > 8 && !line.contains('\n'), "{kind:?}: {line}");
        }
    }
}
