//! @generated from `proto/anabranch/v1/latch.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Latch {
    /// 6; anything else is no latch.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// How many have to count down.
    #[prost(uint32, tag = "2")]
    pub count: u32,
    /// Who has: 16 bytes each, the start of their SHA-256. Empty again when it is open.
    #[prost(bytes = "bytes", tag = "3")]
    pub counted: ::prost::bytes::Bytes,
    #[prost(bool, tag = "4")]
    pub open: bool,
    /// Tells this latch from one of the same name that was removed or has expired.
    #[prost(fixed64, tag = "5")]
    pub born: u64,
}
