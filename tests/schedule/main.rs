//! Schedules and delayed messages: rules and decisions by scenario and property, and both roads on the embedded engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod jobs;
mod place;
mod roads;
mod rules;
mod rules_property;
mod runs;
mod scale;
mod stored;
mod suite;
mod ticks;
mod ticks_property;
