//! Large values, size guards, retention.

use crate::support::{space, worker};
use anabranch::{
    Ctx, Topology, TopologyBuilder,
    core::snapshot::Value,
    engine::{Key, Space, Store},
    runtime::{Retention, RunError, Runtime, RuntimeOptions},
    testing::{
        faulty::{Fault, FaultyStore},
        pass,
    },
};
use futures_util::TryStreamExt as _;
use std::{sync::Arc, time::Duration};

/// `grow` makes a text of as many bytes as it is told, `measure` counts them.
fn growing() -> Topology<usize, usize, ()> {
    let mut t = Topology::builder::<usize>("growing");
    let input = t.input();
    let text = t.node("grow", input, async |_, size: usize| Ok("x".repeat(size)));
    let size = t.node("measure", text, async |_, text: String| Ok(text.len()));
    t.build(size).unwrap()
}

async fn stored_keys(space: &Space) -> usize {
    let below = Key::new("out.growing").unwrap().below();
    space.store().keys(&below).await.unwrap().try_collect::<Vec<_>>().await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn a_large_output_is_stored_out_of_line_and_found_again() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(growing(), ()).unwrap();
    let large = 3 << 20;
    let run = runs.start("r1", large).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), large, "larger than any value of the engine");
    let snapshot = run.snapshot().await.unwrap();
    assert!(matches!(&snapshot.node("grow").unwrap().output, Some(Value::Stored(s)) if s.chunks == 7));
    assert!(snapshot.encode().len() < 1024);
    assert_eq!(runs.to_json("r1").await.unwrap()["data"]["grow"]["output"].as_str().unwrap().len(), large);
    runs.delete("r1").await.unwrap();
    assert_eq!(stored_keys(&space).await, 0);
    assert!(matches!(run.outcome().await, Err(RunError::NotFound(_))));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_grows_too_large_moves_its_values_out() {
    let space = space().await;
    let options = RuntimeOptions::default().inline_limit(100_000).snapshot_limit(150_000);
    let runtime = Runtime::start_with(space.clone(), options).await.unwrap();
    let mut t = Topology::builder::<usize>("wide");
    let input = t.input();
    let texts: Vec<_> = (0..5).map(|n| t.node(format!("n{n}"), input, async |_, size: usize| Ok("x".repeat(size)))).collect();
    let sum = t.node("sum", texts, async |_, texts: Vec<String>| Ok(texts.iter().map(String::len).sum::<usize>()));
    let runs = runtime.host(t.build(sum).unwrap(), ()).unwrap();
    let run = runs.start("r1", 90_000).await.unwrap();
    assert_eq!(run.outcome().await.unwrap(), 450_000);
    assert!(run.snapshot().await.unwrap().encode().len() < 150_000);
}

#[tokio::test(start_paused = true)]
async fn ended_runs_and_their_values_expire_together() {
    let space = space().await;
    let keep = Duration::from_secs(60);
    let options = RuntimeOptions::default().retention(Retention::default().completed(keep));
    let runtime = Runtime::start_with(space.clone(), options).await.unwrap();
    let runs = runtime.host(growing(), ()).unwrap();
    runs.start("r1", 1 << 20).await.unwrap().outcome().await.unwrap();
    assert!(stored_keys(&space).await > 0);
    space.clock().timeout(keep / 2, std::future::pending::<()>()).await;
    assert!(runs.inspect("r1").await.unwrap().is_some());
    space.clock().timeout(keep, std::future::pending::<()>()).await;
    assert!(runs.inspect("r1").await.unwrap().is_none());
    assert_eq!(stored_keys(&space).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_is_lost_is_an_error_and_not_an_empty_value() {
    let space = space().await;
    let runtime = worker(&space).await;
    let runs = runtime.host(growing(), ()).unwrap();
    runs.start("r1", 1 << 20).await.unwrap().outcome().await.unwrap();
    let below = Key::new("out.growing").unwrap().below();
    let keys: Vec<_> = space.store().keys(&below).await.unwrap().try_collect().await.unwrap();
    space.store().delete(&keys[0].key, anabranch::engine::Expect::Anything).await.unwrap();
    assert!(matches!(runs.to_json("r1").await, Err(RunError::ValueLost(_))));
}

#[tokio::test(start_paused = true)]
async fn the_outcome_of_a_write_is_not_taken_for_that_of_a_newer_one() {
    let space = space().await;
    let faulty = FaultyStore::over(&space, 1);
    let options = RuntimeOptions::default().lease(Duration::from_secs(60)).inline_limit(100_000).snapshot_limit(150_000);
    let runtime = Runtime::start_with(space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>), options).await.unwrap();
    let mut t = Topology::builder::<usize>("wide");
    let input = t.input();
    let node = |t: &mut TopologyBuilder<usize>, name: &str, ends: u64, bytes: usize| {
        t.node(name, input, move |_: Ctx<()>, _: usize| async move {
            pass(Duration::from_millis(ends)).await;
            Ok("x".repeat(bytes))
        })
    };
    let first = node(&mut t, "large", 100, 90_000);
    for (name, ends, bytes) in [("too_large", 200, 90_000), ("small", 210, 1), ("last", 215, 1)] {
        node(&mut t, name, ends, bytes);
    }
    // The value of `too_large` does not go out, so the store is looked at a little later. Meanwhile `small` has ended, and the write of
    // both takes long; the look begins another write, with `last` in it, that takes longer and is refused.
    let (mut out, mut slow) =
        (Some(Fault::Unavailable), vec![Fault::Delay(Duration::from_secs(5)), Fault::Delay(Duration::from_secs(1))]);
    faulty.plan(move |call| match call {
        call if call.writes_below("out.") => out.take(),
        call if call.writes_below("run.") && out.is_none() => slow.pop(),
        _ => None,
    });
    let runs = runtime.host(t.build(first).unwrap(), ()).unwrap();
    let run = runs.start("r1", 1).await.unwrap();
    assert_eq!(run.outcome().await.unwrap().len(), 90_000);
    let stored = space.store().get(&Key::new("run.wide.r1").unwrap()).await.unwrap().unwrap();
    assert_eq!(stored.label.as_deref(), Some("completed"), "the run is over, and the store does not know");
}
