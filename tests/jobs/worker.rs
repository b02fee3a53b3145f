//! A worker on one queue: what runs, what comes again, what is given up, and what that costs.

use crate::kit::{
    ACK_WAIT, Gate, Journal, NUMBER, SECOND, jobs, left_in, many, queue, some, space, time_passes, until, worker,
};
use anabranch::{
    Codec, RetryPolicy, StopReason,
    engine::{Message, Store, StoreError},
    jobs::{Job, JobError, JobResult, JobsError, Letter, NodeResultExt, Topic, TopicOptions, What, Worker},
    testing::faulty::FaultyStore,
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Email {
    to: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Push {
    #[prost(string, tag = "1")]
    device: String,
}

#[tokio::test(start_paused = true)]
async fn one_worker_runs_several_kinds_of_jobs_each_in_its_own_encoding() {
    let (space, journal) = (space().await, Journal::default());
    let mail = Topic::new("mail", Codec::<Email>::json());
    let packed = Topic::new("packed", Codec::<Email>::message_pack());
    let push = Topic::new("push", Codec::<Push>::protobuf());
    let raw = Topic::named("raw".to_owned(), Codec::raw());
    let note = |kind: &'static str| {
        let journal = journal.clone();
        move |what: String| journal.note(format!("{kind} {what}"))
    };
    let (a, b, c, d) = (note("mail"), note("packed"), note("push"), note("raw"));
    let worker = worker(&space)
        .topic(mail.clone(), move |job: Job<Email>| {
            a(job.payload.to.clone());
            async { Ok(()) }
        })
        .topic(packed.clone(), move |job: Job<Email>| {
            b(job.payload.to.clone());
            async { Ok(()) }
        })
        .topic(push.clone(), move |job: Job<Push>| {
            c(job.payload.device.clone());
            async { Ok(()) }
        })
        .topic(raw.clone(), move |job: Job<bytes::Bytes>| {
            d(format!("{:?}", job.payload));
            async { Ok(()) }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    jobs.submit(&mail, &Email { to: "ann".into() }).await.unwrap();
    jobs.submit(&packed, &Email { to: "bob".into() }).await.unwrap();
    jobs.submit(&push, &Push { device: "phone".into() }).await.unwrap();
    jobs.submit(&raw, &bytes::Bytes::from_static(b"\xff")).await.unwrap();
    let mut ran = journal.until(4).await;
    ran.sort();
    assert_eq!(ran, ["mail ann", "packed bob", "push phone", "raw b\"\\xff\""]);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_succeeds_at_once_costs_no_access_to_the_store() {
    let space = space().await;
    let faulty = FaultyStore::over(&space, 1);
    let watched = space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let (calls, journal) = (Arc::new(AtomicUsize::new(0)), Journal::default());
    let ran = journal.clone();
    let worker = worker(&watched)
        .topic(NUMBER, move |_: Job<u64>| {
            ran.note("ran");
            async { Ok(()) }
        })
        .spawn()
        .await
        .unwrap();
    let counted = Arc::clone(&calls);
    faulty.plan(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    });
    let jobs = jobs(&space).await;
    for n in 0..100 {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
    }
    journal.until(100).await;
    worker.drain().await;
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_is_tried_again_as_its_topic_says_and_finds_its_errors() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let policy = RetryPolicy::default().max_attempts(4).doubling(SECOND, 2).jitter(0);
    let worker = worker(&space)
        .topic_with(NUMBER, TopicOptions::default().retry(policy), move |job: Job<u64>| {
            let errors: Vec<_> = job.failures().iter().map(|f| f.message.clone()).collect();
            ran.note(format!("{} {errors:?} at {}", job.attempt(), job.clock().now().as_micros() / 1_000_000 % 1000));
            async move { if job.attempt() < 4 { Err(JobError::retryable(format!("no. {}", job.attempt()))) } else { Ok(()) } }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    let ran = journal.until(4).await;
    let expected =
        ["1 [] at 0", r#"2 ["no. 1"] at 1"#, r#"3 ["no. 1", "no. 2"] at 3"#, r#"4 ["no. 1", "no. 2", "no. 3"] at 5"#];
    assert_eq!(ran, expected);
    assert!(matches!(jobs.outcome::<()>(&id).await, Err(JobsError::NotKept(_))));
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn an_error_says_itself_what_is_done_about_it() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let handler = move |job: Job<u64>| {
        ran.note(format!("{} attempt {} at {}", job.payload, job.attempt(), job.clock().now().as_micros() / 1_000_000 % 1000));
        let again = ran.all().len() > 3;
        async move {
            match job.payload {
                _ if again => Ok(()),
                0 => Err("never").terminal(),
                1 => Err("later").retry_after(7 * SECOND),
                _ => Err(JobError::throttled(20 * SECOND)),
            }
        }
    };
    let worker = worker(&space).topic(NUMBER, handler).spawn().await.unwrap();
    let jobs = jobs(&space).await;
    let ids = [0, 1, 2].map(|n| format!("job-{n}"));
    for (n, id) in (0..).zip(&ids) {
        jobs.submit_as(id, &NUMBER, &n).await.unwrap();
    }
    let ran = journal.until(5).await;
    assert_eq!(ran[3..], ["1 attempt 2 at 7", "2 attempt 1 at 20"], "a throttled job has used no attempt up");
    assert!(matches!(jobs.outcome::<()>(&ids[0]).await, Err(JobsError::Dead { reason, .. }) if reason == "never"));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failed_attempt_and_harms_nobody_else() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let once = RetryPolicy::default().max_attempts(2).fixed(SECOND).jitter(0);
    let worker = worker(&space)
        .topic_with(NUMBER, TopicOptions::default().retry(once), move |job: Job<u64>| {
            ran.note(job.payload.to_string());
            // Also before there is anything to await.
            assert!(job.payload != 1, "one is no number");
            async move {
                assert!(job.payload != 2, "nor is two");
                Ok(())
            }
        })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    for n in 0..4 {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
    }
    for (id, text) in [("job-1", "one is no number"), ("job-2", "nor is two")] {
        let Err(JobsError::Dead { reason, .. }) = jobs.outcome::<()>(id).await else { panic!("given up") };
        assert_eq!(reason, format!("all 2 attempts failed: the handler panicked: {text}"));
    }
    assert_eq!(journal.all().len(), 6);
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_read_or_knows_is_a_dead_letter_at_once() {
    let space = space().await;
    let picky = Topic::new("picky", Codec::<u64>::new("picky", |_| Ok("".into()), |_| panic!("a codec of somebody else")));
    let mut builder = worker(&space)
        .topic(NUMBER, async |_: Job<u64>| -> JobResult<()> { Ok(()) })
        .topic(picky.clone(), async |_: Job<u64>| -> JobResult<()> { Ok(()) });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let queue = queue(&space, "q").await;
    let mut bad = NUMBER.message(&1).unwrap().id("bad");
    bad.payload = "not a number".into();
    queue.publish(bad).await.unwrap();
    queue.publish(Message::new("1").header("Job-Topic", "strange").id("strange")).await.unwrap();
    queue.publish(Message::new("1")).await.unwrap();
    queue.publish(picky.message(&1).unwrap().id("picky")).await.unwrap();
    for _ in 0..4 {
        until(&mut events, |what| matches!(what, What::DeadLettered { .. })).await;
    }
    worker.drain().await;
    let left = left_in(&space, "q-dead", SECOND).await;
    let mut letters: Vec<_> = left.iter().map(|m| Letter::decode(&m.payload).unwrap()).map(|l| (l.id, l.reason)).collect();
    letters.sort();
    assert_eq!(letters[0].0, "bad");
    assert!(letters[0].1.starts_with("the payload does not match `u64`: "), "{letters:?}");
    assert_eq!(letters[1], ("picky".into(), "reading the job panicked: a codec of somebody else".into()));
    assert_eq!(letters[2], ("q-3".into(), "nobody here knows the topic ``".into()));
    assert_eq!(letters[3], ("strange".into(), "nobody here knows the topic `strange`".into()));
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_topic_without_a_name_takes_messages_that_name_none() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let worker = worker(&space)
        .topic(Topic::new("", Codec::<u64>::json()), move |job: Job<u64>| {
            ran.note(format!("{:?} {}", job.topic(), job.payload));
            async { Ok(()) }
        })
        .spawn()
        .await
        .unwrap();
    queue(&space, "q").await.publish(Message::new("7")).await.unwrap();
    assert_eq!(journal.until(1).await, ["\"\" 7"]);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_returns_is_told_has_its_time_and_is_dropped() {
    let (space, journal) = (space().await, Journal::default());
    let ran = journal.clone();
    let options = TopicOptions::default().timeout(10 * SECOND).expected(4 * SECOND).retry(RetryPolicy::never());
    let mut builder = worker(&space).stop_grace(3 * SECOND).topic_with(NUMBER, options, move |job: Job<u64>| {
        let ran = ran.clone();
        async move {
            if job.payload == 1 {
                let reason = job.cancelled().await;
                ran.note(format!("{reason:?}, {}", job.token().is_cancelled()));
            }
            std::future::pending::<JobResult<()>>().await
        }
    });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let (jobs, begun) = (jobs(&space).await, space.clock().now());
    for n in [0, 1] {
        jobs.submit_as(format!("job-{n}"), &NUMBER, &n).await.unwrap();
    }
    let mut told = Vec::new();
    while told.len() < 6 {
        let event = events.next().await.unwrap();
        let Some(job) = event.job else { continue };
        let what = match event.what {
            What::ExceededExpectation { .. } => "expected",
            What::TimedOut { .. } => "timed out",
            What::DeadLettered { reason } => {
                assert_eq!(reason, "all 1 attempts failed: the attempt took longer than 10s");
                "given up"
            }
            _ => continue,
        };
        told.push(format!("{} {what} {}", job.id, event.at.since(begun).as_secs()));
    }
    told.sort();
    let expected = ["job-0 expected 4", "job-0 given up 10", "job-0 timed out 10"];
    assert_eq!(told[..3], expected);
    assert_eq!(told[3..], ["job-1 expected 4", "job-1 given up 13", "job-1 timed out 10"], "one that listens has its time");
    assert_eq!(journal.all(), ["Timeout, true"]);
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_success_in_the_time_after_a_timeout_counts() {
    let space = space().await;
    let options = TopicOptions::default().timeout(SECOND).keep_results();
    let worker = worker(&space)
        .topic_with(NUMBER, options, async |job: Job<u64>| -> JobResult<String> { Ok(format!("{:?}", job.cancelled().await)) })
        .spawn()
        .await
        .unwrap();
    let jobs = jobs(&space).await;
    let id = jobs.submit(&NUMBER, &1).await.unwrap().id;
    assert_eq!(jobs.outcome::<String>(&id).await.unwrap(), format!("{:?}", StopReason::Timeout));
    worker.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_takes_no_more_than_it_has_slots_for() {
    let (space, journal, gate) = (space().await, Journal::default(), Gate::default());
    let (ran, held) = (journal.clone(), gate.clone());
    let worker = worker(&space)
        .concurrency(many(3))
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
    for n in 0..10 {
        jobs.submit(&NUMBER, &n).await.unwrap();
    }
    journal.until(3).await;
    time_passes(&space, 5 * ACK_WAIT).await;
    assert_eq!((journal.all().len(), worker.in_hand()), (3, 3));
    let others = left_in(&space, "q", SECOND).await;
    assert_eq!(others.len(), 7, "the rest is there for others");
    gate.open();
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_costs_no_attempt_and_no_message() {
    let space = space().await;
    let faulty = FaultyStore::over(&space, 1);
    let shaky = space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>);
    let mut builder =
        worker(&shaky).topic_with(NUMBER, TopicOptions::default().keep_results(), async |job: Job<u64>| -> JobResult<u64> {
            Ok(job.payload)
        });
    let mut events = builder.events();
    let worker = builder.spawn().await.unwrap();
    let jobs = jobs(&space).await;
    faulty.plan(|call| call.writes_below("job.").then_some(anabranch::testing::faulty::Fault::Unavailable));
    let id = jobs.submit(&NUMBER, &7).await.unwrap().id;
    until(&mut events, |what| matches!(what, What::Received)).await;
    // Kept alive meanwhile, for much longer than the queue waits.
    for _ in 0..20 {
        until(&mut events, |what| matches!(what, What::Working)).await;
    }
    faulty.behave();
    assert_eq!(jobs.outcome::<u64>(&id).await.unwrap(), 7);
    until(&mut events, |what| matches!(what, What::Completed { .. })).await;
    worker.drain().await;
    assert_eq!(left_in(&space, "q", 3 * ACK_WAIT).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_work_is_an_error_and_nothing_runs() {
    let space = space().await;
    let number = async |_: Job<u64>| -> JobResult<()> { Ok(()) };
    let spawned = worker(&space).topic(NUMBER, number).topic(NUMBER, number).spawn().await;
    assert!(matches!(spawned, Err(JobsError::TopicTaken(topic)) if topic == "number"));
    assert!(matches!(worker(&space).spawn().await, Err(JobsError::Invalid(_))));
    let spawned = worker(&space).topic(NUMBER, number).retention(SECOND / 2).spawn().await;
    assert!(matches!(spawned, Err(JobsError::Invalid(_))));
    let spawned = Worker::builder(&space, "not a name").topic(NUMBER, number).spawn().await;
    assert!(matches!(spawned, Err(JobsError::Store(StoreError::Rejected(_)))));
    let spawned = worker(&space).lane("q.q", some(1)).topic(NUMBER, number).spawn().await;
    assert!(matches!(spawned, Err(JobsError::Store(StoreError::Rejected(_)))));
}
