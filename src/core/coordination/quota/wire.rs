//! What is stored of a limiter: bytes to a [`Limit`] and back.
//!
//! Whatever is not a limit is an error, never a limit that has admitted nothing yet.

use super::{Limit, Quota, QuotaError, pb};
use crate::time::Timestamp;
use prost::Message as _;
use std::time::Duration;

/// Tells limits from what else there may be at a key.
const KIND: u32 = 2;

/// Why bytes are no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// They are no protobuf message.
    #[error("the bytes are no message")]
    Malformed(#[source] prost::DecodeError),
    /// They are another object's, or nobody's.
    #[error("the kind is {0}, and a limit is of kind {KIND}")]
    Kind(u32),
    /// No such quota can have been stored.
    #[error("the quota is none")]
    Quota(#[source] QuotaError),
    /// A time is not on the quota's schedule.
    #[error("{0} parts are more than a microsecond")]
    Parts(u64),
}

impl Limit {
    /// Writes it as bytes.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the ranges of its own fields are checked, and never left")]
    pub fn encode(&self) -> Vec<u8> {
        let scale = self.quota.parts_in_a_micro();
        let message = pb::Limit {
            kind: KIND,
            amount: self.quota.amount().get(),
            period_nanos: u64::try_from(self.quota.period().as_nanos()).expect("366 days have less than 2^55 nanoseconds"),
            burst: self.quota.most_at_once().get(),
            tat_micros: i64::try_from(self.tat.div_euclid(scale)).expect("no later time is ever set"),
            tat_parts: u64::try_from(self.tat.rem_euclid(scale)).expect("a microsecond has less than 2^42 parts"),
            seen_micros: self.seen.as_micros(),
        };
        message.encode_to_vec()
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`LimitError`] when the bytes are something else; they are to be left as they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, LimitError> {
        let m = pb::Limit::decode(bytes).map_err(LimitError::Malformed)?;
        if m.kind != KIND {
            return Err(LimitError::Kind(m.kind));
        }
        let quota = Quota::new(m.amount, Duration::from_nanos(m.period_nanos)).and_then(|q| q.burst(m.burst));
        let quota = quota.map_err(LimitError::Quota)?;
        if i128::from(m.tat_parts) >= quota.parts_in_a_micro() {
            return Err(LimitError::Parts(m.tat_parts));
        }
        let tat = quota.at(Timestamp::from_micros(m.tat_micros)) + i128::from(m.tat_parts);
        Ok(Self { quota, tat, seen: Timestamp::from_micros(m.seen_micros) })
    }
}
