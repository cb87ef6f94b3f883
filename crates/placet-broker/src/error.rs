//! What a use case answers when it does not do what was asked.

use std::time::Duration;

use placet_core::id::RequestId;
use placet_core::request::Rejection;
use placet_core::review::VoteRefusal;
use placet_store::{CommitError, Requires, ViewError};

/// Why a call was not carried out. The doors turn it into their own words; the codes are stable.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// No credential, or one that opens nothing here.
    #[error("authenticate: this credential opens nothing here")]
    Unauthenticated,
    /// Not there, or not the caller's to know of.
    #[error("find it: there is nothing of that name here")]
    NotFound,
    /// The caller may know of it and may not do this.
    #[error("{message}")]
    Forbidden {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
    },
    /// It does not fit what happened before.
    #[error("{message}")]
    Conflict {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
        /// The request that it does not fit.
        request: Option<RequestId>,
    },
    /// The call itself is wrong.
    #[error("{message}")]
    Invalid {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
        /// JSON pointer to what is wrong.
        pointer: Option<String>,
    },
    /// Too often.
    #[error("{message}")]
    TooMany {
        /// Stable.
        code: &'static str,
        /// For people.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// placet cannot write or read now, so it does nothing.
    #[error("use the store: {0}")]
    Unavailable(String),
    /// The store has stopped, and with it placet, until it is restarted. Whether this was written is known then.
    #[error("use the store: it has stopped: {0}")]
    Stopped(String),
    /// Our bug. The text is for the log only.
    #[error("internal: {0}")]
    Internal(String),
}

impl CallError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            CallError::Unauthenticated => "unauthenticated",
            CallError::NotFound => "not_found",
            CallError::Forbidden { code, .. }
            | CallError::Conflict { code, .. }
            | CallError::Invalid { code, .. }
            | CallError::TooMany { code, .. } => code,
            CallError::Unavailable(_) => "unavailable",
            CallError::Stopped(_) => "stopped",
            CallError::Internal(_) => "internal",
        }
    }

    pub(crate) fn forbidden(code: &'static str, message: impl Into<String>) -> Self {
        CallError::Forbidden { code, message: message.into() }
    }

    pub(crate) fn conflict(code: &'static str, message: impl Into<String>, request: RequestId) -> Self {
        CallError::Conflict { code, message: message.into(), request: Some(request) }
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>, pointer: &str) -> Self {
        CallError::Invalid { code, message: message.into(), pointer: Some(pointer.to_owned()) }
    }
}

impl From<ViewError> for CallError {
    fn from(error: ViewError) -> Self {
        match error {
            ViewError::Corrupt { .. } => CallError::Internal(error.to_string()),
            ViewError::Unavailable(_) => CallError::Unavailable(error.to_string()),
            ViewError::Stopped(why) => CallError::Stopped(why),
        }
    }
}

/// How one attempt at a transition ended without being written.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// What it read has moved: read again.
    Stale(String),
    /// It cannot be done.
    Failed(CallError),
}

impl From<CallError> for Attempt {
    fn from(error: CallError) -> Self {
        Attempt::Failed(error)
    }
}

impl From<ViewError> for Attempt {
    fn from(error: ViewError) -> Self {
        Attempt::Failed(error.into())
    }
}

impl From<CommitError> for Attempt {
    fn from(error: CommitError) -> Self {
        match error {
            // Deciding again does not turn the clock forward.
            CommitError::Stale(what) if what == Requires::SteadyClock.as_str() => {
                let why =
                    "the machine's clock is behind the last entry, so nothing is granted or claimed: set it";
                Attempt::Failed(CallError::Unavailable(why.to_owned()))
            }
            CommitError::Stale(what) => Attempt::Stale(what),
            // Whatever a caller can make too large was refused at the border.
            CommitError::Refused(why) => Attempt::Failed(CallError::Internal(why)),
            CommitError::Unavailable(why) => Attempt::Failed(CallError::Unavailable(why)),
            CommitError::Stopped(why) => Attempt::Failed(CallError::Stopped(why)),
        }
    }
}

/// What a caller is told when a precondition kept moving, or will not hold whatever is decided.
pub(crate) fn moved(what: &str) -> CallError {
    let conflict = |code, message: String| CallError::Conflict { code, message, request: None };
    match what {
        "before" => conflict("late", format!("{}.", Rejection::TooLate)),
        "pending_below" => CallError::TooMany {
            code: "pending_cap",
            message: "Too many of your requests wait for people already.".to_owned(),
            retry_after: Duration::from_secs(30),
        },
        _ => conflict(
            "moved",
            format!("What this was decided on keeps changing ({what}); nothing was done. Try again."),
        ),
    }
}

/// A rejected transition, in the words of the caller.
pub(crate) fn rejected(rejection: Rejection, request: RequestId) -> CallError {
    let code = match rejection {
        Rejection::WrongState(_) => "wrong_state",
        Rejection::TooEarly => "too_early",
        Rejection::TooLate => "late",
        Rejection::AlreadyClaimed => "already_claimed",
        Rejection::OtherExecution => "other_execution",
        Rejection::NotTheExecutor => return CallError::forbidden("not_the_executor", rejection.to_string()),
        Rejection::AlreadyResolved => "already_resolved",
    };
    CallError::conflict(code, format!("{rejection}."), request)
}

/// A refused vote, in the words of the caller.
pub(crate) fn vote_refused(refusal: VoteRefusal, request: RequestId) -> CallError {
    let message = format!("This vote does not count: {refusal}.");
    match refusal {
        VoteRefusal::Decided
        | VoteRefusal::Late
        | VoteRefusal::OtherDigest
        | VoteRefusal::ContentMoved
        | VoteRefusal::AlreadyVoted => CallError::conflict(refusal.code(), message, request),
        VoteRefusal::ReasonTooLong => CallError::invalid(refusal.code(), message, "/reason"),
        VoteRefusal::Disabled
        | VoteRefusal::Conflicted(_)
        | VoteRefusal::NoStanding
        | VoteRefusal::AssuranceTooLow
        | VoteRefusal::Vouched
        | VoteRefusal::TokenMayNotApprove => CallError::forbidden(refusal.code(), message),
    }
}
