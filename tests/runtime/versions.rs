//! Runs that were started with another shape of the graph.

use crate::support::{Gate, gated, space, worker};
use anabranch::{
    Ctx, Topology,
    core::snapshot::RunStatus,
    engine::Space,
    runtime::{HostOptions, OnGraphChange, RunError},
};

type Checked = Topology<u64, u64, Gate>;

fn steps(nodes: &[&str]) -> Checked {
    let mut t = Topology::builder::<u64>("grows").app::<Gate>();
    let mut last = t.input();
    for node in nodes {
        last = t.node(*node, last, async |ctx: Ctx<Gate>, v: u64| {
            if ctx.node() == "held" {
                ctx.app().pass().await;
            }
            Ok(v + 1)
        });
    }
    t.build(last).unwrap()
}

fn old() -> Checked {
    steps(&["first", "held"])
}

fn new() -> Checked {
    steps(&["first", "extra", "held"])
}

/// Leaves a run of the old graph in the middle.
async fn interrupted(space: &Space) {
    let (runtime, gate) = (worker(space).await, Gate::default());
    let runs = runtime.host(old(), gate.clone()).unwrap();
    runs.start("r1", 1).await.unwrap();
    gate.entered().await;
    runtime.drain().await.unwrap();
}

fn opened() -> Gate {
    let gate = Gate::default();
    gate.open();
    gate
}

/// D8: an old graph and new code do not mix.
#[tokio::test(start_paused = true)]
async fn a_run_of_another_graph_is_refused_and_left_as_it_is() {
    let space = space().await;
    interrupted(&space).await;
    let runtime = worker(&space).await;
    let runs = runtime.host(new(), opened()).unwrap();
    assert_eq!(runs.recover().await.unwrap().failed, 1);
    assert!(matches!(runs.start("r1", 1).await, Err(RunError::GraphChanged(_))));
    assert_eq!(runs.inspect("r1").await.unwrap().unwrap().status, RunStatus::Running);
    let with_old_graph = worker(&space).await.host(old(), opened()).unwrap();
    assert_eq!(with_old_graph.recover().await.unwrap().adopted, 1);
    assert_eq!(with_old_graph.get("r1").await.unwrap().outcome().await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_a_topology_that_a_worker_does_not_know_is_left_for_whoever_does() {
    let space = space().await;
    interrupted(&space).await;
    let stranger = worker(&space).await;
    let others = stranger.host(gated(), opened()).unwrap();
    let recovered = others.recover().await.unwrap();
    assert_eq!((recovered.adopted, recovered.owned_elsewhere, recovered.failed), (0, 0, 0));
    assert!(matches!(others.get("r1").await, Err(RunError::NotFound(_))));
    // An id is one of its topology.
    assert_eq!(others.start("r1", 7).await.unwrap().outcome().await.unwrap(), 7);
    let runs = worker(&space).await.host(old(), opened()).unwrap();
    assert_eq!(runs.recover().await.unwrap().adopted, 1);
    assert_eq!(runs.get("r1").await.unwrap().outcome().await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_parked_run_is_visible_and_moved_by_whoever_has_its_graph() {
    let space = space().await;
    interrupted(&space).await;
    let runtime = worker(&space).await;
    let options = HostOptions::default().on_graph_change(OnGraphChange::Park);
    let runs = runtime.host_with(new(), opened(), options).unwrap();
    runs.recover().await.unwrap();
    let parked = runs.inspect("r1").await.unwrap().unwrap();
    assert_eq!((parked.status, &parked.owner), (RunStatus::Parked, &None));
    assert!(parked.reason.unwrap().contains("fingerprint"));
    let with_old_graph = worker(&space).await.host(old(), opened()).unwrap();
    assert_eq!(with_old_graph.recover().await.unwrap().adopted, 1);
    assert_eq!(with_old_graph.get("r1").await.unwrap().outcome().await.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_migrated_run_goes_on_in_the_new_graph() {
    let space = space().await;
    interrupted(&space).await;
    let runtime = worker(&space).await;
    let options = HostOptions::default().on_graph_change(OnGraphChange::migrate_by_name());
    let runs = runtime.host_with(new(), opened(), options).unwrap();
    assert_eq!(runs.recover().await.unwrap().adopted, 1);
    let run = runs.get("r1").await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 4);
    assert_eq!(run.snapshot().await.unwrap().node("first").unwrap().attempt, 1, "it did not run again");
}

#[tokio::test(start_paused = true)]
async fn a_migration_that_fails_leaves_the_run_as_it_was() {
    let space = space().await;
    interrupted(&space).await;
    let runtime = worker(&space).await;
    let before = runtime.host(old(), opened()).unwrap().inspect("r1").await.unwrap();
    let options = HostOptions::default().on_graph_change(OnGraphChange::migrate(|_, _| Err("cannot".into())));
    let runs = runtime.host_with(new(), opened(), options).unwrap();
    assert!(matches!(runs.resume("r1").await, Err(RunError::Migration { .. })));
    assert_eq!(runs.inspect("r1").await.unwrap(), before);
}
