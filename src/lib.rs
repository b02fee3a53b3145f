//! Durable DAG workflows on one dependency, NATS JetStream, or on none: the same code runs on an embedded engine.

pub mod codec;
pub mod core;
pub mod engine;
pub mod error;
pub mod runtime;
pub mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod topology;

pub use self::core::retry::{NodePolicy, RetryPolicy, StopReason};
pub use codec::{CodecError, Payload};
pub use topology::{
    Arm, BuildError, Choice, Ctx, Disposition, Node, NodeError, NodeResult, NodeResultExt, Optional, Saved, Signal, Topology,
    TopologyBuilder, TriggerRule, arm,
};
