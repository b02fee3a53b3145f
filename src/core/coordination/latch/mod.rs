//! A latch: closed until so many have counted down, open for ever after.
//!
//! It promises that whoever counts down twice counts once, and that it never closes again. It does not know who waits.

pub mod pb;

use super::{Mark, NotThis, marks::Marks};
use bytes::Bytes;
use prost::Message as _;

/// What tells a stored latch from everything else.
pub const KIND: u32 = 6;

/// The most that a latch can be counted down from: its last write is 256 KiB then.
pub const MAX_COUNT: u32 = 16_384;

/// How many have to count down, and who has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latch {
    count: u32,
    counted: Marks,
    open: bool,
    born: u64,
}

impl Latch {
    /// Makes a latch that opens after `count` have counted down, 1 to [`MAX_COUNT`]; `born` is a number that nobody else has drawn.
    #[must_use]
    pub fn new(count: u32, born: u64) -> Self {
        Self { count, counted: Marks::default(), open: count == 0, born }
    }

    /// Returns what tells it from another one that has its name.
    #[must_use]
    pub fn born(&self) -> u64 {
        self.born
    }

    /// Returns how many have to count down in all.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Returns how many are still to count down.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        let counted = u32::try_from(self.counted.len()).unwrap_or(u32::MAX);
        if self.open { 0 } else { self.count.saturating_sub(counted) }
    }

    /// Tells whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Counts down as `id`, once, and returns how many are still to. An open latch stays as it is.
    pub fn count_down(&mut self, id: Mark) -> u32 {
        if !self.open && !self.counted.has(id) {
            self.counted.add(id, self.count);
            if self.counted.len() >= self.count as usize {
                self.open = true;
                // Who it was does not matter any more.
                self.counted.clear();
            }
        }
        self.remaining()
    }

    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let (counted, open, born) = (self.counted.to_bytes(), self.open, self.born);
        let stored = pb::Latch { kind: KIND, count: self.count, counted, open, born };
        stored.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let stored = pb::Latch::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, KIND, "latch")?;
        if stored.count == 0 || stored.count > MAX_COUNT {
            return Err(NotThis::Broken("its count is out of range"));
        }
        let counted = Marks::read(stored.counted, stored.count)?;
        let has_all = counted.len() >= stored.count as usize;
        if has_all || (stored.open && counted.len() > 0) {
            return Err(NotThis::Broken("it is open and closed"));
        }
        Ok(Self { count: stored.count, counted, open: stored.open, born: stored.born })
    }
}
