//! Records of what was given up: one for each, never without the run's last state, never the state without it.

use crate::{
    kit::{LEASE, Told, faulty_worker, left_in, letters, options, queue, single, time_passes},
    support::{Journal, space, worker},
};
use anabranch::{
    Ctx, NodeError, NodeResult, RetryPolicy, Topology,
    core::snapshot::RunStatus,
    engine::{Expect, Message, Space},
    runtime::Runtime,
    testing::faulty::{Fault, Op},
    topology::NodeOptions,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn once(work: &mut NodeOptions) {
    work.max_attempts(1);
}

/// Fails until it is told otherwise.
fn failing(works: &Arc<AtomicBool>) -> Topology<u64, u64, Journal> {
    let works = Arc::clone(works);
    single(once, move |ctx: Ctx<Journal>, value| {
        let works = works.load(Ordering::SeqCst);
        async move {
            ctx.app().note(format!("attempt {}", ctx.attempt()));
            if works { Ok(value) } else { Err(NodeError::terminal("no such account")) }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_failed_run_is_committed_together_with_its_dead_letter() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let told = Told::of(&space, "in").await;
    let runs = runtime.host(failing(&Arc::default()), Journal::default()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    // As long as the commit fails there is neither.
    faulty.plan(|call| (call.op == Op::Commit).then_some(Fault::Unavailable));
    told.queue().publish(Message::new("5").id("m-5")).await.unwrap();
    time_passes(&space, 20 * SECOND).await;
    assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().status, RunStatus::Running);
    assert_eq!(left_in(&space, &queue(&space, "in-dead").await).await, []);
    assert_eq!(told.count("ack"), 0);
    faulty.behave();
    told.until("ack 1", 1).await;
    assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().status, RunStatus::Errored);
    let letters = letters(&space, "in-dead").await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.run.as_str(), letter.message_id.as_str(), &*letter.payload), ("in-1", "m-5", &b"5"[..]));
    assert_eq!((letter.failures[0].node.as_str(), letter.failures[0].attempts), ("work", 1));
    assert!(letter.failures[0].message.contains("no such account"));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_is_lost_leaves_one_dead_letter() {
    for applied in [true, false] {
        let space = space().await;
        let (runtime, faulty) = faulty_worker(&space).await;
        let (told, journal) = (Told::of(&space, "in").await, Journal::default());
        let runs = runtime.host(failing(&Arc::default()), journal.clone()).unwrap();
        let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
        faulty.once(Fault::Unknown { applied }, |call| call.op == Op::Commit);
        told.publish(5).await;
        told.until("ack 1", 1).await;
        assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().status, RunStatus::Errored);
        assert_eq!(letters(&space, "in-dead").await.len(), 1, "applied: {applied}");
        assert_eq!(journal.all(), ["attempt 1"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_resumed_after_its_dead_letter_completes_and_leaves_no_other() {
    let space = space().await;
    let (runtime, told, works) = (worker(&space).await, Told::of(&space, "in").await, Arc::<AtomicBool>::default());
    let journal = Journal::default();
    let runs = runtime.host(failing(&works), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(5).await;
    told.until("ack 1", 1).await;
    // Resumed too early, it fails again: that is another record.
    assert!(runs.resume("in-1").await.unwrap().outcome().await.is_err());
    works.store(true, Ordering::SeqCst);
    assert_eq!(runs.resume("in-1").await.unwrap().outcome().await.unwrap(), 5);
    assert_eq!(journal.all(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!(letters(&space, "in-dead").await.len(), 2);
}

/// Dies in its node each time, as far as anybody else can see.
fn deadly() -> Topology<u64, u64, Journal> {
    let tries = |work: &mut NodeOptions| {
        work.retry(RetryPolicy::default().max_crashes(3).max_attempts(10));
    };
    single(tries, async |ctx: Ctx<Journal>, _| -> NodeResult<u64> {
        ctx.app().note(format!("attempt {}", ctx.attempt()));
        std::future::pending().await
    })
}

async fn another(space: &Space) -> Runtime {
    Runtime::start_with(space.clone(), options()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_node_in_which_every_worker_dies_is_given_up_by_a_sweep_with_one_dead_letter() {
    let space = space().await;
    let (journal, told) = (Journal::default(), Told::of(&space, "in").await);
    let first = another(&space).await;
    let runs = first.host(deadly(), journal.clone()).unwrap();
    let supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    let mut died = first;
    for attempt in 1..=3 {
        while journal.all().len() < attempt {
            time_passes(&space, LEASE).await;
        }
        let next = another(&space).await;
        next.host(deadly(), journal.clone()).unwrap();
        died.crash();
        died = next;
    }
    drop(supervisor);
    let survivor = another(&space).await;
    let runs = survivor.host(deadly(), journal.clone()).unwrap();
    let outcome = runs.get("in-1").await.unwrap().outcome().await.unwrap_err().to_string();
    assert!(outcome.contains("dead: the process died 3 times in `work`"), "{outcome}");
    assert_eq!(journal.all(), ["attempt 1", "attempt 2", "attempt 3"]);
    let letters = letters(&space, "in-dead").await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].run.as_str(), letters[0].failures[0].attempts), ("in-1", 3));
    // Its message is still there, and costs one acknowledgement.
    let told = Told::of(&space, "in").await;
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.until("ack 1", 1).await;
    assert_eq!(journal.all().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_message_as_large_as_can_be_still_gets_its_dead_letter() {
    let space = space().await;
    let (runtime, told) = (worker(&space).await, Told::of(&space, "in").await);
    let most = space.store().capabilities().max_value;
    let mut t = Topology::builder::<String>("large").app::<Journal>();
    let input = t.input();
    let work = t.node("work", input, async |_: Ctx<Journal>, _: String| -> NodeResult<u64> {
        Err(NodeError::terminal("no such account"))
    });
    let runs = runtime.host(t.build(work).unwrap(), Journal::default()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    let text = format!("\"{}\"", "x".repeat(most - 2));
    told.queue().publish(Message::new(text)).await.unwrap();
    told.until("ack 1", 1).await;
    assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().status, RunStatus::Errored);
    told.queue().publish(Message::new("?".repeat(most))).await.unwrap();
    told.until("reject 2", 1).await;
    let letters = letters(&space, "in-dead").await;
    assert_eq!(letters.iter().map(|l| (l.sequence, l.payload.len())).collect::<Vec<_>>(), [(1, 0), (2, 0)]);
    assert!(letters.iter().all(|l| l.reason.contains(&format!("without its content of {most} bytes"))), "{letters:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_input_is_lost_still_ends_with_a_dead_letter() {
    let space = space().await;
    let (runtime, told) = (worker(&space).await, Told::of(&space, "in").await);
    let gone = Arc::new(tokio::sync::Notify::new());
    let mut t = Topology::builder::<String>("lost").app::<Arc<tokio::sync::Notify>>();
    let input = t.input();
    let first = t.node("first", (), async |ctx: Ctx<Arc<tokio::sync::Notify>>, (): ()| {
        ctx.app().notified().await;
        Ok(())
    });
    let second = t.node("second", (input, first), async |_: Ctx<_>, (text, ()): (String, ())| Ok(text.len()));
    let runs = runtime.host(t.build(second).unwrap(), Arc::clone(&gone)).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.queue().publish(Message::new(format!("\"{}\"", "x".repeat(100_000)))).await.unwrap();
    told.until("pulled", 1).await;
    let stored = loop {
        let stored = runs.inspect("in-1").await.unwrap().map(|s| s.input);
        match stored {
            Some(anabranch::core::snapshot::Value::Stored(stored)) => break stored,
            _ => time_passes(&space, SECOND).await,
        }
    };
    let key = anabranch::engine::Key::new(format!("{}.0", stored.key)).unwrap();
    space.store().delete(&key, Expect::Anything).await.unwrap();
    gone.notify_one();
    told.until("ack 1", 1).await;
    let letters = letters(&space, "in-dead").await;
    assert_eq!((letters.len(), letters[0].payload.len()), (1, 0));
    assert!(letters[0].failures[0].message.contains("missing or damaged"), "{letters:?}");
}
