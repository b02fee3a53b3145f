//! The kit itself: what it says when something is not as expected, and that one seed is one execution.

use super::{DAY, SECOND};
use anabranch::{
    RetryPolicy, Signal, Topology,
    core::snapshot::{FailureKind, RunStatus},
    runtime::RunError,
    testing::rehearsal::{Fault, Rehearsal, What},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

const GO: Signal<()> = Signal::new("go");

/// A node that works for a second, and one behind it.
fn pair(policy: RetryPolicy) -> Topology<u64, u64> {
    let mut t = Topology::builder::<u64>("pair");
    let input = t.input();
    let first = t.node("first", input, async |ctx, v: u64| {
        ctx.clock().sleep(SECOND).await;
        Ok(v + 1)
    });
    t.options(first).retry(policy.jitter(0)).timeout(10 * SECOND);
    let second = t.node("second", first, async |_, v: u64| Ok(v * 2));
    t.build(second).unwrap()
}

fn waiting() -> Topology<(), ()> {
    let mut t = Topology::builder::<()>("waiting");
    let gone = t.wait_for("gate", t.input(), GO);
    t.build(gone).unwrap()
}

/// What is complained about.
fn complaint(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it should have complained");
    panic.downcast_ref::<String>().expect("complaints are written, and not constant").clone()
}

#[test]
fn one_seed_is_one_timeline() {
    let timeline = |seed: u64| {
        let mut rehearsal = Rehearsal::seeded(seed, pair(RetryPolicy::default().fixed(SECOND)), || ()).workers(2);
        rehearsal.inject("first", 1, Fault::crash());
        rehearsal.inject("first", 2, Fault::error("no"));
        rehearsal.start("run", 1);
        assert_eq!(rehearsal.outcome("run").unwrap(), 4);
        (rehearsal.timeline("run"), rehearsal.simulation().fingerprint())
    };
    let (mine, other) = (timeline(5), std::thread::spawn(move || timeline(5)).join().unwrap());
    assert_eq!(mine, other);
    assert_ne!(mine.1, timeline(6).1);
}

#[test]
fn every_kind_of_fault_is_what_the_runtime_makes_of_it() {
    let policy = RetryPolicy::default().max_attempts(9).fixed(5 * SECOND);
    let mut rehearsal = Rehearsal::new(pair(policy), || ());
    rehearsal.inject("first", 1, Fault::error("an error"));
    rehearsal.inject("first", 2, Fault::panic("a panic"));
    rehearsal.inject("first", 3, Fault::hang());
    rehearsal.inject("first", 4, Fault::throttled(7 * SECOND));
    rehearsal.inject("first", 5, Fault::retry_after("later", 60 * SECOND));
    rehearsal.inject("first", 6, Fault::crash().down_for(3 * SECOND));
    rehearsal.inject("first", 7, Fault::error("an error behind").after_body());
    rehearsal.inject("first", 8, Fault::delay(4 * SECOND));
    rehearsal.start("run", 1);
    assert_eq!(rehearsal.outcome("run").unwrap(), 4);
    let timeline = rehearsal.timeline("run");
    let first = timeline.node("first");
    let kinds = first.entries().filter_map(|entry| match &entry.what {
        What::Failed { kind, .. } => Some(Some(*kind)),
        What::PutBack => Some(None),
        _ => None,
    });
    let kinds: Vec<_> = kinds.collect();
    let (error, crash) = (Some(FailureKind::Error), Some(FailureKind::Crash));
    assert_eq!(kinds, [error, Some(FailureKind::Panic), Some(FailureKind::Timeout), None, error, crash, error], "{timeline}");
    first.expect_attempts(8).expect_completed();
    first.expect_waits([5 * SECOND, 5 * SECOND, 5 * SECOND, 60 * SECOND, Duration::ZERO, 5 * SECOND]);
    assert_eq!(timeline.takeovers(), 1, "{timeline}");
}

#[test]
fn a_day_until_the_next_attempt_is_skipped() {
    let mut rehearsal = Rehearsal::new(pair(RetryPolicy::default().fixed(2 * DAY)), || ());
    rehearsal.inject("first", 1, Fault::error("not today"));
    rehearsal.start("run", 1);
    rehearsal.skip(DAY);
    rehearsal.timeline("run").node("first").expect_attempts(1);
    assert_eq!(rehearsal.outcome("run").unwrap(), 4);
    rehearsal.timeline("run").node("first").expect_waits([2 * DAY]);
    // Heartbeats of two days would be tens of thousands of things.
    let events = rehearsal.simulation().events();
    assert!(events < 5_000, "{events}");
}

#[test]
fn a_body_goes_by_the_clock_of_its_runtime() {
    let mut t = Topology::builder::<()>("slow");
    let input = t.input();
    let slept = t.node("slept", input, async |ctx, ()| {
        let begun = ctx.clock().now();
        ctx.clock().sleep(1800 * SECOND).await;
        Ok(ctx.clock().now().since(begun))
    });
    let mut rehearsal = Rehearsal::new(t.build(slept).unwrap(), || ());
    rehearsal.start("run", ());
    assert_eq!(rehearsal.outcome("run").unwrap(), 1800 * SECOND);
    assert_eq!(rehearsal.timeline("run").duration().as_secs(), 1800);
}

#[test]
fn a_run_is_cancelled_and_another_is_resumed_after_it_failed() {
    let mut rehearsal = Rehearsal::new(pair(RetryPolicy::never()), || ());
    rehearsal.inject("second", 1, Fault::terminal("no"));
    rehearsal.start("failed", 1);
    assert!(matches!(rehearsal.outcome("failed"), Err(RunError::Failed { .. })));
    rehearsal.timeline("failed").expect_status(RunStatus::Errored);
    rehearsal.resume("failed");
    assert_eq!(rehearsal.outcome("failed").unwrap(), 4);
    rehearsal.timeline("failed").expect_status(RunStatus::Completed).node("first").expect_attempts(1);

    rehearsal.start("cancelled", 1).cancel("cancelled", "changed my mind");
    assert!(matches!(rehearsal.outcome("cancelled"), Err(RunError::Cancelled { .. })));
    let timeline = rehearsal.timeline("cancelled");
    assert!(timeline.entries().iter().any(|entry| entry.what == What::CancelRequested("changed my mind".into())), "{timeline}");
}

#[test]
fn a_failed_expectation_shows_the_whole_timeline() {
    let mut rehearsal = Rehearsal::new(pair(RetryPolicy::default().fixed(30 * SECOND)), || ());
    rehearsal.inject("first", 1, Fault::error("the bank is away"));
    rehearsal.start("run", 1);
    rehearsal.outcome("run").unwrap();
    let timeline = rehearsal.timeline("run");
    let told = complaint(|| {
        let _ = timeline.node("first").expect_attempts(3);
    });
    assert!(told.starts_with("expected of `first` 3 attempts, and there were 2\n"), "{told}");
    for line in [
        "+00:00:00.000  (run)             created",
        "+00:00:00.000  first             attempt 1 started",
        "first             attempt 1 failed (error): the bank is away",
        "first             attempt 2 started",
        "second            attempt 1 completed",
        "(run)             completed",
    ] {
        assert!(told.contains(line), "`{line}` is not in\n{told}");
    }
    for wrong in [
        complaint(|| {
            let _ = timeline.expect_order(["second", "first"]);
        }),
        complaint(|| {
            let _ = timeline.expect_status(RunStatus::Cancelled);
        }),
        complaint(|| {
            let _ = timeline.node("first").expect_waits([SECOND]);
        }),
        complaint(|| {
            let _ = timeline.node("first").expect_failures(["another"]);
        }),
        complaint(|| {
            let _ = timeline.node("first").expect_skipped();
        }),
        complaint(|| {
            let _ = timeline.node("first").expect_gave_up();
        }),
        complaint(|| {
            let _ = timeline.node("third").expect_completed();
        }),
    ] {
        assert!(wrong.contains("attempt 1 failed (error): the bank is away"), "{wrong}");
    }
}

#[test]
fn a_run_that_nobody_moves_is_told_at_once_and_not_waited_for() {
    let mut rehearsal = Rehearsal::new(waiting(), || ());
    rehearsal.start("run", ());
    let told = complaint(|| {
        let _ = rehearsal.outcome("run");
    });
    assert!(told.contains("it waits for the signal of `gate`"), "{told}");
    assert!(rehearsal.elapsed() < 10 * SECOND);
    rehearsal.signal("run", GO, ());
    rehearsal.outcome("run").unwrap();
    let told = complaint(|| {
        let _ = rehearsal.signal("run", GO, ());
    });
    assert!(told.contains("could not signal `run`"), "{told}");
}

#[test]
fn a_body_that_never_ends_is_given_up_after_a_while() {
    let mut t = Topology::builder::<()>("endless");
    let input = t.input();
    let stuck = t.node("stuck", input, async |_, ()| std::future::pending().await);
    let mut rehearsal: Rehearsal<(), (), ()> = Rehearsal::new(t.build(stuck).unwrap(), || ()).patience(60 * SECOND);
    rehearsal.start("run", ());
    let told = complaint(|| {
        let _ = rehearsal.outcome("run");
    });
    assert!(told.contains("it still runs, in `stuck`"), "{told}");
}

#[test]
fn a_fault_that_no_attempt_met_fails_the_test() {
    let told = complaint(|| {
        let mut rehearsal = Rehearsal::new(pair(RetryPolicy::default()), || ());
        rehearsal.inject("first", 2, Fault::error("never"));
        rehearsal.start("run", 1);
        rehearsal.outcome("run").unwrap();
    });
    assert!(told.contains("no attempt met: Error(\"never\") in attempt 2 of `first`"), "{told}");
}

#[test]
fn a_fault_in_a_node_that_is_not_there_is_refused() {
    let told = complaint(|| {
        let _ = Rehearsal::new(pair(RetryPolicy::default()), || ()).inject("third", 1, Fault::crash());
    });
    assert!(told.contains("there is no node `third` in `pair`"), "{told}");
    let told = complaint(|| {
        let _ = Rehearsal::new(waiting(), || ()).inject("gate", 1, Fault::crash());
    });
    assert!(told.contains("waits for a signal"), "{told}");
}

#[test]
fn a_body_that_sleeps_by_tokios_time_is_told_what_to_do() {
    let mut t = Topology::builder::<()>("impatient");
    let input = t.input();
    #[expect(clippy::disallowed_methods, reason = "what a user might write")]
    let slept = t.node("slept", input, async |_, ()| {
        tokio::time::timeout(SECOND, std::future::pending::<()>()).await.ok();
        Ok(())
    });
    let mut rehearsal: Rehearsal<(), (), ()> = Rehearsal::new(t.build(slept).unwrap(), || ());
    let told = complaint(|| {
        rehearsal.start("run", ());
        rehearsal.skip(SECOND);
    });
    assert!(told.contains("the body of `slept` sleeps by tokio's time") && told.contains("`ctx.clock()`"), "{told}");
}
