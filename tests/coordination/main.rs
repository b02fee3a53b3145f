//! The coordination objects: their algebra by scenario and property, and the objects on the embedded engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod barrier;
mod barriers;
mod counted_kit;
mod counted_spec;
mod counter;
mod counters;
mod group;
mod histories_counted;
mod latch;
mod latches;
mod metric;
mod metrics;
mod quota;
mod quota_property;
mod wait_groups;
