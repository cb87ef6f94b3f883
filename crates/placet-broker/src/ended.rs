//! What is remembered of sessions and tokens that ended before their time: whoever tries to vote with one leaves an entry.
//!
//! A stolen or stale session that still tries to approve something is worth knowing of. It opens nothing: the door has
//! said no before this is asked.

use placet_core::digest::ShortCode;
use placet_core::id::RequestId;
use placet_core::request::Request;
use placet_store::Transition;

use crate::access::{PERSON_PREFIX, SESSION_PREFIX, hash_of};
use crate::error::CallError;
use crate::{Broker, drafts};

impl Broker {
    /// Records that somebody tried to vote on a review, named by id or short code, with a credential that opens nothing.
    /// Only one that a person had until it was ended is worth an entry, and at most one entry a minute.
    pub async fn note_ended_vote(
        &self,
        credential: &str,
        review: &str,
        channel: &'static str,
    ) -> Result<(), CallError> {
        let hash = hash_of(credential, SESSION_PREFIX).or_else(|_| hash_of(credential, PERSON_PREFIX));
        let Ok(hash) = hash else { return Ok(()) };
        let Some(ended) = self.0.views.ended_access(hash).await? else { return Ok(()) };
        let Some(request) = self.named(review).await? else { return Ok(()) };
        let Some(refused) = self.0.limiter.ended_vote_refused(hash, self.now()) else { return Ok(()) };
        let active = self.directory().await?.active_person(ended.person).is_some();
        let code = if active { "access_ended" } else { "person_disabled" };
        let entry = self.seal(drafts::ended_vote_refused(&request, &ended, code, channel, refused));
        self.commit_once(Transition { entries: vec![entry], ..Transition::default() }).await.map(drop)
    }

    async fn named(&self, review: &str) -> Result<Option<Request>, CallError> {
        let stored = match (RequestId::parse(review), ShortCode::parse(review)) {
            (Ok(id), _) => self.0.views.request(id).await?,
            (Err(_), Ok(code)) => self.0.views.request_by_code(code).await?,
            (Err(_), Err(_)) => None,
        };
        Ok(stored.map(|stored| stored.request))
    }
}
