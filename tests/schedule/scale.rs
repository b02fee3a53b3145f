//! What many messages cost: requests are counted, and not seconds.

use super::{
    place::{Road, seconds, to_target},
    roads::memory,
};
use anabranch::{
    schedule::{Delayed, Placed, Scheduler},
    testing::faulty::{FaultyStore, Op},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// How many requests it takes to schedule and to send so many messages that are due at once: commits, and others.
async fn requests(road: Road, messages: usize) -> (usize, usize) {
    let place = memory(road).await;
    let store = FaultyStore::over(place.space(), 1);
    let space = place.space().clone().with_store(Arc::<FaultyStore>::clone(&store));
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let counted = Arc::clone(&counts);
    store.plan(move |call| {
        let elections = call.keys.iter().any(|key| key.as_str().starts_with("election"));
        let count = if call.op == Op::Commit { &counted.0 } else { &counted.1 };
        count.fetch_add(usize::from(!elections), Ordering::Relaxed);
        None
    });
    let (mut inbox, delayed) = (place.inbox().await, Delayed::new(&space).unwrap());
    let due = place.clock().now() + seconds(100);
    for n in 0..messages {
        assert_eq!(delayed.at(&format!("k{n}"), due, &to_target("x")).await.unwrap(), Placed::Scheduled { at: due });
    }
    let worker = Scheduler::builder(&space).spawn().await.unwrap();
    assert_eq!(inbox.take(messages).await.len(), messages);
    worker.drain().await;
    (counts.0.load(Ordering::Relaxed), counts.1.load(Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn the_number_of_requests_grows_with_the_messages_and_no_faster() {
    for road in [Road::Timers, Road::Index] {
        let (few, many) = (requests(road, 100).await, requests(road, 1000).await);
        // One to schedule it, one to send it.
        assert_eq!((few.0, many.0), (2 * 100, 2 * 1000), "{road:?}");
        // Reads are shared.
        assert!(few.1 < 50 && many.1 < 1000 / 4, "{road:?}: {few:?}, {many:?}");
    }
}
