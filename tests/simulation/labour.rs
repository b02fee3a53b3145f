//! Jobs of all kinds, the workers that run them, and what is seen of both.
//!
//! A kind says how its job behaves, so what may become of it is known. Handlers complain into a list: a panic of one is a failed attempt.

use crate::stage::{Closing, Log, SECOND, idle, micros, space};
use anabranch::{
    Codec, RetryPolicy,
    engine::{QueueOptions, Space},
    error::BoxError,
    jobs::{GENERATION, Job, JobError, JobResult, Jobs, State, Topic, TopicOptions, Worker},
    testing::{
        check::queues::{Event, Verdict},
        sim::Host,
    },
};
use serde::{Deserialize, Serialize};
use std::{num::NonZeroUsize, time::Duration};

pub(crate) const WORK: Topic<Kind> = Topic::new("work", Codec::json());
/// A topic that keeps no results.
pub(crate) const PLAIN: Topic<Kind> = Topic::new("plain", Codec::json());
pub(crate) const QUEUE: &str = "jobs";
pub(crate) const MOST_ATTEMPTS: u32 = 4;
pub(crate) const DEDUPE: Duration = Duration::from_secs(5);
pub(crate) const ACK_WAIT: Duration = SECOND;
const TIMEOUT: Duration = Duration::from_secs(3);

/// How a job behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Quick,
    /// Fails twice.
    Flaky,
    /// Cannot succeed, and knows it.
    Fatal,
    /// Fails each time.
    Hopeless,
    Panics,
    /// Takes longer than a message may be silent.
    Long,
    /// Takes longer than an attempt may.
    Stuck,
    /// Asks to come again, twice, which uses no attempt up.
    Snoozed,
    /// Is cancelled, and ends by nothing else.
    Unwanted,
}

pub(crate) const KINDS: [Kind; 9] = [
    Kind::Quick,
    Kind::Flaky,
    Kind::Fatal,
    Kind::Hopeless,
    Kind::Panics,
    Kind::Long,
    Kind::Stuck,
    Kind::Snoozed,
    Kind::Unwanted,
];

impl Kind {
    /// Returns how it ends, and in how many attempts, when nothing goes wrong but the job itself.
    pub(crate) fn fate(self) -> (Verdict, u32) {
        match self {
            Self::Quick | Self::Long | Self::Snoozed => (Verdict::Done, 1),
            Self::Flaky => (Verdict::Done, 3),
            Self::Fatal => (Verdict::Dead, 1),
            Self::Hopeless | Self::Panics | Self::Stuck => (Verdict::Dead, MOST_ATTEMPTS),
            Self::Unwanted => (Verdict::Dropped, 1),
        }
    }
}

/// The begin of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    /// The job, and how often it was put back.
    pub(crate) name: String,
    pub(crate) attempt: u32,
    pub(crate) at: u64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    /// What happened, by jobs and how often they were put back.
    pub(crate) events: Log<Event>,
    pub(crate) begun: Log<Begun>,
    /// What handlers returned.
    pub(crate) returned: Log<(String, String)>,
    /// Results as they were seen.
    pub(crate) results: Log<(String, Vec<u8>)>,
    pub(crate) closing: Closing,
}

/// Returns what a job is called that was put back so often.
pub(crate) fn name(id: &str, generation: u32) -> String {
    format!("{id}#{generation}")
}

fn options() -> QueueOptions {
    QueueOptions::default().ack_wait(ACK_WAIT).dedupe_window(DEDUPE)
}

pub(crate) async fn jobs(space: &Space) -> Result<Jobs, BoxError> {
    Ok(Jobs::open_with(space, QUEUE, options()).await?)
}

/// Works until it is told to end, and drains then.
pub(crate) async fn work(host: Host, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let retry = RetryPolicy::default().max_attempts(MOST_ATTEMPTS).max_crashes(3).fixed(SECOND / 2).jitter(0);
    let how = TopicOptions::default().retry(retry.clone()).timeout(TIMEOUT).keep_results();
    let plain = TopicOptions::default().retry(retry).timeout(TIMEOUT);
    let worker = loop {
        let (one, other) = ((host.clone(), records.clone()), (host.clone(), records.clone()));
        let builder = Worker::builder(&space, (QUEUE, options()))
            .concurrency(NonZeroUsize::new(3).expect("not zero"))
            .drain_timeout(4 * SECOND)
            .stop_grace(SECOND / 2)
            .topic_with(WORK, how.clone(), move |job| handle(one.0.clone(), one.1.clone(), job))
            .topic_with(PLAIN, plain.clone(), move |job| handle(other.0.clone(), other.1.clone(), job));
        match builder.spawn().await {
            Ok(worker) => break worker,
            Err(_) => idle(&host, SECOND).await,
        }
    };
    while !records.closing.is_closed() {
        host.clock().sleep(SECOND / 10).await;
    }
    worker.drain().await;
    Ok(())
}

async fn handle(host: Host, records: Records, job: Job<Kind>) -> JobResult<String> {
    let generation = job.headers().get(GENERATION).and_then(|generation| generation.parse().ok()).unwrap_or(0);
    let (name, attempt, at) = (name(job.id(), generation), job.attempt(), micros(&host));
    records.events.push(Event::Handled { id: name.as_str().into(), worker: host.name().into(), at });
    records.begun.push(Begun { name: name.clone(), attempt, at });
    let times = records.begun.look(|begun| begun.iter().filter(|begun| begun.name == name).count());
    match job.payload {
        Kind::Flaky if attempt < 3 => return Err(JobError::retryable("not yet")),
        Kind::Fatal => return Err(JobError::terminal("it cannot be done")),
        Kind::Hopeless => return Err(JobError::retryable("it does not work")),
        Kind::Panics => panic!("as it has to"),
        Kind::Long => host.clock().sleep(ACK_WAIT * 5 / 2).await,
        Kind::Stuck => host.clock().sleep(10 * TIMEOUT).await,
        Kind::Snoozed if times < 3 => return Err(JobError::throttled(SECOND)),
        Kind::Unwanted => host.clock().sleep(TIMEOUT * 9 / 10).await,
        _ => idle(&host, SECOND / 4).await,
    }
    if job.payload == Kind::Unwanted {
        return Err(JobError::retryable("nobody has cancelled it yet"));
    }
    let result = format!("{name} by {}/{} at {at}", host.name(), host.boot());
    records.returned.push((name, result.clone()));
    Ok(result)
}

/// Submits jobs until each is known to be there, and cancels those that are unwanted.
pub(crate) async fn submit(host: &Host, records: &Records, jobs: &Jobs, topic: &Topic<Kind>, id: &str, kind: Kind) {
    records.events.push(Event::Attempted { id: name(id, 0).into(), at: micros(host) });
    while jobs.submit_as(id, topic, &kind).await.is_err() {
        idle(host, SECOND / 2).await;
    }
    records.events.push(Event::Published { id: name(id, 0).into(), at: micros(host) });
    if kind == Kind::Unwanted {
        idle(host, 2 * SECOND).await;
        while jobs.cancel(id).await.is_err() {
            idle(host, SECOND / 2).await;
        }
    }
}

/// Looks at what is kept of a job, and records its end; tells it with the generation.
pub(crate) async fn look(host: &Host, records: &Records, jobs: &Jobs, id: &str) -> Result<Option<(Verdict, u32)>, BoxError> {
    let Some(record) = jobs.record(id).await? else { return Ok(None) };
    let verdict = match &record.state {
        State::Open => return Ok(None),
        State::Completed { result } => {
            // A topic that keeps none has a record all the same, of a job that did not succeed at once.
            if let Some(result) = result {
                records.results.push((name(id, record.generation), result.to_vec()));
            }
            Verdict::Done
        }
        State::Cancelled => Verdict::Dropped,
        State::Dead { .. } => Verdict::Dead,
    };
    let (id, worker, at) = (name(id, record.generation).into(), host.name().into(), micros(host));
    records.events.push(Event::Settled { id, verdict, worker, at });
    Ok(Some((verdict, record.generation)))
}
