//! What can be asked about requests: "who exported which dataset on Tuesday afternoon".
//!
//! The store keeps an index for such questions, written in the transaction of the entries that it is over. What is
//! personal in it stands there as a keyed token only. It can be made anew from the entries at any time, and be compared.

use placet_core::action::{ActionName, Principal, ResourceRef};
use placet_core::entry::Kind;
use placet_core::id::{PersonId, RequestId};
use placet_core::request::Status;
use placet_core::review::Verdict;
use placet_core::time::Timestamp;

use crate::StoredRequest;

/// What to look for among requests, newest first. Everything that is said has to fit.
#[derive(Clone, Debug, Default)]
pub struct SearchFilter {
    /// Only this action.
    pub action: Option<ActionName>,
    /// Only what one of these asked, or what was asked on behalf of one of them; anybody if empty.
    pub by: Vec<Principal>,
    /// Only on this resource.
    pub resource: Option<ResourceRef>,
    /// Only what one of these voted on; anybody or nobody if empty.
    pub reviewers: Vec<PersonId>,
    /// Only what got such a vote; with `reviewers`, from one of them.
    pub verdict: Option<Verdict>,
    /// Only in these states now; all if empty.
    pub statuses: Vec<Status>,
    /// Only this one.
    pub request: Option<RequestId>,
    /// What has to have happened between `from` and `to`.
    pub happened: Happened,
    /// At or after this time.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// Only older ones than this: the `next` of the previous page.
    pub before: Option<RequestId>,
    /// At most so many; the store caps it at [`PAGE_MAX`](crate::PAGE_MAX).
    pub limit: usize,
}

/// What has to have happened to a request in the time that is asked about. What anybody can repeat (an attached call, a
/// refused claim or vote) counts for none of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Happened {
    /// Any step of its life.
    #[default]
    Anything,
    /// It was asked.
    Asked,
    /// Somebody voted.
    Voted,
    /// Its execution began.
    Started,
    /// It came to its end.
    Ended,
}

impl Happened {
    /// All of them.
    pub const ALL: [Happened; 5] =
        [Happened::Anything, Happened::Asked, Happened::Voted, Happened::Started, Happened::Ended];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Happened::Anything => "anything",
            Happened::Asked => "asked",
            Happened::Voted => "voted",
            Happened::Started => "started",
            Happened::Ended => "ended",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        Happened::ALL.into_iter().find(|happened| happened.as_str() == text)
    }

    /// The kinds of entries that say so.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Happened::Anything => &STEPS,
            Happened::Asked => &[Kind::RequestReceived],
            Happened::Voted => &[Kind::VoteCast],
            Happened::Started => &[Kind::ExecutionStarted],
            Happened::Ended => &[
                Kind::ExecutionFinished,
                Kind::RequestExpired,
                Kind::RequestCancelled,
                Kind::RequestLapsed,
                Kind::RequestRefusedLater,
            ],
        }
    }
}

/// The steps of a request's life. Not among them is what may come long after its end.
pub(crate) const STEPS: [Kind; 9] = [
    Kind::RequestReceived,
    Kind::VoteCast,
    Kind::DecisionMade,
    Kind::ExecutionStarted,
    Kind::ExecutionFinished,
    Kind::RequestExpired,
    Kind::RequestCancelled,
    Kind::RequestLapsed,
    Kind::RequestRefusedLater,
];

/// A request that was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// As it is stored.
    Whole(Box<StoredRequest>),
    /// Its key was destroyed: this is what stands in clear.
    Erased {
        /// Which.
        request: RequestId,
        /// Where it stands.
        status: Status,
        /// When it came.
        created_at: Timestamp,
        /// When it last changed.
        updated_at: Timestamp,
        /// Indices of its ledger entries, ascending.
        entries: Vec<u64>,
    },
}

impl Found {
    /// Which request.
    pub fn id(&self) -> RequestId {
        match self {
            Found::Whole(stored) => stored.request.id,
            Found::Erased { request, .. } => *request,
        }
    }
}

/// A page of what was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SearchPage {
    /// The requests, newest first.
    pub found: Vec<Found>,
    /// Where to go on; none at the end. A page may hold fewer than the limit and still not be the last: a search looks at
    /// a bounded number of requests at a time.
    pub next: Option<RequestId>,
}

/// What came of making the index anew, and of comparing it with the one that was there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reindexed {
    /// How many entries there were when it began.
    pub entries: u64,
    /// How many entries about requests have nothing to disclose any more: their keys were destroyed.
    pub erased: u64,
    /// How many facts the index holds.
    pub facts: u64,
    /// How many facts the old index lacked.
    pub missing: u64,
    /// How many facts the old index had that no entry tells, or tells any more.
    pub surplus: u64,
}

impl Reindexed {
    /// Whether the old index said exactly what the entries say.
    pub fn was_equal(&self) -> bool {
        self.missing == 0 && self.surplus == 0
    }
}
