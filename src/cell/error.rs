//! Why an operation on a cell did not happen, or may not have.

use crate::{
    codec::CodecError,
    core::coordination::{FencingToken, Lost},
    engine::{Key, NameError, Rejection, Revision, StoreError},
    error::BoxError,
};

/// Why a cell did not do what it was asked to. Each kind says what is known of the stored value, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CellError {
    /// Nothing was written: others wrote the key each time, until the deadline. Try later, or allow more time.
    #[error("others changed `{key}` at each of {attempts} attempts until the deadline")]
    Contended {
        /// The key.
        key: Key,
        /// How often it was tried.
        attempts: u32,
        /// The newest revision that was seen; `None` when the key was absent.
        last: Option<Revision>,
    },
    /// It may have been written: the answer was lost, and so was the evidence. Read before deciding, and repeat only what may
    /// happen twice.
    #[error("whether it was written is unknown")]
    Unknown(#[source] BoxError),
    /// Nothing was written, since the store could not be reached until the deadline: try later.
    #[error("the store is unavailable")]
    Unavailable(#[source] BoxError),
    /// Nothing was written, since too many others in this process wait for the same key until the deadline: ask less often.
    #[error("too many operations wait for `{0}`")]
    Busy(Key),
    /// Nothing was written, and the same request will never succeed: change it.
    #[error("the request was rejected")]
    Rejected(#[from] Rejection),
    /// What is stored is no value of this type. It is left as it is.
    #[error("what is stored at `{key}` in revision {revision} cannot be read")]
    Corrupt {
        /// The key.
        key: Key,
        /// The write that stored it.
        revision: Revision,
        /// Why not.
        source: CodecError,
    },
    /// Nothing was written, since the new value cannot be encoded.
    #[error("the new value cannot be encoded")]
    Encode(#[source] CodecError),
    /// Nothing was written: the key does not hold the revision that was expected.
    #[error("`{0}` does not hold the expected revision")]
    Conflict(Key),
    /// Nothing was written: a later holder has written the key.
    #[error("token {ours} is older than {newest}, with which the key was written")]
    Fenced {
        /// The token that was shown.
        ours: FencingToken,
        /// The greatest one that the key was written with.
        newest: FencingToken,
    },
    /// Nothing was written: the guard does not hold any more what it guards.
    #[error(transparent)]
    Lost(#[from] Lost),
}

impl From<NameError> for CellError {
    fn from(error: NameError) -> Self {
        Self::Rejected(error.into())
    }
}

impl From<StoreError> for CellError {
    /// Takes over what a store says about a read, or about a write that was tried once; a conflict is one that was not resolved.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::Unavailable("the store reported a conflict where nothing was expected".into()),
            StoreError::Unknown(source) => Self::Unknown(source),
            StoreError::Unavailable(source) => Self::Unavailable(source),
            StoreError::Rejected(rejection) => Self::Rejected(rejection),
        }
    }
}

/// Why a fallible update did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The closure returned this, and nothing of what it did is kept.
    #[error("the update was given up")]
    Aborted(#[source] E),
    /// The cell did not do it, or may not have.
    #[error(transparent)]
    Cell(#[from] CellError),
}
