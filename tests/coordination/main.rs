//! The coordination objects: their algebra by scenario and property, and the objects on the embedded engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod barrier;
mod barriers;
mod counted_kit;
mod counted_spec;
mod counter;
mod counters;
mod group;
mod held;
mod held_by_many;
mod histories_counted;
mod histories_held;
mod judge;
mod latch;
mod latches;
mod leaders;
mod lease;
mod locks;
mod metric;
mod metrics;
mod once;
mod permits;
mod permits_property;
mod quota;
mod quota_property;
mod rate_limiter;
mod rate_limiter_faults;
mod rate_limiter_leased;
mod rate_limiter_told;
mod recorded;
mod recorder;
mod wait_groups;
mod window;
