//! Durable runs: start, drive, resume, signal, cancel and observe them, on any engine.
//!
//! A [`Runtime`] is one worker: it says that it lives, and takes over what dead workers left. It [hosts](Runtime::host)
//! topologies; a hosted topology's [`Runs`] start runs by hand or, with a [`Supervisor`], by message. Each run that is worked on
//! here is an actor that owns the run's snapshot: every transition is decided by the pure
//! [`machine`](crate::core::machine), persisted with the revision that the actor knows, and only then acted upon.
//!
//! ```text
//! message -> supervisor -> claim (create, or take over) -> run actor -> node bodies
//!                              |                              |
//!                              +----- snapshot, by CAS -------+
//! ```
//!
//! This room promises what `docs/semantics.md` says and does not know which engine is below.

mod actor;
mod admission;
mod body;
mod claim;
mod dead_letter;
#[cfg(feature = "testing")]
pub(crate) mod doors;
mod driver;
mod error;
mod firing;
mod hosted;
mod intake;
mod job;
mod lifecycle;
mod message;
mod nudge;
mod options;
mod outputs;
#[rustfmt::skip]
mod pb;
mod record;
mod recovery;
mod root;
mod run;
mod runs;
mod worker;

pub use dead_letter::{DeadLetter, NodeFailure};
pub use error::RunError;
pub use intake::{Supervisor, SupervisorBuilder};
pub use lifecycle::Runtime;
pub use options::{HostOptions, Migration, OnDuplicate, OnGraphChange, Retention, RuntimeOptions, StartOptions};
pub use recovery::Recovered;
pub use run::Run;
pub use runs::{RunSummary, Runs};
