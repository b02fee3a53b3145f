//! A queue that is paused: every worker of it stops to take jobs, and goes on.

use crate::kit::{Gate, Journal, NUMBER, SECOND, jobs, space, time_passes, until, worker};
use anabranch::jobs::{Job, Pause, What};

#[tokio::test(start_paused = true)]
async fn a_paused_queue_gives_nobody_a_job_until_it_is_resumed_and_what_runs_goes_on() {
    let (space, journal, gate) = (space().await, Journal::default(), Gate::default());
    let mut workers = Vec::new();
    let mut events = Vec::new();
    for _ in 0..3 {
        let (ran, held) = (journal.clone(), gate.clone());
        let mut builder = worker(&space).topic(NUMBER, move |job: Job<u64>| {
            let (ran, held) = (ran.clone(), held.clone());
            async move {
                ran.note(format!("begun {}", job.attempt()));
                held.pass().await;
                ran.note("ended");
                Ok(())
            }
        });
        events.push(builder.events());
        workers.push(builder.spawn().await.unwrap());
    }
    let jobs = jobs(&space).await;
    jobs.submit(&NUMBER, &1).await.unwrap();
    journal.until(1).await;
    jobs.pause().await.unwrap();
    for events in &mut events {
        until(events, |what| matches!(what, What::Paused)).await;
    }
    for n in 2..6 {
        jobs.submit(&NUMBER, &n).await.unwrap();
    }
    gate.open();
    time_passes(&space, 1000 * SECOND).await;
    assert_eq!(
        (journal.all(), jobs.paused().await.unwrap()),
        (vec!["begun 1".to_owned(), "ended".to_owned()], Pause::UntilResumed)
    );
    jobs.resume().await.unwrap();
    for events in &mut events {
        until(events, |what| matches!(what, What::Resumed)).await;
    }
    let all = journal.until(10).await;
    assert!(all[2..].iter().all(|line| line == "begun 1" || line == "ended"), "{all:?}");
    for worker in workers {
        worker.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_at_its_time_and_holds_for_workers_that_start_in_it() {
    let (space, journal) = (space().await, Journal::default());
    let jobs = jobs(&space).await;
    let begun = space.clock().now();
    jobs.pause_until(begun + 60 * SECOND).await.unwrap();
    jobs.submit(&NUMBER, &1).await.unwrap();
    let ran = journal.clone();
    let worker = worker(&space)
        .topic(NUMBER, move |job: Job<u64>| {
            ran.note(job.clock().now().since(begun).as_secs().to_string());
            std::future::ready(Ok(()))
        })
        .spawn()
        .await
        .unwrap();
    assert_eq!(journal.until(1).await, ["60"]);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_drained_while_its_queue_is_paused() {
    let space = space().await;
    let jobs = jobs(&space).await;
    jobs.pause().await.unwrap();
    let worker = worker(&space).topic(NUMBER, |_: Job<u64>| std::future::ready(Ok(()))).spawn().await.unwrap();
    worker.drain().await;
}
