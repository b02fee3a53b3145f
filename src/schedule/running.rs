//! Whether what a firing started goes on: asked of whoever knows.

use crate::{core::schedule::Liveness, error::BoxError};
use async_trait::async_trait;
use std::fmt;

/// Knows what became of the firings that were sent to a queue, by their ids.
///
/// A scheduler asks it when a firing is due whose [`Overlap`](crate::core::schedule::Overlap) is not to be allowed. The
/// [`Runs`](crate::runtime::Runs) of a topology are one: the id of a firing is the id of its run. Every scheduler of a space is
/// given the same ones. Where there is none, a firing goes on until [`Schedules::finished`](super::Schedules::finished) says that it has
/// ended, or its schedule's patience is over.
#[async_trait]
pub trait Running: fmt::Debug + Send + Sync + 'static {
    /// Tells what is known of a firing. May be asked many times.
    ///
    /// # Errors
    ///
    /// When that cannot be found out: nothing is decided, and it is asked again later.
    async fn liveness(&self, firing: &str) -> Result<Liveness, BoxError>;

    /// Begins to cancel a firing; one that has ended, or is not known, is fine. May be called many times.
    ///
    /// # Errors
    ///
    /// When it goes on: the next firing is not sent, and it is tried again later.
    async fn cancel(&self, firing: &str) -> Result<(), BoxError>;
}
