//! What is stored of a window limiter: bytes to a [`Window`] and back.
//!
//! Whatever is not a window is an error, never one that has admitted nothing yet.

use super::{Window, WindowQuota, pb};
use crate::{core::coordination::NotThis, time::Timestamp};
use prost::Message as _;
use std::time::Duration;

/// Tells windows from what else there may be at a key.
const KIND: u32 = 3;

impl Window {
    /// Writes it as bytes.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the ranges of its own fields are checked, and never left")]
    pub fn encode(&self) -> Vec<u8> {
        let message = pb::Window {
            kind: KIND,
            most: self.quota.most.get(),
            length_micros: u64::try_from(self.quota.micros()).expect("a length is not negative"),
            sliding: self.quota.sliding,
            number: self.number,
            current: self.current,
            previous: self.previous,
            seen_micros: self.seen.as_micros(),
        };
        message.encode_to_vec()
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`NotThis`] when the bytes are something else; they are to be left as they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let m = pb::Window::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(m.kind, KIND, "window")?;
        let quota = if m.sliding { WindowQuota::sliding } else { WindowQuota::fixed };
        let quota = quota(m.most, Duration::from_micros(m.length_micros));
        let quota = quota.map_err(|_| NotThis::Broken("no window has such a quota"))?;
        if m.current.max(m.previous) > m.most {
            return Err(NotThis::Broken("a window counts no more than its quota"));
        }
        let seen = Timestamp::from_micros(m.seen_micros);
        Ok(Self { quota, number: m.number, current: m.current, previous: m.previous, seen })
    }
}
