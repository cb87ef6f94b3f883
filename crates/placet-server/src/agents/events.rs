//! A request's transitions as they happen, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use placet_broker::intake::Caller;
use placet_core::id::RequestId;
use tokio::time::Instant;

use crate::agents::requests::request_id;
use crate::app::App;
use crate::document;
use crate::failure::Outcome;
use crate::openapi::{AgentsProblems, ServerSentEvent};
use crate::query::{Query, whole};

/// After this long a stream ends, and its reader comes back with its credential.
pub(crate) const STREAM_LIFE: Duration = Duration::from_secs(600);
/// How often a silent stream says that it is there.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long one look at the request waits; any change ends it at once.
const LOOK: Duration = Duration::from_secs(50);

/// Follow a request.
///
/// One `request` event for the present state, then one a transition; its `id` is the request's version, its data the
/// request. The stream ends after the final state, and every ten minutes: come back with `Last-Event-ID`.
#[utoipa::path(
    get,
    path = "/v1/requests/{id}/events",
    tag = "requests",
    params(
        ("id" = String, Path, description = "The request's id"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The version that you know"),
    ),
    responses((status = 200, description = "Events", content_type = "text/event-stream", body = ServerSentEvent), AgentsProblems),
)]
pub(crate) async fn follow(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Outcome<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let id = request_id(&id)?;
    Query::of(&uri)?.end()?;
    // Whoever may not read it gets a problem, not an empty stream.
    app.broker.request_of(&caller, id).await?;
    let known = headers.get("last-event-id").and_then(|value| value.to_str().ok()).and_then(whole);
    let follower =
        Follower { app, caller, id, known: known.unwrap_or(0), until: Instant::now() + STREAM_LIFE };
    let events = unfold(Some(follower), |follower| async { next_event(follower?).await });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Follower {
    app: App,
    caller: Caller,
    id: RequestId,
    known: u64,
    until: Instant,
}

/// The next transition, and what follows it; nothing once there is nothing more to come.
async fn next_event(mut follower: Follower) -> Option<(Result<Event, Infallible>, Option<Follower>)> {
    loop {
        let Follower { app, caller, id, known, until } = &follower;
        let seen = tokio::select! {
            seen = app.broker.wait_of(caller, *id, Some(*known), LOOK) => seen,
            () = tokio::time::sleep_until(*until) => return None,
            () = app.stopped() => return None,
        };
        // A failing store ends the stream: its reader comes back and is told then.
        let seen = seen.ok()?;
        let request = &seen.stored.request;
        let open = request.status().is_open();
        if request.version <= *known {
            if open {
                continue;
            }
            return None;
        }
        let event = Event::default().event("request").id(request.version.to_string());
        let event = event.json_data(document::request(app, &seen)).ok()?;
        follower.known = request.version;
        return Some((Ok(event), open.then_some(follower)));
    }
}
