//! @generated from `proto/anabranch/v1/runtime.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// A worker says that it lives, at `worker.<id>`; each beat is another revision.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Heartbeat {
    #[prost(string, tag = "1")]
    pub worker: ::prost::alloc::string::String,
    /// How long the worker may stay silent before its runs are taken over, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub lease_ms: u64,
    #[prost(string, tag = "3")]
    pub host: ::prost::alloc::string::String,
    #[prost(uint32, tag = "4")]
    pub pid: u32,
}
/// A message that was given up, with why; committed together with its run's last state.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct DeadLetter {
    #[prost(string, tag = "1")]
    pub topology: ::prost::alloc::string::String,
    /// Empty when the message could not be read, so that no run was made of it.
    #[prost(string, tag = "2")]
    pub run: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub queue: ::prost::alloc::string::String,
    #[prost(uint64, tag = "4")]
    pub sequence: u64,
    #[prost(string, tag = "5")]
    pub message_id: ::prost::alloc::string::String,
    #[prost(bytes = "bytes", tag = "6")]
    pub payload: ::prost::bytes::Bytes,
    #[prost(message, repeated, tag = "7")]
    pub headers: ::prost::alloc::vec::Vec<Header>,
    #[prost(string, tag = "8")]
    pub reason: ::prost::alloc::string::String,
    #[prost(message, repeated, tag = "9")]
    pub failures: ::prost::alloc::vec::Vec<NodeFailure>,
    #[prost(int64, tag = "10")]
    pub at: i64,
    #[prost(string, tag = "11")]
    pub traceparent: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Header {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub value: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct NodeFailure {
    #[prost(string, tag = "1")]
    pub node: ::prost::alloc::string::String,
    #[prost(uint32, tag = "2")]
    pub attempts: u32,
    #[prost(string, tag = "3")]
    pub message: ::prost::alloc::string::String,
}
