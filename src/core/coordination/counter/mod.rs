//! A counter that knows what it has counted already.
//!
//! It promises that an operation id within the window counts once and is answered alike each time, that a sum outside of 64 bits
//! changes nothing, and that what it wrote it reads back. It does not know who counts, nor whether a write succeeded.
//!
//! Answers are kept beside the ids, because an operation that was counted, and whose answer was lost, has to be answered as of the
//! moment when it was counted: otherwise a history of answers is not that of one counter (Lee and others, "Implementing
//! Linearizability at Large Scale and Low Latency", SOSP 2015).

pub mod pb;

use super::{Mark, NotThis, OutOfRange, marks::Marks};
use bytes::Bytes;
use prost::Message as _;
use std::collections::VecDeque;

/// What tells a stored counter from everything else.
pub const KIND: u32 = 4;

/// How many operation ids are remembered, unless it is said otherwise: 17 to 26 bytes each, at most 6.5 KiB of every write.
pub const WINDOW: u32 = 256;

/// The most operation ids that can be remembered: at most 416 KiB of every write.
pub const MAX_WINDOW: u32 = 16_384;

/// A number, and the newest operations that made it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counter {
    value: i64,
    counted: Marks,
    /// The value after each of them.
    answers: VecDeque<i64>,
    window: u32,
}

/// What became of an operation with an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The value right after it was counted, which is the same each time that it comes.
    pub value: i64,
    /// Whether the operation had been counted already, so that nothing changed; also by this very call, when an answer was lost.
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
        let before = self.counted.position(operation).and_then(|at| self.answers.get(at));
        if let Some(value) = before {
            return Ok(Counted { value: *value, repeated: true });
        }
        let value = self.add(n)?;
        self.window = self.window.max(window).max(1);
        self.counted.add(operation, self.window);
        self.answers.push_back(value);
        while self.answers.len() > self.counted.len() {
            self.answers.pop_front();
        }
        Ok(Counted { value, repeated: false })
    }

    /// Sets the value to zero and returns what it was. What was counted is still known: it does not count again.
    pub fn reset(&mut self) -> i64 {
        std::mem::take(&mut self.value)
    }

    /// Writes it as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let stored = pb::Counter {
            kind: KIND,
            value: self.value,
            counted: self.counted.to_bytes(),
            window: self.window,
            answers: self.answers.iter().copied().collect(),
        };
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
        if stored.answers.len() != counted.len() {
            return Err(NotThis::Broken("there is not one answer for each operation"));
        }
        Ok(Self { value: stored.value, counted, answers: stored.answers.into(), window: stored.window })
    }
}
