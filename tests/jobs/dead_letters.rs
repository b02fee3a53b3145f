//! Dead letters: one for each job that is given up, never without its end, and the way back.

use crate::kit::{ACK_WAIT, Journal, NUMBER, SECOND, jobs, left_in, space, until, worker};
use anabranch::{
    RetryPolicy,
    engine::{Message, Store},
    jobs::{DeadLetters, Job, JobError, JobResult, JobsError, Letter, State, TopicOptions, What},
    testing::faulty::{Fault, FaultyStore, Op},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

fn once() -> TopicOptions<u64> {
    TopicOptions::default().retry(RetryPolicy::never()).keep_results()
}

/// Fails until it is told otherwise.
fn failing(
    works: &Arc<AtomicBool>,
    journal: &Journal,
) -> impl Fn(Job<u64>) -> std::future::Ready<JobResult<u64>> + Send + Sync + 'static {
    let (works, ran) = (Arc::clone(works), journal.clone());
    move |job| {
        ran.note(format!("{} attempt {}", job.id(), job.attempt()));
        let works = works.load(Ordering::SeqCst);
        std::future::ready(if works { Ok(job.payload) } else { Err(JobError::retryable("no")) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_and_its_jobs_end_are_kept_together_whatever_the_store_answers() {
    for fault in [Fault::Unknown { applied: true }, Fault::Unknown { applied: false }, Fault::Unavailable, Fault::Conflict] {
        let (space, journal) = (space().await, Journal::default());
        let faulty = FaultyStore::over(&space, 1);
        let shaky = space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
        let mut builder = worker(&shaky).topic_with(NUMBER, once(), failing(&Arc::default(), &journal));
        let mut events = builder.events();
        let worker = builder.spawn().await.unwrap();
        faulty.once(fault, |call| call.op == Op::Commit);
        let jobs = jobs(&space).await;
        let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
        assert!(matches!(jobs.outcome::<u64>(&id).await, Err(JobsError::Dead { .. })));
        let letters = jobs.dead_letters().await.unwrap().list(10).await.unwrap();
        assert_eq!(letters.len(), 1, "{fault:?}");
        until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
        worker.drain().await;
        assert_eq!(journal.all().len(), 1);
        assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn letters_are_listed_and_stay_are_put_back_one_by_one_or_all_and_purged() {
    let (space, journal, works) = (space().await, Journal::default(), Arc::new(AtomicBool::new(false)));
    let mut builder = worker(&space).topic_with(NUMBER, once(), failing(&works, &journal));
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    for n in 0..5 {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
        until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    }
    let letters = jobs.dead_letters().await.unwrap();
    letters.queue().publish(Message::new("somebody else's")).await.unwrap();
    let ids = |letters: Vec<Letter>| letters.into_iter().map(|letter| letter.id).collect::<Vec<_>>();
    assert_eq!(ids(letters.list(10).await.unwrap()), ["job-0", "job-1", "job-2", "job-3", "job-4"]);
    assert_eq!(letters.list(2).await.unwrap().len(), 2);
    assert!(letters.purge("job-0").await.unwrap() && !letters.purge("job-0").await.unwrap());
    works.store(true, Ordering::SeqCst);
    assert!(letters.redrive("job-1").await.unwrap() && !letters.redrive("job-1").await.unwrap());
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    assert_eq!(jobs.outcome::<u64>("job-1").await.unwrap(), 1, "under its own id");
    assert_eq!(letters.redrive_all().await.unwrap(), 3);
    for n in 2..5 {
        assert_eq!(jobs.outcome::<u64>(&format!("job-{n}")).await.unwrap(), n);
    }
    assert_eq!(letters.list(10).await.unwrap(), []);
    worker.drain().await;
    let again = journal.all()[5..].iter().filter(|line| line.ends_with("attempt 1")).count();
    assert_eq!((again, journal.all().len()), (4, 9), "with fresh attempts, each once");
    assert_eq!(left_in(&space, "q-dead", SECOND).await.len(), 1, "what is no letter stays");
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_put_back_once_however_often_it_is_found() {
    let (space, journal, works) = (space().await, Journal::default(), Arc::new(AtomicBool::new(false)));
    let mut builder = worker(&space).topic_with(NUMBER, once(), failing(&works, &journal));
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("seven", &NUMBER, &7).await.unwrap();
    until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    let letters = jobs.dead_letters().await.unwrap();
    // As if whoever put it back had died before the letter was settled.
    let copy = left_in(&space, "q-dead", SECOND).await.remove(0);
    letters.queue().publish(Message::new(copy.payload.clone())).await.unwrap();
    works.store(true, Ordering::SeqCst);
    assert!(letters.redrive("seven").await.unwrap());
    assert_eq!(jobs.outcome::<u64>("seven").await.unwrap(), 7);
    letters.queue().publish(Message::new(copy.payload)).await.unwrap();
    assert!(letters.redrive("seven").await.unwrap(), "the letter is settled");
    worker.drain().await;
    assert_eq!(journal.all(), ["seven attempt 1", "seven attempt 1"]);
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_put_back_and_fails_again_has_a_letter_again() {
    let (space, journal) = (space().await, Journal::default());
    let mut builder = worker(&space).topic_with(NUMBER, once(), failing(&Arc::default(), &journal));
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    jobs.submit_as("seven", &NUMBER, &7).await.unwrap();
    let letters = jobs.dead_letters().await.unwrap();
    for generation in 0..3 {
        until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
        let listed = letters.list(10).await.unwrap();
        assert_eq!(listed.iter().map(|l| (l.generation, l.attempts)).collect::<Vec<_>>(), [(generation, 1)]);
        let record = jobs.record("seven").await.unwrap().unwrap();
        assert!(record.generation == generation && matches!(record.state, State::Dead { .. }));
        assert!(letters.redrive("seven").await.unwrap());
    }
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_too_large_to_be_kept_with_its_letter_is_given_up_without_its_content() {
    let space = space().await;
    let most = space.store().capabilities().max_value;
    let queue = crate::kit::queue(&space, "q").await;
    queue.publish(Message::new(vec![b'x'; most - 200]).header("Job-Topic", "number").id("large")).await.unwrap();
    let worker = worker(&space).topic(NUMBER, async |_: Job<u64>| -> JobResult<()> { Ok(()) }).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let Err(JobsError::Dead { .. }) = jobs.outcome::<()>("large").await else { panic!("given up") };
    let letters = jobs.dead_letters().await.unwrap().list(1).await.unwrap();
    assert!(letters[0].payload.is_empty() && letters[0].reason.contains("too large"), "{}", letters[0].reason);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn to_put_all_back_ends_though_what_is_put_back_fails_again_at_once() {
    let (space, journal) = (space().await, Journal::default());
    let mut builder = worker(&space).topic_with(NUMBER, once(), failing(&Arc::default(), &journal));
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    for n in 0..3 {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
        until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    }
    let letters = jobs.dead_letters().await.unwrap();
    let put_back = space.clock().timeout(60 * SECOND, letters.redrive_all()).await;
    assert_eq!(put_back.expect("it has ended").unwrap(), 3);
    journal.until(6).await;
    for _ in 0..3 {
        until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    }
    worker.drain().await;
    let generations: Vec<_> = letters.list(10).await.unwrap().iter().map(|letter| letter.generation).collect();
    assert_eq!((generations, journal.all().len()), (vec![1, 1, 1], 6), "each was put back once");
}

#[test]
fn what_is_done_with_letters_can_be_done_in_a_task_of_its_own() {
    fn spawnable<F: Future<Output = ()> + Send>(_: impl FnOnce(DeadLetters) -> F) {}
    spawnable(async |letters| drop(letters.list(1).await));
    spawnable(async |letters| drop(letters.redrive("job").await));
    spawnable(async |letters| drop(letters.redrive_all().await));
    spawnable(async |letters| drop(letters.purge("job").await));
}
