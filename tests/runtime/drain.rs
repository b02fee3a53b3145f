//! Leaving in good order: nothing new, nothing lost, nobody waits, and always an end.

use crate::{
    kit::{LEASE, Mischief, Told, faulty_worker, left_in, options, single, time_passes},
    support::{Gate, Journal, diamond, gated, listening, space, worker},
};
use anabranch::{
    Ctx, NodeError, NodeResult, StopReason,
    core::snapshot::{NodeStatus, RunStatus},
    runtime::{RunError, Runtime},
    testing::{
        faulty::{Call, Fault},
        pass,
    },
};
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_drained_worker_takes_up_nothing_new() {
    let space = space().await;
    let (runtime, journal, told) = (worker(&space).await, Journal::default(), Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    runtime.drain().await.unwrap();
    told.publish(1).await;
    assert!(matches!(runs.start("late", 1).await, Err(RunError::ShuttingDown)));
    let _late = runs.supervise(told.queue()).spawn().await.unwrap();
    time_passes(&space, 10 * LEASE).await;
    assert_eq!((journal.all().len(), told.count("pulled")), (0, 0));
    assert_eq!(left_in(&space, &told.queue()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_drained_worker_had_goes_on_elsewhere_at_once() {
    let space = space().await;
    let (one, two, gate) = (worker(&space).await, worker(&space).await, Gate::default());
    let (here, there) = (Told::of(&space, "in").await, Told::of(&space, "in").await);
    let runs = one.host(listening(Duration::ZERO), gate.clone()).unwrap();
    let _first = runs.supervise(here.queue()).spawn().await.unwrap();
    for input in 1..=5 {
        here.publish(input).await;
        gate.entered().await;
    }
    let _second = two.host(listening(Duration::ZERO), gate.clone()).unwrap().supervise(there.queue()).spawn().await.unwrap();
    let started = space.clock().instant();
    one.drain().await.unwrap();
    assert_eq!(here.count("retry"), 5, "settled before the drain returns: {:?}", here.said());
    assert_eq!(here.count("extend"), 0);
    for message in 1..=5 {
        let run = runs.get(&format!("in-{message}")).await.unwrap();
        run.wait_for(|s| s.owner.as_ref().is_some_and(|o| o.worker == two.worker_id())).await.unwrap();
    }
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    assert_eq!(gate.stopped(), [StopReason::Shutdown; 5]);
    gate.open();
    there.until("ack", 5).await;
    for message in 1..=5 {
        let run = runs.inspect(&format!("in-{message}")).await.unwrap().unwrap();
        assert_eq!((run.status, run.nodes[0].failures, run.nodes[0].crashes), (RunStatus::Completed, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_returns_once_messages_are_handed_back() {
    let space = space().await;
    let (runtime, gate, told) = (worker(&space).await, Gate::default(), Told::of(&space, "in").await);
    let runs = runtime.host(listening(Duration::ZERO), gate.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    gate.entered().await;
    told.mischief(Mischief::SlowReturns);
    runtime.drain().await.unwrap();
    assert_eq!(told.count("retry 1"), 1, "a process that exits now leaves nothing behind");
}

#[tokio::test(start_paused = true)]
async fn a_run_without_a_message_goes_on_elsewhere_at_once_too() {
    let space = space().await;
    let (one, two, gate) = (worker(&space).await, worker(&space).await, Gate::default());
    let run = one.host(gated(), gate.clone()).unwrap().start("r", 1).await.unwrap();
    two.host(gated(), gate.clone()).unwrap();
    gate.entered().await;
    one.drain().await.unwrap();
    let left = space.clock().instant();
    gate.entered().await;
    assert!(left.elapsed() < SECOND, "{:?}", left.elapsed());
    gate.open();
    assert_eq!(run.outcome().await.unwrap(), 1);
    let snapshot = run.snapshot().await.unwrap();
    assert_eq!((snapshot.nodes[0].failures, snapshot.nodes[0].crashes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_listen_end_and_others_are_dropped_at_the_deadline() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let deaf = runtime.host(gated(), gate.clone()).unwrap();
    let heeds = Gate::default();
    let listens = runtime.host(listening(2 * SECOND), heeds.clone()).unwrap();
    deaf.start("deaf", 1).await.unwrap();
    listens.start("listens", 1).await.unwrap();
    gate.entered().await;
    heeds.entered().await;
    let started = space.clock().instant();
    runtime.drain().await.unwrap();
    // The worker's `drain_timeout` is 5 seconds.
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(heeds.stopped(), [StopReason::Shutdown]);
    for run in [deaf.inspect("deaf").await.unwrap().unwrap(), listens.inspect("listens").await.unwrap().unwrap()] {
        assert_eq!((run.status, run.owner, run.nodes[0].status), (RunStatus::Running, None, NodeStatus::Pending));
        assert_eq!((run.nodes[0].failures, run.nodes[0].crashes), (0, 0));
    }
    gate.open();
    time_passes(&space, SECOND).await;
    assert_eq!(gate.finished(), 0, "dropped, not abandoned");
}

/// D1: what a stopped run has not done yet is pending.
#[tokio::test(start_paused = true)]
async fn a_body_that_ends_during_the_drain_is_recorded_and_nothing_follows_it_here() {
    let space = space().await;
    let (runtime, gate, journal) = (worker(&space).await, Gate::default(), Journal::default());
    let topology = |gate: Gate, journal: Journal| {
        let mut t = anabranch::Topology::builder::<u64>("two").app::<()>();
        let input = t.input();
        let first = t.node("first", input, move |_: Ctx<()>, value: u64| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(value)
            }
        });
        let second = t.node("second", first, move |_: Ctx<()>, value: u64| {
            journal.note("second");
            async move { Ok(value + 1) }
        });
        t.build(second).unwrap()
    };
    let runs = runtime.host(topology(gate.clone(), journal.clone()), ()).unwrap();
    runs.start("r", 1).await.unwrap();
    gate.entered().await;
    let opening = async {
        time_passes(&space, SECOND).await;
        gate.open();
    };
    let (drained, ()) = tokio::join!(runtime.drain(), opening);
    drained.unwrap();
    let run = runs.inspect("r").await.unwrap().unwrap();
    assert_eq!((run.nodes[0].status, run.nodes[1].status), (NodeStatus::Completed, NodeStatus::Pending));
    assert_eq!(journal.all().len(), 0);
    let other = worker(&space).await;
    let there = other.host(topology(gate.clone(), journal.clone()), ()).unwrap();
    assert_eq!(there.recover().await.unwrap().adopted, 1);
    assert_eq!(there.get("r").await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!((gate.finished(), journal.all().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_a_drain_stopped_does_not_time_out_while_another_one_ends() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let mut t = anabranch::Topology::builder::<u64>("two").app::<Gate>();
    let input = t.input();
    let heeds = t.node("heeds", input, async |ctx: Ctx<Gate>, value: u64| {
        tokio::select! {
            () = pass(10 * SECOND) => Ok(value),
            _ = ctx.cancelled() => Err(NodeError::retryable("stopped")),
        }
    });
    t.options(heeds).timeout(2 * SECOND).retry(anabranch::RetryPolicy::never());
    let deaf = t.node("deaf", input, async |ctx: Ctx<Gate>, value: u64| {
        ctx.app().pass().await;
        Ok(value)
    });
    let sum = t.node("sum", (heeds, deaf), async |_: Ctx<Gate>, (one, other): (u64, u64)| Ok(one + other));
    let runs = runtime.host(t.build(sum).unwrap(), gate.clone()).unwrap();
    runs.start("r", 1).await.unwrap();
    gate.entered().await;
    let opening = async {
        time_passes(&space, 3 * SECOND).await;
        gate.open();
    };
    let (drained, ()) = tokio::join!(runtime.drain(), opening);
    drained.unwrap();
    let run = runs.inspect("r").await.unwrap().unwrap();
    let states: Vec<_> = run.nodes.iter().map(|node| (node.status, node.failures)).collect();
    assert_eq!(states, [(NodeStatus::Pending, 0), (NodeStatus::Completed, 0), (NodeStatus::Pending, 0)]);
    assert_eq!(run.status, RunStatus::Running);
}

#[tokio::test(start_paused = true)]
async fn the_heartbeat_goes_on_while_bodies_end() {
    let space = space().await;
    let patient = options().drain_timeout(10 * LEASE);
    let one = Runtime::start_with(space.clone(), patient).await.unwrap();
    let (two, gate, others) = (worker(&space).await, Gate::default(), Gate::default());
    one.host(listening(8 * LEASE), gate.clone()).unwrap().start("r", 1).await.unwrap();
    gate.entered().await;
    let there = two.host(listening(Duration::ZERO), others.clone()).unwrap();
    let watching = async {
        time_passes(&space, 7 * LEASE).await;
        let found = there.recover().await.unwrap();
        assert_eq!((found.adopted, found.owned_elsewhere), (0, 1));
    };
    let (drained, ()) = tokio::join!(one.drain(), watching);
    drained.unwrap();
    others.entered().await;
    let snapshot = there.inspect("r").await.unwrap().unwrap();
    assert_eq!((snapshot.nodes[0].failures, snapshot.nodes[0].crashes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_its_next_attempt_is_let_go() {
    let space = space().await;
    let (one, two, journal) = (worker(&space).await, worker(&space).await, Journal::default());
    let topology = || {
        single(
            |_| {},
            async |ctx: Ctx<Journal>, value| -> NodeResult<u64> {
                ctx.app().note(format!("attempt {}", ctx.attempt()));
                if ctx.attempt() == 1 { Err(NodeError::retry_after("busy", 60 * SECOND)) } else { Ok(value) }
            },
        )
    };
    let run = one.host(topology(), journal.clone()).unwrap().start("r", 1).await.unwrap();
    run.wait_for(|s| s.nodes[0].failures == 1).await.unwrap();
    let started = space.clock().instant();
    one.drain().await.unwrap();
    assert!(started.elapsed() < SECOND);
    let there = two.host(topology(), journal.clone()).unwrap();
    assert_eq!(there.recover().await.unwrap().adopted, 1);
    assert_eq!(there.get("r").await.unwrap().outcome().await.unwrap(), 1);
    assert!((59..=61).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    assert_eq!(journal.all(), ["attempt 1", "attempt 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_although_the_store_is_away_or_silent() {
    for silent in [false, true] {
        let space = space().await;
        let (runtime, faulty) = faulty_worker(&space).await;
        let (gate, told) = (Gate::default(), Told::of(&space, "in").await);
        let runs = runtime.host(gated(), gate.clone()).unwrap();
        let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
        told.publish(1).await;
        gate.entered().await;
        let other = worker(&space).await;
        if silent {
            faulty.hold();
        } else {
            faulty.plan(|_| Some(Fault::Unavailable));
        }
        let started = space.clock().instant();
        assert!(runtime.drain().await.is_err(), "nobody could be told");
        assert!(started.elapsed() < 30 * SECOND, "{:?}", started.elapsed());
        // Others wait for the lease, and lose nothing.
        let there = other.host(gated(), gate.clone()).unwrap();
        gate.entered().await;
        gate.open();
        assert_eq!(there.get("in-1").await.unwrap().outcome().await.unwrap(), 1);
        assert_eq!(gate.finished(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_being_started_during_the_drain_is_not_left_behind() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (other, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let there = other.host(gated(), gate.clone()).unwrap();
    let create = |call: &Call<'_>| call.writes_below("run.");
    faulty.once(Fault::Delay(2 * SECOND), create);
    let draining = async {
        time_passes(&space, SECOND).await;
        runtime.drain().await
    };
    let (started, drained) = tokio::join!(runs.start("r", 1), draining);
    started.unwrap();
    drained.unwrap();
    let snapshot = there.inspect("r").await.unwrap().unwrap();
    assert!(snapshot.owner.is_none_or(|o| o.worker == other.worker_id()), "it was let go of");
    gate.entered().await;
    gate.open();
    assert_eq!(there.get("r").await.unwrap().outcome().await.unwrap(), 1);
    let snapshot = there.inspect("r").await.unwrap().unwrap();
    assert_eq!(snapshot.nodes[0].crashes, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_without_a_run_are_handed_back_at_once() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (gate, told) = (Gate::default(), Told::of(&space, "in").await);
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).concurrency(NonZeroUsize::new(4).unwrap()).spawn().await.unwrap();
    // No claim succeeds, so all that were taken wait.
    faulty.plan(|call| call.writes_below("run.").then_some(Fault::Conflict));
    for input in 1..=4 {
        told.publish(input).await;
    }
    told.until("pulled", 1).await;
    time_passes(&space, SECOND).await;
    faulty.behave();
    let started = space.clock().instant();
    runtime.drain().await.unwrap();
    let mut pull = told.queue().pull().await.unwrap();
    let mut back = 0;
    while back < 4 {
        back += pull.next(NonZeroUsize::new(10).unwrap()).await.unwrap().len();
    }
    assert!(started.elapsed() < 10 * SECOND, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_leaves_no_task_behind() {
    let space = space().await;
    let told = Told::of(&space, "in").await;
    // What opening the space and its queue has begun is over, or stays with them.
    time_passes(&space, 20 * SECOND).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let app = Arc::new(());
    let witness = Arc::downgrade(&app);
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let body = {
        let gate = gate.clone();
        move |ctx: Ctx<Arc<()>>, value| {
            let (gate, ctx) = (gate.clone(), ctx);
            async move {
                gate.pass().await;
                drop(ctx);
                Ok(value)
            }
        }
    };
    let runs = runtime.host(single(|_| {}, body), app).unwrap();
    let supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    drop(runs.start("r", 1).await.unwrap());
    gate.entered().await;
    assert!(tasks() > before, "it works");
    drop((supervisor, runs, runtime));
    time_passes(&space, SECOND).await;
    assert!(witness.upgrade().is_none(), "whatever used the application is gone");
    // Keys that were used are looked after until they have been idle for a while.
    time_passes(&space, 20 * SECOND).await;
    assert_eq!(tasks(), before);
}
