//! Whether a history of admissions keeps a quota.

use anabranch::core::coordination::Quota;

/// Panics when any span of time has more admissions than the burst and what comes in between.
///
/// Each admission is of so many cells, at an unknown time from one microsecond to another, such as from a call to its return; it
/// is in a span when it lies in it wholly. Spans that begin with a call and end with a return are all that have to be looked at.
/// `slack` is how many microseconds a span counts longer than it is.
#[track_caller]
pub(crate) fn judge(quota: Quota, admitted: &[(i64, i64, u32)], slack: i64) {
    let mut by_return = admitted.to_vec();
    by_return.sort_unstable_by_key(|(_, returned, _)| *returned);
    let (amount, period) = (i128::from(quota.amount().get()), i128::try_from(quota.period().as_nanos()).unwrap());
    for (x, ..) in admitted {
        let mut count = 0_i128;
        for (_, y, cells) in by_return.iter().filter(|(called, ..)| called >= x) {
            count += i128::from(*cells);
            let most = i128::from(quota.most_at_once().get()) + i128::from(y - x + slack) * 1000 * amount / period;
            assert!(count <= most, "{count} of {quota} between {x} and {y}, and {most} are allowed");
        }
    }
}

#[test]
#[should_panic(expected = "3 of 2 in 1s, 2 at once between 0 and 499999, and 2 are allowed")]
fn one_cell_too_many_is_found() {
    judge(Quota::per_second(2).unwrap(), &[(0, 0, 1), (0, 0, 1), (499_999, 499_999, 1)], 0);
}

#[test]
fn a_cell_that_is_due_is_none_too_many() {
    judge(Quota::per_second(2).unwrap(), &[(0, 0, 2), (500_000, 500_000, 1), (10, 1_000_000, 1)], 0);
}
