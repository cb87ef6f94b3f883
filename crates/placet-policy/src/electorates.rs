//! Who may vote as what, found out once for each bundle and state of the directory.
//!
//! Whether a person has a role is a decision of Cedar, about 25 µs each: for fifty people that is more than everything
//! else about a question. It depends on the bundle's rules about votes, on the person, and on what a review tells of a
//! request, and on nothing else, unless a rule reads the clock.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use placet_core::action::ActionName;
use placet_core::decision::RoleName;
use placet_core::id::PersonId;

/// What decides who has a role, beside the bundle and the directory: all that a `Review` tells of a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ElectorateKey {
    pub(crate) action: ActionName,
    pub(crate) sponsor: Option<PersonId>,
    /// The groups that the resource names, in the order of the attributes that roles resolve through.
    pub(crate) groups: Vec<Option<String>>,
    pub(crate) role: RoleName,
}

/// Remembered electorates of one bundle. A copy begins with nothing.
#[derive(Debug, Default)]
pub(crate) struct Electorates {
    known: Mutex<Known>,
    /// A rule about votes reads the clock: what was true a moment ago may not be now.
    forgetful: bool,
}

#[derive(Debug, Default)]
struct Known {
    epoch: u64,
    people: HashMap<ElectorateKey, Arc<BTreeSet<PersonId>>>,
}

/// Actions times sponsors times owners of a large company; each entry is a set of ids.
const KNOWN_MAX: usize = 4096;

impl Electorates {
    /// Remembers nothing.
    pub(crate) fn forgetful() -> Self {
        Electorates { forgetful: true, ..Electorates::default() }
    }

    /// The people of an electorate, asked for anew only if the directory has moved. A directory without an epoch was never
    /// stored, so nothing says whether it is the same one.
    pub(crate) fn of(
        &self,
        epoch: u64,
        key: ElectorateKey,
        ask: impl FnOnce() -> BTreeSet<PersonId>,
    ) -> Arc<BTreeSet<PersonId>> {
        if self.forgetful || epoch == 0 {
            return Arc::new(ask());
        }
        let held = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut known = held();
            if known.epoch != epoch || known.people.len() >= KNOWN_MAX {
                // An older snapshot may come late; it is answered, and the next one begins anew.
                *known = Known { epoch, people: HashMap::new() };
            }
            if let Some(people) = known.people.get(&key) {
                return people.clone();
            }
        }
        // Nobody waits while Cedar is asked.
        let people = Arc::new(ask());
        let mut known = held();
        if known.epoch == epoch {
            known.people.insert(key, people.clone());
        }
        people
    }
}

impl Clone for Electorates {
    fn clone(&self) -> Self {
        Electorates { known: Mutex::default(), forgetful: self.forgetful }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_asked_for_once_an_epoch_and_each_time_without_one() {
        let key = ElectorateKey {
            action: ActionName::parse("data.export").unwrap(),
            sponsor: None,
            groups: Vec::new(),
            role: RoleName::parse("owners").unwrap(),
        };
        let asked = std::cell::Cell::new(0);
        let ask = |electorates: &Electorates, epoch| {
            electorates.of(epoch, key.clone(), || {
                asked.set(asked.get() + 1);
                BTreeSet::new()
            });
            asked.get()
        };
        let electorates = Electorates::default();
        assert_eq!([1, 1, 2, 2, 1, 0, 0].map(|epoch| ask(&electorates, epoch)), [1, 1, 2, 2, 3, 4, 5]);
        let forgetful = Electorates::forgetful();
        assert_eq!([1, 1].map(|epoch| ask(&forgetful, epoch)), [6, 7]);
    }
}
