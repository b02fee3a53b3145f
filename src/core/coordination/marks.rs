//! Who was there already: ids that are remembered as 128 bits each, the newest so many of them.
//!
//! The bits are the start of an id's SHA-256, so an id of any length costs 16 bytes, and two ids are never taken for one by
//! chance: with 10^9 of them the chance is below 10^-20. What falls out of the window is forgotten, and is then as new.

use super::NotThis;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;

/// The bytes that one mark takes.
const BYTES: usize = 16;

/// What is remembered of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(u128);

impl Mark {
    /// Returns the mark of an id. The same id has the same mark for ever: it is stored.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let hash = Sha256::digest(id.as_bytes());
        Self(hash.iter().take(BYTES).fold(0, |bits, byte| (bits << 8) | u128::from(*byte)))
    }
}

/// Marks in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(VecDeque<Mark>);

impl Marks {
    pub(super) fn has(&self, mark: Mark) -> bool {
        self.position(mark).is_some()
    }

    /// Returns how many came before a mark that is there.
    pub(super) fn position(&self, mark: Mark) -> Option<usize> {
        // The newest are asked for most.
        self.0.iter().rposition(|m| *m == mark)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a mark that is not there yet, and forgets the oldest until `window` are left.
    pub(super) fn add(&mut self, mark: Mark, window: u32) {
        self.0.push_back(mark);
        while self.0.len() > window as usize {
            self.0.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.0.len() * BYTES);
        for mark in &self.0 {
            bytes.put_u128(mark.0);
        }
        bytes.freeze()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub(super) fn read(mut bytes: Bytes, window: u32) -> Result<Self, NotThis> {
        if !bytes.len().is_multiple_of(BYTES) {
            return Err(NotThis::Broken("a mark is not 16 bytes long"));
        }
        if bytes.len() / BYTES > window as usize {
            return Err(NotThis::Broken("there are more marks than it keeps"));
        }
        let mut marks = VecDeque::with_capacity(bytes.len() / BYTES);
        while bytes.has_remaining() {
            marks.push_back(Mark(bytes.get_u128()));
        }
        Ok(Self(marks))
    }
}
