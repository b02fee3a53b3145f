//! What is stored of a window limiter: bytes to a [`Window`] and back.
//!
//! Whatever is not a window is an error, never one that has admitted nothing yet.

use super::{Window, WindowQuota, pb};
use crate::{core::coordination::QuotaError, time::Timestamp};
use prost::Message as _;
use std::time::Duration;

/// Tells windows from what else there may be at a key.
const KIND: u32 = 3;

/// Why bytes are no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WindowError {
    /// They are no protobuf message.
    #[error("the bytes are no message")]
    Malformed(#[source] prost::DecodeError),
    /// They are another object's, or nobody's.
    #[error("the kind is {0}, and a window is of kind {KIND}")]
    Kind(u32),
    /// No such quota can have been stored.
    #[error("the quota is none")]
    Quota(#[source] QuotaError),
    /// More was counted than the quota admits.
    #[error("{0} were admitted, which is more than the quota")]
    Count(u32),
}

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
    /// [`WindowError`] when the bytes are something else; they are to be left as they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, WindowError> {
        let m = pb::Window::decode(bytes).map_err(WindowError::Malformed)?;
        if m.kind != KIND {
            return Err(WindowError::Kind(m.kind));
        }
        let quota = if m.sliding { WindowQuota::sliding } else { WindowQuota::fixed };
        let quota = quota(m.most, Duration::from_micros(m.length_micros)).map_err(WindowError::Quota)?;
        if let Some(count) = [m.current, m.previous].into_iter().find(|count| *count > m.most) {
            return Err(WindowError::Count(count));
        }
        let seen = Timestamp::from_micros(m.seen_micros);
        Ok(Self { quota, number: m.number, current: m.current, previous: m.previous, seen })
    }
}
