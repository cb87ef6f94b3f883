//! What every handler needs: the broker, and what the operator configured about the doors.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use placet_api::request::RequestDocument;
use placet_broker::{Broker, CallError, Seen};
use placet_core::entropy::Entropy;
use placet_core::request::Request;
use placet_core::time::Timestamp;
use placet_store::Views;
use tokio::sync::watch;

use crate::backups::Backups;
use crate::gate::{Gate, PublicUrl};
use crate::metrics::Metrics;
use crate::overview::Kept;
use crate::resource::Resource;
use crate::seats::Seats;

/// What the doors are made of.
pub struct Parts {
    /// The use cases.
    pub broker: Broker,
    /// The reading side of the store, for counts.
    pub views: Arc<dyn Views>,
    /// Chance, for the ids of calls.
    pub entropy: Arc<dyn Entropy>,
    /// Where people reach the reviewers' door.
    pub reviewers_url: PublicUrl,
    /// Whether anybody may read the ledger's files without a session.
    pub ledger_public: bool,
    /// Becomes true when the process drains: streams and waits end early then.
    pub stop: watch::Receiver<bool>,
}

/// What every handler needs. Cheap to clone; all clones share what they hold.
#[derive(Clone)]
pub struct App {
    pub(crate) broker: Broker,
    pub(crate) views: Arc<dyn Views>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) reviewers_url: Arc<PublicUrl>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger_public: bool,
    pub(crate) metrics: Arc<Metrics>,
    /// The agents' open calls.
    pub(crate) seats: Seats,
    /// The newest overviews.
    pub(crate) overviews: Arc<Kept>,
    /// Where agents reach the tools of MCP servers, if they do.
    pub(crate) resource: Option<Arc<Resource>>,
    /// Who takes backups, if anybody does.
    pub(crate) backups: Option<Arc<dyn Backups>>,
    stop: watch::Receiver<bool>,
    /// When the last entry about a credential at the wrong door was written: at the agents', at the reviewers'.
    wrong_door: Arc<[Mutex<Option<Timestamp>>; 2]>,
}

/// One of the two doors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Door {
    Agents,
    Reviewers,
}

/// An entry about credentials at the wrong door is written at most so often: whoever holds one could fill the ledger.
const WRONG_DOOR_EVERY: Duration = Duration::from_secs(60);

impl App {
    /// Puts the doors together.
    pub fn new(parts: Parts) -> Self {
        App {
            gate: Arc::new(Gate::new(&parts.reviewers_url)),
            broker: parts.broker,
            views: parts.views,
            entropy: parts.entropy,
            reviewers_url: Arc::new(parts.reviewers_url),
            ledger_public: parts.ledger_public,
            metrics: Arc::new(Metrics::new()),
            seats: Seats::default(),
            overviews: Arc::default(),
            resource: None,
            backups: None,
            stop: parts.stop,
            wrong_door: Arc::new([Mutex::new(None), Mutex::new(None)]),
        }
    }

    /// It, as a protected resource of OAuth for the tools that agents reach there.
    #[must_use]
    pub fn with_resource(mut self, resource: Resource) -> Self {
        self.resource = Some(Arc::new(resource));
        self
    }

    /// It, with somebody who takes backups when the admin socket asks.
    #[must_use]
    pub fn with_backups(mut self, backups: Arc<dyn Backups>) -> Self {
        self.backups = Some(backups);
        self
    }

    /// A request as it is written for its requester.
    pub fn request_document(&self, seen: &Seen) -> RequestDocument {
        crate::document::request(self, seen)
    }

    /// Where people review this request.
    pub(crate) fn review_url(&self, request: &Request) -> String {
        format!("{}/r/{}", self.reviewers_url, request.short_code)
    }

    /// Ends when the process drains.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // A closed channel means that nobody will ever stop us: wait for ever.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the process drains.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Remembers that a credential of one door was shown at the other, which nobody does by chance twice.
    pub(crate) async fn note_wrong_door(&self, at: Door, whose: &str) -> Result<(), CallError> {
        let now = self.broker.now();
        let [at_agents, at_reviewers] = self.wrong_door.as_ref();
        let slot = match at {
            Door::Agents => at_agents,
            Door::Reviewers => at_reviewers,
        };
        {
            let mut last = slot.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|last| now.since(last) < WRONG_DOOR_EVERY) {
                return Ok(());
            }
            *last = Some(now);
        }
        self.broker.record_refused_call("wrong_door", whose).await
    }
}
