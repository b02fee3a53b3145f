//! What is stored of a limiter: bytes to a [`Limit`] and back.
//!
//! Whatever is not a limit is an error, never a limit that has admitted nothing yet.

use super::{Limit, Quota, pb};
use crate::{core::coordination::NotThis, time::Timestamp};
use prost::Message as _;
use std::time::Duration;

/// Tells limits from what else there may be at a key.
const KIND: u32 = 2;

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
    /// [`NotThis`] when the bytes are something else; they are to be left as they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let m = pb::Limit::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(m.kind, KIND, "limit")?;
        let quota = Quota::new(m.amount, Duration::from_nanos(m.period_nanos)).and_then(|q| q.burst(m.burst));
        let quota = quota.map_err(|_| NotThis::Broken("no limit has such a quota"))?;
        if i128::from(m.tat_parts) >= quota.parts_in_a_micro() {
            return Err(NotThis::Broken("a limit's next cell is between two microseconds"));
        }
        let tat = quota.at(Timestamp::from_micros(m.tat_micros)) + i128::from(m.tat_parts);
        Ok(Self { quota, tat, seen: Timestamp::from_micros(m.seen_micros) })
    }
}
