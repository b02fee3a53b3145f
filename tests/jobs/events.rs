//! What a worker tells: a story for each job, and nothing that holds work up.

use crate::kit::{ACK_WAIT, NUMBER, SECOND, jobs, many, queue, space, until, worker};
use anabranch::{
    RetryPolicy,
    jobs::{Event, Job, JobError, JobResult, TopicOptions, What},
    testing::pass,
};
use futures_util::StreamExt as _;
use std::pin::pin;

fn name(event: &Event) -> String {
    let text = format!("{:?}", event.what);
    text.split([' ', '(']).next().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_worker_tells_the_story_of_a_job_from_its_start_to_its_end() {
    let space = space().await;
    let policy = RetryPolicy::default().max_attempts(2).fixed(SECOND);
    let options = TopicOptions::default().expected(SECOND).timeout(2 * ACK_WAIT).retry(policy);
    let mut builder = worker(&space).topic_with(NUMBER, options, async |job: Job<u64>| -> JobResult<()> {
        pass(ACK_WAIT / 2).await;
        job.progress(50).await?;
        match (job.payload, job.attempt()) {
            (_, 1) => Err(JobError::retryable("once")),
            (0, _) => Ok(()),
            _ => std::future::pending().await,
        }
    });
    let events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("good", &NUMBER, &0).await.unwrap();
    jobs.submit_as("bad", &NUMBER, &1).await.unwrap();
    queue(&space, "q").await.publish(NUMBER.message(&9).unwrap().header("Job-Topic", "who").id("who")).await.unwrap();
    let mut told = pin!(events.into_stream());
    let mut stories = [("good", Vec::new()), ("bad", Vec::new()), ("who", Vec::new())];
    let mut ended = 0;
    let mut own = Vec::new();
    while ended < 3 {
        let event = told.next().await.unwrap();
        let name = name(&event);
        ended += usize::from(matches!(event.what, What::DeadLettered { .. } | What::Completed { .. }));
        match &event.job {
            Some(job) => stories.iter_mut().find(|(id, _)| *id == job.id).unwrap().1.push(format!("{name} {}", job.attempt)),
            None => own.push(name),
        }
    }
    let good = "Received 1, ExceededExpectation 1, Working 1, Progressed 1, Failed 1, \
                Received 2, ExceededExpectation 2, Working 2, Progressed 2, Completed 2";
    assert_eq!(stories[0].1.join(", "), good);
    let bad = &stories[1].1;
    assert_eq!(bad[..5], stories[0].1[..5]);
    assert_eq!(bad[bad.len() - 3..], ["TimedOut 2", "Failed 2", "DeadLettered 2"]);
    assert_eq!(stories[2].1, ["DeadLettered 1"]);
    worker.drain().await;
    own.push(name(&told.next().await.unwrap()));
    assert_eq!(own, ["Started", "Drained"]);
    assert!(told.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_loses_the_oldest_events_is_told_how_many_and_holds_nothing_up() {
    let space = space().await;
    let mut builder = worker(&space).event_room(many(16)).topic_with(
        NUMBER,
        TopicOptions::default().keep_results(),
        async |_: Job<u64>| -> JobResult<()> { Ok(()) },
    );
    let mut slow = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let mut quick = worker.events();
    for n in 0..200 {
        jobs.submit(&NUMBER, &n).await.unwrap();
        until(&mut quick, |what| matches!(what, What::Completed { .. })).await;
    }
    worker.drain().await;
    let What::Missed(missed) = slow.next().await.unwrap().what else { panic!("it was slow") };
    let mut seen = 0;
    while let Some(event) = slow.next().await {
        assert!(!matches!(event.what, What::Missed(_)));
        seen += 1;
    }
    // Started, twice 200, and Drained.
    assert_eq!((missed, seen), (386, 16));
}
