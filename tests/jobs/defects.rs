//! The defects of nats-jobs that must not come back, by their numbers in `docs/origins.md`.

use crate::kit::{ACK_WAIT, Gate, Journal, NUMBER, SECOND, jobs, left_in, many, queue, space, until, worker};
use anabranch::{
    RetryPolicy,
    engine::{Queue, QueueOptions, StoreError},
    jobs::{Job, JobResult, Jobs, JobsError, Letter, TopicOptions, What, Worker},
    testing::faulty::{FaultyQueue, Op},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// D15: one signal for all messages of a job, so that after one timeout every later message is told to stop.
#[tokio::test(start_paused = true)]
async fn d15_the_message_after_one_that_timed_out_is_not_told_to_stop() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let options = TopicOptions::default().timeout(SECOND).retry(RetryPolicy::never());
    let worker = worker(&space)
        .concurrency(many(1))
        .topic_with(NUMBER, options, move |job: Job<u64>| {
            let ran = ran.clone();
            async move {
                ran.note(format!("{} {:?} {}", job.payload, job.stop_reason(), job.token().is_cancelled()));
                if job.payload == 0 {
                    job.cancelled().await;
                    return std::future::pending().await;
                }
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    for n in 0..3 {
        jobs.submit(&NUMBER, &n).await.unwrap();
    }
    assert_eq!(journal.until(3).await, ["0 None false", "1 None false", "2 None false"]);
    worker.drain().await;
}

/// D16: a message that is delivered after the stop is still processed.
#[tokio::test(start_paused = true)]
async fn d16_a_message_that_comes_after_the_stop_is_not_begun_and_is_back_at_once() {
    let (space, journal, gate) = (space().await, Journal::default(), Gate::default());
    let (ran, held) = (journal.clone(), gate.clone());
    let worker = worker(&space)
        .topic(NUMBER, move |job: Job<u64>| {
            let held = held.clone();
            ran.note(job.payload.to_string());
            async move {
                held.pass().await;
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    jobs.submit(&NUMBER, &0).await.unwrap();
    journal.until(1).await;
    let drained = async {
        let late = async {
            for n in 1..5 {
                jobs.submit(&NUMBER, &n).await.unwrap();
            }
            assert_eq!(left_in(&space, "q", SECOND).await.len(), 4, "others have them without waiting");
            gate.open();
        };
        tokio::join!(worker.drain(), late);
    };
    drained.await;
    assert_eq!(journal.all(), ["0"]);
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

/// D17: an error while the queue is made is swallowed, and the worker does nothing.
#[tokio::test(start_paused = true)]
async fn d17_a_queue_that_cannot_be_opened_is_an_error_of_the_start() {
    let space = space().await;
    queue(&space, "q").await;
    let other = QueueOptions::default().ack_wait(7 * SECOND);
    let builder = Worker::builder(&space, ("q", other.clone())).topic(NUMBER, async |_: Job<u64>| -> JobResult<()> { Ok(()) });
    assert!(matches!(builder.spawn().await, Err(JobsError::Store(StoreError::Rejected(_)))));
    assert!(matches!(Jobs::open_with(&space, "q", other).await, Err(JobsError::Store(StoreError::Rejected(_)))));
}

/// D18: only the message that is worked on is kept alive, so that those behind it expire and are processed twice.
#[tokio::test(start_paused = true)]
async fn d18_every_message_in_hand_is_kept_alive_also_one_that_waits_for_its_slot() {
    let (space, journal, gate) = (space().await, Journal::default(), Gate::default());
    let (ran, held) = (journal.clone(), gate.clone());
    let watched = FaultyQueue::over(queue(&space, "q").await, space.clock().clone(), 1);
    let extended: Arc<Mutex<BTreeMap<_, u32>>> = Arc::default();
    let counts = Arc::clone(&extended);
    watched.trouble().plan(move |call| {
        if let (Op::Extend, Some(message)) = (call.op, call.message) {
            *counts.lock().unwrap().entry(message.payload.clone()).or_default() += 1;
        }
        None
    });
    let worker = Worker::builder(&space, watched as Arc<dyn Queue>)
        .concurrency(many(8))
        // A second lane lets jobs wait for a slot in the worker's hands.
        .lane("other", crate::kit::some(1))
        .topic(NUMBER, move |job: Job<u64>| {
            let held = held.clone();
            ran.note(job.payload.to_string());
            async move {
                held.pass().await;
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    for n in 0..20 {
        jobs.submit(&NUMBER, &n).await.unwrap();
    }
    journal.until(8).await;
    crate::kit::time_passes(&space, 10 * ACK_WAIT).await;
    assert!(worker.in_hand() > 8, "some wait in hand: {}", worker.in_hand());
    // Each third of the wait, and a timer may be late by a millisecond.
    let extended = extended.lock().unwrap().clone();
    assert_eq!(extended.len(), worker.in_hand(), "all that are in hand");
    assert!(extended.values().all(|times| (29..=30).contains(times)), "{extended:?}");
    assert_eq!(journal.all().len(), 8);
    gate.open();
    let mut ran = journal.until(20).await;
    worker.drain().await;
    ran.sort_by_key(|n| n.parse::<u64>().unwrap());
    assert_eq!(ran, (0..20).map(|n| n.to_string()).collect::<Vec<_>>(), "each once");
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

/// D19: when all attempts have failed the message stays in the queue for ever, and nobody gets it.
#[tokio::test(start_paused = true)]
async fn d19_a_job_that_fails_for_good_leaves_its_queue_and_is_a_dead_letter_with_its_errors() {
    let space = space().await;
    let policy = RetryPolicy::default().max_attempts(3).fixed(SECOND).jitter(0);
    let mut builder =
        worker(&space).topic_with(NUMBER, TopicOptions::default().retry(policy), async |job: Job<u64>| -> JobResult<()> {
            Err(anabranch::jobs::JobError::retryable(format!("no. {}", job.attempt())))
        });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let message = NUMBER
        .message(&7)
        .unwrap()
        .id("seven")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    jobs(&space).await.queue().publish(message.clone()).await.unwrap();
    until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
    let left = left_in(&space, "q-dead", SECOND).await;
    let [dead] = &left[..] else { panic!("one letter: {left:?}") };
    assert_eq!(dead.headers.get("traceparent"), message.headers.get("traceparent"));
    let letter = Letter::decode(&dead.payload).unwrap();
    let errors: Vec<_> = letter.failures.iter().map(|f| (f.attempt, &*f.message)).collect();
    assert_eq!(errors, [(1, "no. 1"), (2, "no. 2"), (3, "no. 3")]);
    assert_eq!((&*letter.id, &*letter.topic, letter.attempts), ("seven", "number", 3));
    assert_eq!((letter.payload, &*letter.reason), (message.payload, "all 3 attempts failed: no. 3"));
}

/// D20: messages of one consumer are processed strictly one after the other.
#[tokio::test(start_paused = true)]
async fn d20_jobs_of_one_queue_run_at_the_same_time() {
    let space = space().await;
    let together = std::sync::Arc::new(tokio::sync::Barrier::new(10));
    let meet = std::sync::Arc::clone(&together);
    let worker = worker(&space)
        .concurrency(many(10))
        .topic_with(NUMBER, TopicOptions::default().keep_results(), move |_: Job<u64>| {
            let meet = std::sync::Arc::clone(&meet);
            async move {
                meet.wait().await;
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(jobs.submit(&NUMBER, &n).await.unwrap().id);
    }
    for id in ids {
        jobs.outcome::<()>(&id).await.unwrap();
    }
    worker.drain().await;
}

/// D22: an interval of polling below half a second asks the server for a negative time.
#[tokio::test(start_paused = true)]
async fn d22_there_is_no_interval_of_polling_and_times_that_no_queue_can_keep_are_refused() {
    let space = space().await;
    for ack_wait in [std::time::Duration::ZERO, SECOND / 2] {
        let options = QueueOptions::default().ack_wait(ack_wait);
        let opened = Jobs::open_with(&space, "short", options).await;
        assert!(matches!(opened, Err(JobsError::Store(StoreError::Rejected(_)))), "{ack_wait:?}");
    }
    // A job is begun when it is there, not at the end of an interval.
    let begun = space.clock().instant();
    let worker = worker(&space)
        .topic_with(NUMBER, TopicOptions::default().keep_results(), async |_: Job<u64>| -> JobResult<()> { Ok(()) })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    jobs.outcome::<()>(&id).await.unwrap();
    assert!(space.clock().instant() - begun < SECOND / 10);
    worker.drain().await;
}
