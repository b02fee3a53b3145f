//! A counter that knows what it has counted already.
//!
//! It promises that an operation id within the window counts once, that a sum outside of 64 bits changes nothing, and that what it
//! wrote it reads back. It does not know who counts, nor whether a write succeeded.

pub mod pb;

use super::{Mark, NotThis, OutOfRange, marks::Marks};
use bytes::Bytes;
use prost::Message as _;

/// What tells a stored counter from everything else.
pub const KIND: u32 = 4;

/// How many operation ids are remembered, unless it is said otherwise: 4 KiB of every write.
pub const WINDOW: u32 = 256;

/// The most operation ids that can be remembered: 256 KiB of every write.
pub const MAX_WINDOW: u32 = 16_384;

/// A number, and the newest operations that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counter {
    value: i64,
    counted: Marks,
    window: u32,
}

/// What became of an operation with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The value after it: of this operation, or as it is now when it was counted before.
    pub value: i64,
    /// Whether the operation had been counted already, so that nothing changed.
    pub repeated: bool,
}

impl Counter {
    /// Returns the value.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.value
    }

    /// Returns how many operation ids are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.counted.len()
    }

    /// Tells whether an operation was counted, as far back as the window reaches.
    #[must_use]
    pub fn has_counted(&self, operation: Mark) -> bool {
        self.counted.has(operation)
    }

    /// Adds `n`, and returns the new value.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] when the sum needs more than 64 bits; nothing has changed then.
    pub fn add(&mut self, n: i64) -> Result<i64, OutOfRange> {
        let wanted = i128::from(self.value) + i128::from(n);
        self.value = i64::try_from(wanted).map_err(|_| OutOfRange { what: "the value", wanted })?;
        Ok(self.value)
    }

    /// Adds `n` unless this operation was counted before. From now on it remembers the newest `window` operations, or more when
    /// it was asked to before.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] as with [`add`](Self::add); the operation is then not counted.
    pub fn add_once(&mut self, operation: Mark, n: i64, window: u32) -> Result<Counted, OutOfRange> {
        if self.counted.has(operation) {
            return Ok(Counted { value: self.value, repeated: true });
        }
        let value = self.add(n)?;
        self.window = self.window.max(window).max(1);
        self.counted.add(operation, self.window);
        Ok(Counted { value, repeated: false })
    }

    /// Sets the value to zero and returns what it was. What was counted is still known: it does not count again.
    pub fn reset(&mut self) -> i64 {
        std::mem::take(&mut self.value)
    }

    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let stored = pb::Counter { kind: KIND, value: self.value, counted: self.counted.to_bytes(), window: self.window };
        stored.encode_to_vec().into()
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let stored = pb::Counter::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, KIND, "counter")?;
        let counted = Marks::read(stored.counted, stored.window)?;
        Ok(Self { value: stored.value, counted, window: stored.window })
    }
}
