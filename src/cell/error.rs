//! Why an operation on a cell did not happen, or may not have.
//!
//! Closures that shared a write share its error, so it can be told several times.

use crate::{
    codec::CodecError,
    core::coordination::{FencingToken, Lost},
    engine::{Key, NameError, Rejection, Revision, StoreError},
    error::BoxError,
};
use std::{error::Error, fmt, sync::Arc};

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

impl CellError {
    /// Takes over what a store says about a read, which changes nothing however it ends.
    pub(super) fn of_read(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(source) | StoreError::Unknown(source) => Self::Unavailable(source),
            StoreError::Rejected(rejection) => Self::Rejected(rejection),
            StoreError::Conflict => Self::Unavailable(StoreError::Conflict.into()),
        }
    }
}

/// An error that is told to everyone whom it is about.
#[derive(Debug)]
pub(super) struct Shared(Arc<CellError>);

impl Shared {
    pub(super) fn new(error: CellError) -> Self {
        Self(Arc::new(error))
    }

    /// Tells it once more.
    pub(super) fn tell(&self) -> CellError {
        let cause = || Cause(Arc::clone(&self.0)).into();
        match &*self.0 {
            CellError::Contended { key, attempts, last } => {
                CellError::Contended { key: key.clone(), attempts: *attempts, last: *last }
            }
            CellError::Unknown(_) => CellError::Unknown(cause()),
            CellError::Unavailable(_) => CellError::Unavailable(cause()),
            CellError::Busy(key) => CellError::Busy(key.clone()),
            CellError::Rejected(Rejection::Name(name)) => name.clone().into(),
            CellError::Rejected(Rejection::TooLarge { size, limit, unit }) => {
                Rejection::TooLarge { size: *size, limit: *limit, unit }.into()
            }
            CellError::Rejected(Rejection::Unsupported { what, engine, remedy }) => {
                Rejection::Unsupported { what, engine: engine.clone(), remedy }.into()
            }
            CellError::Rejected(Rejection::InvalidOption(what)) => Rejection::InvalidOption(what).into(),
            CellError::Rejected(_) => Rejection::Refused(cause()).into(),
            CellError::Corrupt { key, revision, source } => {
                CellError::Corrupt { key: key.clone(), revision: *revision, source: source.clone() }
            }
            CellError::Encode(source) => CellError::Encode(source.clone()),
            CellError::Conflict(key) => CellError::Conflict(key.clone()),
            CellError::Fenced { ours, newest } => CellError::Fenced { ours: *ours, newest: *newest },
            CellError::Lost(lost) => CellError::Lost(*lost),
        }
    }
}

/// The cause of a shared error.
#[derive(Debug)]
struct Cause(Arc<CellError>);

impl Cause {
    fn inner(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.0 {
            CellError::Rejected(rejection) => Some(rejection),
            error => error.source(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner().map_or(Ok(()), |inner| fmt::Display::fmt(inner, f))
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner()?.source()
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
