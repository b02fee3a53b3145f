//! Suspension and signals.

use crate::support::{Journal, space, worker};
use anabranch::{
    Ctx, Signal, Topology,
    core::{machine::NoteError, snapshot::RunStatus},
    runtime::RunError,
};

const APPROVAL: Signal<String> = Signal::new("approval");
const TYPO: Signal<String> = Signal::new("aproval");

/// `prepare`, then the signal, then `act`; beside it `other`, which is held by nothing.
fn approved() -> Topology<u64, String, Journal> {
    let mut t = Topology::builder::<u64>("approved").app::<Journal>();
    let input = t.input();
    let prepared = t.node("prepare", input, async |ctx: Ctx<Journal>, v: u64| {
        ctx.app().note("prepare");
        Ok(v)
    });
    let approval = t.wait_for("approve", prepared, APPROVAL);
    let done = t.node("act", (prepared, approval), async |ctx: Ctx<Journal>, (v, by): (u64, String)| {
        ctx.app().note("act");
        Ok(format!("{v} by {by}"))
    });
    t.build(done).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_suspends_and_a_signal_moves_it_in_any_process() {
    let space = space().await;
    let (first, second, journal) = (worker(&space).await, worker(&space).await, Journal::default());
    let runs = first.host(approved(), journal.clone()).unwrap();
    let elsewhere = second.host(approved(), journal.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    let suspended = run.wait_for(|s| s.status == RunStatus::Suspended).await.unwrap();
    assert_eq!(suspended.owner, None, "nobody holds a suspended run");
    elsewhere.signal("r1", APPROVAL, "ann".into()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), "1 by ann");
    assert_eq!(journal.all(), ["prepare", "act"]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_comes_before_its_node_waits_is_kept() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let runs = runtime.host(approved(), journal.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    runs.signal("r1", APPROVAL, "early bird".into()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), "1 by early bird");
}

#[tokio::test(start_paused = true)]
async fn a_second_approval_is_refused() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(approved(), Journal::default()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    run.wait_for(|s| s.status == RunStatus::Suspended).await.unwrap();
    let both = tokio::join!(runs.signal("r1", APPROVAL, "ann".into()), runs.signal("r1", APPROVAL, "bob".into()));
    let refused =
        |r: &Result<(), RunError>| matches!(r, Err(RunError::Refused(NoteError::AlreadySignalled(_) | NoteError::Closed(_))));
    assert_eq!([refused(&both.0), refused(&both.1)].iter().filter(|r| **r).count(), 1, "{both:?}");
    run.outcome().await.unwrap();
    assert!(matches!(
        runs.signal("r1", APPROVAL, "cyd".into()).await,
        Err(RunError::Refused(NoteError::Closed(RunStatus::Completed)))
    ));
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_no_node_waits_for_is_refused() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(approved(), Journal::default()).unwrap();
    runs.start("r1", 1).await.unwrap();
    let refused = runs.signal("r1", TYPO, "ann".into()).await;
    assert!(matches!(refused, Err(RunError::Refused(NoteError::UnknownSignal(_)))), "{refused:?}");
    assert!(matches!(runs.signal("r2", APPROVAL, "ann".into()).await, Err(RunError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_signal_reaches_a_run_that_lives_in_another_worker() {
    let space = space().await;
    let (first, second) = (worker(&space).await, worker(&space).await);
    let gate = crate::support::Gate::default();
    let topology = || {
        let mut t = Topology::builder::<u64>("busy").app::<crate::support::Gate>();
        let input = t.input();
        let held = t.node("held", input, async |ctx: Ctx<crate::support::Gate>, v: u64| {
            ctx.app().pass().await;
            Ok(v)
        });
        let approval = t.wait_for("approve", input, APPROVAL);
        let told = t.node("told", approval, async |ctx: Ctx<crate::support::Gate>, by: String| {
            ctx.app().open();
            Ok(by)
        });
        t.build((held, told)).unwrap()
    };
    let owner = first.host(topology(), gate.clone()).unwrap();
    let other = second.host(topology(), gate.clone()).unwrap();
    let run = owner.start("r1", 1).await.unwrap();
    gate.entered().await;
    // The body holds the run in the first worker until the signal's node has run there.
    other.signal("r1", APPROVAL, "ann".into()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), (1, "ann".to_string()));
    assert_eq!(run.snapshot().await.unwrap().epoch, 1, "it never changed hands");
}

#[tokio::test(start_paused = true)]
async fn a_signal_of_another_type_is_refused_and_the_right_one_is_taken() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(approved(), Journal::default()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    let wrong = runs.signal("r1", Signal::<u64>::new("approval"), 7).await;
    assert!(matches!(wrong, Err(RunError::Codec(_))), "{wrong:?}");
    let wrong = runs.signal_named("r1", "approval", serde_json::json!({ "by": "ann" })).await;
    assert!(matches!(wrong, Err(RunError::Codec(_))), "{wrong:?}");
    runs.signal("r1", APPROVAL, "ann".into()).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), "1 by ann");
}
