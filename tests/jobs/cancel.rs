//! Cancelling one job by its id, wherever it is.

use crate::kit::{ACK_WAIT, Journal, NUMBER, SECOND, jobs, left_in, many, space, until, worker};
use anabranch::{
    RetryPolicy,
    jobs::{Job, JobError, JobResult, JobsError, State, TopicOptions, What},
};

#[tokio::test(start_paused = true)]
async fn a_job_that_runs_anywhere_is_told_and_ends_and_no_other() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let mut builder = worker(&space).topic(NUMBER, move |job: Job<u64>| {
        let ran = ran.clone();
        async move {
            ran.note("begun");
            let reason = job.cancelled().await;
            ran.note(format!("{} {reason:?}", job.id()));
            Err::<(), _>(JobError::retryable("stopped"))
        }
    });
    let mut events = builder.events();
    let worker = builder.drain_timeout(SECOND).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("a", &NUMBER, &1).await.unwrap();
    jobs.submit_as("b", &NUMBER, &2).await.unwrap();
    journal.until(2).await;
    assert!(!jobs.cancel("a").await.unwrap(), "it runs");
    let event = until(&mut events, |what| matches!(what, What::Cancelled)).await;
    assert_eq!(event.job.unwrap().id, "a");
    assert!(matches!(jobs.outcome::<()>("a").await, Err(JobsError::Cancelled(id)) if id == "a"));
    assert_eq!(journal.all()[2..], ["a Cancelled"]);
    assert!(jobs.cancel("a").await.unwrap(), "it has ended");
    assert_eq!(worker.in_hand(), 1);
    worker.drain().await;
    let left = left_in(&space, "q", 3 * ACK_WAIT).await;
    assert_eq!(left.iter().filter_map(|m| m.id.as_deref()).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_waits_in_its_queue_is_never_begun() {
    let (space, journal) = (space().await, Journal::default());
    let jobs = jobs(&space).await;
    jobs.submit_as("early", &NUMBER, &1).await.unwrap();
    jobs.cancel("early").await.unwrap();
    let ran = journal.clone();
    let worker = worker(&space)
        .concurrency(many(1))
        .topic(NUMBER, move |job: Job<u64>| {
            ran.note(job.id());
            std::future::ready(Ok(()))
        })
        .spawn()
        .await
        .unwrap();
    assert!(matches!(jobs.outcome::<()>("early").await, Err(JobsError::Cancelled(_))));
    jobs.submit_as("late", &NUMBER, &2).await.unwrap();
    assert_eq!(journal.until(1).await, ["late"]);
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_backs_off_has_ended_at_once() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let policy = RetryPolicy::default().fixed(100 * SECOND).jitter(0);
    let mut builder = worker(&space).topic_with(NUMBER, TopicOptions::default().retry(policy), move |job: Job<u64>| {
        ran.note(job.attempt().to_string());
        std::future::ready(JobResult::<()>::Err(JobError::retryable("no")))
    });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    until(&mut events, |what| matches!(what, What::Failed { retry_in: Some(_), .. })).await;
    assert!(jobs.cancel(&id).await.unwrap());
    assert_eq!(jobs.record(&id).await.unwrap().unwrap().state, State::Cancelled);
    until(&mut events, |what| matches!(what, What::Superseded)).await;
    assert_eq!(journal.all(), ["1"]);
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 5 * ACK_WAIT).await, []);
}
