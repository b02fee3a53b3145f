//! Metrics that services in Go and in Rust count together, in one bucket.
//!
//! The keys, the bytes and the arithmetic are those of the Go library nats-jetstream-flow, see `core::coordination::metric` for
//! what is refused here and is not there. It does not know what is counted, nor which labels there are.

mod batch;

pub use batch::MetricsBatch;

use super::{
    CoordinationError, checked_id, checked_ttl,
    follow::{Follow, Seen},
};
use crate::{
    cell::{Cell, Cells},
    codec::{Codec, CodecError},
    core::coordination::metric::{Delta, Metric, Refused},
    engine::Space,
};
use futures_util::{Stream, stream};
use std::time::Duration;

/// Metrics of one kind, each at the key that its label is: `board.7`.
///
/// The kind is [`BaseMetric`](crate::core::coordination::metric::BaseMetric), or
/// [`MapMetric`](crate::core::coordination::metric::MapMetric) with numbers by board besides. Both may be in one space, under labels of their
/// own; what is of the other kind is [`CellError::Corrupt`](crate::cell::CellError::Corrupt), and is left as it is.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Metrics, core::coordination::metric::{BaseMetric, Delta, MapDelta, MapMetric}, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space(Metrics::<BaseMetric>::bucket("search")).await?;
/// let boards = Metrics::<BaseMetric>::new(&space);
/// boards.update("board.7", Delta::taken_up(3)).await?;
/// assert_eq!(boards.update("board.7", Delta::done(1)).await?.in_flight, 2);
///
/// let users = Metrics::<MapMetric>::new(&space);
/// users.update("user.42", MapDelta::overall(Delta::taken_up(1)).board(7, Delta::taken_up(1))).await?;
/// assert_eq!(users.read("user.42").await?.unwrap().boards[&7].processed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Metrics<M: Metric> {
    cells: Cells<M>,
}

impl<M: Metric> Metrics<M> {
    /// Takes the metrics of a space. For those of a Go service, that is the space of its bucket: [`bucket`](Self::bucket).
    #[must_use]
    pub fn new(space: &Space) -> Self {
        let codec = Codec::new(
            std::any::type_name::<M>(),
            |metric: &M| Ok(metric.encode()),
            |bytes| M::decode(bytes).map_err(CodecError::new::<M>),
        );
        Self { cells: Cells::new(space, codec) }
    }

    /// Returns the name of the bucket that the Go library keeps the metrics of a scope in, unless it was told another one.
    #[must_use]
    pub fn bucket(scope: &str) -> String {
        format!("store_{scope}")
    }

    /// Lets every change that this handle makes expire after `ttl`, at least one second, where the engine can; the Go library lets
    /// the bucket do that after 24 hours.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] below one second.
    pub fn expires_after(self, ttl: Duration) -> Result<Self, CoordinationError> {
        Ok(Self { cells: self.cells.ttl(checked_ttl(ttl)?) })
    }

    /// Changes a metric and returns what it is then; one that is absent begins at zero.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::OutOfRange`] when a number would leave its range, [`CoordinationError::Invalid`] when the change
    /// changes nothing or is about a board without a number; nothing has changed then. [`CoordinationError::Cell`] otherwise: with
    /// [`CellError::Unknown`](crate::cell::CellError::Unknown) it may have been counted.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is counted or not.
    pub async fn update(&self, label: &str, delta: impl Into<M::Delta>) -> Result<M, CoordinationError> {
        let delta = delta.into();
        let cell = self.cell(label)?;
        let edited = cell.edit(move |draft| {
            let mut metric = draft.get().cloned().unwrap_or_else(M::zero);
            metric.apply(&delta)?;
            draft.set(metric.clone());
            Ok(metric)
        });
        let outcome = edited.await.map_err(CoordinationError::at(label))?.result;
        outcome.map_err(|error| refused(label, error))
    }

    /// Counts `n` that were taken up; as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn taken_up(&self, label: &str, n: u32) -> Result<M, CoordinationError> {
        self.update(label, Delta::taken_up(n)).await
    }

    /// Counts `n` that are not in flight any more; as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn done(&self, label: &str, n: u32) -> Result<M, CoordinationError> {
        self.update(label, Delta::done(n)).await
    }

    /// Counts `n` that failed; as [`update`](Self::update).
    ///
    /// # Errors
    ///
    /// As [`update`](Self::update).
    pub async fn failed(&self, label: &str, n: u32) -> Result<M, CoordinationError> {
        self.update(label, Delta::failed(n)).await
    }

    /// Reads a metric from the leader; `None` when it is absent.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]: an error is never an absent metric.
    pub async fn read(&self, label: &str) -> Result<Option<M>, CoordinationError> {
        let stored = self.cell(label)?.read().await.map_err(CoordinationError::at(label))?;
        Ok(stored.map(|s| s.value))
    }

    /// Sets a metric to zero.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`].
    pub async fn reset(&self, label: &str) -> Result<(), CoordinationError> {
        let cell = self.cell(label)?;
        cell.edit(|draft| draft.set(M::zero())).await.map(drop).map_err(CoordinationError::at(label))
    }

    /// Removes a metric.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`].
    pub async fn delete(&self, label: &str) -> Result<(), CoordinationError> {
        self.cell(label)?.delete().await.map_err(CoordinationError::at(label))
    }

    /// Watches a metric: what it is now, and after every change; `None` while it is absent, also after it was deleted or has
    /// expired. A slow reader sees the newest. What cannot be read is an error, and the stream goes on.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the watch cannot begin; one that began heals itself.
    pub async fn watch(
        &self,
        label: &str,
    ) -> Result<impl Stream<Item = Result<Option<M>, CoordinationError>> + Send + Unpin + use<M>, CoordinationError> {
        let follow = Follow::of(&self.cell(label)?).await.map_err(CoordinationError::at(label))?;
        Ok(Box::pin(stream::unfold((follow, label.to_owned()), async |(mut follow, label)| {
            let seen = match follow.next().await {
                Ok(Seen::Value(stored)) => Ok(Some(stored.value)),
                Ok(_) => Ok(None),
                Err(error) => Err(CoordinationError::at(&*label)(error)),
            };
            Some((seen, (follow, label)))
        })))
    }

    fn cell(&self, label: &str) -> Result<Cell<M>, CoordinationError> {
        self.cells.cell(label).map_err(|error| CoordinationError::at(label)(error.into()))
    }
}

/// Says of which metric a change was refused.
fn refused(label: &str, error: Refused) -> CoordinationError {
    match error {
        Refused::Range(source) => CoordinationError::OutOfRange { object: label.to_owned(), source },
        Refused::NoBoard => CoordinationError::Invalid("there is no board with the number 0"),
        Refused::Nothing => CoordinationError::Invalid("the change changes nothing"),
    }
}
