//! Why each decision on a request came out as it did: read from its entries, told under the bundle that decided.
//!
//! What held is recorded with the decision, in the disclosures of its entry. It is not evaluated again: people change
//! their groups and the directory keeps no past, so a later evaluation would answer about another world. Only where a
//! policy stands is looked up, in the stored files of the bundle that decided.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use placet_core::c14n::Value;
use placet_core::digest::{BundleDigest, ShortCode};
use placet_core::entry::Kind;
use placet_core::id::RequestId;
use placet_core::time::Timestamp;
use placet_policy::{BundleFiles, Explanation, place_of};
use placet_store::StoredEntry;

use crate::error::CallError;
use crate::{Broker, Seen};

/// A decision of policy, told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ToldDecision {
    /// When.
    pub at: Timestamp,
    /// `intake`, `vote` or `claim`.
    pub occasion: String,
    /// The bundle that decided.
    pub bundle: BundleDigest,
    /// Why; none once the entry's disclosures were erased.
    pub explanation: Option<Explanation>,
    /// Where the policies in it stand, `ask.cedar:12`, by id. placet's own rules stand nowhere.
    pub places: BTreeMap<String, String>,
}

/// Everything about why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The request as it is now.
    pub seen: Seen,
    /// Its decisions, oldest first.
    pub decisions: Vec<ToldDecision>,
    /// What is missing now, guard by guard.
    pub missing: Vec<String>,
}

impl Broker {
    /// Why a request stands where it stands. For operators: it names policies and their text.
    pub async fn explain(&self, id: RequestId) -> Result<Told, CallError> {
        let seen = self.seen(self.stored(id).await?).await?;
        let timeline = self.timeline(id).await?;
        let decisions = self.told(&timeline).await?;
        let open = seen.stored.request.requirement().into_iter().flat_map(|needs| needs.guards.iter());
        let missing = open.filter(|guard| !guard.needs.is_met(&seen.tally));
        let missing = if seen.stored.request.status() == placet_core::request::Status::Pending {
            missing.map(|guard| guard.needs.sentence(&seen.tally)).collect()
        } else {
            Vec::new()
        };
        Ok(Told { seen, decisions, missing })
    }

    /// The request that this code finds.
    pub async fn request_by_code(&self, code: ShortCode) -> Result<RequestId, CallError> {
        let found = self.0.views.request_by_code(code).await?;
        found.map(|stored| stored.request.id).ok_or(CallError::NotFound)
    }

    /// The decisions among these entries.
    pub(crate) async fn told(&self, entries: &[StoredEntry]) -> Result<Vec<ToldDecision>, CallError> {
        let mut bundles: BTreeMap<BundleDigest, BundleFiles> = BTreeMap::new();
        let mut told = Vec::new();
        for entry in entries {
            let occasion = match entry.kind {
                Kind::RequestReceived => "intake".to_owned(),
                Kind::DecisionMade => text(entry, "occasion").unwrap_or_else(|| "again".to_owned()),
                Kind::ExecutionStarted => "claim".to_owned(),
                _ => continue,
            };
            let Some(digest) = bundle_of(entry) else { continue };
            if let Entry::Vacant(unread) = bundles.entry(digest) {
                unread.insert(BundleFiles::new(self.0.views.bundle(digest).await?.unwrap_or_default()));
            }
            let explanation = disclosed(entry, "decision").as_ref().and_then(Explanation::from_record);
            let named = explanation.iter().flat_map(|explanation| {
                let explained = explanation.policies.iter().map(|policy| &policy.policy);
                explanation.because.iter().chain(explained)
            });
            let files = bundles.get(&digest);
            let place = |id: &String| Some((id.clone(), place_of(files?, id)?.to_string()));
            let places = named.filter_map(place).collect();
            told.push(ToldDecision { at: entry.time, occasion, bundle: digest, explanation, places });
        }
        Ok(told)
    }
}

/// The bundle that an entry names in clear.
pub(crate) fn bundle_of(entry: &StoredEntry) -> Option<BundleDigest> {
    let value = Value::parse(&entry.bytes).ok()?;
    BundleDigest::parse(value.as_object()?.get("bundle")?.as_str()?).ok()
}

/// What an entry discloses under a name.
pub(crate) fn disclosed(entry: &StoredEntry, name: &str) -> Option<Value> {
    let opened = entry.disclosures.iter().filter_map(|disclosure| disclosure.open().ok());
    opened.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn text(entry: &StoredEntry, name: &str) -> Option<String> {
    disclosed(entry, name)?.as_str().map(str::to_owned)
}
