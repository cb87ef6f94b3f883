//! How many calls of one credential may be open at a time.
//!
//! A call that waits, follows events, uploads or reads output holds a connection for as long as its caller likes. Without
//! a bound one agent could hold all of them, and nobody else would be served.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::response::Response;
use placet_core::action::Principal;
use placet_core::id::PepId;

use crate::keeping::keeping;

/// Enough to follow every request that may be pending, several times over; a small part of all connections.
const OPEN_MAX: usize = 256;

/// The calls that are open, by whose they are. All clones are one.
#[derive(Clone, Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<Holder, usize>>>);

/// Whose call it is. An enforcement point's calls for an agent are that agent's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Principal(Principal),
    Pep(PepId),
}

impl From<Principal> for Holder {
    fn from(principal: Principal) -> Self {
        Holder::Principal(principal)
    }
}

impl From<PepId> for Holder {
    fn from(pep: PepId) -> Self {
        Holder::Pep(pep)
    }
}

/// A place among a credential's open calls, until it is dropped.
pub(crate) struct Seat {
    seats: Seats,
    whose: Holder,
}

impl Seats {
    /// A place, if there is one left.
    pub(crate) fn take(&self, whose: impl Into<Holder>) -> Option<Seat> {
        let whose = whose.into();
        let mut open = self.open();
        let taken = open.entry(whose).or_default();
        if *taken >= OPEN_MAX {
            return None;
        }
        *taken += 1;
        Some(Seat { seats: self.clone(), whose })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Holder, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.seats.open();
        if let Some(taken) = open.get_mut(&self.whose) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                open.remove(&self.whose);
            }
        }
    }
}

impl Seat {
    /// The answer, with the place held until the last byte of it is sent or its reader has gone.
    pub(crate) fn held_by(self, response: Response) -> Response {
        keeping(response, self)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::HttpBody as _;
    use axum::response::IntoResponse;
    use placet_core::id::AgentId;

    use super::*;

    fn agent(number: u8) -> Principal {
        Principal::Agent(AgentId::from_bytes([number; 16]))
    }

    #[test]
    fn one_credential_cannot_take_every_place() {
        let seats = Seats::default();
        let mut held: Vec<Seat> = (0..OPEN_MAX).map(|_| seats.take(agent(1)).unwrap()).collect();
        assert!(seats.take(agent(1)).is_none());
        assert!(seats.take(agent(2)).is_some(), "others are not in its way");
        held.pop();
        let answer = seats.take(agent(1)).unwrap().held_by("whole".into_response());
        assert_eq!(answer.body().size_hint().exact(), Some(5), "the answer's length is known as before");
        assert!(seats.take(agent(1)).is_none(), "an answer that is being sent is an open call");
        drop(answer);
        assert!(seats.take(agent(1)).is_some());
        drop(held);
        assert!(seats.open().is_empty(), "nothing is remembered of who has gone");
    }
}
