//! Latches on the embedded engine.

use crate::counted_kit::{DAY, HOUR, TROUBLE, faulty, process, put, raw, space, spawn, stranger};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Ended, Latch},
    testing::{faulty::FaultyStore, pass},
};
use futures_util::future::join_all;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn everybody_waits_until_a_latch_opens_and_nobody_after_it() {
    let (space, store) = faulty(1).await;
    let latch = Latch::new(&space, "ready", 3).unwrap();
    let waiters = (0..32).map(|_| Latch::new(&process(&space, &store), "ready", 3).unwrap());
    let waiters: Vec<_> = waiters.map(|l| spawn(async move { l.wait_within(DAY).await.unwrap() })).collect();
    for (id, remaining) in [("a", 2), ("b", 1), ("a", 1)] {
        assert_eq!(latch.count_down_as(id).await.unwrap(), remaining);
    }
    pass(HOUR).await;
    assert!(waiters.iter().all(|w| !w.is_finished()));
    assert_eq!(latch.count_down_as("c").await.unwrap(), 0);
    for waiter in join_all(waiters).await {
        assert_eq!(waiter.unwrap(), Ended::Zero);
    }
    assert_eq!(latch.wait().await.unwrap(), Ended::Zero);
    // It stays open, for everybody and for ever.
    pass(7 * DAY).await;
    assert_eq!((latch.count_down_as("d").await.unwrap(), latch.remaining().await.unwrap()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_latch_of_another_count_is_refused_and_left_as_it_is() {
    let space = space().await;
    Latch::new(&space, "ready", 3).unwrap().count_down_as("a").await.unwrap();
    let before = raw(&space, "latch.ready").await;
    let other = Latch::new(&space, "ready", 2).unwrap();
    let mismatch = |error| match error {
        CoordinationError::Mismatch { object, what, stored, wanted } => {
            assert_eq!((&*object, what, &*stored, &*wanted), ("latch.ready", "count", "3", "2"));
        }
        error => panic!("{error:?}"),
    };
    mismatch(other.count_down_as("b").await.unwrap_err());
    mismatch(other.remaining().await.unwrap_err());
    mismatch(other.wait_within(HOUR).await.unwrap_err());
    assert_eq!(raw(&space, "latch.ready").await, before);
}

#[tokio::test(start_paused = true)]
async fn a_latch_that_is_removed_or_expires_ends_the_wait() {
    let space = space().await;
    let latch = Latch::new(&space, "ready", 2).unwrap().expires_after(HOUR).unwrap();
    for wanted in [Ended::Closed, Ended::Expired] {
        latch.count_down_as("a").await.unwrap();
        let waiting = spawn({
            let latch = latch.clone();
            async move { latch.wait_within(DAY).await.unwrap() }
        });
        pass(Duration::from_secs(1)).await;
        if wanted == Ended::Closed {
            latch.delete().await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), wanted);
        assert_eq!(latch.remaining().await.unwrap(), 2);
    }
    let late = latch.wait_within(Duration::from_secs(1)).await;
    assert!(matches!(late, Err(CoordinationError::Deadline(_))));
}

#[tokio::test(start_paused = true)]
async fn everybody_counts_down_once_whatever_the_store_does() {
    for seed in 0..30 {
        let bare = space().await;
        let store = FaultyStore::over(&bare, seed);
        store.odds(TROUBLE);
        let down = (0..18).map(|n| {
            let latch = Latch::new(&process(&bare, &store), "ready", 7).unwrap();
            // Six of them, three times each: one is missing.
            async move { while latch.count_down_as(&format!("party-{}", n % 6)).await.is_err() {} }
        });
        tokio::join!(join_all(down), stranger(bare.clone(), "latch.ready", seed, 20));
        store.behave();
        let latch = Latch::new(&bare, "ready", 7).unwrap();
        assert_eq!(latch.remaining().await.unwrap(), 1, "seed {seed}");
        assert_eq!(latch.count_down_as("the last").await.unwrap(), 0, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_latchs_bad_input_is_an_error_and_overwrites_nothing() {
    let space = space().await;
    for count in [0, 16_385] {
        assert!(matches!(Latch::new(&space, "ready", count), Err(CoordinationError::Invalid(_))));
    }
    let latch = Latch::new(&space, "ready", 1).unwrap();
    assert!(matches!(latch.count_down_as("").await, Err(CoordinationError::Invalid(_))));
    put(&space, "latch.ready", b"open").await;
    let corrupt = |error| matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. });
    assert!(corrupt(latch.count_down_as("a").await.unwrap_err()));
    assert!(corrupt(latch.wait().await.unwrap_err()));
    assert_eq!(raw(&space, "latch.ready").await.unwrap(), &b"open"[..]);
}

#[tokio::test(start_paused = true)]
async fn a_latch_that_is_removed_and_made_anew_in_one_write_has_ended() {
    let space = space().await;
    let latch = Latch::new(&space, "ready", 2).unwrap();
    latch.count_down_as("a").await.unwrap();
    let waiting = spawn({
        let latch = latch.clone();
        async move { latch.wait_within(HOUR).await.unwrap() }
    });
    pass(Duration::from_secs(1)).await;
    let (deleted, counted) = tokio::join!(biased; latch.delete(), latch.count_down_as("b"));
    deleted.unwrap();
    assert_eq!(counted.unwrap(), 1);
    assert_eq!(waiting.await.unwrap(), Ended::Closed);
}
