//! Who an agent is, by the word of the platform that it runs on: signed tokens (JWT, RFC 7519) in place of placet's own.
//!
//! ```text
//! token ─► who says it has issued it ─► that issuer's keys ─► signature ─► for us? still? ─► Workload, which names an agent
//!              one of a short list       kept; fetched anew
//!                                        for a key not known
//! ```
//!
//! The rules are those of RFC 8725 and, for access tokens, RFC 9068: only algorithms with a public key, keys only from where
//! the issuer itself says they are, the audience is the address that was called. A token that speaks of more than placet
//! looks at, of a key that its holder has to prove or of somebody behind its subject, is refused, not taken for less.

mod fetch;
mod issuer;
mod token;

use placet_core::directory::Workload;
use placet_core::time::Timestamp;

pub use self::issuer::{Issuer, IssuerError};
pub use self::token::Refused;

/// Tokens of workloads, as far as their issuers are trusted here.
#[derive(Debug)]
pub struct WorkloadTokens {
    issuers: Vec<Issuer>,
}

impl WorkloadTokens {
    /// The tokens of these issuers, and of nobody else.
    pub fn new(issuers: Vec<Issuer>) -> Self {
        WorkloadTokens { issuers }
    }

    /// Whether a bearer token may be one of these at all, and not one of placet's.
    pub fn is_one(bearer: &str) -> bool {
        bearer.bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Those whose tokens are read.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Whose token this is. It has to be issued for one of these audiences, and now.
    pub async fn verified(
        &self,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Workload, Refused> {
        let read = token::Token::read(token)?;
        let issuer =
            self.issuers.iter().find(|issuer| issuer.name() == read.issuer()).ok_or(Refused::Issuer)?;
        let unread = |why| Refused::Keys(issuer.name().to_owned(), why);
        let keys = issuer.keys(read.key()).await.map_err(unread)?;
        let verified = match read.verified(&keys) {
            Err(Refused::Signature) => match issuer.other_keys(&keys).await.map_err(unread)? {
                Some(others) => read.verified(&others),
                None => Err(Refused::Signature),
            },
            verified => verified,
        };
        verified?.for_us(audiences, now)
    }
}
