//! Values that cross a node boundary, a signal or a queue: typed above, bytes below.
//!
//! The encoding is JSON, so a snapshot can be shown, searched and edited by people and by other languages. A decode error is an
//! error and never an absent value.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

/// A value that can be kept in a run's snapshot.
///
/// Implemented for every owned type that serde can write and read; there is nothing to implement by hand.
///
/// ```
/// use anabranch::Payload;
/// let bytes = vec![1_u8, 2].encode()?;
/// assert_eq!(Vec::<u8>::decode(&bytes)?, [1, 2]);
/// # Ok::<(), anabranch::CodecError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a run's snapshot",
    label = "this type crosses a node boundary",
    note = "derive `serde::Serialize` and `serde::Deserialize`, and own your data: `T: Send + Sync + 'static`"
)]
pub trait Payload: Send + Sync + Sized + 'static {
    /// Writes the value as bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the type refuses to be written, such as a map whose keys are no strings: change the type.
    fn encode(&self) -> Result<Bytes, CodecError>;

    /// Reads a value back.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the bytes are no such value: they were written by other code, or by an older version of it.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError>;
}

#[diagnostic::do_not_recommend]
impl<T> Payload for T
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    fn encode(&self) -> Result<Bytes, CodecError> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|e| CodecError::of::<Self>(e))
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        serde_json::from_slice(bytes).map_err(|e| CodecError::of::<Self>(e))
    }
}

/// A value does not match its type.
#[derive(Debug, thiserror::Error)]
#[error("the payload does not match `{expected}`")]
pub struct CodecError {
    expected: &'static str,
    source: serde_json::Error,
}

impl CodecError {
    fn of<T>(source: serde_json::Error) -> Self {
        Self { expected: std::any::type_name::<T>(), source }
    }
}
