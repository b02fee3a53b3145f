//! Why a coordination object did not do what it was asked to.

use crate::{
    cell::CellError,
    core::coordination::{Lost, OutOfRange},
    engine::NameError,
};

/// Why a coordination object did not do what it was asked to. What is an ordinary answer (denied, held by another) is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinationError {
    /// The store could not do it, or its outcome is unknown; the source says which.
    #[error("the state of `{object}` could not be changed or read")]
    Cell {
        /// Which object.
        object: String,
        /// Why not.
        source: CellError,
    },
    /// An argument is out of its range: correct it.
    #[error("{0}")]
    Invalid(&'static str),
    /// Nothing was changed, since a number would leave its range; nothing falls below zero that cannot.
    #[error("`{object}` was not changed")]
    OutOfRange {
        /// Which object.
        object: String,
        /// Which number, and what it would be.
        source: OutOfRange,
    },
    /// The object is stored with other settings than it was opened with: open it with the same ones everywhere, or take
    /// another name.
    #[error("`{object}` has {what} {stored}, and {wanted} was asked for")]
    Mismatch {
        /// Which object.
        object: String,
        /// What differs, such as `capacity`.
        what: &'static str,
        /// What is stored.
        stored: String,
        /// What was asked for.
        wanted: String,
    },
    /// It was not to be had until the deadline; nothing is held.
    #[error("`{0}` was not to be had until the deadline")]
    Deadline(String),
    /// What was held is not held any more.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// It was closed and takes nothing any more.
    #[error("`{0}` is closed")]
    Closed(String),
}

impl CoordinationError {
    /// Says which object a cell's error is about.
    pub(super) fn at(object: impl Into<String>) -> impl FnOnce(CellError) -> Self {
        let object = object.into();
        move |source| Self::Cell { object, source }
    }
}

impl From<NameError> for CoordinationError {
    fn from(error: NameError) -> Self {
        Self::Cell { object: String::new(), source: error.into() }
    }
}
