//! Several metrics changed as one, once for each message.
//!
//! It promises that either all of a batch is counted or nothing, and that a batch with an operation id is counted once. An engine
//! that commits one part at a time refuses a batch of several; a bucket of the Go library is such a place.

use super::{super::certain::known, CoordinationError, checked_id, refused};
use crate::{
    cell::{Cell, CellError, Cells, UpdateError, try_together},
    codec::{Codec, CodecError},
    core::coordination::{
        Mark, NotThis, OutOfRange,
        counter::{Counted, Counter, WINDOW},
        metric::{BaseMetric, Delta, MapDelta, MapMetric, Metric, Refused},
    },
    engine::{Key, Space},
};
use bytes::Bytes;

/// Changes of metrics of either kind that happen together.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::{Metrics, MetricsBatch}, core::coordination::metric::{BaseMetric, Delta}, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space(Metrics::<BaseMetric>::bucket("search")).await?;
/// let search = || MetricsBatch::new(&space).map("user.42", Delta::taken_up(1)).base("board.7", Delta::taken_up(1));
/// assert!(!search().commit_once("searches", "message-1").await?.repeated);
/// // The message comes again.
/// assert!(search().commit_once("searches", "message-1").await?.repeated);
/// assert_eq!(Metrics::<BaseMetric>::new(&space).read("board.7").await?.unwrap().processed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use = "a batch does nothing until it is committed"]
pub struct MetricsBatch {
    space: Space,
    changes: Vec<(String, Change)>,
}

#[derive(Debug, Clone)]
enum Change {
    Base(Delta),
    Map(MapDelta),
    Once(Mark),
}

/// Why nothing is written.
#[derive(Debug)]
enum Stop {
    /// The operation was counted before.
    Repeated(Counted),
    /// The change in this place cannot be.
    Failed(usize, Failed),
}

#[derive(Debug)]
enum Failed {
    /// What is stored is no such thing.
    Corrupt(CodecError),
    Refused(Refused),
    Full(OutOfRange),
}

/// Bytes as they are, since a batch has values of several types; nothing where a key is absent.
type Raw = Option<Bytes>;

impl MetricsBatch {
    /// Begins a batch of a space.
    pub fn new(space: &Space) -> Self {
        Self { space: space.clone(), changes: Vec::new() }
    }

    /// Adds a change of a [`BaseMetric`]. A label is in a batch once.
    pub fn base(mut self, label: &str, delta: Delta) -> Self {
        self.changes.push((label.to_owned(), Change::Base(delta)));
        self
    }

    /// Adds a change of a [`MapMetric`]. A label is in a batch once.
    pub fn map(mut self, label: &str, delta: impl Into<MapDelta>) -> Self {
        self.changes.push((label.to_owned(), Change::Map(delta.into())));
        self
    }

    /// Counts all of it, or nothing.
    ///
    /// # Errors
    ///
    /// As [`Metrics::update`](super::Metrics::update), for any of its metrics; nothing has changed then.
    /// [`CellError::Rejected`] also for a batch that is empty, that has a label twice, or that the engine cannot commit as one;
    /// [`CellError::Unknown`] when all of it happened or nothing, and which of the two is not known.
    ///
    /// # Cancel safety
    ///
    /// Dropped, all of it is counted or nothing.
    pub async fn commit(self) -> Result<(), CoordinationError> {
        let (cells, keys) = self.cells()?;
        match attempt(&cells, self.changes).await {
            Ok(_) | Err(UpdateError::Aborted(Stop::Repeated(_))) => Ok(()),
            Err(UpdateError::Aborted(Stop::Failed(at, failed))) => Err(explain(&cells[at], failed).await),
            Err(UpdateError::Cell(source)) => Err(CoordinationError::Cell { object: keys, source }),
        }
    }

    /// Counts all of it, unless an operation of this id was counted with `ledger` already. The ledger is a
    /// [`Counter`](crate::coordination::Counter) of the space, which counts the batches and remembers the newest 256 of their ids, or more
    /// where it was asked to; batches with the same ledger wait for each other.
    ///
    /// An answer that was lost is looked for under the same id.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] when the id is empty or longer than 512 bytes; otherwise as [`commit`](Self::commit). It may be
    /// repeated with the same id.
    ///
    /// # Cancel safety
    ///
    /// Dropped, all of it is counted or nothing; repeat it with the same id.
    pub async fn commit_once(mut self, ledger: &str, operation_id: &str) -> Result<Counted, CoordinationError> {
        let key = Cells::below(&self.space, &Key::new("counter")?, raw()).cell(ledger);
        let key = key.map_err(|error| CoordinationError::at(ledger)(error.into()))?.key().as_str().to_owned();
        self.changes.push((key, Change::Once(Mark::of(checked_id(operation_id)?))));
        let (cells, keys) = self.cells()?;
        let outcome = known(self.space.clock(), || {
            let (cells, changes) = (cells.clone(), self.changes.clone());
            async move {
                match attempt(&cells, changes).await {
                    Ok(counted) => Ok(Ok(counted)),
                    Err(UpdateError::Aborted(stop)) => Ok(Err(stop)),
                    Err(UpdateError::Cell(error)) => Err(error),
                }
            }
        });
        match outcome.await.map_err(CoordinationError::at(keys))? {
            Ok(counted) | Err(Stop::Repeated(counted)) => Ok(counted),
            Err(Stop::Failed(at, failed)) => Err(explain(&cells[at], failed).await),
        }
    }

    /// Returns the cells of the changes, and a name for all of them.
    fn cells(&self) -> Result<(Vec<Cell<Raw>>, String), CoordinationError> {
        let all = Cells::new(&self.space, raw());
        let cell = |(label, _): &(String, Change)| {
            all.cell(label).map_err(|error| CoordinationError::at(label.as_str())(error.into()))
        };
        let cells = self.changes.iter().map(cell).collect::<Result<_, _>>()?;
        let labels: Vec<_> = self.changes.iter().map(|(label, _)| label.as_str()).collect();
        Ok((cells, labels.join(", ")))
    }
}

/// Counts everything in one commit; an error leaves everything as it is. Returns what the ledger says, if there is one.
async fn attempt(cells: &[Cell<Raw>], changes: Vec<(String, Change)>) -> Result<Counted, UpdateError<Stop>> {
    try_together(cells, move |values: Vec<&mut Raw>| {
        let mut counted = Counted { value: 0, repeated: false };
        for (at, (stored, (_, change))) in values.into_iter().zip(&changes).enumerate() {
            let next = match change {
                Change::Base(delta) => changed::<BaseMetric>(stored.as_deref(), delta),
                Change::Map(delta) => changed::<MapMetric>(stored.as_deref(), delta),
                Change::Once(operation) => match noted(stored.as_deref(), *operation) {
                    Ok((answer, _)) if answer.repeated => return Err(Stop::Repeated(answer)),
                    Ok((answer, ledger)) => {
                        counted = answer;
                        Ok(ledger)
                    }
                    Err(failed) => Err(failed),
                },
            };
            *stored = Some(next.map_err(|failed| Stop::Failed(at, failed))?);
        }
        Ok(counted)
    })
    .await
}

fn changed<M: Metric>(stored: Option<&[u8]>, delta: &M::Delta) -> Result<Bytes, Failed> {
    let mut metric = read(stored, M::decode)?.unwrap_or_else(M::zero);
    metric.apply(delta).map_err(Failed::Refused)?;
    Ok(metric.encode())
}

fn noted(stored: Option<&[u8]>, operation: Mark) -> Result<(Counted, Bytes), Failed> {
    let mut ledger = read(stored, Counter::decode)?.unwrap_or_default();
    let answer = ledger.add_once(operation, 1, WINDOW).map_err(Failed::Full)?;
    Ok((answer, ledger.encode()))
}

fn read<T>(stored: Option<&[u8]>, decode: fn(&[u8]) -> Result<T, NotThis>) -> Result<Option<T>, Failed> {
    stored.map(decode).transpose().map_err(|error| Failed::Corrupt(CodecError::new::<T>(error)))
}

/// Says why nothing was counted.
async fn explain(cell: &Cell<Raw>, failed: Failed) -> CoordinationError {
    let name = cell.key().as_str();
    match failed {
        Failed::Refused(error) => refused(name, error),
        Failed::Full(source) => CoordinationError::OutOfRange { object: name.to_owned(), source },
        Failed::Corrupt(source) => {
            let key = cell.key().clone();
            // Which write it was is known to the store only.
            let error = match cell.read().await {
                Ok(Some(stored)) => CellError::Corrupt { key, revision: stored.revision, source },
                Ok(None) => CellError::Conflict(key),
                Err(error) => error,
            };
            CoordinationError::at(name)(error)
        }
    }
}

fn raw() -> Codec<Raw> {
    Codec::new(
        "anabranch.bytes",
        |bytes| bytes.clone().ok_or_else(|| CodecError::new::<Bytes>("there is nothing to write")),
        |bytes| Ok(Some(Bytes::copy_from_slice(bytes))),
    )
}
