//! Jobs in a queue: everybody submits, and everybody works.

use super::{Failure, Site, chain, unique};
use crate::history::{Act, Answer, Fact};
pub(crate) use anabranch::jobs::Jobs;
use anabranch::{
    Codec, RetryPolicy,
    engine::{QueueOptions, StoreError},
    jobs::{Job, JobResult, JobsError, Topic, TopicOptions, What, Worker},
    time::nonce,
};
use std::{num::NonZeroUsize, time::Duration};
use tokio::runtime::Handle;

pub(crate) const QUEUE: &str = "work";
const NUMBER: Topic<u64> = Topic::new("number", Codec::json());

fn options() -> QueueOptions {
    QueueOptions::default().ack_wait(Duration::from_secs(4))
}

/// Opens the queue, however long that takes.
pub(crate) async fn open(site: &Site) -> Result<Jobs, Failure> {
    loop {
        match Jobs::open_with(&site.space, QUEUE, options()).await {
            Ok(jobs) => return Ok(jobs),
            Err(JobsError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_))) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

pub(super) async fn worker(site: &Site) -> Result<Worker, Failure> {
    loop {
        let handler_site = site.clone();
        let policy = RetryPolicy::default().max_attempts(10_000).max_crashes(10_000).delays([]);
        let topic = TopicOptions::default().retry(policy).keep_results();
        let mut builder = Worker::builder(&site.space, (QUEUE, options()))
            .concurrency(NonZeroUsize::new(8).expect("8 is not 0"))
            .topic_with(NUMBER, topic, move |job: Job<u64>| work(handler_site.clone(), job));
        let mut events = builder.events();
        let worker = match builder.spawn().await {
            Ok(worker) => worker,
            Err(JobsError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_))) => continue,
            Err(error) => return Err(error.into()),
        };
        let site = site.clone();
        // It ends with the worker that tells.
        Handle::current().spawn(async move {
            while let Some(event) = events.next().await {
                match (event.what, event.job.and_then(|job| job.id.strip_prefix("j")?.parse().ok())) {
                    (What::Completed { .. }, Some(job)) => site.history.note(Fact::Completed { job }),
                    (What::DeadLettered { reason }, job) => site.odd(format!("job {job:?} was given up: {reason}")),
                    _ => {}
                }
            }
        });
        return Ok(worker);
    }
}

async fn work(site: Site, job: Job<u64>) -> JobResult<u64> {
    site.history.note(Fact::Works { job: job.payload, attempt: job.attempt() });
    let mut dice = site.dice(job.payload);
    site.space.clock().sleep(Duration::from_millis(dice.roll(100))).await;
    Ok(nonce())
}

pub(super) async fn submit(site: Site) {
    let Ok(jobs) = open(&site).await.inspect_err(|error| site.odd(chain(&**error))) else { return };
    let mut dice = site.dice(60);
    while !site.is_over() {
        let number = unique();
        let op = site.history.call(QUEUE, Act::Submit(number));
        let answer = match jobs.submit_as(format!("j{number}"), &NUMBER, &number).await {
            Ok(_) => Answer::Done,
            Err(JobsError::Store(StoreError::Unavailable(_))) => Answer::Not,
            Err(JobsError::Store(StoreError::Unknown(_))) => Answer::Open,
            Err(error) => {
                site.odd(format!("job {number}: {}", chain(&error)));
                Answer::Open
            }
        };
        site.history.back(op, answer);
        site.pause(&mut dice, 300).await;
    }
}
