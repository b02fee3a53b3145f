//! Which seeds a test runs: as many as it takes by itself, or those that somebody wants to see.

use std::{env, ops::Range};

/// The variable that says so.
const VARIABLE: &str = "ANABRANCH_SEEDS";

/// Returns the first `most` seeds, or those of the variable `ANABRANCH_SEEDS`: `1000` are so many from zero, `397..398` is one.
///
/// ```
/// assert!(anabranch::testing::seeds(3).eq(0..3));
/// ```
///
/// # Panics
///
/// When the variable says something else.
#[must_use]
pub fn seeds(most: u64) -> Range<u64> {
    env::var(VARIABLE).map_or(0..most, |text| {
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{VARIABLE}` is a number, or two with `..` between"));
        text.split_once("..").map_or_else(|| 0..number(&text), |(first, end)| number(first)..number(end))
    })
}
