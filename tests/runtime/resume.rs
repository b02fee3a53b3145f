//! Moving ended runs again, and running parts of a topology.

use crate::{
    kit::faulty_worker,
    support::{Journal, diamond, space, worker},
};
use anabranch::{
    Ctx, NodeResultExt as _, Topology,
    core::{
        graph::SubsetError,
        snapshot::{NodeStatus, RunStatus},
    },
    engine::Space,
    runtime::{OnDuplicate, RunError, Runs, StartOptions},
    testing::faulty::{Fault, Op},
};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

#[derive(Clone, Default)]
struct Flaky {
    journal: Journal,
    healed: Arc<AtomicBool>,
}

/// `first`, then `second`, which fails for good until it is healed.
fn flaky() -> Topology<u64, u64, Flaky> {
    let mut t = Topology::builder::<u64>("flaky").app::<Flaky>();
    let input = t.input();
    let first = t.node("first", input, async |ctx: Ctx<Flaky>, v: u64| {
        ctx.app().journal.note("first");
        Ok(v)
    });
    let second = t.node("second", first, async |ctx: Ctx<Flaky>, v: u64| {
        ctx.app().journal.note("second");
        if ctx.app().healed.load(Ordering::SeqCst) { Ok(v + 1) } else { Err("broken").terminal() }
    });
    t.build(second).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_keeps_what_completed() {
    let space = space().await;
    let (runtime, app) = (worker(&space).await, Flaky::default());
    let runs = runtime.host(flaky(), app.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    assert!(run.outcome().await.is_err());
    app.healed.store(true, Ordering::SeqCst);
    assert_eq!(runs.resume("r1").await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!(app.journal.all(), ["first", "second", "second"]);
    assert_eq!(run.snapshot().await.unwrap().node("second").unwrap().attempt, 2, "numbers go on");
    assert_eq!(runs.resume("r1").await.unwrap().outcome().await.unwrap(), 2, "a completed run is left as it is");
    assert_eq!(app.journal.all().len(), 3);
}

/// Leaves `r1` failed in the store, and healed, in a worker that does not know yet: the answer to its last write was lost, and
/// it cannot read.
async fn failed_unnoticed(space: &Space) -> (Runs<u64, u64, Flaky>, Flaky) {
    let ((runtime, faulty), app) = (faulty_worker(space).await, Flaky::default());
    let runs = runtime.host(flaky(), app.clone()).unwrap();
    let (mut written, mut read) = (0, 0);
    faulty.plan(move |call| {
        written += usize::from(call.writes_below("run."));
        read += usize::from(written == 3 && call.op == Op::Read);
        match (written, read) {
            (3, 0) if call.op.writes() => Some(Fault::Unknown { applied: true }),
            (3, 1) if call.op == Op::Read => Some(Fault::Unavailable),
            _ => None,
        }
    });
    runs.start("r1", 1).await.unwrap();
    let others = worker(space).await.host(flaky(), app.clone()).unwrap();
    let seen = others.get("r1").await.unwrap();
    seen.wait_for(|run| run.status == RunStatus::Errored).await.unwrap();
    app.healed.store(true, Ordering::SeqCst);
    (runs, app)
}

#[tokio::test(start_paused = true)]
async fn a_run_is_resumed_also_before_its_worker_knows_that_it_failed() {
    let space = space().await;
    let (runs, app) = failed_unnoticed(&space).await;
    assert_eq!(runs.resume("r1").await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!(app.journal.all(), ["first", "second", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_replaced_also_before_its_worker_knows_that_it_failed() {
    let space = space().await;
    let (runs, app) = failed_unnoticed(&space).await;
    let again = StartOptions::default().on_duplicate(OnDuplicate::RestartFailed);
    assert_eq!(runs.start_with("r1", 5, again).await.unwrap().outcome().await.unwrap(), 6, "whatever it is started with");
    assert_eq!(app.journal.all(), ["first", "second", "first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_runs_everything_again_with_the_old_input() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    runs.start("r1", 1).await.unwrap().outcome().await.unwrap();
    assert_eq!(runs.restart("r1").await.unwrap().outcome().await.unwrap(), 303);
    assert_eq!(journal.all().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn restarting_what_failed_leaves_what_completed_alone() {
    let space = space().await;
    let (runtime, app) = (worker(&space).await, Flaky::default());
    let runs = runtime.host(flaky(), app.clone()).unwrap();
    let again = || StartOptions::default().on_duplicate(OnDuplicate::RestartFailed);
    assert!(runs.start("r1", 1).await.unwrap().outcome().await.is_err());
    app.healed.store(true, Ordering::SeqCst);
    assert_eq!(runs.start_with("r1", 1, again()).await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!(runs.start_with("r1", 1, again()).await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!(app.journal.all(), ["first", "second", "first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_of_a_topology_runs_with_outputs_that_are_given() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let options = StartOptions::default().exclude(["a", "c"]).provide("a", &10_u64).unwrap().provide("c", &7_u64).unwrap();
    assert_eq!(runs.start_with("r1", 1, options).await.unwrap().outcome().await.unwrap(), 1107);
    assert_eq!(journal.all(), ["b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_lacks_an_input_is_refused_and_named() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(diamond(), Journal::default()).unwrap();
    let without = |node: &str| StartOptions::default().exclude([node.to_owned()]);
    let refused = runs.start_with("r1", 1, without("c")).await;
    let expected = SubsetError::MissingInput { node: "d".into(), dependency: "c".into() };
    assert!(matches!(&refused, Err(RunError::Subset(e)) if *e == expected), "{refused:?}");
    let unknown = runs.start_with("r1", 1, without("nobody")).await;
    assert!(matches!(unknown, Err(RunError::Subset(SubsetError::Unknown(_)))));
    assert!(runs.inspect("r1").await.unwrap().is_none(), "nothing was started");
}

#[tokio::test(start_paused = true)]
async fn excluding_the_end_completes_without_it() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let run = runs.start_with("r1", 1, StartOptions::default().include(["a", "b"])).await.unwrap();
    let ended = run.wait_for(|s| s.status.is_terminal()).await.unwrap();
    assert_eq!(ended.node("d").unwrap().status, NodeStatus::Excluded);
    assert_eq!(journal.all(), ["a", "b"]);
    assert!(matches!(run.outcome().await, Err(RunError::Output(_))), "the output was not computed");
}

#[tokio::test(start_paused = true)]
async fn a_run_shows_as_json_in_topology_runners_shape() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(diamond(), Journal::default()).unwrap();
    runs.start("r1", 1).await.unwrap().outcome().await.unwrap();
    let shown = runs.to_json("r1").await.unwrap();
    assert_eq!(shown["status"], "completed");
    assert_eq!(shown["data"]["d"]["deps"], json!(["b", "c"]));
    assert_eq!(shown["data"]["d"]["input"], json!([3, 3]));
    assert_eq!(shown["data"]["d"]["output"], json!(303));
    assert_eq!(shown["data"]["a"]["type"], "work");
}

#[tokio::test(start_paused = true)]
async fn an_exported_run_goes_on_from_its_json() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let exported = json!({
        "status": "errored",
        "data": {
            "a": {"type": "work", "deps": [], "status": "completed", "input": [1], "output": 41},
            "b": {"type": "work", "deps": ["a"], "status": "completed", "input": [41], "output": 5},
            "c": {"type": "work", "deps": ["a"], "status": "errored", "input": [41], "error": {"message": "oops"}},
            "d": {"type": "work", "deps": ["b", "c"], "status": "pending"}
        }
    });
    let run = runs.resume_from_json("r1", &exported).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 542);
    assert_eq!(journal.all(), ["c", "d"]);
    assert!(matches!(runs.resume_from_json("r1", &exported).await, Err(RunError::AlreadyExists { .. })));
}
