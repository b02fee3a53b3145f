//! Metrics that services in Go and in Rust share: what was taken up, what is in flight, what failed, also by board.
//!
//! The bytes and the arithmetic are those of the Go library nats-jetstream-flow, with three differences, each of which refuses
//! what that one does silently: a number that would leave its range changes nothing (there it wraps around), a change that
//! changes nothing at all is refused for both kinds, and so is one of a board without a number (there it is skipped). What is in flight may be below
//! zero, as there: processes report in any order, and the end of something may be counted before its beginning. What only grows
//! is never taken back, so there is no unsigned number that could fall below zero.
//!
//! It does not know under which labels metrics are kept, nor who counts.

pub mod pb;
mod wire;

use super::{NotThis, OutOfRange};
use bytes::Bytes;
pub use pb::{BaseMetric, MapMetric};
use std::{collections::BTreeMap, fmt};

/// A change of a [`BaseMetric`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta {
    /// Added to what is in flight, and to what was processed when it is above zero.
    pub counter: i64,
    /// Added to what failed.
    pub failed: u64,
}

impl Delta {
    /// `n` more were taken up: they are in flight, and count as processed from now on.
    #[must_use]
    pub fn taken_up(n: u32) -> Self {
        Self { counter: i64::from(n), failed: 0 }
    }

    /// `n` are done, and not in flight any more.
    #[must_use]
    pub fn done(n: u32) -> Self {
        Self { counter: -i64::from(n), failed: 0 }
    }

    /// `n` more failed. Whether they are in flight still is for another change to say.
    #[must_use]
    pub fn failed(n: u32) -> Self {
        Self { counter: 0, failed: u64::from(n) }
    }

    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// A change of a [`MapMetric`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MapDelta {
    /// The change of the whole.
    pub overall: Option<Delta>,
    /// The changes of boards, by number. They are not part of the whole's.
    pub boards: BTreeMap<u64, Delta>,
}

impl MapDelta {
    /// Changes the whole and no board.
    #[must_use]
    pub fn overall(delta: Delta) -> Self {
        Self { overall: Some(delta), boards: BTreeMap::new() }
    }

    /// Changes a board besides; a later change of the same board replaces an earlier one.
    #[must_use]
    pub fn board(mut self, board: u64, delta: Delta) -> Self {
        self.boards.insert(board, delta);
        self
    }
}

impl From<Delta> for MapDelta {
    fn from(delta: Delta) -> Self {
        Self::overall(delta)
    }
}

/// Why a change was refused. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// A number would leave its range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// There is no board with the number zero.
    #[error("there is no board with the number 0")]
    NoBoard,
    /// The change changes nothing: say what it is about.
    #[error("the change changes nothing")]
    Nothing,
}

/// A kind of metric: how it is changed, and what its bytes are.
pub trait Metric: Clone + Default + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// What changes it.
    type Delta: Clone + From<Delta> + fmt::Debug + Send + Sync + 'static;

    /// Changes it.
    ///
    /// # Errors
    ///
    /// [`Refused`]; nothing has changed then.
    fn apply(&mut self, delta: &Self::Delta) -> Result<(), Refused>;

    /// Returns what a reset leaves.
    #[must_use]
    fn zero() -> Self;

    /// Writes it as the Go library does; boards in ascending order, which is one of the orders that it may choose.
    #[must_use]
    fn encode(&self) -> Bytes;

    /// Reads what either library wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for anything else, also for a metric with fields that this version does not know: writing it back would lose
    /// them.
    fn decode(bytes: &[u8]) -> Result<Self, NotThis>;
}

impl Metric for BaseMetric {
    type Delta = Delta;

    fn apply(&mut self, delta: &Delta) -> Result<(), Refused> {
        if delta.is_nothing() {
            return Err(Refused::Nothing);
        }
        *self = self.after(*delta)?;
        Ok(())
    }

    fn zero() -> Self {
        Self::default()
    }

    fn encode(&self) -> Bytes {
        prost::Message::encode_to_vec(self).into()
    }

    fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        wire::base_only(bytes)?;
        prost::Message::decode(bytes).map_err(NotThis::shape)
    }
}

impl BaseMetric {
    fn after(&self, delta: Delta) -> Result<Self, OutOfRange> {
        let grown = u64::try_from(delta.counter).unwrap_or(0);
        Ok(Self {
            processed: sum("processed", self.processed, i128::from(grown))?,
            in_flight: sum("in flight", self.in_flight, i128::from(delta.counter))?,
            failed: sum("failed", self.failed, i128::from(delta.failed))?,
        })
    }
}

fn sum<N: Copy + Into<i128> + TryFrom<i128>>(what: &'static str, number: N, more: i128) -> Result<N, OutOfRange> {
    let wanted = number.into() + more;
    N::try_from(wanted).map_err(|_| OutOfRange { what, wanted })
}

impl Metric for MapMetric {
    type Delta = MapDelta;

    fn apply(&mut self, delta: &MapDelta) -> Result<(), Refused> {
        let changes = || delta.overall.iter().chain(delta.boards.values());
        if changes().all(|d| d.is_nothing()) {
            return Err(Refused::Nothing);
        }
        if delta.boards.contains_key(&0) {
            return Err(Refused::NoBoard);
        }
        // All of the new numbers first: one that is out of range leaves everything as it is.
        let overall = self.overall.unwrap_or_default().after(delta.overall.unwrap_or_default())?;
        let board = |(id, d): (&u64, &Delta)| Ok((*id, self.boards.get(id).copied().unwrap_or_default().after(*d)?));
        let boards = delta.boards.iter().map(board).collect::<Result<Vec<_>, OutOfRange>>()?;
        self.overall = Some(overall);
        self.boards.extend(boards);
        Ok(())
    }

    fn zero() -> Self {
        Self { overall: Some(BaseMetric::default()), boards: BTreeMap::new() }
    }

    fn encode(&self) -> Bytes {
        wire::map(self)
    }

    fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        wire::map_only(bytes)?;
        let read: Self = prost::Message::decode(bytes).map_err(NotThis::shape)?;
        Ok(Self { overall: Some(read.overall.unwrap_or_default()), ..read })
    }
}
