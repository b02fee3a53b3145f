//! @generated from `proto/anabranch/v1/group.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Group {
    /// 5; anything else is no wait group.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The members that are in it, in ascending order.
    #[prost(string, repeated, tag = "2")]
    pub members: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// What was added without a name, and is not done.
    #[prost(uint64, tag = "3")]
    pub units: u64,
    /// The newest members that have left, oldest first: 16 bytes each, the start of their SHA-256.
    #[prost(bytes = "bytes", tag = "4")]
    pub left: ::prost::bytes::Bytes,
    /// How many of them are kept.
    #[prost(uint32, tag = "5")]
    pub window: u32,
    /// How often nothing was left of it.
    #[prost(uint64, tag = "6")]
    pub zeros: u64,
    #[prost(bool, tag = "7")]
    pub closed: bool,
    /// Tells this group from one of the same name that was removed or has expired.
    #[prost(fixed64, tag = "8")]
    pub born: u64,
}
