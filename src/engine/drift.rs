//! Drift: what is said when something that others may own is there already, and is configured otherwise than it was asked for.
//!
//! Everything that differs is said at once, and only what was asked for is compared. Nothing is ever changed here or because of it.

use super::{Rejection, StoreError};
use std::{fmt, time::Duration};

/// One way in which a bucket or a stream is configured otherwise than it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The option of [`BucketOptions`](super::BucketOptions) or [`StreamOptions`](super::StreamOptions).
    pub what: &'static str,
    /// What is there.
    pub found: String,
    /// What was asked for.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not {}", self.what, self.found, self.wanted)
    }
}

/// Differences as they are found.
#[derive(Debug, Default)]
pub(super) struct Differences(Vec<Difference>);

impl Differences {
    /// Compares one option, in the words that people read; `None` was not asked for.
    pub(super) fn note(&mut self, what: &'static str, found: String, wanted: Option<String>) {
        if let Some(wanted) = wanted.filter(|w| *w != found) {
            self.0.push(Difference { what, found, wanted });
        }
    }
}

impl From<Differences> for Vec<Difference> {
    fn from(found: Differences) -> Self {
        found.0
    }
}

/// Writes differences one after the other.
pub(super) fn list(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Writes a duration of which zero has a meaning of its own.
pub(super) fn lasting(duration: Duration, zero: &str) -> String {
    if duration.is_zero() { zero.to_owned() } else { format!("{duration:?}") }
}

/// Refuses what is configured otherwise.
pub(super) fn must_be_none(what: &'static str, name: &str, differences: Vec<Difference>) -> Result<(), StoreError> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Rejection::Drift { what, name: name.to_owned(), differences }.into())
}
