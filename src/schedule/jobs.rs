//! Jobs as what schedules start: whether the firing before goes on is what the job's record says.
//!
//! The id of a firing is the id of its job. A job of which no record is kept leaves no trace when it succeeds, so topics that
//! schedules with overlaps start [keep results](crate::jobs::TopicOptions::keep_results), or report by
//! [`Schedules::finished`](super::Schedules::finished).

use super::Running;
use crate::{core::schedule::Liveness, error::BoxError, jobs::Jobs};
use async_trait::async_trait;

#[async_trait]
impl Running for Jobs {
    async fn liveness(&self, firing: &str) -> Result<Liveness, BoxError> {
        Ok(match self.record(firing).await? {
            Some(record) if record.is_ended() => Liveness::Done,
            Some(_) => Liveness::Running,
            None => Liveness::Unknown,
        })
    }

    async fn cancel(&self, firing: &str) -> Result<(), BoxError> {
        self.cancel(firing).await?;
        Ok(())
    }
}
