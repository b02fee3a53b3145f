//! @generated from `proto/anabranch/v1/window.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Window {
    /// Always 3; what says otherwise is no window.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// The quota: at most `most` cells in a window of `length_micros`.
    #[prost(uint32, tag = "2")]
    pub most: u32,
    #[prost(uint64, tag = "3")]
    pub length_micros: u64,
    /// Whether what is left of the window before is added.
    #[prost(bool, tag = "4")]
    pub sliding: bool,
    /// Which window is counted: that which begins at `number` times its length after the Unix epoch.
    #[prost(int64, tag = "5")]
    pub number: i64,
    /// What was admitted in it, and in the one before.
    #[prost(uint32, tag = "6")]
    pub current: u32,
    #[prost(uint32, tag = "7")]
    pub previous: u32,
    /// The greatest time that any writer has brought, in microseconds since the Unix epoch.
    #[prost(int64, tag = "8")]
    pub seen_micros: i64,
}
