//! Cells that were taken from the store together, and are handed out without asking it again.
//!
//! Each of them keeps its slot on the schedule and expires at it, so a block admits nothing that single checks would not have
//! admitted; the module above has the proof. It does not know who takes from it: whoever has it is its only user.

use super::Quota;
use crate::time::Timestamp;
use std::{collections::VecDeque, num::NonZeroU32};

/// Cells to hand out, the earliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    quota: Quota,
    /// Cells in a row: the slot of the first, in parts, and how many there are. In the order of the slots.
    rows: VecDeque<(i128, u32)>,
    /// The greatest time at which a cell was taken from the store or from here.
    seen: Timestamp,
}

impl Block {
    /// Holds nothing.
    #[must_use]
    pub fn empty(quota: Quota) -> Self {
        Self { quota, rows: VecDeque::new(), seen: Timestamp::from_micros(i64::MIN) }
    }

    pub(super) fn starting(quota: Quota, first: i128, count: u32, seen: Timestamp) -> Self {
        Self { quota, rows: [(first, count)].into(), seen }
    }

    /// Hands out `n` cells at once, and returns how many are left then; `None`, and nothing is handed out, when there are not
    /// that many. What has expired is dropped.
    pub fn take(&mut self, n: NonZeroU32, now: Timestamp) -> Option<u32> {
        self.prune(now);
        let left = self.len().checked_sub(n.get())?;
        let mut wanted = n.get();
        while let Some((first, count)) = self.rows.front_mut().filter(|_| wanted > 0) {
            let taken = wanted.min(*count);
            (*first, *count) = (*first + self.quota.cells(taken), *count - taken);
            wanted -= taken;
            if *count == 0 {
                self.rows.pop_front();
            }
        }
        Some(left)
    }

    /// Adds the cells of a later block. Those of another quota replace what is here, which is lost.
    pub fn join(&mut self, later: Self) {
        if later.quota != self.quota {
            *self = later;
            return;
        }
        self.seen = self.seen.max(later.seen);
        self.rows.extend(later.rows);
        self.rows.make_contiguous().sort_unstable();
    }

    /// Drops what has expired: each cell whose slot is before `now`.
    pub fn prune(&mut self, now: Timestamp) {
        self.seen = self.seen.max(now);
        let (now, cell) = (self.quota.at(self.seen), self.quota.cell());
        while let Some((first, count)) = self.rows.front_mut().filter(|(first, _)| *first < now) {
            let late = -(*first - now).div_euclid(cell);
            let late = u32::try_from(late).unwrap_or(u32::MAX).min(*count);
            (*first, *count) = (*first + self.quota.cells(late), *count - late);
            if *count > 0 {
                break;
            }
            self.rows.pop_front();
        }
    }

    /// Returns how many cells there are, expired ones included.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.rows.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Tells whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns when the last cell has expired, to a microsecond and not before; `None` when there is none.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        let (first, count) = self.rows.back()?;
        let last = first + self.quota.cells(count - 1);
        let micros = last.div_euclid(self.quota.parts_in_a_micro()) + 1;
        Some(Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX)))
    }
}
