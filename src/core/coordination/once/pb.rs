//! @generated from `proto/anabranch/v1/once.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Once {
    /// Always 8: tells these bytes from those of other objects.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// What the one that ran it returned, encoded by its type: JSON unless the type says otherwise.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: ::prost::bytes::Bytes,
}
