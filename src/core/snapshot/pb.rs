//! @generated from `proto/anabranch/v1/snapshot.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Snapshot {
    /// 1 for the format that this file describes; a reader refuses a larger one.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    #[prost(string, tag = "2")]
    pub topology: ::prost::alloc::string::String,
    #[prost(string, tag = "3")]
    pub run: ::prost::alloc::string::String,
    /// First 16 bytes of a SHA-256 over the graph's shape.
    #[prost(bytes = "bytes", tag = "4")]
    pub fingerprint: ::prost::bytes::Bytes,
    #[prost(enumeration = "RunStatus", tag = "5")]
    pub status: i32,
    /// Grows by one whenever the run changes hands: the fencing token of its owner.
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    /// Absent when nobody works on the run.
    #[prost(message, optional, tag = "7")]
    pub owner: ::core::option::Option<Owner>,
    #[prost(int64, tag = "8")]
    pub created_at: i64,
    #[prost(int64, tag = "9")]
    pub finished_at: i64,
    /// When a node last moved; what a stall is measured from.
    #[prost(int64, tag = "10")]
    pub progressed_at: i64,
    #[prost(message, optional, tag = "11")]
    pub input: ::core::option::Option<Value>,
    /// SHA-256 of the input.
    #[prost(bytes = "bytes", tag = "12")]
    pub input_digest: ::prost::bytes::Bytes,
    /// In topological order, as in the graph.
    #[prost(message, repeated, tag = "13")]
    pub nodes: ::prost::alloc::vec::Vec<Node>,
    #[prost(message, repeated, tag = "14")]
    pub signals: ::prost::alloc::vec::Vec<Signal>,
    #[prost(message, optional, tag = "15")]
    pub cancel: ::core::option::Option<Cancel>,
    #[prost(message, optional, tag = "16")]
    pub trace: ::core::option::Option<Trace>,
    #[prost(message, optional, tag = "17")]
    pub source: ::core::option::Option<Source>,
    /// Why the run ended as it did, or why it is parked, for people.
    #[prost(string, tag = "18")]
    pub reason: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Owner {
    #[prost(string, tag = "1")]
    pub worker: ::prost::alloc::string::String,
    /// The opening of the engine that the worker lives in.
    #[prost(string, tag = "2")]
    pub instance: ::prost::alloc::string::String,
}
/// A JSON value, here or in keys of its own.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Value {
    #[prost(oneof = "value::Place", tags = "1, 2")]
    pub place: ::core::option::Option<value::Place>,
}
/// Nested message and enum types in `Value`.
pub mod value {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Oneof)]
    pub enum Place {
        #[prost(bytes, tag = "1")]
        Inline(::prost::bytes::Bytes),
        #[prost(message, tag = "2")]
        Stored(super::Stored),
    }
}
/// The value is the concatenation of `<key>.0` to `<key>.<chunks - 1>`.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Stored {
    #[prost(string, tag = "1")]
    pub key: ::prost::alloc::string::String,
    #[prost(uint32, tag = "2")]
    pub chunks: u32,
    #[prost(uint64, tag = "3")]
    pub size: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub sha256: ::prost::bytes::Bytes,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(enumeration = "NodeKind", tag = "2")]
    pub kind: i32,
    /// Positions of the nodes that it depends on.
    #[prost(uint32, repeated, tag = "3")]
    pub deps: ::prost::alloc::vec::Vec<u32>,
    #[prost(enumeration = "NodeStatus", tag = "4")]
    pub status: i32,
    /// The newest attempt, committed before its body started; never reused.
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
    /// Attempts that failed since the run was last resumed by hand.
    #[prost(uint32, tag = "6")]
    pub failures: u32,
    /// Times in a row that the process died in this node without saved progress.
    #[prost(uint32, tag = "7")]
    pub crashes: u32,
    #[prost(int64, tag = "8")]
    pub started_at: i64,
    #[prost(int64, tag = "9")]
    pub finished_at: i64,
    /// When the next attempt is due.
    #[prost(int64, tag = "10")]
    pub due_at: i64,
    /// When the running attempt times out.
    #[prost(int64, tag = "11")]
    pub deadline: i64,
    #[prost(message, optional, tag = "12")]
    pub output: ::core::option::Option<Value>,
    #[prost(message, optional, tag = "13")]
    pub saved: ::core::option::Option<Value>,
    #[prost(message, optional, tag = "14")]
    pub error: ::core::option::Option<Failure>,
    #[prost(message, optional, tag = "15")]
    pub selected: ::core::option::Option<Selected>,
    /// Why the branch decided as it did.
    #[prost(string, tag = "16")]
    pub because: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Selected {
    #[prost(uint32, tag = "1")]
    pub arm: u32,
    #[prost(string, tag = "2")]
    pub name: ::prost::alloc::string::String,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Failure {
    #[prost(enumeration = "FailureKind", tag = "1")]
    pub kind: i32,
    #[prost(string, tag = "2")]
    pub message: ::prost::alloc::string::String,
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    #[prost(int64, tag = "4")]
    pub at: i64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Signal {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(message, optional, tag = "2")]
    pub payload: ::core::option::Option<Value>,
    #[prost(int64, tag = "3")]
    pub at: i64,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Cancel {
    #[prost(string, tag = "1")]
    pub reason: ::prost::alloc::string::String,
    #[prost(int64, tag = "2")]
    pub at: i64,
}
/// W3C trace context of whoever started the run.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Trace {
    #[prost(string, tag = "1")]
    pub traceparent: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub tracestate: ::prost::alloc::string::String,
}
/// The message that the run was started by.
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Source {
    #[prost(string, tag = "1")]
    pub queue: ::prost::alloc::string::String,
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    #[prost(string, tag = "3")]
    pub message_id: ::prost::alloc::string::String,
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum RunStatus {
    Unspecified = 0,
    Running = 1,
    Suspended = 2,
    Completed = 3,
    Errored = 4,
    Cancelled = 5,
    Dead = 6,
    Parked = 7,
    Stuck = 8,
}
impl RunStatus {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "RUN_STATUS_UNSPECIFIED",
            Self::Running => "RUN_STATUS_RUNNING",
            Self::Suspended => "RUN_STATUS_SUSPENDED",
            Self::Completed => "RUN_STATUS_COMPLETED",
            Self::Errored => "RUN_STATUS_ERRORED",
            Self::Cancelled => "RUN_STATUS_CANCELLED",
            Self::Dead => "RUN_STATUS_DEAD",
            Self::Parked => "RUN_STATUS_PARKED",
            Self::Stuck => "RUN_STATUS_STUCK",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "RUN_STATUS_UNSPECIFIED" => Some(Self::Unspecified),
            "RUN_STATUS_RUNNING" => Some(Self::Running),
            "RUN_STATUS_SUSPENDED" => Some(Self::Suspended),
            "RUN_STATUS_COMPLETED" => Some(Self::Completed),
            "RUN_STATUS_ERRORED" => Some(Self::Errored),
            "RUN_STATUS_CANCELLED" => Some(Self::Cancelled),
            "RUN_STATUS_DEAD" => Some(Self::Dead),
            "RUN_STATUS_PARKED" => Some(Self::Parked),
            "RUN_STATUS_STUCK" => Some(Self::Stuck),
            _ => None,
        }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum NodeKind {
    Unspecified = 0,
    Work = 1,
    Branch = 2,
    Wait = 3,
}
impl NodeKind {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "NODE_KIND_UNSPECIFIED",
            Self::Work => "NODE_KIND_WORK",
            Self::Branch => "NODE_KIND_BRANCH",
            Self::Wait => "NODE_KIND_WAIT",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "NODE_KIND_UNSPECIFIED" => Some(Self::Unspecified),
            "NODE_KIND_WORK" => Some(Self::Work),
            "NODE_KIND_BRANCH" => Some(Self::Branch),
            "NODE_KIND_WAIT" => Some(Self::Wait),
            _ => None,
        }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum NodeStatus {
    Unspecified = 0,
    Pending = 1,
    Running = 2,
    Suspended = 3,
    Completed = 4,
    Skipped = 5,
    Errored = 6,
    Excluded = 7,
}
impl NodeStatus {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "NODE_STATUS_UNSPECIFIED",
            Self::Pending => "NODE_STATUS_PENDING",
            Self::Running => "NODE_STATUS_RUNNING",
            Self::Suspended => "NODE_STATUS_SUSPENDED",
            Self::Completed => "NODE_STATUS_COMPLETED",
            Self::Skipped => "NODE_STATUS_SKIPPED",
            Self::Errored => "NODE_STATUS_ERRORED",
            Self::Excluded => "NODE_STATUS_EXCLUDED",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "NODE_STATUS_UNSPECIFIED" => Some(Self::Unspecified),
            "NODE_STATUS_PENDING" => Some(Self::Pending),
            "NODE_STATUS_RUNNING" => Some(Self::Running),
            "NODE_STATUS_SUSPENDED" => Some(Self::Suspended),
            "NODE_STATUS_COMPLETED" => Some(Self::Completed),
            "NODE_STATUS_SKIPPED" => Some(Self::Skipped),
            "NODE_STATUS_ERRORED" => Some(Self::Errored),
            "NODE_STATUS_EXCLUDED" => Some(Self::Excluded),
            _ => None,
        }
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum FailureKind {
    Unspecified = 0,
    Error = 1,
    Panic = 2,
    Timeout = 3,
    Crash = 4,
    Cancelled = 5,
}
impl FailureKind {
    /// String value of the enum field names used in the ProtoBuf definition.
    ///
    /// The values are not transformed in any way and thus are considered stable
    /// (if the ProtoBuf definition does not change) and safe for programmatic use.
    pub fn as_str_name(&self) -> &'static str {
        match self {
            Self::Unspecified => "FAILURE_KIND_UNSPECIFIED",
            Self::Error => "FAILURE_KIND_ERROR",
            Self::Panic => "FAILURE_KIND_PANIC",
            Self::Timeout => "FAILURE_KIND_TIMEOUT",
            Self::Crash => "FAILURE_KIND_CRASH",
            Self::Cancelled => "FAILURE_KIND_CANCELLED",
        }
    }
    /// Creates an enum from field names used in the ProtoBuf definition.
    pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
        match value {
            "FAILURE_KIND_UNSPECIFIED" => Some(Self::Unspecified),
            "FAILURE_KIND_ERROR" => Some(Self::Error),
            "FAILURE_KIND_PANIC" => Some(Self::Panic),
            "FAILURE_KIND_TIMEOUT" => Some(Self::Timeout),
            "FAILURE_KIND_CRASH" => Some(Self::Crash),
            "FAILURE_KIND_CANCELLED" => Some(Self::Cancelled),
            _ => None,
        }
    }
}
