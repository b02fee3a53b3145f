//! @generated from `proto/anabranch/v1/schedule.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// A message and the queue that it goes to.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Letter {
    #[prost(string, tag = "1")]
    pub queue: ::prost::alloc::string::String,
    /// Empty: none.
    #[prost(string, tag = "2")]
    pub id: ::prost::alloc::string::String,
    #[prost(message, repeated, tag = "3")]
    pub headers: ::prost::alloc::vec::Vec<LetterHeader>,
    #[prost(bytes = "bytes", tag = "4")]
    pub payload: ::prost::bytes::Bytes,
}
#[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
pub struct LetterHeader {
    #[prost(string, tag = "1")]
    pub name: ::prost::alloc::string::String,
    #[prost(string, tag = "2")]
    pub value: ::prost::alloc::string::String,
}
/// A recurring schedule, at the key `schedule.NAME`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Schedule {
    /// Always 16: tells these bytes from those of other objects.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// A cron pattern; empty for an interval.
    #[prost(string, tag = "2")]
    pub pattern: ::prost::alloc::string::String,
    /// The IANA name of the pattern's time zone.
    #[prost(string, tag = "3")]
    pub zone: ::prost::alloc::string::String,
    /// An interval in microseconds, and one of the times at which it fires.
    #[prost(uint64, tag = "4")]
    pub period_micros: u64,
    #[prost(int64, tag = "5")]
    pub anchor_micros: i64,
    #[prost(enumeration = "schedule::Missed", tag = "6")]
    pub missed: i32,
    /// Of all that were missed at most so many, the newest.
    #[prost(uint32, tag = "7")]
    pub missed_most: u32,
    /// What is later than this was missed.
    #[prost(uint64, tag = "8")]
    pub tolerance_micros: u64,
    #[prost(enumeration = "schedule::Overlap", tag = "9")]
    pub overlap: i32,
    /// How long a firing of which nothing is known is taken to go on.
    #[prost(uint64, tag = "10")]
    pub patience_micros: u64,
    #[prost(message, optional, tag = "11")]
    pub letter: ::core::option::Option<Letter>,
    /// Everything up to here is decided.
    #[prost(int64, tag = "12")]
    pub since_micros: i64,
    /// When to look again; absent while it is paused, and when it never fires again.
    #[prost(int64, optional, tag = "13")]
    pub next_micros: ::core::option::Option<i64>,
    #[prost(bool, tag = "14")]
    pub paused: bool,
    /// The newest time for which it fired.
    #[prost(int64, optional, tag = "15")]
    pub last_micros: ::core::option::Option<i64>,
    /// The firing that others wait for, and the one that waits for it.
    #[prost(message, optional, tag = "16")]
    pub running: ::core::option::Option<schedule::Live>,
    #[prost(int64, optional, tag = "17")]
    pub queued_micros: ::core::option::Option<i64>,
    /// How often it was triggered by hand, and the random number of the last time.
    #[prost(uint64, tag = "18")]
    pub triggered: u64,
    #[prost(fixed64, tag = "19")]
    pub token: u64,
    /// How many firings were sent, missed and skipped since it was created.
    #[prost(uint64, tag = "20")]
    pub fired: u64,
    #[prost(uint64, tag = "21")]
    pub lost: u64,
    #[prost(uint64, tag = "22")]
    pub skipped: u64,
    /// Firings that were decided and not sent yet, on an engine that cannot do both at once.
    #[prost(message, repeated, tag = "23")]
    pub pending: ::prost::alloc::vec::Vec<schedule::Live>,
}
/// Nested message and enum types in `Schedule`.
pub mod schedule {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
    pub struct Live {
        #[prost(string, tag = "1")]
        pub id: ::prost::alloc::string::String,
        /// The time for which it fired.
        #[prost(int64, tag = "2")]
        pub at_micros: i64,
        /// When it was decided.
        #[prost(int64, tag = "3")]
        pub sent_micros: i64,
    }
    /// What becomes of firings that were missed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
    #[repr(i32)]
    pub enum Missed {
        Unspecified = 0,
        Skip = 1,
        Last = 2,
        All = 3,
    }
    impl Missed {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unspecified => "MISSED_UNSPECIFIED",
                Self::Skip => "MISSED_SKIP",
                Self::Last => "MISSED_LAST",
                Self::All => "MISSED_ALL",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "MISSED_UNSPECIFIED" => Some(Self::Unspecified),
                "MISSED_SKIP" => Some(Self::Skip),
                "MISSED_LAST" => Some(Self::Last),
                "MISSED_ALL" => Some(Self::All),
                _ => None,
            }
        }
    }
    /// What becomes of a firing while the one before goes on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
    #[repr(i32)]
    pub enum Overlap {
        Unspecified = 0,
        Allow = 1,
        Skip = 2,
        Queue = 3,
        Cancel = 4,
    }
    impl Overlap {
        /// String value of the enum field names used in the ProtoBuf definition.
        ///
        /// The values are not transformed in any way and thus are considered stable
        /// (if the ProtoBuf definition does not change) and safe for programmatic use.
        pub fn as_str_name(&self) -> &'static str {
            match self {
                Self::Unspecified => "OVERLAP_UNSPECIFIED",
                Self::Allow => "OVERLAP_ALLOW",
                Self::Skip => "OVERLAP_SKIP",
                Self::Queue => "OVERLAP_QUEUE",
                Self::Cancel => "OVERLAP_CANCEL",
            }
        }
        /// Creates an enum from field names used in the ProtoBuf definition.
        pub fn from_str_name(value: &str) -> ::core::option::Option<Self> {
            match value {
                "OVERLAP_UNSPECIFIED" => Some(Self::Unspecified),
                "OVERLAP_ALLOW" => Some(Self::Allow),
                "OVERLAP_SKIP" => Some(Self::Skip),
                "OVERLAP_QUEUE" => Some(Self::Queue),
                "OVERLAP_CANCEL" => Some(Self::Cancel),
                _ => None,
            }
        }
    }
}
/// A message that is sent later, at the key `delayed.KEY`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Delayed {
    /// Always 17: tells these bytes from those of other objects.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// When it is due.
    #[prost(int64, tag = "2")]
    pub due_micros: i64,
    /// The random number of whoever scheduled it.
    #[prost(fixed64, tag = "3")]
    pub token: u64,
    #[prost(message, optional, tag = "4")]
    pub letter: ::core::option::Option<Letter>,
    /// It is being sent, on an engine that cannot do so together with removing this.
    #[prost(bool, tag = "5")]
    pub leaving: bool,
}
