//! Schedules and delayed messages: something is sent again and again, or later, once each, whatever the number of those who see to it.
//!
//! [`Schedules`] and [`Delayed`] say what is to be sent; any number of [`Scheduler`]s send it. What a moment asks for is decided in
//! [`core::schedule`](crate::core::schedule). A firing is one commit: the record that says that it was decided, the
//! message, and the timer of the next one. Where the engine has no timers a leader finds out what is due, and where it has no commits
//! messages follow their record under ids, see `docs/semantics.md`.
//!
//! ```text
//! definition -> record --timer--> wake-up -> clerk -> commit { record, messages, next timer }
//!                      \--watch-> leader --/
//! ```
//!
//! It does not know which engine is below, and what it sends is any message.

mod clerk;
mod definition;
mod delayed;
#[cfg(feature = "testing")]
pub(crate) mod doors;
mod error;
mod event;
mod jobs;
mod ledger;
mod poller;
mod running;
mod scheduler;
mod schedules;
mod wake;
mod wakes;

pub use crate::core::schedule::{Firing, Late, Liveness, Missed, Overlap, Rule, RuleError};
pub use definition::{Schedule, Status};
pub use delayed::{Delayed, Pending, Placed};
pub use error::ScheduleError;
pub use event::Event;
pub use running::Running;
pub use scheduler::{Scheduler, SchedulerBuilder};
pub use schedules::{Change, Schedules};

use crate::{engine::Delivery, jobs::sender_of, time::Timestamp};

/// Returns the id of the firing that sent a message; of one that no schedule sent, its own id, or its place in the queue. It is what
/// [`SupervisorBuilder::run_id`](crate::runtime::SupervisorBuilder::run_id) takes, so that a firing is a run of this id.
#[must_use]
pub fn firing_id(delivery: &Delivery) -> String {
    delivery.message().id.clone().unwrap_or_else(|| delivery.sequence().to_string())
}

/// Returns the name of the schedule that sent a message, and the time for which it fired; `None` when no schedule did. A job is asked
/// by [`Job::schedule`](crate::jobs::Job::schedule).
#[must_use]
pub fn fired_by(delivery: &Delivery) -> Option<(&str, Timestamp)> {
    sender_of(&delivery.message().headers)
}
