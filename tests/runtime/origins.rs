//! What topology-runner and nats-topology-runner can do, and the defects of theirs that must not come back, end to end.
//!
//! `docs/origins.md` lists all of it with the test of each; here are those that belong to no other concern. A defect has the
//! number that it has there.

use crate::{
    kit::{Told, faulty_worker, time_passes},
    support::{Gate, Journal, diamond, space, worker},
};
use anabranch::{
    Choice, Ctx, NodeError, NodeResult, Saved, Signal, Topology, arm,
    core::snapshot::{NodeStatus, RunStatus, Snapshot, Source, Value as Stored},
    engine::{Change, Key, Message, Space},
    runtime::{RunError, Runs},
    testing::faulty::Fault,
};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Barrier, Notify};

const SECOND: Duration = Duration::from_secs(1);

async fn noted(ctx: Ctx<Journal>, value: u64) -> NodeResult<u64> {
    ctx.app().note(ctx.node());
    Ok(value)
}

/// What happens to a write just before its worker dies: it never reaches the store, or its answer never comes back.
const DEATHS: [Fault; 2] = [Fault::Delay(Duration::from_secs(3600)), Fault::Hang];

/// Runs `r1` in a worker that dies around one of its writes, counted from 1, and then in another one until it rests; returns
/// that worker's runs, and what ran in either.
async fn dies_around<O: Send + 'static>(
    space: &Space,
    write: usize,
    death: Fault,
    topology: impl Fn() -> Topology<u64, O, Journal>,
    rests: RunStatus,
) -> (Runs<u64, O, Journal>, Journal) {
    let ((dying, faulty), journal) = (faulty_worker(space).await, Journal::default());
    let (reached, mut writes) = (Arc::new(Notify::new()), 0);
    let at = Arc::clone(&reached);
    faulty.plan(move |call| {
        writes += usize::from(call.writes_below("run."));
        let dies = call.writes_below("run.") && writes == write;
        dies.then(|| at.notify_one());
        dies.then_some(death)
    });
    dying.host(topology(), journal.clone()).unwrap().start("r1", 1).await.unwrap();
    reached.notified().await;
    // Time enough for what was to reach the store, and less than a lease.
    time_passes(space, SECOND).await;
    dying.crash();
    let runs = worker(space).await.host(topology(), journal.clone()).unwrap();
    runs.get("r1").await.unwrap().wait_for(|run| run.status == rests).await.unwrap();
    (runs, journal)
}

#[tokio::test(start_paused = true)]
async fn nothing_runs_before_a_run_is_started() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    time_passes(&space, 60 * SECOND).await;
    assert_eq!(journal.all().len(), 0);
    assert_eq!(runs.list().await.unwrap().count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_there_is_not_resumed() {
    let space = space().await;
    let runs = worker(&space).await.host(diamond(), Journal::default()).unwrap();
    assert!(matches!(runs.resume("nobody").await, Err(RunError::NotFound(id)) if id == "nobody"));
    assert!(matches!(runs.restart("nobody").await, Err(RunError::NotFound(_))));
    assert!(runs.inspect("nobody").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn all_nodes_that_are_ready_run_at_the_same_time() {
    let space = space().await;
    let mut t = Topology::builder::<u64>("wide").app::<Arc<Barrier>>();
    let input = t.input();
    let nodes: Vec<_> = (0..100)
        .map(|n| {
            t.node(format!("n{n}"), input, async |ctx: Ctx<Arc<Barrier>>, value: u64| {
                ctx.app().wait().await;
                Ok(value)
            })
        })
        .collect();
    let topology = t.build(nodes).unwrap();
    let runs = worker(&space).await.host(topology, Arc::new(Barrier::new(100))).unwrap();
    let values = runs.start("r1", 7).await.unwrap().outcome().await.unwrap();
    assert_eq!(values, [7; 100], "none passes before all have come");
}

#[tokio::test(start_paused = true)]
async fn whoever_follows_a_run_sees_what_its_nodes_have_saved() {
    let space = space().await;
    let mut t = Topology::builder::<u64>("saves").app::<Gate>();
    let input = t.input();
    let node = t.resumable("work", input, async |ctx: Ctx<Gate>, mut saved: Saved<u64>, value: u64| {
        saved.save(value).await?;
        ctx.app().pass().await;
        Ok(value)
    });
    let (topology, gate) = (t.build(node).unwrap(), Gate::default());
    let runs = worker(&space).await.host(topology, gate.clone()).unwrap();
    let run = runs.start("r1", 7).await.unwrap();
    run.wait_for(|run| run.nodes[0].saved.is_some()).await.unwrap();
    assert_eq!(runs.to_json("r1").await.unwrap()["data"]["work"]["state"], 7);
    gate.open();
    run.outcome().await.unwrap();
    assert_eq!(runs.to_json("r1").await.unwrap()["data"]["work"]["state"], 7, "it is kept, to be looked at");
}

/// `size`, then `small` or `large`, then `ship` in either case.
fn sizes() -> Topology<u64, String, Journal> {
    let mut t = Topology::builder::<u64>("sizes").app::<Journal>();
    let input = t.input();
    let arms = (arm("large"), arm("small"));
    let (large, small) = t.branch("size", input, arms, async |ctx: Ctx<Journal>, (large, small), cents: u64| {
        ctx.app().note("size");
        Ok(match cents {
            0 => Choice::none().because("free"),
            100.. => large.take(cents).because("much"),
            _ => small.take(cents),
        })
    });
    let (large, small) = (t.node("large", large, noted), t.node("small", small, noted));
    let ship = t.node("ship", (large.optional(), small.optional()), async |ctx: Ctx<Journal>, (large, small)| {
        ctx.app().note("ship");
        let (large, small): (Option<u64>, Option<u64>) = (large, small);
        Ok(format!("{large:?} {small:?}"))
    });
    t.build(ship).unwrap()
}

/// D4: a node behind both arms of a branch runs. D9: what takes none says so with a null, and keeps its reason.
#[tokio::test(start_paused = true)]
async fn a_branch_takes_an_arm_or_none_and_the_join_behind_it_runs() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(sizes(), journal.clone()).unwrap();
    for (cents, output, selected, reason) in [
        (500, "Some(500) None", json!("large"), json!("much")),
        (5, "None Some(5)", json!("small"), Value::Null),
        (0, "None None", Value::Null, json!("free")),
    ] {
        let id = cents.to_string();
        assert_eq!(runs.start(&id, cents).await.unwrap().outcome().await.unwrap(), output);
        let size = &runs.to_json(&id).await.unwrap()["data"]["size"];
        assert_eq!((&size["status"], &size["selected"], &size["reason"]), (&json!("completed"), &selected, &reason));
    }
    assert_eq!(journal.all(), ["size", "large", "ship", "size", "small", "ship", "size", "ship"]);
}

/// D2: there is no moment at which a branch has decided and the other side is not yet skipped.
#[tokio::test(start_paused = true)]
async fn a_crash_around_a_branchs_decision_leaves_one_side_to_run() {
    for death in DEATHS {
        let space = space().await;
        // The first write is the start, the second the decision.
        let (runs, journal) = dies_around(&space, 2, death, sizes, RunStatus::Completed).await;
        assert_eq!(runs.get("r1").await.unwrap().outcome().await.unwrap(), "None Some(1)");
        let decided = if death == Fault::Hang { 1 } else { 2 };
        let ran = |node: &str| journal.all().iter().filter(|n| *n == node).count();
        assert_eq!((ran("size"), ran("small"), ran("large")), (decided, 1, 0), "{death:?}");
    }
}

const APPROVAL: Signal<String> = Signal::new("approval");

/// `ask`, the signal, `act`.
fn approved() -> Topology<u64, String, Journal> {
    let mut t = Topology::builder::<u64>("approved").app::<Journal>();
    let input = t.input();
    let asked = t.node("ask", input, noted);
    let approval = t.wait_for("approve", asked, APPROVAL);
    let done = t.node("act", approval, async |ctx: Ctx<Journal>, by: String| {
        ctx.app().note("act");
        Ok(by)
    });
    t.build(done).unwrap()
}

/// D3: there is no moment at which a run has reached its wait and what is behind it could run.
#[tokio::test(start_paused = true)]
async fn a_crash_around_a_suspension_lets_nothing_past_it() {
    for death in DEATHS {
        let space = space().await;
        // The first write is the start, the second the end of `ask`.
        let (runs, journal) = dies_around(&space, 2, death, approved, RunStatus::Suspended).await;
        time_passes(&space, 60 * SECOND).await;
        assert!(journal.all().iter().all(|node| node == "ask"), "{death:?}: {:?}", journal.all());
        runs.signal("r1", APPROVAL, "ann".into()).await.unwrap();
        assert_eq!(runs.get("r1").await.unwrap().outcome().await.unwrap(), "ann");
        assert_eq!(journal.all().iter().filter(|n| *n == "act").count(), 1);
    }
}

/// D1: bodies that return normally because they were told to stop do not make a run completed, nor its message acknowledged.
#[tokio::test(start_paused = true)]
async fn a_drain_in_which_a_body_returns_normally_loses_nothing_of_its_message() {
    let space = space().await;
    let (runtime, journal, gate, told) =
        (worker(&space).await, Journal::default(), Gate::default(), Told::of(&space, "in").await);
    let topology = |gate: Gate| {
        let mut t = Topology::builder::<u64>("polite").app::<Journal>();
        let input = t.input();
        let first = t.node("first", input, move |ctx: Ctx<Journal>, value: u64| {
            let gate = gate.clone();
            async move {
                ctx.app().note("first");
                tokio::select! { () = gate.pass() => {}, _ = ctx.cancelled() => {} }
                Ok(value)
            }
        });
        let second = t.node("second", first, noted);
        t.build(second).unwrap()
    };
    let runs = runtime.host(topology(gate.clone()), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.publish(7).await;
    gate.entered().await;
    runtime.drain().await.unwrap();
    let run = runs.inspect("in-1").await.unwrap().unwrap();
    assert_eq!((run.status, run.node("second").unwrap().status), (RunStatus::Running, NodeStatus::Pending));
    assert_eq!((told.count("ack"), told.count("retry 1")), (0, 1), "{:?}", told.said());
    let runs = worker(&space).await.host(topology(gate.clone()), journal.clone()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.until("ack 1", 1).await;
    assert_eq!(runs.get("in-1").await.unwrap().outcome().await.unwrap(), 7);
    assert_eq!(journal.all(), ["first", "second"]);
}

/// D6: states are stored one after the other, in the order in which they happened, however long each write takes.
#[tokio::test(start_paused = true)]
async fn states_are_stored_in_the_order_in_which_they_happened() {
    let space = space().await;
    let (runtime, faulty) = faulty_worker(&space).await;
    let mut slow = false;
    faulty.plan(move |call| {
        slow ^= call.writes_below("run.");
        (slow && call.writes_below("run.")).then_some(Fault::Delay(SECOND))
    });
    let mut t = Topology::builder::<u64>("busy");
    let input = t.input();
    let nodes: Vec<_> = (0..3)
        .map(|n| {
            t.resumable(format!("n{n}"), input, async |_: Ctx, mut saved: Saved<u64>, to: u64| {
                for step in 1..=to {
                    saved.save(step).await?;
                }
                Ok(to)
            })
        })
        .collect();
    let runs = runtime.host(t.build(nodes).unwrap(), ()).unwrap();
    let changes = space.store().watch(&Key::new("run").unwrap().below()).await.unwrap();
    let stored = changes.filter_map(async |change| match change {
        Change::Put(entry) => Some(Snapshot::decode(entry.value).unwrap()),
        _ => None,
    });
    runs.start("r1", 10).await.unwrap();
    let mut stored = std::pin::pin!(stored);
    let steps = |run: &Snapshot| -> Vec<u64> {
        let step = |value: &Stored| match value {
            Stored::Inline(bytes) => serde_json::from_slice(bytes).unwrap(),
            Stored::Stored(_) => panic!("a number is small"),
        };
        run.nodes.iter().map(|node| node.saved.as_ref().map_or(0, step)).collect()
    };
    let (mut before, mut states) = (vec![0; 3], 0);
    loop {
        let run = stored.next().await.unwrap();
        let now = steps(&run);
        assert!(before.iter().zip(&now).all(|(old, new)| old <= new), "{before:?} and then {now:?}");
        (before, states) = (now, states + 1);
        if run.status == RunStatus::Completed {
            break;
        }
    }
    assert_eq!(before, [10; 3]);
    assert!(states > 10, "each of {states} states was seen");
}

/// D7: an output is kept once, however many nodes depend on it.
#[tokio::test(start_paused = true)]
async fn an_output_is_kept_once_however_many_depend_on_it() {
    let space = space().await;
    let mut t = Topology::builder::<usize>("popular");
    let input = t.input();
    let text = t.node("text", input, async |_, size: usize| Ok("x".repeat(size)));
    let readers: Vec<_> = (0..50).map(|n| t.node(format!("n{n}"), text, async |_, text: String| Ok(text.len()))).collect();
    let runs = worker(&space).await.host(t.build(readers).unwrap(), ()).unwrap();
    let run = runs.start("r1", 20_000).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), [20_000; 50]);
    let size = run.snapshot().await.unwrap().encode().len();
    assert!((20_000..30_000).contains(&size), "{size} bytes");
}

/// D9: the text of an error is kept, and those of its causes.
#[tokio::test(start_paused = true)]
async fn what_an_error_says_is_in_the_run() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot charge")]
    struct Declined(#[source] std::io::Error);

    let space = space().await;
    let mut t = Topology::builder::<u64>("declined");
    let input = t.input();
    let node = t.node("charge", input, async |_, _: u64| {
        Err::<u64, _>(NodeError::terminal(Declined(std::io::Error::other("the bank is away"))))
    });
    let runs = worker(&space).await.host(t.build(node).unwrap(), ()).unwrap();
    runs.start("r1", 1).await.unwrap().outcome().await.unwrap_err();
    let error = &runs.to_json("r1").await.unwrap()["data"]["charge"]["error"];
    assert_eq!((&error["message"], &error["attempt"]), (&json!("cannot charge: the bank is away"), &json!(1)));
}

/// D13: once a save returns, its progress is stored, and a crash right behind it goes on from there; before, the node waits.
#[tokio::test(start_paused = true)]
async fn progress_is_stored_before_its_node_goes_on() {
    let space = space().await;
    let ((dying, faulty), journal) = (faulty_worker(&space).await, Journal::default());
    let (before, behind) = (Gate::default(), Gate::default());
    let topology = |before: Gate, behind: Gate| {
        let mut t = Topology::builder::<u64>("saves").app::<Journal>();
        let input = t.input();
        let node = t.resumable("work", input, move |ctx: Ctx<Journal>, mut saved: Saved<u64>, to: u64| {
            let (before, behind) = (before.clone(), behind.clone());
            async move {
                ctx.app().note(format!("from {:?}", saved.last()));
                before.pass().await;
                saved.save(1).await?;
                ctx.app().note("saved");
                behind.pass().await;
                Ok(to)
            }
        });
        t.build(node).unwrap()
    };
    dying.host(topology(before.clone(), behind.clone()), journal.clone()).unwrap().start("r1", 2).await.unwrap();
    before.entered().await;
    faulty.hold_writes();
    before.open();
    time_passes(&space, SECOND).await;
    assert_eq!(journal.all(), ["from None"], "nobody goes on with what is not stored");
    faulty.resume();
    behind.entered().await;
    dying.crash();
    let runs = worker(&space).await.host(topology(before, behind.clone()), journal.clone()).unwrap();
    behind.entered().await;
    behind.open();
    assert_eq!(runs.get("r1").await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!(journal.all(), ["from None", "saved", "from Some(1)", "saved"]);
}

/// D14: a message leaves nothing behind in its worker: no task, no listener, no handle of the application.
#[tokio::test(start_paused = true)]
async fn hundreds_of_messages_leave_nothing_behind() {
    let space = space().await;
    let (runtime, told, app) = (worker(&space).await, Told::of(&space, "in").await, Arc::new(()));
    let mut t = Topology::builder::<u64>("holds").app::<()>();
    let input = t.input();
    let held = Arc::clone(&app);
    let node = t.node("work", input, move |ctx: Ctx<()>, value: u64| {
        let held = Arc::clone(&held);
        async move {
            // It listens to its stop until it ends.
            let stopped = async {
                ctx.cancelled().await;
                Err(NodeError::retryable("stopped"))
            };
            tokio::select! { biased; stopped = stopped => stopped, value = async { Ok(value) } => { drop(held); value } }
        }
    });
    let runs = runtime.host(t.build(node).unwrap(), ()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    let (mut left, mut published) = (Vec::new(), 0);
    for messages in [10, 400] {
        for _ in 0..messages {
            told.publish(1).await;
        }
        published += messages;
        told.until("ack", published).await;
        time_passes(&space, SECOND).await;
        left.push((tokio::runtime::Handle::current().metrics().num_alive_tasks(), Arc::strong_count(&app)));
    }
    assert_eq!(left[0], left[1], "tasks, and handles of what the bodies held");
}

#[tokio::test(start_paused = true)]
async fn a_run_knows_the_message_that_started_it() {
    let space = space().await;
    let (runtime, told) = (worker(&space).await, Told::of(&space, "in").await);
    let runs = runtime.host(diamond(), Journal::default()).unwrap();
    let _supervisor = runs.supervise(told.queue()).spawn().await.unwrap();
    told.queue().publish(Message::new("1").id("m-1")).await.unwrap();
    told.until("ack 1", 1).await;
    let run = runs.inspect("in-1").await.unwrap().unwrap();
    assert_eq!(run.source, Some(Source { queue: "in".into(), sequence: 1, message_id: "m-1".into() }));
}
