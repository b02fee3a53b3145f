//! A hundred thousand keys on a real server leave no memory behind in the process that has used them, when they are idle.
//!
//! Alone in its process, since it counts what is allocated.
#![cfg(feature = "nats")]
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "idle_memory/kit.rs"]
mod kit;

use anabranch::{Codec, cell::Cells, engine::Engine, testing::server::NatsServer};
use kit::{Held, KEYS, tasks, touch};
use std::time::Duration;

/// What the client may have in its buffers, whose size depends on what came last: four of 64 KiB.
const BUFFERS: usize = 4 * (64 << 10) + 4096;

/// Lets the time of this process go on while the server's stands still: nothing is under way between the two.
async fn pass(time: Duration) {
    tokio::time::pause();
    anabranch::testing::pass(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn memory_returns_to_its_floor_after_a_hundred_thousand_keys_on_jetstream() {
    let space = Engine::open(&NatsServer::shared().await.url()).await.unwrap().space("idle").await.unwrap();
    let cells = Cells::<u64>::new(&space, Codec::json());
    // Whatever is made once is made now.
    touch(&cells, 0, 1000).await;
    pass(Duration::from_secs(300)).await;
    touch(&cells, 0, 1000).await;
    pass(Duration::from_secs(300)).await;
    let (alive, held) = (tasks(), Held::from_now_on());

    touch(&cells, 0, KEYS).await;
    let in_use = held.bytes();
    assert!(in_use > 16 * BUFFERS, "the last of the keys are still known: {in_use} bytes");
    pass(Duration::from_secs(300)).await;
    let left = held.bytes();
    assert!(left < BUFFERS, "{left} bytes are left of {in_use}");
    assert_eq!(tasks(), alive);
    // The connection is what it was.
    touch(&cells, 0, 1000).await;
}
