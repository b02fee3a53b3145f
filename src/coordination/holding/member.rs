//! Being among the holders or in the queue: whoever is, leaves in the end.
//!
//! `leave` says whether it did. A member that is dropped leaves as well as it can, in a task of its own that ends with its lease;
//! what fails then is seen to be silent, and removed by others.

use super::{BRIEF, Holding};
use crate::{cell::CellError, coordination::CoordinationError, core::coordination::permits::Permits, time::Backoff};
use std::time::Duration;
use tokio::runtime::Handle;

/// How long leaving is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// Delays between attempts to leave.
const AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// A member of a state, or somebody who may be one.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) holding: Holding,
    pub(super) id: String,
    runtime: Handle,
    /// Whether it has to leave when it is dropped.
    inside: bool,
}

/// How somebody left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It was there until now.
    Now,
    /// It is gone by an earlier attempt whose answer was lost, or was gone before.
    Perhaps,
    /// It was gone already.
    Before,
}

impl Member {
    /// Takes an id that is about to become a member. Called inside a runtime.
    pub(super) fn new(holding: Holding, id: String) -> Self {
        Self { holding, id, runtime: Handle::current(), inside: true }
    }

    /// Says that it is known to be no member, and has nothing to leave.
    pub(super) fn outside(mut self) {
        self.inside = false;
    }

    /// Leaves, and returns when it is known to be gone.
    ///
    /// A crash, or a drop of the future, leaves a member behind that is silent.
    pub(super) async fn leave(mut self) -> Result<Left, CoordinationError> {
        let left = leave(&self.holding, &self.id, PATIENCE).await?;
        self.inside = false;
        Ok(left)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.inside {
            let (holding, id) = (self.holding.clone(), self.id.clone());
            // On a runtime that has ended the task is dropped at once, and the lease does its work.
            self.holding.0.tasks.spawn_on(
                async move {
                    if let Err(error) = leave(&holding, &id, holding.0.lease.length().min(PATIENCE)).await {
                        tracing::debug!(object = holding.0.object, %error, "whoever was dropped stays until its lease is over");
                    }
                },
                &self.runtime,
            );
        }
    }
}

/// G12, G13: tries until it is known to be gone, and an end of patience is an error.
async fn leave(holding: &Holding, id: &str, patience: Duration) -> Result<Left, CoordinationError> {
    let until = holding.now() + patience;
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut doubt = None;
    loop {
        let own = id.to_owned();
        let attempt = holding.change_in(&holding.0.brief, move |permits: &mut Permits| Ok(permits.release(&own)));
        let error = match holding.clock().timeout(BRIEF * 3, attempt).await {
            Some(Ok((true, _))) => return Ok(Left::Now),
            Some(Ok((false, _))) if doubt.is_some() => return Ok(Left::Perhaps),
            Some(Ok((false, _))) => return Ok(Left::Before),
            Some(Err(CoordinationError::Cell { source: CellError::Unknown(lost), .. })) => {
                doubt = Some(lost);
                None
            }
            // It may be done later all the same.
            None => {
                doubt = Some("the store did not answer".into());
                None
            }
            Some(Err(CoordinationError::Cell { object, source })) => match source {
                CellError::Unavailable(_) | CellError::Contended { .. } | CellError::Busy(_) => {
                    Some(CoordinationError::Cell { object, source })
                }
                source => return Err(CoordinationError::Cell { object, source }),
            },
            Some(Err(error)) => return Err(error),
        };
        let pause = backoff.next_delay();
        if holding.now() + pause >= until {
            // This attempt wrote nothing, and an earlier one may have.
            let unknown = |lost| CoordinationError::at(&holding.0.object)(CellError::Unknown(lost));
            return Err(match (doubt, error) {
                (None, Some(error)) => error,
                (doubt, _) => unknown(doubt.unwrap_or_else(|| "the answer was lost".into())),
            });
        }
        holding.clock().sleep(pause).await;
    }
}
