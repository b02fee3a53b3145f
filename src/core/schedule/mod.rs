//! When something is to happen, what is still to be done about it now, and what it is called.
//!
//! A rule says when; a [`Record`] is everything that is stored of a schedule, and its [`tick`](Record::tick) decides what a moment asks for:
//! which firings, which of them are too late, which have to wait for another, and when to look again. It promises that no sequence
//! of ticks, by whatever clocks, fires anything twice. It does not know who ticks, or how what it decides is stored and sent.

mod delayed;
mod firing;
mod letter;
#[rustfmt::skip]
mod pb;
mod policy;
mod record;
mod rule;
mod tick;
mod wire;
mod zone;

pub use delayed::Waiting;
pub use firing::Firing;
pub use letter::Letter;
pub use policy::{Liveness, Missed, Overlap};
pub use record::{Live, Plan, Record};
pub use rule::{Rule, RuleError};
pub use tick::{Late, Tick};
