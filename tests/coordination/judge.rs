//! Whether a history of admissions keeps a quota.

use anabranch::{
    core::coordination::Quota,
    testing::check::limiter::{Admission, check},
};
use std::time::Duration;

/// Panics when any span of time has more admissions than the burst and what comes in between.
///
/// Each admission is of so many cells, at an unknown time from one microsecond to another, such as from a call to its return.
/// `slack` is how many microseconds a span counts longer than it is.
#[track_caller]
pub(crate) fn judge(quota: Quota, admitted: &[(i64, i64, u32)], slack: i64) {
    // By whatever clock it was, it began some time.
    let origin = admitted.iter().map(|(called, returned, _)| *called.min(returned)).min().unwrap_or(0);
    let since = |at: i64| u64::try_from(at - origin).unwrap();
    let admission = |(called, returned, cells): &(i64, i64, u32)| Admission {
        client: Box::default(),
        key: Box::default(),
        called: since(*called),
        returned: since(*returned),
        cells: *cells,
    };
    let admissions: Vec<Admission> = admitted.iter().map(admission).collect();
    check(&admissions, quota, Duration::from_micros(u64::try_from(slack).unwrap())).unwrap();
}
