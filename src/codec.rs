//! Values that cross a node boundary, a signal or a queue: typed above, bytes below.
//!
//! What a run keeps is JSON, so that a snapshot can be shown, searched and edited by people and by other languages; what a cell
//! keeps is what its [`Codec`] says. A decode error is an error and never an absent value.

use crate::error::BoxError;
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc};

/// How deep a value may be nested: the limit of JSON, for what has none of its own.
const DEEPEST: usize = 128;

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
        serde_json::to_vec(self).map(Bytes::from).map_err(|e| CodecError::new::<Self>(e))
    }

    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        serde_json::from_slice(bytes).map_err(|e| CodecError::new::<Self>(e))
    }
}

/// How values of a type are written as bytes and read back: JSON, `MessagePack`, protobuf, the bytes themselves, or two functions
/// of your own.
///
/// ```
/// use anabranch::Codec;
///
/// let codec = Codec::<Vec<u8>>::json();
/// let bytes = codec.encode(&vec![1, 2])?;
/// assert_eq!(codec.decode(&bytes)?, [1, 2]);
/// assert!(codec.decode(b"nothing of the kind").is_err());
/// # Ok::<(), anabranch::CodecError>(())
/// ```
pub struct Codec<T> {
    name: &'static str,
    encode: fn(&T) -> Result<Bytes, CodecError>,
    decode: fn(&[u8]) -> Result<T, CodecError>,
}

impl<T> Codec<T> {
    /// Takes two functions of your own, and a name that tells this encoding from others.
    #[must_use]
    pub const fn new(
        name: &'static str,
        encode: fn(&T) -> Result<Bytes, CodecError>,
        decode: fn(&[u8]) -> Result<T, CodecError>,
    ) -> Self {
        Self { name, encode, decode }
    }

    /// Returns the name of the encoding.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Writes a value as bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the encoding cannot hold this value.
    pub fn encode(&self, value: &T) -> Result<Bytes, CodecError> {
        (self.encode)(value)
    }

    /// Reads a value back.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when the bytes are no such value.
    pub fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        (self.decode)(bytes)
    }
}

impl<T: Payload> Codec<T> {
    /// Writes JSON.
    #[must_use]
    pub const fn json() -> Self {
        Self::new("json", T::encode, T::decode)
    }
}

impl<T: Serialize + DeserializeOwned> Codec<T> {
    /// Writes `MessagePack`, with the names of fields, so that a type may grow. Values are nested at most 128 deep, as in JSON.
    #[must_use]
    pub const fn message_pack() -> Self {
        fn encode<T: Serialize>(value: &T) -> Result<Bytes, CodecError> {
            rmp_serde::to_vec_named(value).map(Bytes::from).map_err(CodecError::new::<T>)
        }
        fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
            let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
            // Its own limit is more than the stack of a task holds, and who overflows that takes the process down.
            reader.set_max_depth(DEEPEST);
            T::deserialize(&mut reader).map_err(CodecError::new::<T>)
        }
        Self::new("message-pack", encode::<T>, decode::<T>)
    }
}

impl Codec<Bytes> {
    /// Leaves bytes as they are.
    #[must_use]
    pub const fn raw() -> Self {
        Self::new("raw", |bytes| Ok(bytes.clone()), |bytes| Ok(Bytes::copy_from_slice(bytes)))
    }
}

impl<T: prost::Message + Default> Codec<T> {
    /// Writes protobuf.
    #[must_use]
    pub const fn protobuf() -> Self {
        Self::new("protobuf", |value| Ok(value.encode_to_vec().into()), |bytes| T::decode(bytes).map_err(CodecError::new::<T>))
    }
}

impl<T> Clone for Codec<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Codec<T> {}

impl<T> fmt::Debug for Codec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Codec({} of {})", self.name, std::any::type_name::<T>())
    }
}

/// A value does not match its type.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the payload does not match `{expected}`")]
pub struct CodecError {
    expected: &'static str,
    source: Arc<dyn std::error::Error + Send + Sync>,
}

impl CodecError {
    /// Says that bytes are no `T`, or that a `T` cannot be written, and why.
    pub fn new<T>(source: impl Into<BoxError>) -> Self {
        Self { expected: std::any::type_name::<T>(), source: source.into().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Dice;

    #[test]
    fn a_number_survives_json_to_the_last_bit() {
        let mut dice = Dice::new(7);
        for _ in 0..10_000 {
            let number = f64::from_bits(dice.number());
            if number.is_finite() {
                let read = f64::decode(&number.encode().unwrap()).unwrap();
                assert_eq!(read.to_bits(), number.to_bits(), "{number:?} was read as {read:?}");
            }
        }
    }

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    struct Nested(Vec<Self>);

    #[test]
    fn a_payload_that_is_nested_too_deeply_is_an_error_and_no_overflow() {
        // An array of one, again and again, as anybody may send it.
        for depth in [129, 1_000, 100_000] {
            let packed = vec![0x91; depth];
            assert!(Codec::<Nested>::message_pack().decode(&packed).is_err(), "{depth}");
            assert!(Codec::<serde_json::Value>::message_pack().decode(&packed).is_err(), "{depth}");
            assert!(Codec::<serde_json::Value>::json().decode(&vec![b'['; depth]).is_err(), "{depth}");
        }
        let mut packed = vec![0x91; 100];
        packed.push(0xc0);
        assert!(Codec::<serde_json::Value>::message_pack().decode(&packed).is_ok(), "a hundred are not too many");
    }
}
