//! A wait group: members that enter and leave, units without a name, and the moment when nothing is left.
//!
//! It promises that entering and leaving are idempotent in any order of repetition, that its count is never below zero, and that
//! a zero is seen by everybody who was waiting, also when the next member enters at once. It does not know who waits.

pub mod pb;

use super::{Mark, NotThis, OutOfRange, marks::Marks};
use bytes::Bytes;
use prost::Message as _;
use std::collections::BTreeSet;

/// What tells a stored wait group from everything else.
pub const KIND: u32 = 5;

/// How many members that have left are remembered, unless it is said otherwise: at most 64 KiB of every write.
pub const WINDOW: u32 = 4096;

/// The most members that have left that can be remembered: 512 KiB of every write.
pub const MAX_WINDOW: u32 = 32_768;

/// Who is in it, who has left, and what else is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    members: BTreeSet<Box<str>>,
    units: u64,
    left: Marks,
    window: u32,
    zeros: u64,
    closed: bool,
    born: u64,
}

/// A group that was closed takes nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is closed")]
pub struct Closed;

/// Why units were not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// It was closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The count would leave its range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
}

/// What a waiter has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Something is left.
    Open,
    /// Nothing is left, or nothing was left in the meantime.
    Zero,
    /// It was closed with something left.
    Closed,
}

impl Group {
    /// Makes an empty group; `born` is a number that nobody else has drawn.
    #[must_use]
    pub fn new(born: u64) -> Self {
        Self { born, ..Self::default() }
    }

    /// Returns what tells it from another one that has its name: a waiter that meets another number knows that its group is gone.
    #[must_use]
    pub fn born(&self) -> u64 {
        self.born
    }

    /// Returns how much is left: members and units.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.units.saturating_add(self.members.len() as u64)
    }

    /// Returns the members that are in it, in ascending order.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|m| &**m)
    }

    /// Returns how many of those that have left are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.left.len()
    }

    /// Returns how often nothing was left: what a waiter remembers when it begins, see [`seen_by`](Self::seen_by).
    #[must_use]
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// Tells what this state is to a waiter that began when nothing had been left `zeros` times.
    #[must_use]
    pub fn seen_by(&self, zeros: u64) -> State {
        if self.count() == 0 || self.zeros > zeros {
            State::Zero
        } else if self.closed {
            State::Closed
        } else {
            State::Open
        }
    }

    /// Lets a member in, unless it has left before. Returns whether it is in the group now; entering twice is the same as once.
    ///
    /// # Errors
    ///
    /// [`Closed`] when it is not in and the group takes nobody.
    pub fn enter(&mut self, id: &str) -> Result<bool, Closed> {
        if self.members.contains(id) {
            return Ok(true);
        }
        if self.left.has(Mark::of(id)) {
            return Ok(false);
        }
        if self.closed {
            return Err(Closed);
        }
        Ok(self.members.insert(id.into()))
    }

    /// Lets a member go and returns how much is left. One that never was in has left all the same: what enters it later comes
    /// too late. From now on the group remembers the newest `window` members that left, or more when it was asked to before.
    pub fn leave(&mut self, id: &str, window: u32) -> u64 {
        let (mark, was_in) = (Mark::of(id), self.members.remove(id));
        if !self.left.has(mark) {
            self.window = self.window.max(window).max(1);
            self.left.add(mark, self.window);
        }
        self.note_zero(was_in);
        self.count()
    }

    /// Adds units without a name, or takes some away, and returns how much is left.
    ///
    /// # Errors
    ///
    /// [`AddError::Range`] when fewer than none, or more than 64 bits, would be left of the units; [`AddError::Closed`] when the
    /// group takes nothing. Nothing has changed then. A closed group can still be counted down.
    pub fn add(&mut self, n: i64) -> Result<u64, AddError> {
        if self.closed && n > 0 {
            return Err(Closed.into());
        }
        let wanted = i128::from(self.units) + i128::from(n);
        self.units = u64::try_from(wanted).map_err(|_| OutOfRange { what: "the count", wanted })?;
        self.note_zero(n < 0);
        Ok(self.count())
    }

    /// Takes nothing from now on, and sends away who waits.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Tells whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn note_zero(&mut self, fell: bool) {
        if fell && self.count() == 0 {
            self.zeros = self.zeros.saturating_add(1);
        }
    }

    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let stored = pb::Group {
            kind: KIND,
            members: self.members.iter().map(|m| String::from(&**m)).collect(),
            units: self.units,
            left: self.left.to_bytes(),
            window: self.window,
            zeros: self.zeros,
            closed: self.closed,
            born: self.born,
        };
        stored.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let stored = pb::Group::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, KIND, "wait group")?;
        if !stored.members.is_sorted_by(|a, b| a < b) {
            return Err(NotThis::Broken("a member is in it twice, or out of order"));
        }
        Ok(Self {
            members: stored.members.into_iter().map(String::into_boxed_str).collect(),
            units: stored.units,
            left: Marks::read(stored.left, stored.window)?,
            window: stored.window,
            zeros: stored.zeros,
            closed: stored.closed,
            born: stored.born,
        })
    }
}
