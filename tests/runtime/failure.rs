//! Errors, panics, timeouts, retries.

use crate::support::{Journal, space, worker};
use anabranch::{
    Ctx, NodeError, NodeResultExt as _, RetryPolicy, Saved, Topology,
    core::snapshot::{FailureKind, NodeStatus, RunStatus},
    runtime::RunError,
    testing::pass,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// One node that does as its closure says, by attempt.
fn single<F>(retry: RetryPolicy, timeout: Option<Duration>, act: F) -> Topology<u64, u64, Journal>
where
    F: AsyncAttempt,
{
    let mut t = Topology::builder::<u64>("single").app::<Journal>();
    let input = t.input();
    let node = t.node("work", input, move |ctx: Ctx<Journal>, value: u64| {
        let act = act.clone();
        async move {
            ctx.app().note(format!("attempt {}", ctx.attempt()));
            act.run(ctx.attempt()).await?;
            ctx.app().note(format!("end {}", ctx.attempt()));
            Ok(value)
        }
    });
    let options = t.options(node).retry(retry);
    if let Some(timeout) = timeout {
        options.timeout(timeout);
    }
    t.build(node).unwrap()
}

trait AsyncAttempt: Clone + Send + Sync + 'static {
    fn run(&self, attempt: u32) -> impl Future<Output = Result<(), NodeError>> + Send;
}

impl<F, Fut> AsyncAttempt for F
where
    F: Fn(u32) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), NodeError>> + Send,
{
    fn run(&self, attempt: u32) -> impl Future<Output = Result<(), NodeError>> + Send {
        self(attempt)
    }
}

fn every_second(attempts: u32) -> RetryPolicy {
    RetryPolicy::default().max_attempts(attempts).delays([SECOND]).jitter(0)
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_repeated_after_its_delay() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let topology = single(every_second(3), None, |attempt: u32| async move {
        if attempt < 3 { Err(NodeError::retryable("not yet")) } else { Ok(()) }
    });
    let runs = runtime.host(topology, journal.clone()).unwrap();
    let started = space.clock().now();
    assert_eq!(runs.start("r1", 4).await.unwrap().outcome().await.unwrap(), 4);
    assert_eq!(journal.all(), ["attempt 1", "attempt 2", "attempt 3", "end 3"]);
    let took = space.clock().now().since(started);
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "{took:?}");
}

/// What a node calls recognizes a repetition by this key: whichever attempt it is, after a resume by hand and in another worker.
#[tokio::test(start_paused = true)]
async fn all_attempts_of_a_node_have_one_idempotency_key_and_nothing_else_has_it() {
    let (space, journal) = (space().await, Journal::default());
    let topology = || {
        let mut t = Topology::builder::<bool>("keyed").app::<Journal>();
        let input = t.input();
        let noted = async |ctx: Ctx<Journal>, resumed: bool| {
            ctx.app().note(ctx.idempotency_key());
            if resumed || ctx.attempt() > 2 { Ok(true) } else { Err(NodeError::retryable("not yet")) }
        };
        let one = t.node("one", input, noted);
        let other = t.node("other", one, async |ctx: Ctx<Journal>, _| {
            ctx.app().note(ctx.idempotency_key());
            Ok(())
        });
        t.options(one).retry(every_second(2));
        t.build(other).unwrap()
    };
    let first = worker(&space).await;
    let runs = first.host(topology(), journal.clone()).unwrap();
    assert!(runs.start("a", false).await.unwrap().outcome().await.is_err());
    runs.start("a/one", true).await.unwrap().outcome().await.unwrap();
    first.drain().await.unwrap();
    let second = worker(&space).await;
    second.host(topology(), journal.clone()).unwrap().resume("a").await.unwrap().outcome().await.unwrap();
    let keys = journal.all();
    assert_eq!(
        keys,
        ["keyed/a/one", "keyed/a/one", "keyed/a%2Fone/one", "keyed/a%2Fone/other", "keyed/a/one", "keyed/a/other"]
    );
}

#[tokio::test(start_paused = true)]
async fn exhausted_attempts_fail_the_run_with_the_last_error() {
    let space = space().await;
    let runtime = worker(&space).await;
    let topology =
        single(every_second(2), None, |attempt: u32| async move { Err(NodeError::retryable(format!("no luck at {attempt}"))) });
    let runs = runtime.host(topology, Journal::default()).unwrap();
    let error = runs.start("r1", 4).await.unwrap().outcome().await.unwrap_err();
    let RunError::Failed { status, failures, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*status, RunStatus::Errored);
    assert_eq!((failures[0].node.as_str(), failures[0].attempts), ("work", 2));
    assert_eq!(error.to_string(), "run `r1` is errored: `work` after 2 attempts: no luck at 2");
}

#[tokio::test(start_paused = true)]
async fn a_terminal_error_is_not_repeated_and_stops_only_what_depends_on_it() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let mut t = Topology::builder::<u64>("two-branches").app::<Journal>();
    let input = t.input();
    let bad = t.node("bad", input, async |_: Ctx<Journal>, _: u64| Err::<u64, _>("never").terminal());
    let behind = t.node("behind", bad, async |ctx: Ctx<Journal>, v: u64| {
        ctx.app().note("behind");
        Ok(v)
    });
    let good = t.node("good", input, async |ctx: Ctx<Journal>, v: u64| {
        ctx.app().note("good");
        Ok(v)
    });
    let after = t.node("after", good, async |ctx: Ctx<Journal>, v: u64| {
        ctx.app().note("after");
        Ok(v)
    });
    let runs = runtime.host(t.build((behind, after)).unwrap(), journal.clone()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    assert!(matches!(run.outcome().await, Err(RunError::Failed { .. })));
    assert_eq!(journal.all(), ["good", "after"]);
    let snapshot = run.snapshot().await.unwrap();
    assert_eq!(snapshot.node("behind").unwrap().status, NodeStatus::Pending);
    assert_eq!(snapshot.node("bad").unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_the_attempts_failure_and_not_the_runs_end() {
    let space = space().await;
    let runtime = worker(&space).await;
    let topology = single(every_second(2), None, |attempt: u32| async move {
        assert!(attempt > 1, "boom");
        Ok(())
    });
    let runs = runtime.host(topology, Journal::default()).unwrap();
    let run = runs.start("r1", 4).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 4);
    let error = run.snapshot().await.unwrap().node("work").unwrap().error.clone().unwrap();
    assert_eq!((error.kind, error.attempt), (FailureKind::Panic, 1));
    assert!(error.message.contains("boom"), "{}", error.message);
}

/// D8: nodes have a timeout.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_dropped_and_repeated() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let topology = single(every_second(2), Some(5 * SECOND), |attempt: u32| async move {
        if attempt == 1 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    let runs = runtime.host(topology, journal.clone()).unwrap();
    let started = space.clock().now();
    let run = runs.start("r1", 4).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 4);
    assert_eq!(journal.all(), ["attempt 1", "attempt 2", "end 2"]);
    assert!(space.clock().now().since(started) >= 6 * SECOND);
    let error = run.snapshot().await.unwrap().node("work").unwrap().error.clone().unwrap();
    assert_eq!(error.kind, FailureKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_attempt_comes_again_and_counts_for_nothing() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let topology = single(RetryPolicy::never(), None, |attempt: u32| async move {
        if attempt < 4 { Err(NodeError::throttled(10 * SECOND)) } else { Ok(()) }
    });
    let runs = runtime.host(topology, journal.clone()).unwrap();
    let started = space.clock().now();
    let run = runs.start("r1", 4).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 4);
    assert_eq!(run.snapshot().await.unwrap().node("work").unwrap().failures, 0);
    assert!(space.clock().now().since(started) >= 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn saved_progress_is_there_for_the_next_attempt() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let mut t = Topology::builder::<u64>("resumable").app::<Journal>();
    let input = t.input();
    let node = t.resumable("count", input, async |ctx: Ctx<Journal>, mut saved: Saved<u64>, to: u64| {
        let from = saved.last().copied().unwrap_or(0);
        ctx.app().note(format!("from {from}"));
        for step in from + 1..=to {
            saved.save(step).await?;
            if step == 3 && ctx.attempt() == 1 {
                return Err(NodeError::retryable("stumbled"));
            }
        }
        Ok(to)
    });
    let runs = runtime.host(t.build(node).unwrap(), journal.clone()).unwrap();
    assert_eq!(runs.start("r1", 5).await.unwrap().outcome().await.unwrap(), 5);
    assert_eq!(journal.all(), ["from 0", "from 3"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_result_of_a_timed_out_attempt_is_not_taken() {
    let space = space().await;
    let (runtime, journal) = (worker(&space).await, Journal::default());
    let mut t = Topology::builder::<u64>("late").app::<Journal>();
    let input = t.input();
    // It listens, so it has the time of grace, and uses it to return a value all the same.
    let node = t.node("work", input, async |ctx: Ctx<Journal>, _: u64| {
        if ctx.attempt() == 1 {
            ctx.cancelled().await;
            pass(3 * SECOND).await;
            ctx.app().note("late result");
            return Ok(1);
        }
        pass(4 * SECOND).await;
        Ok(2)
    });
    t.options(node).timeout(5 * SECOND).retry(every_second(2));
    let runs = runtime.host(t.build(node).unwrap(), journal.clone()).unwrap();
    assert_eq!(runs.start("r1", 0).await.unwrap().outcome().await.unwrap(), 2);
    assert_eq!(journal.all(), ["late result"]);
}
