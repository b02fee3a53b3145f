//! @generated from `proto/anabranch/v1/job.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// A job that is not an ordinary first success, at `job.<queue>.<id>`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Job {
    /// Always 9: tells these bytes from those of other objects.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(string, tag = "2")]
    pub topic: ::prost::alloc::string::String,
    /// How often it was put back after it had been given up.
    #[prost(uint32, tag = "3")]
    pub generation: u32,
    /// The newest delivery whose end is in here.
    #[prost(uint32, tag = "4")]
    pub decided: u32,
    /// Deliveries that used no attempt up.
    #[prost(uint32, tag = "5")]
    pub spared: u32,
    /// How often in a row it was handed back because something that it needs was taken.
    #[prost(uint32, tag = "6")]
    pub blocked: u32,
    /// How many attempts failed; the newest of them are below.
    #[prost(uint32, tag = "7")]
    pub failed: u32,
    #[prost(message, repeated, tag = "8")]
    pub failures: ::prost::alloc::vec::Vec<JobFailure>,
    #[prost(message, optional, tag = "9")]
    pub progress: ::core::option::Option<JobProgress>,
    /// When it is tried again, in microseconds since the epoch.
    #[prost(int64, optional, tag = "10")]
    pub resume_at: ::core::option::Option<i64>,
    /// Somebody asked that it ends.
    #[prost(bool, tag = "11")]
    pub cancel: bool,
    #[prost(int64, optional, tag = "12")]
    pub ended_at: ::core::option::Option<i64>,
    #[prost(oneof = "job::End", tags = "13, 14, 15")]
    pub end: ::core::option::Option<job::End>,
}
/// Nested message and enum types in `Job`.
pub mod job {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Oneof)]
    pub enum End {
        #[prost(message, tag = "13")]
        Done(super::JobDone),
        #[prost(bool, tag = "14")]
        Cancelled(bool),
        /// Why it was given up.
        #[prost(string, tag = "15")]
        Dead(::prost::alloc::string::String),
    }
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct JobDone {
    /// What it returned, as JSON; absent when it is not kept.
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub result: ::core::option::Option<::prost::bytes::Bytes>,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct JobFailure {
    #[prost(uint32, tag = "1")]
    pub attempt: u32,
    /// 1 error, 2 panic, 3 timeout.
    #[prost(uint32, tag = "2")]
    pub how: u32,
    #[prost(string, tag = "3")]
    pub message: ::prost::alloc::string::String,
    #[prost(int64, tag = "4")]
    pub at: i64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct JobProgress {
    /// 0 to 100.
    #[prost(uint32, optional, tag = "1")]
    pub percent: ::core::option::Option<u32>,
    #[prost(string, tag = "2")]
    pub text: ::prost::alloc::string::String,
    /// Whatever else the job says, in an encoding of its own.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub data: ::core::option::Option<::prost::bytes::Bytes>,
    #[prost(int64, tag = "4")]
    pub at: i64,
}
/// A job that was given up: its message as it was, and why. In the queue `<queue>-dead`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct DeadJob {
    /// Always 10.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(string, tag = "2")]
    pub queue: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub id: ::prost::alloc::string::String,
    #[prost(string, tag = "4")]
    pub topic: ::prost::alloc::string::String,
    #[prost(uint64, tag = "5")]
    pub sequence: u64,
    /// The id that the message itself had; may be absent.
    #[prost(string, optional, tag = "6")]
    pub message_id: ::core::option::Option<::prost::alloc::string::String>,
    #[prost(bytes = "bytes", tag = "7")]
    pub payload: ::prost::bytes::Bytes,
    #[prost(message, repeated, tag = "8")]
    pub headers: ::prost::alloc::vec::Vec<JobHeader>,
    #[prost(string, tag = "9")]
    pub reason: ::prost::alloc::string::String,
    /// How many attempts were started.
    #[prost(uint32, tag = "10")]
    pub attempts: u32,
    #[prost(message, repeated, tag = "11")]
    pub failures: ::prost::alloc::vec::Vec<JobFailure>,
    #[prost(uint32, tag = "12")]
    pub generation: u32,
    #[prost(int64, tag = "13")]
    pub at: i64,
    /// When the message was published.
    #[prost(int64, tag = "14")]
    pub published_at: i64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct JobHeader {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub value: ::prost::alloc::string::String,
}
