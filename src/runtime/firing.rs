//! Runs as what schedules start: whether the firing before goes on is what its run's snapshot says.
//!
//! The id of a firing is the id of its run, by `supervise(queue).run_id(schedule::firing_id)`. A message that nobody has taken yet, and a
//! run that was deleted, are not told apart: nothing is known of either.

use super::{RunError, runs::Runs};
use crate::{
    error::BoxError,
    schedule::{Liveness, Running},
};
use async_trait::async_trait;

#[async_trait]
impl<I, O, C> Running for Runs<I, O, C>
where
    I: Send + Sync + 'static,
    O: Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    async fn liveness(&self, firing: &str) -> Result<Liveness, BoxError> {
        Ok(match self.inspect(firing).await? {
            Some(snapshot) if snapshot.status.is_terminal() => Liveness::Done,
            Some(_) => Liveness::Running,
            None => Liveness::Unknown,
        })
    }

    async fn cancel(&self, firing: &str) -> Result<(), BoxError> {
        match self.cancel(firing, "the next firing of its schedule is due").await {
            // It has ended, is being cancelled already, or is not known.
            Ok(()) | Err(RunError::Refused(_) | RunError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
