//! One firing of a schedule, and what it is called.

use crate::time::Timestamp;

/// A firing: which it is, and the time for which it fires.
///
/// ```
/// use anabranch::{core::schedule::Firing, time::Timestamp};
///
/// let two = Timestamp::parse_rfc3339("2026-11-25T02:00:00Z").unwrap();
/// assert_eq!(Firing::due("nightly", two).id, "nightly@2026-11-25T02:00:00Z");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Firing {
    /// Its name: that of the schedule, and the time. It is the id of the message that it sends.
    pub id: String,
    /// The time for which it fires, which is not later than the time at which it does.
    pub at: Timestamp,
}

impl Firing {
    /// Names the firing that a rule asks for.
    #[must_use]
    pub fn due(schedule: &str, at: Timestamp) -> Self {
        Self { id: format!("{schedule}@{at}"), at }
    }

    /// Names a firing that was triggered by hand, the `nth` of its schedule, so that it is never one that a rule asks for.
    #[must_use]
    pub fn manual(schedule: &str, at: Timestamp, nth: u64) -> Self {
        Self { id: format!("{schedule}@{at}+{nth}"), at }
    }

    pub(super) fn new(id: String, at: Timestamp) -> Self {
        Self { id, at }
    }
}
