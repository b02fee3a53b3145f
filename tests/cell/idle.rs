//! What keys leave behind when nobody uses them any more.

use crate::kit::{faulty, numbers, space};
use futures_util::future::join_all;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn keys_that_are_idle_leave_no_task_behind() {
    let space = space().await;
    // What opening the space has begun is over.
    anabranch::testing::pass(Duration::from_secs(20)).await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let cells = numbers(&space);
    for chunk in 0..20 {
        join_all((0..100).map(|i| {
            let cell = cells.cell(&format!("k{}", chunk * 100 + i)).unwrap();
            async move { cell.update(|n| *n += 1).await.unwrap() }
        }))
        .await;
    }
    anabranch::testing::pass(Duration::from_secs(20)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_idle_is_known_no_more() {
    let (space, _) = faulty(1).await;
    let cells = numbers(&space);
    let cell = cells.cell("n").unwrap();
    cell.update(|n| *n += 1).await.unwrap();
    let reads = cells.counts().reads;
    cell.update(|n| *n += 1).await.unwrap();
    assert_eq!(cells.counts().reads, reads, "it is known while it is in use");
    anabranch::testing::pass(Duration::from_secs(20)).await;
    cell.update(|n| *n += 1).await.unwrap();
    assert_eq!(cells.counts().reads, reads + 1, "it was forgotten");
}

/// A key that was in use when its runtime ended is told so, and is not stuck for ever.
#[test]
fn a_runtime_that_ends_does_not_leave_a_key_that_nobody_serves() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let (space, store) = first.block_on(faulty(1));
    let cell = crate::kit::number(&space, "n");
    first.block_on(async {
        store.hold_writes();
        let both = async { tokio::join!(cell.update(|n| *n += 1), cell.update(|n| *n += 1)) };
        assert!(space.clock().timeout(Duration::from_secs(1), both).await.is_none());
    });
    drop(first);
    store.resume();
    let outcomes = runtime().block_on(async {
        let both = async { tokio::join!(cell.update(|n| *n += 1), cell.update(|n| *n += 1)) };
        space.clock().timeout(Duration::from_secs(60), both).await.expect("nobody waits for ever")
    });
    for outcome in [outcomes.0, outcomes.1] {
        assert!(outcome.is_ok() || matches!(outcome, Err(anabranch::cell::CellError::Unknown(_))), "{outcome:?}");
    }
}
