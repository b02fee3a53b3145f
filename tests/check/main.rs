//! The checkers of the test kit: right histories pass, each way to be wrong is found, and what is told of it is short.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod groups;
mod holds;
mod limits;
mod linear;
mod messages;
mod objects;
mod random;
mod runs;
mod schedules;

use anabranch::testing::check::Violation;

/// Asserts that a rule is broken, and that what is told shows it: the events that it names break the same rule alone.
#[track_caller]
fn caught<E: Clone>(events: &[E], rule: &str, check: impl Fn(&[E]) -> Result<(), Violation>) -> Violation {
    let violation = check(events).expect_err("nobody found it");
    assert_eq!(violation.rule(), rule, "{violation}");
    let mut evidence = violation.evidence().to_vec();
    evidence.sort_unstable();
    let alone: Vec<E> = evidence.into_iter().map(|at| events[at].clone()).collect();
    assert_eq!(check(&alone).expect_err("it is not shown").rule(), rule, "{violation}");
    violation
}
