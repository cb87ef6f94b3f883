//! Connections that wait for their caller, oldest first. When a listener has no place left, the one that has been silent
//! longest makes room: whoever opens ten thousand connections and says nothing keeps nobody else out.
//!
//! ```text
//!  accepted ──► idle ──head is read──► in a call ──last byte of the answer──► idle ──► …
//!                 └── no place left, and nobody was silent longer: closed
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use tokio::sync::Notify;

use crate::keeping::keeping;

/// The idle connections of one listener. All clones are one.
#[derive(Clone, Default)]
pub(crate) struct Idle(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    next: u64,
    /// By the order in which they fell silent.
    silent: BTreeMap<u64, Arc<Notify>>,
}

/// One connection, which is idle until it has a call.
#[derive(Clone)]
pub(crate) struct Connection(Arc<Inner>);

struct Inner {
    idle: Idle,
    close: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Clone, Copy)]
enum State {
    Silent(u64),
    /// So many calls: one, but for a caller that sends the next before it has read the last.
    Calls(usize),
}

impl Idle {
    /// A connection that was just accepted.
    pub(crate) fn accepted(&self) -> Connection {
        let close = Arc::new(Notify::new());
        let state = Mutex::new(State::Silent(self.insert(&close)));
        Connection(Arc::new(Inner { idle: self.clone(), close, state }))
    }

    /// Closes the connection that has been silent longest; nothing, if none is.
    pub(crate) fn close_oldest(&self) {
        if let Some((_, close)) = self.waiting().silent.pop_first() {
            close.notify_one();
        }
    }

    fn insert(&self, close: &Arc<Notify>) -> u64 {
        let mut waiting = self.waiting();
        let place = waiting.next;
        waiting.next = place.wrapping_add(1);
        waiting.silent.insert(place, Arc::clone(close));
        place
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Ready when it has to make room.
    pub(crate) async fn closed(&self) {
        self.0.close.notified().await;
    }

    /// A call begins; it lasts until what this returns is dropped.
    pub(crate) fn call(&self) -> Call {
        let mut state = self.0.state();
        *state = match *state {
            State::Silent(place) => {
                self.0.idle.waiting().silent.remove(&place);
                State::Calls(1)
            }
            State::Calls(calls) => State::Calls(calls.saturating_add(1)),
        };
        drop(state);
        Call(self.clone())
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let State::Silent(place) = *self.state() {
            self.idle.waiting().silent.remove(&place);
        }
    }
}

/// A call in progress.
pub(crate) struct Call(Connection);

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.0.0.state();
        *state = match *state {
            State::Calls(calls) if calls > 1 => State::Calls(calls - 1),
            State::Calls(_) => State::Silent(self.0.0.idle.insert(&self.0.0.close)),
            silent @ State::Silent(_) => silent,
        };
    }
}

impl Call {
    /// The answer, which ends the call with its last byte, or when its reader has gone.
    pub(crate) fn answered(self, response: Response) -> Response {
        keeping(response, self)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use axum::body::HttpBody as _;
    use axum::response::IntoResponse as _;

    use super::*;

    fn is_closed(connection: &Connection) -> bool {
        pin!(connection.closed()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_is_silent_longest_makes_room_and_nobody_in_a_call() {
        let idle = Idle::default();
        let (first, second, third) = (idle.accepted(), idle.accepted(), idle.accepted());
        let answer = first.call().answered("whole".into_response());
        assert_eq!(answer.body().size_hint().exact(), Some(5), "the answer's length is known as before");
        idle.close_oldest();
        assert_eq!([&first, &second, &third].map(is_closed), [false, true, false]);
        drop(answer);
        // The first fell silent after the third.
        idle.close_oldest();
        assert_eq!([&first, &third].map(is_closed), [false, true]);
        let two = [first.call(), first.call()];
        idle.close_oldest();
        assert!(!is_closed(&first), "in a call");
        drop(two);
        drop([first, second, third]);
        assert!(idle.waiting().silent.is_empty(), "nothing is remembered of who has gone");
        idle.close_oldest();
    }
}
