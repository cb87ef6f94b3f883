//! A hint that something changed, without a word about what: whoever gets it reads again.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use placet_store::Change;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::agents::events::{KEEP_ALIVE, STREAM_LIFE};
use crate::app::App;
use crate::openapi::{ReviewersProblems, ServerSentEvent};

/// Changes in this time after a hint are covered by it: a storm of votes is not a storm of reads.
const QUIET: Duration = Duration::from_millis(250);

/// Hints that a review may have changed.
///
/// Each `changed` event says nothing but that: read again what you show. The stream ends every ten minutes.
#[utoipa::path(
    get,
    path = "/v1/reviews/events",
    tag = "reviews",
    responses((status = 200, description = "Hints", content_type = "text/event-stream", body = ServerSentEvent), ReviewersProblems),
)]
pub(crate) async fn hints(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = app.broker.hints();
    let listener = Listener { app, changes, until: Instant::now() + STREAM_LIFE, hinted: None };
    let events = unfold(listener, |listener| async { listener.next().await });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

struct Listener {
    app: App,
    changes: Receiver<Change>,
    until: Instant,
    hinted: Option<Instant>,
}

impl Listener {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = tokio::time::sleep_until(self.until) => return None,
                () = self.app.stopped() => return None,
            };
            match change {
                Ok(change) if change.request.is_none() => continue,
                Ok(_) | Err(RecvError::Lagged(_)) => break,
                Err(RecvError::Closed) => return None,
            }
        }
        if let Some(hinted) = self.hinted {
            tokio::time::sleep_until(hinted + QUIET).await;
            self.changes = self.changes.resubscribe();
        }
        self.hinted = Some(Instant::now());
        Some((Ok(Event::default().event("changed").data("{}")), self))
    }
}
