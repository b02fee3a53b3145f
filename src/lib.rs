//! Durable DAG workflows on one dependency, NATS JetStream, or on none: the same code runs on an embedded engine.
//!
//! Describe a graph with [`Topology`], open an [`Engine`](engine::Engine), start a [`Runtime`](runtime::Runtime) on one of its
//! spaces, and host the topology there: its [`Runs`](runtime::Runs) survive the death of the process. `README.md` has a first
//! example, `docs/semantics.md` what can be relied on.

pub mod cell;
pub mod codec;
pub mod coordination;
pub mod core;
#[cfg(feature = "cli")]
pub mod doctor;
pub mod engine;
pub mod error;
mod gather;
pub mod jobs;
mod newest;
pub mod runtime;
pub mod schedule;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod topology;

pub use self::core::retry::{NodePolicy, RetryPolicy, StopReason};
pub use codec::{Codec, CodecError, Payload};
pub use topology::{
    Arm, BuildError, Choice, Ctx, Disposition, Node, NodeError, NodeResult, NodeResultExt, Optional, Saved, Signal, Topology,
    TopologyBuilder, TriggerRule, arm,
};

/// The examples of the README, which are compiled and run as documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
