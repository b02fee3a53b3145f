//! @generated from `proto/anabranch/v1/permits.proto`: plain data, no rules. See `tests/proto.rs`.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Permits {
    /// Always 1: tells these bytes from those of other objects.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// How many units there are: 1 for a lock, 4294967295 for a read-write lock, of which a writer takes all.
    #[prost(uint32, tag = "2")]
    pub capacity: u32,
    #[prost(message, repeated, tag = "3")]
    pub holders: ::prost::alloc::vec::Vec<permits::Holder>,
    /// In the order in which they came.
    #[prost(message, repeated, tag = "4")]
    pub waiters: ::prost::alloc::vec::Vec<permits::Waiter>,
}
/// Nested message and enum types in `Permits`.
pub mod permits {
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
    pub struct Holder {
        /// Unique to the call that acquired it.
        #[prost(string, tag = "1")]
        pub id: ::prost::alloc::string::String,
        #[prost(uint32, tag = "2")]
        pub units: u32,
        /// The revision of the write that made it a holder; 0 says that this very write did.
        #[prost(uint64, tag = "3")]
        pub token: u64,
        /// Grows with each renewal, so that others see that it lives.
        #[prost(uint64, tag = "4")]
        pub beat: u64,
        /// Whoever sees the beat unchanged for so long, by a clock of its own, may remove the holder.
        #[prost(uint64, tag = "5")]
        pub lease_ms: u64,
        /// For people.
        #[prost(string, tag = "6")]
        pub info: ::prost::alloc::string::String,
        /// When it became a holder, by its own wall clock in microseconds since the Unix epoch; for people.
        #[prost(int64, tag = "7")]
        pub since: i64,
        /// Of a named permit; empty otherwise.
        #[prost(string, tag = "8")]
        pub name: ::prost::alloc::string::String,
    }
    #[derive(Clone, PartialEq, Eq, Hash, ::prost::Message)]
    pub struct Waiter {
        #[prost(string, tag = "1")]
        pub id: ::prost::alloc::string::String,
        #[prost(uint32, tag = "2")]
        pub units: u32,
        #[prost(uint64, tag = "3")]
        pub beat: u64,
        #[prost(uint64, tag = "4")]
        pub lease_ms: u64,
        #[prost(string, tag = "5")]
        pub name: ::prost::alloc::string::String,
    }
}
