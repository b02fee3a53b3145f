//! @generated from `proto/anabranch/v1/barrier.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Barrier {
    /// 7; anything else is no barrier.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// How many have to arrive.
    #[prost(uint32, tag = "2")]
    pub parties: u32,
    /// How often all have.
    #[prost(uint64, tag = "3")]
    pub generation: u64,
    /// Who waits, in the order of arrival.
    #[prost(message, repeated, tag = "4")]
    pub arrived: ::prost::alloc::vec::Vec<Party>,
    /// The arrivals that the last generation was complete with.
    #[prost(fixed64, repeated, tag = "5")]
    pub passed: ::prost::alloc::vec::Vec<u64>,
    /// Tells this barrier from one of the same name that was removed or has expired.
    #[prost(fixed64, tag = "6")]
    pub born: u64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Party {
    #[prost(string, tag = "1")]
    pub id: ::prost::alloc::string::String,
    /// Tells this arrival from others of the same party.
    #[prost(fixed64, tag = "2")]
    pub arrival: u64,
}
