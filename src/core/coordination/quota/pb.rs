//! @generated from `proto/anabranch/v1/limit.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Limit {
    /// Always 2; what says otherwise is no limit.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The quota: `amount` cells each `period_nanos`, and at most `burst` at once.
    #[prost(uint32, tag = "2")]
    pub amount: u32,
    #[prost(uint64, tag = "3")]
    pub period_nanos: u64,
    #[prost(uint32, tag = "4")]
    pub burst: u32,
    /// The theoretical arrival time of the next cell: microseconds since the Unix epoch, and parts of one, 1000 * amount to the
    /// microsecond.
    #[prost(int64, tag = "5")]
    pub tat_micros: i64,
    #[prost(uint64, tag = "6")]
    pub tat_parts: u64,
    /// The greatest time that any writer has brought, in microseconds since the Unix epoch.
    #[prost(int64, tag = "7")]
    pub seen_micros: i64,
}
