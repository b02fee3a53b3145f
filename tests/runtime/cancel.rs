//! Cancellation: of what runs, waits, or lives elsewhere.

use crate::{
    kit::{faulty_worker, of_a_run, time_passes},
    support::{Gate, Journal, gated, listening, space, worker},
};
use anabranch::{
    Ctx, Node, NodeError, RetryPolicy, Signal, StopReason, Topology, TopologyBuilder,
    core::{machine::NoteError, snapshot::RunStatus},
    runtime::RunError,
    testing::faulty::{Fault, Op, WatchFault},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn cancelled(outcome: Result<u64, RunError>) -> String {
    match outcome {
        Err(RunError::Cancelled { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Two nodes, one after the other, each of which returns the input once its gate is open.
fn two_gates(t: &mut TopologyBuilder<u64, [Gate; 2]>) -> Node<u64> {
    let input = t.input();
    let first = t.node("first", input, async |ctx: Ctx<[Gate; 2]>, value: u64| {
        ctx.app()[0].pass().await;
        Ok(value)
    });
    t.node("second", first, async |ctx: Ctx<[Gate; 2]>, value: u64| {
        ctx.app()[1].pass().await;
        Ok(value)
    })
}

#[tokio::test(start_paused = true)]
async fn a_body_that_listens_has_time_to_end() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(listening(2 * SECOND), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    runs.cancel("r1", "changed my mind").await.unwrap();
    assert_eq!(cancelled(run.outcome().await), "changed my mind");
    assert_eq!(gate.stopped(), [StopReason::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_listen_is_dropped_at_once() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    let asked = space.clock().now();
    runs.cancel("r1", "").await.unwrap();
    cancelled(run.outcome().await);
    assert!(space.clock().now().since(asked) < SECOND);
    assert_eq!(gate.finished(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_lingers_too_long_is_abandoned() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(listening(3600 * SECOND), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    runs.cancel("r1", "stop").await.unwrap();
    assert_eq!(cancelled(run.outcome().await), "stop");
    assert!(gate.stopped().is_empty(), "it was not waited for");
}

/// The store is away between the wish and its transition: nobody was told, and no time of grace passed.
#[tokio::test(start_paused = true)]
async fn an_outage_takes_no_grace_from_bodies_that_have_not_been_told() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let gate = Gate::default();
    let runs = runtime.host(listening(SECOND), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    faulty.once(Fault::Delay(30 * SECOND), of_a_run);
    runs.cancel("r1", "stop").await.unwrap();
    assert_eq!(cancelled(run.outcome().await), "stop");
    assert_eq!(gate.stopped(), [StopReason::Cancelled], "it was waited for");
}

/// The wish comes when a write is stored already and its answer takes its time: that write has no conflict by which to find it.
#[tokio::test(start_paused = true)]
async fn a_cancellation_behind_a_write_whose_answer_is_late_is_heard_with_the_answer() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (other, first, second) = (worker(&space).await, Gate::default(), Gate::default());
    let topology = || {
        let mut t = Topology::builder::<u64>("two").app::<[Gate; 2]>();
        let second = two_gates(&mut t);
        t.build(second).unwrap()
    };
    let gates = [first.clone(), second.clone()];
    let (runs, there) = (runtime.host(topology(), gates.clone()).unwrap(), other.host(topology(), gates).unwrap());
    let run = runs.start("r1", 1).await.unwrap();
    first.entered().await;
    faulty.once(Fault::Late(5 * SECOND), of_a_run);
    first.open();
    time_passes(&space, SECOND).await;
    there.cancel("r1", "stop").await.unwrap();
    let outcome = space.clock().timeout(10 * SECOND, run.outcome()).await;
    assert_eq!(cancelled(outcome.expect("it is heard")), "stop");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_for_its_next_attempt_is_cancelled_at_once() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let mut t = Topology::builder::<u64>("back-off").app::<Journal>();
    let input = t.input();
    let node = t.node("fails", input, async |_: Ctx<Journal>, _: u64| Err::<u64, _>(NodeError::retryable("no")));
    t.options(node).retry(RetryPolicy::default().delays([3600 * SECOND]));
    let runs = runtime.host(t.build(node).unwrap(), journal).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    run.wait_for(|s| s.node("fails").is_some_and(|n| n.due_at.is_some())).await.unwrap();
    runs.cancel("r1", "enough").await.unwrap();
    assert_eq!(cancelled(run.outcome().await), "enough");
}

#[tokio::test(start_paused = true)]
async fn a_suspended_run_is_cancelled_by_whoever_asks() {
    let space = space().await;
    let (first, second) = (worker(&space).await, worker(&space).await);
    let topology = || {
        let mut t = Topology::builder::<u64>("waits");
        let input = t.input();
        let never = t.wait_for("never", input, Signal::<u64>::new("never"));
        t.build(never).unwrap()
    };
    let (runs, others) = (first.host(topology(), ()).unwrap(), second.host(topology(), ()).unwrap());
    let run = runs.start("r1", 1).await.unwrap();
    run.wait_for(|s| s.status == RunStatus::Suspended).await.unwrap();
    others.cancel("r1", "no longer needed").await.unwrap();
    assert_eq!(cancelled(run.outcome().await), "no longer needed");
    assert!(matches!(others.cancel("r1", "again").await, Err(RunError::Refused(NoteError::Closed(_)))));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_lives_in_another_worker_is_cancelled_there() {
    let space = space().await;
    let (first, second, gate) = (worker(&space).await, worker(&space).await, Gate::default());
    let runs = first.host(listening(Duration::ZERO), gate.clone()).unwrap();
    let others = second.host(listening(Duration::ZERO), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    others.cancel("r1", "from afar").await.unwrap();
    assert_eq!(cancelled(run.outcome().await), "from afar");
    assert_eq!(gate.stopped(), [StopReason::Cancelled]);
    assert_eq!(run.snapshot().await.unwrap().epoch, 1);
}

/// The wish and the start of a body are one write whose answer is lost, and somebody notes something over it before it is looked for.
#[tokio::test(start_paused = true)]
async fn a_body_that_begins_with_the_wish_of_a_lost_write_is_told() {
    const MOMENT: Duration = Duration::from_millis(100);
    const ONE: Signal<u64> = Signal::new("one");
    const OTHER: Signal<u64> = Signal::new("other");
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let (other, first, second) = (worker(&space).await, Gate::default(), Gate::default());
    let topology = || {
        let mut t = Topology::builder::<u64>("two").app::<[Gate; 2]>();
        let (input, second) = (t.input(), two_gates(&mut t));
        let (one, other) = (t.wait_for("one", input, ONE), t.wait_for("other", input, OTHER));
        let all = t.node("all", (second, one, other), async |_, (value, _, _): (u64, u64, u64)| Ok(value));
        t.build(all).unwrap()
    };
    let gates = [first.clone(), second.clone()];
    let (runs, there) = (runtime.host(topology(), gates.clone()).unwrap(), other.host(topology(), gates).unwrap());
    let run = runs.start("r1", 1).await.unwrap();
    first.entered().await;
    // What happens during the first write goes into the second one, whose answer is lost, and which is looked for late.
    let mut planned = vec![Fault::Delay(3 * MOMENT), Fault::Unknown { applied: true }, Fault::Delay(3 * MOMENT)];
    faulty.plan(move |call| match (planned.last(), planned.len()) {
        (Some(_), 1) if call.op == Op::Read => planned.pop(),
        (Some(_), 2..) if of_a_run(call) => Some(planned.remove(0)),
        _ => None,
    });
    // Nobody is told of a note before his next write.
    faulty.trouble().plan_changes(|_| Some(WatchFault::Delay(3600 * SECOND)));
    let happens = async {
        time_passes(&space, MOMENT).await;
        first.open();
        time_passes(&space, MOMENT).await;
        tokio::join!(runs.cancel("r1", "stop"), async {
            time_passes(&space, 2 * MOMENT).await;
            there.signal("r1", OTHER, 1).await.unwrap();
        })
    };
    // It was this wish that the run was cancelled by; who asks is told either.
    let (one, (wish, ())) = tokio::join!(runs.signal("r1", ONE, 1), happens);
    one.unwrap();
    assert!(matches!(wish, Ok(()) | Err(RunError::Refused(NoteError::AlreadyCancelled))), "{wish:?}");
    let outcome = space.clock().timeout(60 * SECOND, run.outcome()).await;
    assert_eq!(cancelled(outcome.expect("it is told")), "stop");
}
