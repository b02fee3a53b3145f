//! No span of time has more admissions than the quota.
//!
//! It holds `docs/semantics.md`, "Rate limiters", to its word that in any span of length `W` at most `burst + amount * W / period` cells are
//! admitted, which is what the generic cell rate algorithm promises. It does not judge denials: to admit too little is no danger.

use super::violation::{Row, Violation};
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
/// answers come late. Takes time in the square of the number of admissions of a key.
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
    let mut keys: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, admission) in admissions.iter().enumerate() {
        keys.entry(&admission.key).or_default().push(at);
    }
    for (key, mut by_return) in keys {
        by_return.sort_by_key(|at| admissions[*at].returned);
        // How many admissions, how many cells, how many are allowed, from when to when.
        let mut worst: Option<(usize, u128, u128, u64, u64)> = None;
        for begin in by_return.iter().map(|at| admissions[*at].called) {
            let (mut count, mut cells) = (0, 0);
            for Admission { called, returned, cells: more, .. } in by_return.iter().map(|at| &admissions[*at]) {
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
        let inside = |at: &&usize| admissions[**at].called >= from;
        let inside = by_return.iter().filter(inside).take(count);
        return Err(inside.fold(Violation::new("limiter", what), |violation, at| {
            let Admission { client, called, returned, cells, .. } = &admissions[*at];
            let row = Row { from: *called, to: Some(*returned), who: client.to_string(), what: format!("{cells} admitted") };
            violation.with(*at, row)
        }));
    }
    Ok(())
}
