//! Results and progress: kept before the acknowledgement, once, and seen by whoever asks.

use crate::kit::{ACK_WAIT, Gate, Journal, NUMBER, SECOND, jobs, left_in, many, queue, space, time_passes, until, worker};
use anabranch::{
    engine::{Expect, Key, PutOptions, Store},
    jobs::{Job, JobError, JobResult, JobsError, Report, State, TopicOptions, What},
    testing::faulty::{Fault, FaultyStore},
};
use std::sync::Arc;

/// A worker that doubles numbers and notes what it runs.
fn doubling(journal: &Journal) -> impl Fn(Job<u64>) -> std::future::Ready<JobResult<u64>> + Send + Sync + 'static {
    let ran = journal.clone();
    move |job| {
        ran.note(format!("{} attempt {}", job.id(), job.attempt()));
        std::future::ready(Ok(job.payload * 2))
    }
}

fn kept() -> TopicOptions<u64> {
    TopicOptions::default().keep_results()
}

#[tokio::test(start_paused = true)]
async fn a_result_is_there_for_whoever_waits_and_whoever_comes_later() {
    let (space, journal) = (space().await, Journal::default());
    let jobs = jobs(&space).await;
    jobs.submit_as("seven", &NUMBER, &7).await.unwrap();
    assert_eq!(jobs.result::<u64>("seven").await.unwrap(), None);
    let waiting = jobs.outcome::<u64>("seven");
    let starts =
        async { worker(&space).retention(100 * SECOND).topic_with(NUMBER, kept(), doubling(&journal)).spawn().await.unwrap() };
    let (result, worker) = tokio::join!(waiting, starts);
    assert_eq!(result.unwrap(), 14);
    assert_eq!(jobs.result::<u64>("seven").await.unwrap(), Some(14));
    assert!(matches!(jobs.result::<String>("seven").await, Err(JobsError::Codec(_))));
    assert_eq!(jobs.outcome::<u64>("seven").await.unwrap(), 14);
    worker.drain().await;
    time_passes(&space, 101 * SECOND).await;
    assert_eq!(jobs.record("seven").await.unwrap(), None, "its retention is over");
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_is_acknowledged_and_runs_nothing_however_often_it_comes() {
    let (space, journal) = (space().await, Journal::default());
    let mut builder = worker(&space).topic_with(NUMBER, kept(), doubling(&journal));
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("seven", &NUMBER, &7).await.unwrap();
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    // The window of the queue is over; what is known by state is not.
    time_passes(&space, 300 * SECOND).await;
    let again = jobs.submit_as("seven", &NUMBER, &8).await.unwrap();
    assert!(!again.duplicate);
    until(&mut events, |what| matches!(what, What::Superseded)).await;
    worker.drain().await;
    assert_eq!((journal.all(), jobs.result::<u64>("seven").await.unwrap()), (vec!["seven attempt 1".to_owned()], Some(14)));
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn of_two_workers_that_run_the_same_job_one_result_is_kept() {
    let (space, journal, gate) = (space().await, Journal::default(), Gate::default());
    let faulty = FaultyStore::over(&space, 1);
    let slow = space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let named = |name: &'static str, gate: Gate, space| {
        let ran = journal.clone();
        worker(space).topic_with(NUMBER, TopicOptions::default().keep_results(), move |_: Job<u64>| {
            let gate = gate.clone();
            ran.note(name);
            async move {
                gate.pass().await;
                Ok(name.to_owned())
            }
        })
    };
    let mut builder = named("first", gate.clone(), &slow);
    let mut events = builder.events();
    let first = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    journal.until(1).await;
    // Its outcome hangs in the store for longer than its message is kept for it.
    faulty.hold_writes();
    gate.open();
    let opened = Gate::default();
    opened.open();
    drop(queue(&space, "q").await);
    let second = named("second", opened, &space).spawn().await.unwrap();
    let copy = jobs.queue().publish(NUMBER.message(&1).unwrap().id("copy").header("Job-Id", id.clone())).await;
    copy.unwrap();
    assert_eq!(jobs.outcome::<String>(&id).await.unwrap(), "second");
    faulty.resume();
    until(&mut events, |what| matches!(what, What::Superseded)).await;
    assert_eq!(jobs.outcome::<String>(&id).await.unwrap(), "second");
    first.drain().await;
    second.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_result_whose_answer_was_lost_is_kept_once_and_the_job_does_not_run_again() {
    for applied in [true, false] {
        let (space, journal) = (space().await, Journal::default());
        let faulty = FaultyStore::over(&space, 1);
        let shaky = space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
        let worker = worker(&shaky).topic_with(NUMBER, kept(), doubling(&journal)).spawn().await.unwrap();
        faulty.once(Fault::Unknown { applied }, |call| call.writes_below("job."));
        let jobs = jobs(&space).await;
        let id = jobs.submit(&NUMBER, &4).await.unwrap().id;
        assert_eq!(jobs.outcome::<u64>(&id).await.unwrap(), 8);
        worker.drain().await;
        assert_eq!(journal.all().len(), 1);
        assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_too_large_ends_the_job_and_says_so() {
    let space = space().await;
    let large = async |job: Job<u64>| -> JobResult<String> { Ok("x".repeat(usize::try_from(job.payload)?)) };
    let worker = worker(&space).topic_with(NUMBER, TopicOptions::default().keep_results(), large).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let most = u64::try_from(space.store().capabilities().max_value).unwrap();
    let id = jobs.submit(&NUMBER, &(most + 1)).await.unwrap().id;
    let Err(JobsError::Dead { reason, .. }) = jobs.outcome::<String>(&id).await else { panic!("given up") };
    assert!(reason.starts_with("its result cannot be kept: "), "{reason}");
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn progress_is_stored_when_it_was_said_and_there_for_the_next_attempt() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let mut builder = worker(&space).topic(NUMBER, move |job: Job<u64>| {
        let ran = ran.clone();
        async move {
            let before = job.last_progress().map(|p| (p.percent, p.text.clone(), p.read::<Vec<u64>>().unwrap()));
            ran.note(format!("{before:?}"));
            if job.attempt() == 2 {
                return Ok(());
            }
            job.progress(10).await?;
            job.progress((40, "almost")).await?;
            job.progress(Report::percent(200).text("done").data(&vec![1_u64, 2])).await?;
            Err(JobError::retryable("once more"))
        }
    });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    for percent in [10, 40, 100] {
        let event = until(&mut events, |what| matches!(what, What::Progressed { .. })).await;
        assert!(matches!(event.what, What::Progressed { progress } if progress.percent == Some(percent)));
    }
    let seen = jobs.record(&id).await.unwrap().unwrap();
    assert_eq!((seen.progress.unwrap().text, seen.state), ("done".to_owned(), State::Open));
    let ran = journal.until(2).await;
    assert_eq!(ran, ["None", r#"Some((Some(100), "done", Some([1, 2])))"#]);
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    assert!(jobs.record(&id).await.unwrap().unwrap().is_ended(), "a record that is there knows the end");
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn foreign_bytes_at_a_jobs_record_run_nothing_and_stay_as_they_are() {
    let (space, journal) = (space().await, Journal::default());
    let key = Key::new("job.q.seven").unwrap();
    space.store().put(&key, "not a record".into(), Expect::Absent, PutOptions::default()).await.unwrap();
    let mut builder = worker(&space).concurrency(many(2)).topic_with(NUMBER, kept(), doubling(&journal));
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("seven", &NUMBER, &7).await.unwrap();
    let told = until(&mut events, |what| matches!(what, What::NotAcknowledged { .. })).await;
    assert!(matches!(told.what, What::NotAcknowledged { error } if error.contains("cannot be read")));
    assert!(matches!(jobs.outcome::<u64>("seven").await, Err(JobsError::Record(_))));
    assert_eq!(space.store().get(&key).await.unwrap().unwrap().value, "not a record");
    space.store().delete(&key, Expect::Anything).await.unwrap();
    assert_eq!(jobs.outcome::<u64>("seven").await.unwrap(), 14, "nothing is lost");
    worker.drain().await;
}
