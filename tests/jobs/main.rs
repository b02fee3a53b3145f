//! Jobs: what is decided about them, by scenario and property, and workers on the embedded engine under virtual time.
#![allow(unreachable_pub, clippy::unwrap_used, missing_docs)]

mod cancel;
mod dead_letters;
mod defects;
mod drain;
mod events;
mod kit;
mod lanes;
mod limits;
mod pause;
mod results;
mod rules;
mod rules_property;
mod runs;
mod submit;
mod worker;
