//! No span of time has more admissions than the quota.
//!
//! It holds `docs/semantics.md`, "Rate limiters", to its word that in any span of length `W` at most `burst + amount * W / period` cells are
//! admitted, which is what the generic cell rate algorithm promises. It does not judge denials: to admit too little is no danger.

use super::{
    peaks::Peaks,
    violation::{Row, Violation},
};
use crate::core::coordination::Quota;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// That somebody was admitted, at an unknown point of time from its call to its return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Who.
    pub client: Box<str>,
    /// The limiter's key; each has the quota for itself.
    pub key: Box<str>,
    /// When it asked, in microseconds; for a reservation, when it is due.
    pub called: u64,
    /// When it was admitted, in microseconds; for a reservation, when it is due.
    pub returned: u64,
    /// For how many cells.
    pub cells: u32,
}

/// Checks that any span of time has at most the burst and what comes in between of admissions.
///
/// An admission is in a span when it certainly lies in it: its call and its return do. So only spans have to be looked at that begin
/// with a call and end with a return. `slack` is how much longer a span counts than it is: by how much clocks differ, and by how much
/// answers come late. Takes time in the square of the number of admissions of a key only where there is such a span.
///
/// # Errors
///
/// That there is such a span (rule `limiter`), with the admissions in the one that has the fewest.
///
/// ```
/// use anabranch::{core::coordination::Quota, testing::check::limiter::{Admission, check}};
/// use std::time::Duration;
///
/// let admitted = |at, cells| Admission { client: "a".into(), key: "k".into(), called: at, returned: at + 10, cells };
/// let quota = Quota::per_second(2)?;
/// check(&[admitted(0, 2), admitted(500_000, 1)], quota, Duration::ZERO)?;
/// let violation = check(&[admitted(0, 2), admitted(400_000, 1)], quota, Duration::ZERO).unwrap_err();
/// assert!(violation.to_string().starts_with("limiter: 3 cells of k within 400.01ms, and 2 in 1s, 2 at once are 2"), "{violation}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check(admissions: &[Admission], quota: Quota, slack: Duration) -> Result<(), Violation> {
    let (amount, period) = (u128::from(quota.amount().get()), quota.period().as_nanos());
    let burst = u128::from(quota.most_at_once().get());
    let mut keys: BTreeMap<&str, Vec<(usize, &Admission)>> = BTreeMap::new();
    for (at, admission) in admissions.iter().enumerate() {
        keys.entry(&admission.key).or_default().push((at, admission));
    }
    for (key, mut by_return) in keys {
        by_return.sort_by_key(|(_, admission)| admission.returned);
        // How many admissions, how many cells, how many are allowed, from when to when.
        let mut worst: Option<(usize, u128, u128, u64, u64)> = None;
        for begin in crowded(&by_return, quota, slack) {
            let (mut count, mut cells) = (0, 0);
            for (_, Admission { called, returned, cells: more, .. }) in &by_return {
                if *called < begin {
                    continue;
                }
                (count, cells) = (count + 1, cells + u128::from(*more));
                let span = Duration::from_micros(returned.saturating_sub(begin)).saturating_add(slack);
                let most = burst + span.as_nanos() * amount / period;
                if cells > most {
                    if worst.is_none_or(|(least, ..)| count < least) {
                        worst = Some((count, cells, most, begin, *returned));
                    }
                    break;
                }
            }
        }
        let Some((count, cells, most, from, to)) = worst else { continue };
        let span = Duration::from_micros(to.saturating_sub(from));
        let what = format!("{cells} cells of {key} within {span:?}, and {quota} are {most}");
        let inside = by_return.iter().filter(|(_, admission)| admission.called >= from).take(count);
        return Err(inside.fold(Violation::new("limiter", what), |violation, (at, admission)| {
            let Admission { client, called, returned, cells, .. } = admission;
            let row = Row { from: *called, to: Some(*returned), who: client.to_string(), what: format!("{cells} admitted") };
            violation.with(*at, row)
        }));
    }
    Ok(())
}

/// Finds the calls with which a span begins that has too many of these admissions, which are in the order of their returns.
///
/// A span from `b` to `r` has too many when `cells * period - r * amount` is above `burst * period + (slack - b) * amount`. The left side is
/// kept for each return, with the cells of all calls from `b` on; going through the calls from the last one back only adds to it.
fn crowded(by_return: &[(usize, &Admission)], quota: Quota, slack: Duration) -> Vec<u64> {
    let exact = |number: u128| i128::try_from(number).unwrap_or(i128::MAX / 4);
    let (amount, period) = (i128::from(quota.amount().get()), exact(quota.period().as_nanos()));
    let burst = i128::from(quota.most_at_once().get()) * period + exact(slack.as_nanos()) * amount;
    let at = |micros: u64| i128::from(micros) * 1000 * amount;
    let mut left = Peaks::new(by_return.iter().map(|(_, admission)| -at(admission.returned)));
    let mut by_call: Vec<_> = by_return.iter().enumerate().map(|(place, (_, admission))| (admission.called, place)).collect();
    by_call.sort_unstable();
    let mut found = Vec::new();
    while let Some((begin, place)) = by_call.pop() {
        left.raise_from(place, i128::from(by_return[place].1.cells) * period);
        let all_in = by_call.last().is_none_or(|(earlier, _)| *earlier < begin);
        // What has returned before is in no such span.
        let first = by_return.partition_point(|(_, admission)| admission.returned < begin);
        if all_in && first < by_return.len() && left.greatest_from(first) > burst - at(begin) {
            found.push(begin);
        }
    }
    found
}
