//! The pure core, proved by stories and by random histories.
//!
//! Each module tells one concern; `story` and `shape` are the language they are told in. Defects that must not come back keep
//! the number that they have in `docs/origins.md` (`D1`, `D2`, ...).
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod attempts;
mod branches;
mod cancel;
mod crashes;
mod graphs;
mod json;
mod migration;
mod property;
mod random;
mod resume;
mod shape;
mod signals;
mod story;
mod subsets;
mod triggers;
