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
