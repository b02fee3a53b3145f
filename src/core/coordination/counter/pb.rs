//! @generated from `proto/anabranch/v1/counter.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Counter {
    /// 4; anything else is no counter.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(sint64, tag = "2")]
    pub value: i64,
    /// The newest operation ids that were counted, oldest first: 16 bytes each, the start of their SHA-256.
    #[prost(bytes = "bytes", tag = "3")]
    pub counted: ::prost::bytes::Bytes,
    /// How many of them are kept.
    #[prost(uint32, tag = "4")]
    pub window: u32,
    /// The value after each of them, in the same order: what is answered when it comes again.
    #[prost(sint64, repeated, tag = "5")]
    pub answers: ::prost::alloc::vec::Vec<i64>,
}
