//! Background jobs: typed messages in a queue of a space, and workers that run a handler for each.
//!
//! A job is a message: its [`Topic`] is a header, its id the message's id, and its content a value in the topic's
//! [`Codec`](crate::Codec). So whatever can send a message, also as a part of a commit, can enqueue a job, and [`Topic::message`] makes
//! that message. [`Jobs`] is a queue to those who submit and look, and a [`Worker`] is who works on it. What becomes of a job is
//! decided in [`core::jobs`](crate::core::jobs); this room pulls, keeps messages alive, runs handlers, and keeps records where
//! there is something to keep. A job that succeeds at once, in a worker that keeps no results, costs one acknowledgement and no access
//! to the store.

mod alive;
mod attempt;
mod builder;
mod client;
mod control;
#[cfg(feature = "testing")]
pub(crate) mod doors;
mod error;
mod events;
mod handler;
mod held;
mod intake;
mod job;
mod ledger;
mod letters;
mod options;
mod pipeline;
mod router;
mod sender;
mod slots;
mod topic;
mod worker;

pub use crate::{
    core::jobs::{Failure, How, Letter, Progress, Record, State},
    topology::NodeResultExt,
};
pub use builder::{Source, WorkerBuilder};
pub use client::{Jobs, Submitted};
pub use control::Pause;
pub use error::JobsError;
pub use events::{Event, Events, What, Which};
pub use job::{Job, Report};
pub use letters::DeadLetters;
pub use options::TopicOptions;
pub use pipeline::{Kind, Pipeline, PipelineBuilder, PipelineEvent, PipelineEvents, Stage};
pub use router::{Route, RouteError, RoutedJob, Router, RouterBuilder};
pub use sender::{SCHEDULE_NAME, SCHEDULE_TIME};
pub(crate) use sender::{sender_of, sent_by};
pub use topic::{GENERATION, JOB_ID, JOB_TOPIC, Topic};
pub use worker::Worker;

/// What a handler fails with, which is what a node fails with.
// An alias: after a re-export under this name the compiler would call the errors of nodes by it, too.
pub type JobError = crate::topology::NodeError;
/// What a handler returns.
pub type JobResult<T> = crate::topology::NodeResult<T>;
