//! @generated from `proto/flow/v1/metric.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct BaseMetric {
    /// Everything that was ever taken up.
    #[prost(uint64, tag = "1")]
    pub processed: u64,
    /// What was taken up and is not done; below zero while others are behind with what they took up.
    #[prost(int64, tag = "2")]
    pub in_flight: i64,
    #[prost(uint64, tag = "3")]
    pub failed: u64,
}
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct MapMetric {
    #[prost(message, optional, tag = "1")]
    pub overall: ::core::option::Option<BaseMetric>,
    /// By the number of a board.
    #[prost(btree_map = "uint64, message", tag = "2")]
    pub boards: ::prost::alloc::collections::BTreeMap<u64, BaseMetric>,
}
