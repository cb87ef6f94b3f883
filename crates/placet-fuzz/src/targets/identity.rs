//! Who a caller is by somebody else's word.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use placet_core::time::Timestamp;
use placet_identity::{Refused, WorkloadTokens};

use super::lossy;

/// A bearer token: where nobody is trusted, whatever it says is refused, at once, and in the same way again.
pub(super) fn workload_token(data: &[u8]) {
    let token = lossy(data);
    let refused = || -> Refused {
        let tokens = WorkloadTokens::new(Vec::new());
        let verified = pin!(tokens.verified(&token, &[], Timestamp::from_millis(0)));
        match verified.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(refused)) => refused,
            Poll::Ready(Ok(workload)) => panic!("{workload:?} is nobody's word"),
            Poll::Pending => panic!("there is nobody to ask"),
        }
    };
    let why = refused();
    assert_eq!(refused(), why);
    assert!(matches!(why, Refused::Issuer | Refused::Unreadable(_)), "{why:?}");
    if why == Refused::Issuer {
        assert!(WorkloadTokens::is_one(&token), "a token that is read is looked at as one");
    }
}
