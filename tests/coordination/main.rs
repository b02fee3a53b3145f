//! The coordination objects: their algebra by scenario and property, and the objects on the embedded engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod barrier;
mod counter;
mod group;
mod latch;
mod metric;
