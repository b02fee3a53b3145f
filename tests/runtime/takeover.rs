//! Whose run it is: dead owners, paused ones, several contenders, actors that fail, starts that nobody waits for.

use crate::{
    kit::{ACK_WAIT, LEASE, Told, faulty_worker, letters, of_a_run, options, single, time_passes},
    support::{Gate, Journal, space, worker},
};
use anabranch::{
    Ctx, NodeResult, RetryPolicy, Topology,
    core::snapshot::{FailureKind, RunStatus},
    runtime::Runtime,
    testing::{
        faulty::{Fault, Op},
        pass,
    },
    topology::{NodeOptions, Signal},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// What its bodies share: a journal of attempts, and a gate that the first attempt has to pass.
#[derive(Clone, Default)]
struct App {
    journal: Journal,
    gate: Gate,
}

/// Notes each attempt; the first waits for the gate.
fn once_gated(options: impl FnOnce(&mut NodeOptions)) -> Topology<u64, u64, App> {
    single(options, async |ctx: Ctx<App>, value| {
        ctx.app().journal.note(format!("{} {}", ctx.run_id(), ctx.attempt()));
        if ctx.attempt() == 1 {
            ctx.app().gate.pass().await;
        }
        Ok(value)
    })
}

/// A body that has a second, and again a second later; then a signal is waited for.
fn noted<F, Fut>(go: &Signal<bool>, body: F) -> Topology<u64, (u64, bool), Journal>
where
    F: Fn(Ctx<Journal>, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<u64>> + Send + 'static,
{
    let mut t = Topology::builder::<u64>("noted").app::<Journal>();
    let input = t.input();
    let work = t.node("work", input, body);
    t.options(work).timeout(SECOND).retry(RetryPolicy::default().delays([SECOND]).jitter(0));
    let waits = t.wait_for("waits", work, go.clone());
    t.build((work, waits)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_silent_worker_is_taken_over_after_its_lease_and_not_before() {
    let space = space().await;
    let (one, two, app) = (worker(&space).await, worker(&space).await, App::default());
    one.host(once_gated(|_| {}), app.clone()).unwrap().start("r", 1).await.unwrap();
    let there = two.host(once_gated(|_| {}), app.clone()).unwrap();
    app.gate.entered().await;
    one.crash();
    let died = space.clock().instant();
    assert_eq!(there.recover().await.unwrap().owned_elsewhere, 1, "it may live");
    assert_eq!(there.get("r").await.unwrap().outcome().await.unwrap(), 1);
    // Its last beat was at most a third of a lease ago.
    let waited = died.elapsed();
    assert!(waited >= LEASE * 2 / 3 && waited <= LEASE + SECOND, "{waited:?}");
    assert_eq!(app.journal.all(), ["r 1", "r 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_beats_is_never_taken_over() {
    let space = space().await;
    let (one, two, app) = (worker(&space).await, worker(&space).await, App::default());
    let run = one.host(once_gated(|_| {}), app.clone()).unwrap().start("r", 1).await.unwrap();
    let there = two.host(once_gated(|_| {}), app.clone()).unwrap();
    for _ in 0..20 {
        time_passes(&space, LEASE / 2).await;
        assert_eq!(there.recover().await.unwrap().owned_elsewhere, 1);
    }
    app.gate.open();
    assert_eq!(run.outcome().await.unwrap(), 1);
    assert_eq!((app.journal.all(), run.snapshot().await.unwrap().epoch), (vec!["r 1".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn of_several_that_find_a_run_abandoned_one_has_it() {
    let space = space().await;
    let (one, app) = (worker(&space).await, App::default());
    let run = one.host(once_gated(|_| {}), app.clone()).unwrap().start("r", 1).await.unwrap();
    app.gate.entered().await;
    let others = [worker(&space).await, worker(&space).await, worker(&space).await];
    let hosts: Vec<_> = others.iter().map(|other| other.host(once_gated(|_| {}), app.clone()).unwrap()).collect();
    one.crash();
    assert_eq!(run.outcome().await.unwrap(), 1);
    time_passes(&space, 3 * LEASE).await;
    assert_eq!(app.journal.all(), ["r 1", "r 2"]);
    let snapshot = hosts[0].inspect("r").await.unwrap().unwrap();
    assert_eq!((snapshot.epoch, snapshot.nodes[0].crashes), (2, 1));
}

/// D12: of two workers that take a run for theirs, one can write. D6: so nobody writes an older state over a newer one.
#[tokio::test(start_paused = true)]
async fn a_worker_that_was_paused_is_fenced_and_leaves_run_and_message_alone() {
    let space = space().await;
    let (paused, faulty) = faulty_worker(&space).await;
    let (other, app, soon) = (worker(&space).await, App::default(), Gate::default());
    let topology = || {
        let mut t = Topology::builder::<u64>("two").app::<App>();
        let input = t.input();
        let slow = t.node("slow", input, async |ctx: Ctx<App>, value: u64| {
            ctx.app().journal.note(format!("attempt {}", ctx.attempt()));
            ctx.app().gate.pass().await;
            Ok(value)
        });
        let soon = soon.clone();
        let ends = t.node("ends", input, move |_: Ctx<App>, value: u64| {
            let soon = soon.clone();
            async move {
                soon.pass().await;
                Ok(value)
            }
        });
        let both = t.node("both", (slow, ends), async |_: Ctx<App>, (a, b): (u64, u64)| Ok(a + b));
        t.build(both).unwrap()
    };
    let here = paused.host(topology(), app.clone()).unwrap();
    let told = Told::of(&space, "in").await;
    let _first = here.supervise(told.queue()).spawn().await.unwrap();
    told.publish(2).await;
    app.gate.entered().await;
    soon.entered().await;
    // From now on it neither beats nor stores that `ends` has ended.
    faulty.hold_writes();
    soon.open();
    let there = other.host(topology(), app.clone()).unwrap();
    there.get("in-1").await.unwrap().wait_for(|s| s.epoch == 2).await.unwrap();
    faulty.resume();
    time_passes(&space, SECOND).await;
    app.gate.open();
    assert_eq!(there.get("in-1").await.unwrap().outcome().await.unwrap(), 4);
    assert_eq!(app.gate.finished(), 1, "the body of the paused worker was dropped");
    assert_eq!(app.journal.all(), ["attempt 1", "attempt 2"]);
    assert_eq!((told.count("retry"), told.count("reject")), (0, 0));
    // The message comes again by itself, and finds the run at its end.
    assert_eq!(told.count("ack"), 0);
    told.until("ack 1", 1).await;
    assert_eq!(there.inspect("in-1").await.unwrap().unwrap().epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_panics_is_restarted_from_the_store_and_counts_as_a_crash() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (app, told) = (App::default(), Told::of(&space, "in").await);
    let runs = runtime.host(once_gated(|_| {}), app.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    app.gate.entered().await;
    faulty.once(Fault::Panic, of_a_run);
    let started = space.clock().instant();
    app.gate.open();
    told.until("ack 1", 1).await;
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    assert_eq!(app.journal.all(), ["in-1 1", "in-1 2"]);
    let snapshot = runs.inspect("in-1").await.unwrap().unwrap();
    assert_eq!((snapshot.status, snapshot.epoch), (RunStatus::Completed, 2));
    assert_eq!((snapshot.nodes[0].crashes, snapshot.nodes[0].failures), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_panics_each_time_makes_its_node_poison() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (journal, told) = (Journal::default(), Told::of(&space, "in").await);
    let tries = |work: &mut NodeOptions| {
        work.retry(RetryPolicy::default().max_attempts(10).max_crashes(3));
    };
    let topology = single(tries, async |ctx: Ctx<Journal>, value| {
        ctx.app().note(format!("attempt {}", ctx.attempt()));
        Ok(value)
    });
    let runs = runtime.host(topology, journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    // Each first write of an owner is its claim, and each second one the end of the body.
    let mut writes = 0;
    faulty.plan(move |call| {
        writes += u32::from(of_a_run(call));
        (of_a_run(call) && writes % 2 == 0).then_some(Fault::Panic)
    });
    told.publish(1).await;
    told.until("ack 1", 1).await;
    assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().status, RunStatus::Dead);
    assert_eq!(journal.all(), ["attempt 1", "attempt 2", "attempt 3"]);
    assert_eq!(letters(&space, "in-dead").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_panics_while_the_store_is_away_is_restarted_when_it_is_back() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let app = App::default();
    let runs = runtime.host(once_gated(|_| {}), app.clone()).unwrap();
    let run = runs.start("r", 1).await.unwrap();
    app.gate.entered().await;
    let mut panicked = false;
    faulty.plan(move |call| {
        if panicked {
            return Some(Fault::Unavailable);
        }
        panicked = of_a_run(call);
        panicked.then_some(Fault::Panic)
    });
    app.gate.open();
    time_passes(&space, 5 * SECOND).await;
    faulty.behave();
    let back = space.clock().instant();
    assert_eq!(run.outcome().await.unwrap(), 1);
    assert!(back.elapsed() < 30 * SECOND, "not only with the next sweep: {:?}", back.elapsed());
    assert_eq!(app.journal.all(), ["r 1", "r 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_the_store_refused_is_repeated_soon() {
    let space = space().await;
    let (one, app) = (worker(&space).await, App::default());
    one.host(once_gated(|_| {}), app.clone()).unwrap().start("r", 1).await.unwrap();
    app.gate.entered().await;
    let (two, faulty) = faulty_worker(&space).await;
    let there = two.host(once_gated(|_| {}), app.clone()).unwrap();
    one.crash();
    faulty.plan(|call| (call.op == Op::Keys).then_some(Fault::Unavailable));
    time_passes(&space, 3 * LEASE).await;
    faulty.behave();
    let back = space.clock().instant();
    assert_eq!(there.get("r").await.unwrap().outcome().await.unwrap(), 1);
    assert!(back.elapsed() < 30 * SECOND, "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_panic_around_a_body_fails_its_attempt_and_not_the_run() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let runs = runtime.host(
        {
            let mut t = Topology::builder::<u64>("large").app::<Journal>();
            let input = t.input();
            let large = t.node("large", input, async |ctx: Ctx<Journal>, value: u64| {
                ctx.app().note("large");
                Ok("x".repeat(usize::try_from(value)?))
            });
            t.build(large).unwrap()
        },
        Journal::default(),
    );
    let runs = runs.unwrap();
    // The value is stored out of line, outside of the body but on its behalf.
    faulty.once(Fault::Panic, |call| call.writes_below("out."));
    let run = runs.start("r", 100_000).await.unwrap();
    assert_eq!(run.outcome().await.unwrap().len(), 100_000);
    let snapshot = run.snapshot().await.unwrap();
    let failure = snapshot.nodes[0].error.as_ref().unwrap();
    assert_eq!((failure.kind, snapshot.epoch, snapshot.nodes[0].attempt), (FailureKind::Panic, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_starter_stops_to_wait_is_driven_all_the_same() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let app = App::default();
    app.gate.open();
    let runs = runtime.host(once_gated(|_| {}), app.clone()).unwrap();
    faulty.once(Fault::Delay(2 * SECOND), of_a_run);
    assert!(space.clock().timeout(SECOND, runs.start("r", 1)).await.is_none());
    time_passes(&space, 2 * SECOND).await;
    assert_eq!(runs.get("r").await.unwrap().outcome().await.unwrap(), 1);
    assert_eq!(app.journal.all(), ["r 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_in_an_outage_costs_no_attempt() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (app, told) = (App::default(), Told::of(&space, "in").await);
    app.gate.open();
    let runs = runtime.host(once_gated(|work| _ = work.max_attempts(1)), app.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    let mut lost = false;
    faulty.plan(move |call| {
        if lost {
            return Some(Fault::Unavailable);
        }
        lost = of_a_run(call);
        lost.then_some(Fault::Unknown { applied: true })
    });
    told.publish(1).await;
    told.until("pulled", 1).await;
    time_passes(&space, SECOND).await;
    faulty.behave();
    told.until("ack 1", 1).await;
    assert_eq!(runs.get("in-1").await.unwrap().outcome().await.unwrap(), 1);
    assert_eq!(app.journal.all(), ["in-1 1"]);
}

#[tokio::test(start_paused = true)]
async fn a_note_that_hides_a_lost_answer_does_not_keep_a_body_from_being_stopped() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (other, journal) = (worker(&space).await, Journal::default());
    let go = Signal::<bool>::new("go");
    let topology = || {
        noted(&go, async |ctx: Ctx<Journal>, value| {
            if ctx.attempt() == 1 {
                let reason = ctx.cancelled().await;
                ctx.app().note(format!("stopped: {reason}"));
            }
            Ok(value)
        })
    };
    let runs = runtime.host(topology(), journal.clone()).unwrap();
    let there = other.host(topology(), journal.clone()).unwrap();
    let run = runs.start("r", 1).await.unwrap();
    // The timeout is stored, its answer lost, and before the owner can look somebody leaves a note.
    let mut lost = false;
    faulty.plan(move |call| {
        if lost {
            return (call.op == Op::Read).then_some(Fault::Unavailable);
        }
        lost = of_a_run(call);
        lost.then_some(Fault::Unknown { applied: true })
    });
    there.get("r").await.unwrap().wait_for(|s| s.nodes[0].failures == 1).await.unwrap();
    there.signal("r", go.clone(), true).await.unwrap();
    faulty.behave();
    assert_eq!(run.outcome().await.unwrap(), (1, true));
    assert_eq!(journal.all(), ["stopped: the attempt timed out"]);
}

/// D13: a state that could not be stored is neither lost nor passed over.
#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_fails_no_attempt_and_repeats_none() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (app, told) = (App::default(), Told::of(&space, "in").await);
    let runs = runtime.host(once_gated(|_| {}), app.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(1).await;
    app.gate.entered().await;
    faulty.plan(|_| Some(Fault::Unavailable));
    app.gate.open();
    time_passes(&space, 10 * ACK_WAIT).await;
    assert_eq!(told.count("ack"), 0);
    faulty.behave();
    told.until("ack 1", 1).await;
    assert_eq!(app.journal.all(), ["in-1 1"]);
    assert_eq!(runs.inspect("in-1").await.unwrap().unwrap().nodes[0].failures, 0);
}

/// A body has its whole time from when it begins: what waits for the store has not begun, and no attempt of it is used up.
#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_uses_up_no_attempt_of_a_body_that_has_not_begun() {
    // Its start is refused again and again, or stored late.
    for fault in [Fault::Unavailable, Fault::Delay(30 * SECOND)] {
        let space = space().await;
        let (runtime, faulty) = faulty_worker(&space).await;
        let (app, journal) = (Gate::default(), Journal::default());
        let runs = runtime.host(hurried(), (app.clone(), journal.clone())).unwrap();
        let run = runs.start("r", 1).await.unwrap();
        app.entered().await;
        match fault {
            Fault::Unavailable => faulty.plan(|_| Some(Fault::Unavailable)),
            late => faulty.once(late, of_a_run),
        }
        app.open();
        time_passes(&space, 40 * SECOND).await;
        faulty.behave();
        assert_eq!(run.outcome().await.unwrap(), 1, "{fault:?}");
        assert_eq!(journal.all(), ["begins 1", "ends 1"], "{fault:?}");
        let state = run.snapshot().await.unwrap().node("hurried").unwrap().clone();
        assert_eq!((state.attempt, state.failures), (1, 0), "{fault:?}");
    }
}

/// A body ends after its timeout was decided and before that was stored, and somebody leaves a note meanwhile.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_ended_too_late_is_not_started_again_after_a_conflict() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (other, journal) = (worker(&space).await, Journal::default());
    let go = Signal::<bool>::new("go");
    let topology = || {
        noted(&go, async |ctx: Ctx<Journal>, value| {
            ctx.app().note(format!("begins {}", ctx.attempt()));
            if ctx.attempt() == 1 {
                pass(SECOND * 3 / 2).await;
            }
            Ok(value)
        })
    };
    let runs = runtime.host(topology(), journal.clone()).unwrap();
    let there = other.host(topology(), journal.clone()).unwrap();
    let run = runs.start("r", 1).await.unwrap();
    faulty.once(Fault::Delay(2 * SECOND), of_a_run);
    time_passes(&space, SECOND * 6 / 5).await;
    there.signal("r", go.clone(), true).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), (1, true));
    assert_eq!(journal.all(), ["begins 1", "begins 2"]);
}

/// Waits for a gate, then does something that has two attempts of a second each.
fn hurried() -> Topology<u64, u64, (Gate, Journal)> {
    let mut t = Topology::builder::<u64>("hurried").app::<(Gate, Journal)>();
    let input = t.input();
    let first = t.node("first", input, async |ctx: Ctx<(Gate, Journal)>, value: u64| {
        ctx.app().0.pass().await;
        Ok(value)
    });
    let hurried = t.node("hurried", first, async |ctx: Ctx<(Gate, Journal)>, value: u64| {
        ctx.app().1.note(format!("begins {}", ctx.attempt()));
        pass(SECOND * 9 / 10).await;
        ctx.app().1.note(format!("ends {}", ctx.attempt()));
        Ok(value)
    });
    t.options(hurried).timeout(SECOND).max_attempts(2);
    t.build(hurried).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_again_under_one_engine_takes_its_old_runs_up() {
    let space = space().await;
    let app = App::default();
    let first = Runtime::start_with(space.clone(), options()).await.unwrap();
    first.host(once_gated(|_| {}), app.clone()).unwrap().start("r", 1).await.unwrap();
    app.gate.entered().await;
    first.crash();
    let second = Runtime::start_with(space.clone(), options()).await.unwrap();
    let runs = second.host(once_gated(|_| {}), app.clone()).unwrap();
    assert_eq!(runs.get("r").await.unwrap().outcome().await.unwrap(), 1);
    assert_eq!(app.journal.all(), ["r 1", "r 2"]);
}
