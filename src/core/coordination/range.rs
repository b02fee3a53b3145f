//! What is said when a number would leave its range.

/// Nothing was changed, since a number would leave its range: it would fall below zero, or exceed what its type holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} would be {wanted}, which is out of its range")]
pub struct OutOfRange {
    /// Which number.
    pub what: &'static str,
    /// What it would be.
    pub wanted: i128,
}
