//! Why a call failed, as its caller has to tell it apart.

use crate::problem::Problem;

/// A call that did not get its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// placet answered that it did not do it. Branch on the problem's code.
    #[error("{} ({})", .0.detail, .0.code)]
    Problem(Box<Problem>),
    /// Nobody answered, or the answer broke off. What was asked may have happened: ask again with the same key.
    #[error("reach placet at {url}: is it running, and is the address right?")]
    Unreachable {
        /// Where.
        url: String,
        /// What the network said.
        #[source]
        source: reqwest::Error,
    },
    /// Something answered that is not placet, or a newer one.
    #[error("read the answer of {url}: {reason}")]
    Unexpected {
        /// Where.
        url: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The address or the token cannot be used.
    #[error("use the address or token: {0}")]
    Configuration(String),
}

impl ClientError {
    /// The problem's code, if placet answered with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// The HTTP status, if placet answered with a problem.
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Problem(problem) => Some(problem.status),
            _ => None,
        }
    }
}
