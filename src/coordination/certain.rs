//! Edits that recognize themselves, repeated until their outcome is known.
//!
//! An edit whose answer was lost may have happened. One that finds its own mark in the state, a member's id or an operation's, may
//! be run again: it happens once all the same. What is reported as not written was not written by an earlier attempt either.

use crate::{
    cell::{Cell, CellError, Draft},
    time::{Backoff, Clock},
};
use std::time::Duration;

/// How long an outcome is looked for after it was lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `change`, which has to be idempotent, until it is known to have happened, or not to.
///
/// # Errors
///
/// As [`Cell::edit`]; [`CellError::Unknown`] when the store cannot be reached for too long after an answer was lost.
pub(super) async fn certain<T, R, F>(cell: &Cell<T>, change: F) -> Result<R, CellError>
where
    T: Clone + Send + Sync + 'static,
    R: Send + 'static,
    F: FnMut(&mut Draft<T>) -> R + Clone + Send + 'static,
{
    known(cell.clock(), || {
        let change = change.clone();
        async move { Ok(cell.edit(change).await?.result) }
    })
    .await
}

/// Makes attempts of something that has to be idempotent, until one is known to have happened, or none.
///
/// # Errors
///
/// As the attempts; [`CellError::Unknown`] when the store cannot be reached for too long after an answer was lost.
pub(super) async fn known<R, F>(clock: &Clock, mut attempt: impl FnMut() -> F) -> Result<R, CellError>
where
    F: Future<Output = Result<R, CellError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    let (mut doubt, mut until) = (None, None);
    loop {
        match (attempt().await, doubt.take()) {
            (Ok(result), _) => return Ok(result),
            (Err(CellError::Unknown(source)), _) => doubt = Some(source),
            // This attempt wrote nothing, and an earlier one may have.
            (Err(CellError::Contended { .. } | CellError::Unavailable(_) | CellError::Busy(_)), Some(source)) => {
                doubt = Some(source);
            }
            (Err(_), Some(source)) => return Err(CellError::Unknown(source)),
            (Err(error), None) => return Err(error),
        }
        let now = clock.instant();
        if now >= *until.get_or_insert(now + PATIENCE) {
            let source = doubt.unwrap_or_else(|| "the answer was lost".into());
            return Err(CellError::Unknown(source));
        }
        clock.sleep(backoff.next_delay()).await;
    }
}
