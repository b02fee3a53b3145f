//! The value of something that was done once, as protobuf bytes. Absent means: not done.

mod pb;

use super::NotThis;
use bytes::Bytes;
use prost::Message as _;

const KIND: u32 = 8;

/// What the one that ran it returned, in the encoding of its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done(pub Bytes);

impl Done {
    /// Writes it as protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        pb::Once { kind: KIND, value: self.0.clone() }.encode_to_vec().into()
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for what is no outcome of a once.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let stored = pb::Once::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, KIND, "once")?;
        Ok(Self(stored.value))
    }
}
