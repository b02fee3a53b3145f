//! The end of a worker: nothing is lost, nothing is begun, nothing counts.

use crate::kit::{ACK_WAIT, Gate, Journal, NUMBER, SECOND, jobs, left_in, many, space, take_from, until, worker};
use anabranch::{
    StopReason,
    engine::Store,
    jobs::{Job, JobError, JobResult, State, TopicOptions, What, Worker},
    testing::{faulty::FaultyStore, pass},
};
use std::sync::Arc;

#[tokio::test(start_paused = true)]
async fn a_drain_lets_what_runs_end_and_keeps_it_alive() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let worker = worker(&space)
        .drain_timeout(10 * ACK_WAIT)
        .topic(NUMBER, move |job: Job<u64>| {
            let ran = ran.clone();
            async move {
                ran.note("begun");
                pass(5 * ACK_WAIT).await;
                ran.note(format!("{:?}", job.stop_reason()));
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    jobs(&space).await.submit(&NUMBER, &1).await.unwrap();
    journal.until(1).await;
    worker.drain().await;
    assert_eq!(journal.all(), ["begun", "None"], "it was not disturbed");
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn what_runs_past_the_drains_time_is_told_and_handed_back_without_using_an_attempt_up() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let mut builder = worker(&space).drain_timeout(5 * SECOND).stop_grace(2 * SECOND).topic(NUMBER, move |job: Job<u64>| {
        let ran = ran.clone();
        async move {
            ran.note(format!("begun {}", job.payload));
            match job.payload {
                // Ends with an error because it was told to.
                0 => {
                    let reason = job.cancelled().await;
                    ran.note(format!("told {reason:?}"));
                    Err::<(), _>(JobError::retryable("stopped"))
                }
                // Listens, and does not end.
                1 => {
                    job.cancelled().await;
                    std::future::pending().await
                }
                // Does not even listen.
                _ => std::future::pending().await,
            }
        }
    });
    let mut events = builder.events();
    let worker: Worker =
        builder.topic(crate::submit::OTHER, async |_: Job<String>| -> JobResult<()> { Ok(()) }).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    for n in 0..3 {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
    }
    journal.until(3).await;
    let begun = space.clock().instant();
    worker.drain().await;
    assert_eq!((space.clock().instant() - begun).as_secs(), 7, "and it returns");
    assert!(journal.all().contains(&format!("told {:?}", StopReason::Stopped)));
    let mut handed = 0;
    while handed < 3 {
        until(&mut events, |what| matches!(what, What::HandedBack)).await;
        handed += 1;
    }
    until(&mut events, |what| matches!(what, What::Drained)).await;
    let taken = take_from(&space, "q", SECOND).await;
    assert_eq!(taken.len(), 3, "others have them at once");
    for n in 0..3 {
        let record = jobs.record(&format!("job-{n}")).await.unwrap().unwrap();
        assert_eq!((record.spared, record.failed, record.state), (1, 0, State::Open));
    }
}

#[tokio::test(start_paused = true)]
async fn all_workers_are_drained_at_once_and_told_that_the_process_ends() {
    let (space, journal) = (space().await, Journal::default());
    let mut workers = Vec::new();
    for queue in ["one", "two", "three"] {
        let ran = journal.clone();
        let builder = Worker::builder(&space, queue).drain_timeout(4 * SECOND).topic(NUMBER, move |job: Job<u64>| {
            let ran = ran.clone();
            async move {
                ran.note("begun");
                ran.note(format!("{:?}", job.cancelled().await));
                Ok(())
            }
        });
        workers.push(builder.spawn().await.unwrap());
        crate::kit::queue(&space, queue).await.publish(NUMBER.message(&1).unwrap()).await.unwrap();
    }
    journal.until(3).await;
    let begun = space.clock().instant();
    Worker::drain_all(workers).await;
    assert_eq!((space.clock().instant() - begun).as_secs(), 4, "and not one after the other");
    assert_eq!(journal.all()[3..], ["Shutdown", "Shutdown", "Shutdown"]);
    for queue in ["one", "two", "three"] {
        assert_eq!(left_in(&space, queue, 3 * ACK_WAIT).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_returns_although_the_store_is_away() {
    let space = space().await;
    let faulty = FaultyStore::over(&space, 1);
    let shaky = space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let gate = Gate::default();
    let held = gate.clone();
    let mut builder =
        worker(&shaky).drain_timeout(SECOND).topic_with(NUMBER, TopicOptions::default().keep_results(), move |_: Job<u64>| {
            let held = held.clone();
            async move {
                held.pass().await;
                Ok(1)
            }
        });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit(&NUMBER, &1).await.unwrap();
    until(&mut events, |what| matches!(what, What::Received)).await;
    faulty.hold();
    gate.open();
    worker.drain().await;
    faulty.behave();
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await.len(), 1, "it comes again after the queue's wait");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_dropped_takes_nothing_more_and_ends_what_runs() {
    let (space, journal, gate) = (space().await, Journal::default(), Gate::default());
    let (ran, held) = (journal.clone(), gate.clone());
    let worker = worker(&space)
        .concurrency(many(1))
        .topic_with(NUMBER, TopicOptions::default().keep_results(), move |job: Job<u64>| {
            let held = held.clone();
            ran.note(job.payload.to_string());
            async move {
                held.pass().await;
                Ok(job.payload)
            }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    let first = jobs.submit(&NUMBER, &1).await.unwrap().id;
    journal.until(1).await;
    drop(worker);
    jobs.submit(&NUMBER, &2).await.unwrap();
    gate.open();
    assert_eq!(jobs.outcome::<u64>(&first).await.unwrap(), 1);
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await.len(), 1);
    assert_eq!(journal.all(), ["1"]);
}
