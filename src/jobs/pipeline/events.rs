//! What happens in a pipeline, as one stream of its router's and its workers' events.
//!
//! Each listener hears all of them and keeps what it asked for. A listener who is slow loses the oldest events of a worker and is told
//! how many. Events of one worker are in their order; those of different workers need not be.

use crate::{
    core::jobs::Progress,
    jobs::{Event, Events, RoutedJob, What, Which},
    time::Timestamp,
};
use futures_util::stream::{BoxStream, SelectAll, Stream, StreamExt as _};
use std::{fmt, time::Duration};

/// Where in a pipeline something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// Events are taken from their source and settled there.
    Stream,
    /// An event is decoded, and becomes jobs.
    Route,
    /// Jobs are taken from their queues and settled there.
    Queue,
    /// A handler works on a job.
    Job,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Route => "route",
            Self::Queue => "queue",
            Self::Job => "job",
        })
    }
}

/// Something that happened in a pipeline.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum PipelineEvent {
    /// An event was routed, and its jobs are stored.
    Streamed {
        /// When.
        at: Timestamp,
        /// The event.
        event: Which,
        /// What it became.
        jobs: Vec<RoutedJob>,
    },
    /// A schedule has fired, and the job that it sent is about to begin: its [`JobStarted`](Self::JobStarted) follows.
    ///
    /// Told before the first attempt only, so once a firing, unless that attempt is not used up (a snooze, a drain that hands it back)
    /// or the job is put back after it was given up: then it is told again. A firing whose job nobody here works on is not told of.
    Cron {
        /// When it was told.
        at: Timestamp,
        /// The job; its id is that of the firing.
        job: Which,
        /// The name of the schedule.
        schedule: String,
        /// The time for which it fired.
        due: Timestamp,
    },
    /// An attempt of a job begins.
    JobStarted {
        /// When.
        at: Timestamp,
        /// The job.
        job: Which,
    },
    /// A job said how far it is.
    JobProgressed {
        /// When.
        at: Timestamp,
        /// The job.
        job: Which,
        /// What it said.
        progress: Progress,
    },
    /// A job is done, and its message acknowledged.
    JobCompleted {
        /// When.
        at: Timestamp,
        /// The job.
        job: Which,
        /// How long the attempt took.
        took: Duration,
    },
    /// An attempt of a job failed.
    JobFailed {
        /// When.
        at: Timestamp,
        /// The job.
        job: Which,
        /// The error and its causes.
        error: String,
        /// When there is another attempt; `None` when there is none.
        retry_in: Option<Duration>,
    },
    /// Something else went wrong: an event was not routed, an event or a job was given up, a queue cannot be reached.
    Error {
        /// When.
        at: Timestamp,
        /// Where.
        stage: Stage,
        /// The event or the job, if it is about one.
        about: Option<Which>,
        /// What went wrong.
        error: String,
    },
    /// Whatever else a worker tells.
    Other {
        /// Whether it is about events, or about jobs.
        stage: Stage,
        /// What it tells.
        event: Event,
    },
}

/// A kind of [`PipelineEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// [`PipelineEvent::Streamed`].
    Streamed,
    /// [`PipelineEvent::Cron`].
    Cron,
    /// [`PipelineEvent::JobStarted`].
    JobStarted,
    /// [`PipelineEvent::JobProgressed`].
    JobProgressed,
    /// [`PipelineEvent::JobCompleted`].
    JobCompleted,
    /// [`PipelineEvent::JobFailed`].
    JobFailed,
    /// [`PipelineEvent::Error`].
    Error,
    /// [`PipelineEvent::Other`].
    Other,
}

impl PipelineEvent {
    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Streamed { .. } => Kind::Streamed,
            Self::Cron { .. } => Kind::Cron,
            Self::JobStarted { .. } => Kind::JobStarted,
            Self::JobProgressed { .. } => Kind::JobProgressed,
            Self::JobCompleted { .. } => Kind::JobCompleted,
            Self::JobFailed { .. } => Kind::JobFailed,
            Self::Error { .. } => Kind::Error,
            Self::Other { .. } => Kind::Other,
        }
    }

    /// Returns where it happened.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self {
            Self::Streamed { .. } => Stage::Route,
            Self::Error { stage, .. } | Self::Other { stage, .. } => *stage,
            _ => Stage::Job,
        }
    }

    /// Tells whether it is about jobs of a topic, or about an event that became one.
    #[must_use]
    pub fn is_about(&self, topic: &str) -> bool {
        let of = |which: &Which| which.topic == topic;
        match self {
            Self::Streamed { jobs, .. } => jobs.iter().any(|job| job.topic == topic),
            Self::Cron { job, .. }
            | Self::JobStarted { job, .. }
            | Self::JobProgressed { job, .. }
            | Self::JobCompleted { job, .. }
            | Self::JobFailed { job, .. } => of(job),
            Self::Error { stage: Stage::Queue | Stage::Job, about, .. } => about.as_ref().is_some_and(of),
            Self::Other { stage: Stage::Queue | Stage::Job, event } => event.job.as_ref().is_some_and(of),
            Self::Error { .. } | Self::Other { .. } => false,
        }
    }
}

/// Whose events they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Router,
    Worker,
}

/// Makes an event of a pipeline of an event of one of its workers.
fn told(role: Role, event: Event) -> PipelineEvent {
    let Event { at, job, what } = event;
    let (taking, working) = match role {
        Role::Router => (Stage::Stream, Stage::Route),
        Role::Worker => (Stage::Queue, Stage::Job),
    };
    let error = |stage, about, error| PipelineEvent::Error { at, stage, about, error };
    match (role, what, job) {
        (Role::Router, What::Routed { jobs }, Some(event)) => PipelineEvent::Streamed { at, event, jobs },
        (Role::Router, What::Failed { message, .. }, event) => error(working, event, message),
        (Role::Worker, What::Scheduled { schedule, due }, Some(job)) => PipelineEvent::Cron { at, job, schedule, due },
        (Role::Worker, What::Received, Some(job)) => PipelineEvent::JobStarted { at, job },
        (Role::Worker, What::Progressed { progress }, Some(job)) => PipelineEvent::JobProgressed { at, job, progress },
        (Role::Worker, What::Completed { took }, Some(job)) => PipelineEvent::JobCompleted { at, job, took },
        (Role::Worker, What::Failed { message, retry_in, .. }, Some(job)) => {
            PipelineEvent::JobFailed { at, job, error: message, retry_in }
        }
        (_, What::DeadLettered { reason }, about) => error(working, about, format!("given up: {reason}")),
        (_, What::NotAcknowledged { error: why } | What::PullFailed { error: why }, about) => error(taking, about, why),
        (_, what, job) => PipelineEvent::Other { stage: working, event: Event { at, job, what } },
    }
}

/// The events of a pipeline, from when it was asked for; see [`Pipeline::events`](super::Pipeline::events).
///
/// Each filter narrows what is left.
#[must_use = "events are told to whoever asks for the next one"]
pub struct PipelineEvents {
    joined: BoxStream<'static, PipelineEvent>,
}

impl fmt::Debug for PipelineEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineEvents").finish_non_exhaustive()
    }
}

impl PipelineEvents {
    pub(super) fn join(all: impl IntoIterator<Item = (Role, Events)>) -> Self {
        let told = |(role, events): (Role, Events)| events.into_stream().map(move |event| told(role, event)).boxed();
        let joined: SelectAll<_> = all.into_iter().map(told).collect();
        Self { joined: joined.boxed() }
    }

    /// Keeps what a function says yes to.
    pub fn only(self, wanted: impl Fn(&PipelineEvent) -> bool + Send + 'static) -> Self {
        Self { joined: self.joined.filter(move |event| std::future::ready(wanted(event))).boxed() }
    }

    /// Keeps events of one kind.
    pub fn of(self, kind: Kind) -> Self {
        self.only(move |event| event.kind() == kind)
    }

    /// Keeps errors, at whichever stage: whatever is not an attempt of a job that failed.
    pub fn errors(self) -> Self {
        self.of(Kind::Error)
    }

    /// Keeps what happens at one stage.
    pub fn at(self, stage: Stage) -> Self {
        self.only(move |event| event.stage() == stage)
    }

    /// Keeps what is about jobs of a topic, and events that became one.
    pub fn about(self, topic: impl Into<String>) -> Self {
        let topic = topic.into();
        self.only(move |event| event.is_about(&topic))
    }

    /// Waits for the next event; `None` when the pipeline is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe: a call that is dropped has taken no event.
    pub async fn next(&mut self) -> Option<PipelineEvent> {
        self.joined.next().await
    }

    /// Makes it a stream.
    pub fn into_stream(self) -> impl Stream<Item = PipelineEvent> + Send {
        self.joined
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn which(topic: &str) -> Which {
        Which { id: "1".into(), topic: topic.into(), queue: "q".into(), sequence: 1, attempt: 1 }
    }

    fn event(role: Role, job: Option<Which>, what: What) -> PipelineEvent {
        told(role, Event { at: Timestamp::from_micros(0), job, what })
    }

    #[test]
    fn what_goes_wrong_is_an_error_of_its_stage() {
        let away = || What::PullFailed { error: "away".into() };
        let given_up = || What::DeadLettered { reason: "no".into() };
        let failed = || What::Failed { message: "no".into(), took: Duration::ZERO, retry_in: None };
        for (role, what, kind, stage) in [
            (Role::Router, away(), Kind::Error, Stage::Stream),
            (Role::Router, failed(), Kind::Error, Stage::Route),
            (Role::Router, given_up(), Kind::Error, Stage::Route),
            (Role::Worker, away(), Kind::Error, Stage::Queue),
            (Role::Worker, failed(), Kind::JobFailed, Stage::Job),
            (Role::Worker, given_up(), Kind::Error, Stage::Job),
            (Role::Worker, What::Drained, Kind::Other, Stage::Job),
        ] {
            let told = event(role, Some(which("welcome")), what);
            assert_eq!((told.kind(), told.stage()), (kind, stage), "{told:?}");
        }
    }

    #[test]
    fn a_firing_is_about_the_topic_of_its_job() {
        let fired = || What::Scheduled { schedule: "nightly".into(), due: Timestamp::from_micros(7) };
        let cron = event(Role::Worker, Some(which("welcome")), fired());
        assert_eq!((cron.kind(), cron.stage()), (Kind::Cron, Stage::Job));
        assert!(cron.is_about("welcome") && !cron.is_about("badge"));
        // An event that a schedule sent is no job yet.
        assert_eq!(event(Role::Router, Some(which("")), fired()).kind(), Kind::Other);
    }

    #[test]
    fn an_event_is_about_the_topics_that_it_became() {
        let job = |topic: &str| RoutedJob { id: "1/0".into(), topic: topic.into(), queue: "q".into() };
        let streamed = event(Role::Router, Some(which("")), What::Routed { jobs: vec![job("welcome"), job("badge")] });
        assert!(
            streamed.is_about("welcome") && streamed.is_about("badge") && !streamed.is_about("") && !streamed.is_about("x")
        );
        let started = event(Role::Worker, Some(which("welcome")), What::Received);
        assert!(started.is_about("welcome") && !started.is_about("badge"));
    }
}
