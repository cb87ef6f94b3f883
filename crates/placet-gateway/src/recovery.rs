//! After a restart: what an earlier process left running is killed first, and only then is each of its executions called
//! unknown. The same way whoever the authority is.

use std::collections::BTreeSet;

use placet_core::id::ExecutionId;
use tracing::warn;

use crate::authority::{Authority, AuthorityError, AuthorityErrorKind};
use crate::runner::processes::kill_leftovers;

/// Why nobody knows how an execution ended.
const WHY: &str =
    "what executed this was restarted while it was running; what it did until then is not known";

/// Ends what an earlier process of this enforcement point held. `users` are those that may have executed. How many
/// executions ended so.
///
/// An execution that is not the enforcement point's any more, or that ended meanwhile, needs nothing. One whose end cannot
/// be written now stays executing until its lease runs out; without an answer on what there is, nothing is known, and
/// the enforcement point must not start.
pub async fn recover(authority: &dyn Authority, users: &[u32]) -> Result<usize, AuthorityError> {
    let held = authority.held().await?;
    let ours: BTreeSet<ExecutionId> = held.iter().map(|(_, execution)| *execution).collect();
    for leftover in kill_leftovers(&|execution| ours.contains(&execution), users) {
        warn!(pid = leftover.pid, execution.id = %leftover.execution, "killed what an earlier process left running");
    }
    let mut abandoned = 0;
    for (request, execution) in held {
        match authority.abandon(request, execution, WHY).await {
            Ok(()) => abandoned += 1,
            Err(AuthorityError {
                kind: AuthorityErrorKind::Conflict | AuthorityErrorKind::NotFound, ..
            }) => {}
            Err(error) => {
                warn!(request.id = %request, %error, "an execution could not be abandoned");
            }
        }
    }
    if abandoned > 0 {
        warn!(abandoned, "executions of an earlier process ended with an unknown outcome");
    }
    Ok(abandoned)
}
