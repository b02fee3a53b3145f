//! A schedule starts jobs: the id of a firing is the id of its job.

use super::{
    place::{Place, Road, seconds},
    roads::memory,
};
use anabranch::{
    Codec,
    engine::{Name, Outgoing, QueueOptions},
    jobs::{Job, Jobs, NodeResultExt as _, State, Topic, TopicOptions, Worker},
    schedule::{Missed, Overlap, Schedule, Scheduler, Schedules},
};
use std::{num::NonZeroU32, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Lets a schedule start a job each second that takes a while, and returns the ids of the jobs that began in a time, and the jobs.
async fn jobs_of(place: &Place, overlap: Overlap, takes: Duration, time: Duration) -> (Vec<String>, Jobs) {
    let space = place.space();
    let report = Topic::<u64>::named("report", Codec::json());
    let jobs = Jobs::open_with(space, "reports", QueueOptions::default()).await.unwrap();
    let (told, mut began) = mpsc::unbounded_channel();
    let work = move |job: Job<u64>| {
        let told = told.clone();
        async move {
            told.send(job.id().to_owned()).unwrap();
            tokio::select! {
                () = anabranch::testing::pass(takes) => Ok(()),
                reason = job.cancelled() => Err(format!("{reason:?}")).retryable(),
            }
        }
    };
    let options = TopicOptions::default().keep_results();
    let worker =
        Worker::builder(space, Arc::clone(jobs.queue())).topic_with(report.clone(), options, work).spawn().await.unwrap();
    let running = Arc::new(jobs.clone());
    let scheduler = Scheduler::builder(space).running("reports", running).spawn().await.unwrap();
    let message = report.message(&7).unwrap();
    let sends = Outgoing { queue: Name::new("reports").unwrap(), message };
    let all = Missed::All(NonZeroU32::MIN);
    let every_second = Schedule::new("report", "@every 1s".parse().unwrap(), sends).overlap(overlap).missed(all);
    Schedules::new(space).unwrap().create(&every_second).await.unwrap();
    place.passes(time).await;
    scheduler.drain().await;
    worker.drain().await;
    let mut ids = Vec::new();
    while let Ok(id) = began.try_recv() {
        ids.push(id);
    }
    (ids, jobs)
}

fn at(seconds: impl IntoIterator<Item = u32>) -> Vec<String> {
    seconds.into_iter().map(|n| format!("report@2026-11-25T12:00:0{n}Z")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_schedule_starts_a_job_for_each_firing_under_its_id() {
    let place = memory(Road::Timers).await;
    let (ids, jobs) = jobs_of(&place, Overlap::Allow, Duration::ZERO, seconds(3)).await;
    assert_eq!(ids, at([1, 2, 3]));
    assert!(matches!(jobs.record(&ids[0]).await.unwrap().unwrap().state, State::Completed { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_on_keeps_the_next_firing_away() {
    let place = memory(Road::Index).await;
    let (ids, _) = jobs_of(&place, Overlap::Skip, Duration::from_millis(2500), seconds(8)).await;
    assert_eq!(ids, at([1, 4, 7]));
}

#[tokio::test(start_paused = true)]
async fn a_job_is_cancelled_when_the_next_firing_comes() {
    let place = memory(Road::Timers).await;
    let (ids, jobs) = jobs_of(&place, Overlap::Cancel, seconds(3600), seconds(3)).await;
    assert_eq!(ids, at([1, 2, 3]));
    for id in &ids[..2] {
        assert_eq!(jobs.record(id).await.unwrap().unwrap().state, State::Cancelled, "{id}");
    }
}
