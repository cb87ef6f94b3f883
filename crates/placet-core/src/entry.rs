//! Ledger entries: a typed draft for each kind of thing that happens.
//!
//! An entry is JSON of at most 65,535 bytes. In clear it says what completeness checks need and nothing personal; all
//! else is a salted commitment in the form of [RFC 9901](https://www.rfc-editor.org/rfc/rfc9901) §4.2, whose disclosure
//! is kept outside the tree under a key that can be destroyed.
//!
//! ```text
//! Draft ──fields, salts──► Sealed { clear, commitments, disclosures } ──index, time, previous──► entry bytes ──► leaf
//!  (broker)                 (broker)                                     (the store's writer)
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::action::ActionName;
use crate::c14n::{Bounds, DEPTH_MAX, Value};
use crate::digest::BundleDigest;
use crate::entropy::Entropy;
use crate::id::{EntryId, RequestId};
use crate::time::Timestamp;

/// How many bytes an entry may have: C2SP entry bundles count in 16 bits.
pub const ENTRY_BYTES_MAX: usize = 65_535;

/// What happened, as a closed vocabulary.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each is its own word: see `Kind::as_str`")]
pub enum Kind {
    LogOpened,
    LogRestored,
    BackupTaken,
    BundleStaged,
    BundleActivated,
    RequestReceived,
    RequestAttached,
    RequestRefusedLater,
    RequestExpired,
    RequestCancelled,
    RequestLapsed,
    RequestResolved,
    VoteCast,
    VoteRefused,
    DecisionMade,
    ExecutionStarted,
    ExecutionFinished,
    ClaimRefused,
    IntakeRefused,
    CapReached,
    PersonAdded,
    PersonChanged,
    PersonInvited,
    PersonSignedIn,
    PersonSignedOut,
    SignInRefused,
    TokenMinted,
    TokenRevoked,
    AgentAdded,
    AgentChanged,
    PepAdded,
    PepChanged,
    GroupChanged,
    SecretSet,
    SecretRemoved,
    KeyDestroyed,
    AuditExported,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 37] = [
        Kind::LogOpened,
        Kind::LogRestored,
        Kind::BackupTaken,
        Kind::BundleStaged,
        Kind::BundleActivated,
        Kind::RequestReceived,
        Kind::RequestAttached,
        Kind::RequestRefusedLater,
        Kind::RequestExpired,
        Kind::RequestCancelled,
        Kind::RequestLapsed,
        Kind::RequestResolved,
        Kind::VoteCast,
        Kind::VoteRefused,
        Kind::DecisionMade,
        Kind::ExecutionStarted,
        Kind::ExecutionFinished,
        Kind::ClaimRefused,
        Kind::IntakeRefused,
        Kind::CapReached,
        Kind::PersonAdded,
        Kind::PersonChanged,
        Kind::PersonInvited,
        Kind::PersonSignedIn,
        Kind::PersonSignedOut,
        Kind::SignInRefused,
        Kind::TokenMinted,
        Kind::TokenRevoked,
        Kind::AgentAdded,
        Kind::AgentChanged,
        Kind::PepAdded,
        Kind::PepChanged,
        Kind::GroupChanged,
        Kind::SecretSet,
        Kind::SecretRemoved,
        Kind::KeyDestroyed,
        Kind::AuditExported,
    ];

    /// The word in the entry.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::LogOpened => "log.opened",
            Kind::LogRestored => "log.restored",
            Kind::BackupTaken => "backup.taken",
            Kind::BundleStaged => "bundle.staged",
            Kind::BundleActivated => "bundle.activated",
            Kind::RequestReceived => "request.received",
            Kind::RequestAttached => "request.attached",
            Kind::RequestRefusedLater => "request.refused",
            Kind::RequestExpired => "request.expired",
            Kind::RequestCancelled => "request.cancelled",
            Kind::RequestLapsed => "request.lapsed",
            Kind::RequestResolved => "request.resolved",
            Kind::VoteCast => "vote.cast",
            Kind::VoteRefused => "vote.refused",
            Kind::DecisionMade => "decision.made",
            Kind::ExecutionStarted => "execution.started",
            Kind::ExecutionFinished => "execution.finished",
            Kind::ClaimRefused => "claim.refused",
            Kind::IntakeRefused => "intake.refused",
            Kind::CapReached => "cap.reached",
            Kind::PersonAdded => "person.added",
            Kind::PersonChanged => "person.changed",
            Kind::PersonInvited => "person.invited",
            Kind::PersonSignedIn => "person.signed_in",
            Kind::PersonSignedOut => "person.signed_out",
            Kind::SignInRefused => "sign_in.refused",
            Kind::TokenMinted => "token.minted",
            Kind::TokenRevoked => "token.revoked",
            Kind::AgentAdded => "agent.added",
            Kind::AgentChanged => "agent.changed",
            Kind::PepAdded => "pep.added",
            Kind::PepChanged => "pep.changed",
            Kind::GroupChanged => "group.changed",
            Kind::SecretSet => "secret.set",
            Kind::SecretRemoved => "secret.removed",
            Kind::KeyDestroyed => "key.destroyed",
            Kind::AuditExported => "audit.exported",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A draft: what happened, in typed parts. Broker makes one with a constructor for each kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// What happened.
    pub kind: Kind,
    /// The action's name, where there is one. Names are policy's vocabulary, not personal.
    pub action: Option<ActionName>,
    /// The verdict word, where there is one: `permit`, `forbid`, `ask`, `approve`, `deny`, an outcome or a code.
    pub verdict: Option<&'static str>,
    /// The bundle it was decided under.
    pub bundle: Option<BundleDigest>,
    /// The request it belongs to.
    pub request: Option<RequestId>,
    /// What is committed to, by name; disclosed only to those who may see it.
    pub committed: Vec<(&'static str, Value)>,
}

impl Draft {
    /// A draft of this kind with nothing in it yet.
    pub fn new(kind: Kind) -> Self {
        Draft { kind, action: None, verdict: None, bundle: None, request: None, committed: Vec::new() }
    }

    /// It, about this request.
    #[must_use]
    pub fn about(mut self, request: &crate::request::Request) -> Self {
        self.request = Some(request.id);
        self.action = Some(request.action.action.clone());
        self
    }

    /// It, with this verdict word.
    #[must_use]
    pub fn verdict(mut self, verdict: &'static str) -> Self {
        self.verdict = Some(verdict);
        self
    }

    /// It, decided under this bundle.
    #[must_use]
    pub fn under(mut self, bundle: BundleDigest) -> Self {
        self.bundle = Some(bundle);
        self
    }

    /// It, with one more commitment.
    #[must_use]
    pub fn commit(mut self, name: &'static str, value: Value) -> Self {
        self.committed.push((name, value));
        self
    }

    /// Salts and hashes the commitments. The disclosures are what has to be kept, outside the tree.
    pub fn seal(self, id: EntryId, entropy: &dyn Entropy) -> Sealed {
        let mut disclosures = Vec::with_capacity(self.committed.len());
        let mut commitments = Vec::with_capacity(self.committed.len());
        // One draw for all: the operating system is asked once for an entry, not once for each of its values.
        let mut salts = vec![[0; 16]; self.committed.len()];
        entropy.fill(salts.as_flattened_mut());
        for ((name, value), salt) in self.committed.iter().zip(&salts) {
            let disclosure = Disclosure::new(salt, name, value);
            commitments.push(disclosure.commitment());
            disclosures.push(disclosure);
        }
        // Sorted, so that the order tells nothing about which is which.
        commitments.sort();
        Sealed { id, draft: self, commitments, disclosures }
    }
}

/// One disclosure: base64url of the JSON array `[salt, name, value]`, hashed exactly as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Disclosure(String);

/// How many bytes a disclosure's JSON may have. What is committed to may itself be a text of 1 MiB, and escaping it a
/// second time makes it longer by at most six.
const DISCLOSURE_JSON_MAX: usize = 8 * crate::c14n::SIZE_MAX;

/// The text is not a disclosure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a disclosure: expected base64url of [salt, name, value]")]
pub struct DisclosureError;

impl Disclosure {
    fn new(salt: &[u8; 16], name: &str, value: &Value) -> Self {
        let mut array = String::from("[\"");
        URL_SAFE_NO_PAD.encode_string(salt, &mut array);
        array.push_str("\",");
        Value::string(name).write(&mut array);
        array.push(',');
        value.write(&mut array);
        array.push(']');
        Disclosure(URL_SAFE_NO_PAD.encode(array))
    }

    /// Takes a stored disclosure.
    pub fn from_stored(text: impl Into<String>) -> Self {
        Disclosure(text.into())
    }

    /// As it is stored and hashed.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// base64url of the SHA-256 of its text: what stands in the entry.
    pub fn commitment(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.0.as_bytes()))
    }

    /// What it discloses.
    pub fn open(&self) -> Result<(String, Value), DisclosureError> {
        let json = URL_SAFE_NO_PAD.decode(&self.0).map_err(|_| DisclosureError)?;
        // The array around the value is one level more than the value may have.
        let bounds = Bounds { size: DISCLOSURE_JSON_MAX, depth: DEPTH_MAX + 1, values: DISCLOSURE_JSON_MAX };
        match Value::parse_within(&json, bounds) {
            Ok(Value::Array(parts)) => match <[Value; 3]>::try_from(parts) {
                Ok([Value::String(_), Value::String(name), value]) => Ok((name, value)),
                _ => Err(DisclosureError),
            },
            _ => Err(DisclosureError),
        }
    }
}

/// A draft whose commitments are made. The store's writer adds where and when it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The entry's own id.
    pub id: EntryId,
    /// What happened.
    pub draft: Draft,
    /// The commitments, sorted.
    pub commitments: Vec<String>,
    /// What they commit to.
    pub disclosures: Vec<Disclosure>,
}

/// Where and when an entry stands, known only to the writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The log's origin.
    pub log: &'a str,
    /// When; never before the entry in front of it.
    pub time: Timestamp,
    /// Index of the previous entry of the same request.
    pub previous: Option<u64>,
}

/// An entry would have more bytes than entry bundles can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a ledger entry: it has {0} bytes, and at most 65535 fit")]
pub struct EntryTooLarge(pub usize);

impl Sealed {
    /// The entry's exact bytes, which the ledger hashes.
    pub fn entry(&self, place: Place<'_>) -> Result<Vec<u8>, EntryTooLarge> {
        let text = |text: &str| Value::string(text);
        let mut members = vec![
            ("v", Value::integer(1)),
            ("log", text(place.log)),
            ("id", text(&self.id.to_string())),
            ("time", text(&place.time.to_string())),
            ("kind", text(self.draft.kind.as_str())),
        ];
        members.extend(self.draft.action.as_ref().map(|action| ("action", text(action.as_str()))));
        members.extend(self.draft.verdict.map(|verdict| ("verdict", text(verdict))));
        members.extend(self.draft.bundle.map(|bundle| ("bundle", text(&bundle.to_string()))));
        members.extend(self.draft.request.map(|request| ("request", text(&request.to_string()))));
        let previous = place.previous.and_then(|index| i64::try_from(index).ok());
        members.extend(previous.map(|index| ("ref", Value::integer(index))));
        if !self.commitments.is_empty() {
            members.push(("_sd", Value::Array(self.commitments.iter().map(|sd| text(sd)).collect())));
            members.push(("_sd_alg", text("sha-256")));
        }
        let bytes = Value::object(members).canonical().into_bytes();
        if bytes.len() > ENTRY_BYTES_MAX { Err(EntryTooLarge(bytes.len())) } else { Ok(bytes) }
    }
}
