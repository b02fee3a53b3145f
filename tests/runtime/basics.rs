//! Starting, awaiting, joining.

use crate::{
    kit::{faulty_worker, time_passes},
    support::{Gate, Journal, diamond, gated, space, worker},
};
use anabranch::{
    Topology,
    core::snapshot::{NodeStatus, RunStatus},
    runtime::{OnDuplicate, RunError, StartOptions},
    testing::faulty::Op,
};
use futures_util::TryStreamExt as _;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

#[tokio::test(start_paused = true)]
async fn a_diamond_runs_each_node_once_and_returns_its_output() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 303);
    assert_eq!(journal.all().len(), 4);
    runtime.drain().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn starting_an_id_again_attaches_to_its_run_alive_or_ended() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(diamond(), journal.clone()).unwrap();
    let (first, second) = (runs.start("r1", 1).await.unwrap(), runs.start("r1", 1).await.unwrap());
    assert_eq!(first.outcome().await.unwrap(), second.outcome().await.unwrap());
    assert_eq!(runs.start("r1", 1).await.unwrap().outcome().await.unwrap(), 303);
    assert_eq!(journal.all().len(), 4, "one run");
}

#[tokio::test(start_paused = true)]
async fn the_same_id_with_another_input_is_a_conflict() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    assert!(matches!(runs.start("r1", 2).await, Err(RunError::InputConflict(_))), "while it lives");
    gate.open();
    run.outcome().await.unwrap();
    assert!(matches!(runs.start("r1", 2).await, Err(RunError::InputConflict(_))), "after it ended");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_duplicate_says_how_far_the_run_is() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    let reject = || StartOptions::default().on_duplicate(OnDuplicate::Reject);
    let status = |r: Result<_, RunError>| match r {
        Err(RunError::AlreadyExists { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!(status(runs.start_with("r1", 1, reject()).await), RunStatus::Running);
    gate.open();
    run.outcome().await.unwrap();
    assert_eq!(status(runs.start_with("r1", 1, reject()).await), RunStatus::Completed);
}

#[tokio::test(start_paused = true)]
async fn a_restart_replaces_the_live_run_and_drops_its_body() {
    let space = space().await;
    let (runtime, gate) = (worker(&space).await, Gate::default());
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    let restart = StartOptions::default().on_duplicate(OnDuplicate::Restart);
    let run = runs.start_with("r1", 7, restart).await.unwrap();
    gate.entered().await;
    gate.open();
    assert_eq!(run.outcome().await.unwrap(), 7);
    assert_eq!(gate.finished(), 1, "the first body was dropped");
    assert!(run.snapshot().await.unwrap().epoch > 1);
}

#[tokio::test(start_paused = true)]
async fn another_worker_awaits_a_run_that_it_does_not_own() {
    let space = space().await;
    let gate = Gate::default();
    let (owner, guest) = (worker(&space).await, worker(&space).await);
    let mine = owner.host(gated(), gate.clone()).unwrap();
    let theirs = guest.host(gated(), gate.clone()).unwrap();
    mine.start("r1", 5).await.unwrap();
    gate.entered().await;
    let attached = theirs.start("r1", 5).await.unwrap();
    gate.open();
    assert_eq!(attached.outcome().await.unwrap(), 5);
    assert_eq!(gate.finished(), 1);
}

#[tokio::test(start_paused = true)]
async fn following_a_run_of_another_worker_looks_at_no_other_run() {
    let space = space().await;
    let gate = Gate::default();
    let (owner, (guest, faulty)) = (worker(&space).await, faulty_worker(&space).await);
    let mine = owner.host(gated(), gate.clone()).unwrap();
    let theirs = guest.host(gated(), gate.clone()).unwrap();
    for n in 0..10 {
        mine.start(&format!("r{n}"), n).await.unwrap();
        gate.entered().await;
    }
    let looked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&looked);
    faulty.plan(move |call| {
        if matches!(call.op, Op::Watch | Op::Keys) {
            log.lock().unwrap().push(call.keys.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
        None
    });
    let run = theirs.get("r7").await.unwrap();
    let (outcome, ()) = tokio::join!(run.outcome(), async {
        time_passes(&space, Duration::from_secs(1)).await;
        gate.open();
    });
    assert_eq!(outcome.unwrap(), 7);
    assert_eq!(*looked.lock().unwrap(), [["run.gated.r7"]], "one watch, of its key");
    // One that has ended is read, and there is nothing to follow.
    assert_eq!(theirs.get("r7").await.unwrap().outcome().await.unwrap(), 7);
    assert_eq!(looked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn progress_shows_every_node_finished_and_ends_with_the_run() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(diamond(), Journal::default()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    let seen: Vec<_> = run.progress().try_collect().await.unwrap();
    let last = seen.last().unwrap();
    assert_eq!(last.status, RunStatus::Completed);
    assert!(last.nodes.iter().all(|n| n.status == NodeStatus::Completed && n.attempt == 1));
    let done = |s: &std::sync::Arc<anabranch::core::snapshot::Snapshot>| {
        s.nodes.iter().filter(|n| n.status == NodeStatus::Completed).count()
    };
    assert!(seen.windows(2).all(|w| done(&w[0]) <= done(&w[1])));
}

#[tokio::test(start_paused = true)]
async fn lists_tell_status_and_owner_without_reading_runs() {
    let space = space().await;
    let ((runtime, store), gate) = (faulty_worker(&space).await, Gate::default());
    let runs = runtime.host(gated(), gate.clone()).unwrap();
    runs.start("held #1", 1).await.unwrap();
    gate.entered().await;
    let reads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&reads);
    store.plan(move |call| {
        counted.fetch_add(usize::from(call.op == Op::Read), Ordering::SeqCst);
        None
    });
    let list = async || {
        let before = reads.load(Ordering::SeqCst);
        let listed: Vec<_> = runs.list().await.unwrap().try_collect().await.unwrap();
        assert_eq!(reads.load(Ordering::SeqCst), before, "a list reads nothing");
        listed
    };
    let listed = list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].id.as_str(), listed[0].status), ("held #1", RunStatus::Running));
    assert_eq!(listed[0].worker.as_deref(), Some(runtime.worker_id()));
    gate.open();
    runs.get("held #1").await.unwrap().outcome().await.unwrap();
    let listed = list().await;
    assert_eq!((listed[0].status, listed[0].worker.as_deref()), (RunStatus::Completed, None));
}

#[tokio::test(start_paused = true)]
async fn unknown_and_invalid_ids_are_told_apart() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(diamond(), Journal::default()).unwrap();
    assert!(matches!(runs.get("nobody").await, Err(RunError::NotFound(_))));
    assert!(matches!(runs.start("", 1).await, Err(RunError::InvalidId(_))));
    assert!(matches!(runs.start(&"x".repeat(161), 1).await, Err(RunError::InvalidId(_))));
    assert!(runs.start(&"x".repeat(160), 1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_empty_topology_completes_at_once() {
    let space = space().await;
    let runtime = worker(&space).await;
    let t = Topology::builder::<u64>("empty");
    let input = t.input();
    let runs = runtime.host(t.build(input).unwrap(), ()).unwrap();
    assert_eq!(runs.start("r1", 9).await.unwrap().outcome().await.unwrap(), 9);
}

#[tokio::test(start_paused = true)]
async fn two_topologies_with_one_run_id_do_not_meet() {
    let space = space().await;
    let (runtime, journal, gate) = (worker(&space).await, Journal::default(), Gate::default());
    gate.open();
    let (a, b) = (runtime.host(diamond(), journal).unwrap(), runtime.host(gated(), gate).unwrap());
    let (x, y) = (a.start("r1", 1).await.unwrap(), b.start("r1", 1).await.unwrap());
    assert_eq!((x.outcome().await.unwrap(), y.outcome().await.unwrap()), (303, 1));
}

#[tokio::test(start_paused = true)]
async fn awaiting_a_run_keeps_its_worker_although_everything_else_was_dropped() {
    let space = space().await;
    let run = {
        let runs = worker(&space).await.host(diamond(), Journal::default()).unwrap();
        runs.start("r1", 1).await.unwrap()
    };
    assert_eq!(run.outcome().await.unwrap(), 303);
}
