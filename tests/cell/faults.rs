//! Cells before a store that conflicts, loses answers and goes away.

use crate::kit::{elsewhere, faulty, number, numbers, raw, space};
use anabranch::{
    cell::CellError,
    engine::{Expect, Key, Space},
    testing::faulty::{Fault, FaultyStore, Odds},
};
use futures_util::future::join_all;
use std::{sync::Arc, time::Duration};

/// Two processes on one store, each with its own cells.
fn processes(space: &Space, store: &Arc<FaultyStore>, count: usize) -> Vec<Space> {
    (0..count).map(|_| space.clone().with_store(Arc::<FaultyStore>::clone(store))).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_found_whether_or_not_it_was_applied() {
    for applied in [true, false] {
        let (space, store) = faulty(1).await;
        let cell = number(&space, "n");
        cell.update(|n| *n = 10).await.unwrap();
        store.once(Fault::Unknown { applied }, |call| call.op.writes());
        assert_eq!(
            cell.update(|n| {
                *n += 1;
                *n
            })
            .await
            .unwrap(),
            11,
            "applied: {applied}"
        );
        assert_eq!(cell.read().await.unwrap().unwrap().value, 11, "applied: {applied}");
        assert_eq!(numbers(&space).counts().unknowns, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_write_that_another_process_replaced_is_counted_once() {
    let (space, store) = faulty(1).await;
    let other = number(&space.clone().with_store(Arc::<FaultyStore>::clone(&store)), "n");
    let cell = number(&space, "n");
    cell.update(|n| *n = 10).await.unwrap();
    store.plan({
        let mut write = 0;
        move |call| {
            write += usize::from(call.op.writes());
            match (write, call.op.writes()) {
                // Ours happens, and the answer is lost; we look only after another one has come.
                (1, true) => Some(Fault::Unknown { applied: true }),
                (1, false) => Some(Fault::Delay(Duration::from_secs(2))),
                _ => None,
            }
        }
    });
    let late = async {
        anabranch::testing::pass(Duration::from_secs(1)).await;
        other.update(|n| *n += 100).await
    };
    let (ours, theirs) = tokio::join!(
        cell.update(|n| {
            *n += 1;
            *n
        }),
        late
    );
    theirs.unwrap();
    assert_eq!(ours.unwrap(), 11);
    assert_eq!(cell.read().await.unwrap().unwrap().value, 111);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_found_out_is_unknown_and_not_repeated() {
    let (space, store) = faulty(1).await;
    let cell = number(&space, "n");
    cell.update(|n| *n = 10).await.unwrap();
    store.once(Fault::Unknown { applied: false }, |call| call.op.writes());
    // Between the lost write and the look at it, a client without trails writes.
    let bare = space.clone();
    let (lost, ()) = tokio::join!(cell.update(|n| *n += 1), async {
        tokio::task::yield_now().await;
        elsewhere(&bare, "n", "50").await;
    });
    match lost {
        // Depending on who comes first it is a conflict that was resolved, or unknown; never a second increment.
        Ok(()) => assert_eq!(cell.read().await.unwrap().unwrap().value, 51),
        Err(CellError::Unknown(_)) => assert_eq!(cell.read().await.unwrap().unwrap().value, 50),
        Err(error) => panic!("{error}"),
    }
}

/// The increments of many tasks in several processes, under everything a store may do: each is counted once, or its caller knows
/// that it is not known.
#[tokio::test(start_paused = true)]
async fn increments_are_neither_lost_nor_doubled_whatever_the_store_does() {
    for seed in 0..60 {
        let (space, store) = faulty(seed).await;
        store.odds(Odds { unknown: 60, conflict: 60, unavailable: 60, latency: Duration::from_millis(20) });
        let spaces = processes(&space, &store, 3);
        let writers = spaces.iter().flat_map(|space| (0..8).map(|_| number(space, "n")));
        let outcomes = join_all(writers.map(|cell| async move {
            let (mut known, mut unknown) = (0_u64, 0_u64);
            for _ in 0..10 {
                match cell.update(|n| *n += 1).await {
                    Ok(()) => known += 1,
                    Err(CellError::Unknown(_)) => unknown += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (known, unknown)
        }))
        .await;
        store.behave();
        let (known, unknown) = outcomes.into_iter().fold((0, 0), |(k, u), (known, unknown)| (k + known, u + unknown));
        let value = number(&space, "n").read().await.unwrap().unwrap().value;
        assert!((known..=known + unknown).contains(&value), "seed {seed}: {value} of {known} known and {unknown} unknown");
        assert!(known >= 200, "seed {seed}: hardly anything was found out: {unknown} unknown");
    }
}

/// G2: whoever loses waits a little, by chance, until a deadline; nobody starves after some number of attempts.
#[tokio::test(start_paused = true)]
async fn sixty_four_processes_on_one_key_all_succeed() {
    let (space, store) = faulty(7).await;
    store.odds(Odds { latency: Duration::from_millis(2), ..Odds::default() });
    let writers = processes(&space, &store, 64);
    let outcomes = join_all(writers.iter().map(|space| async move {
        let cell = number(space, "n");
        for _ in 0..5 {
            cell.update(|n| *n += 1).await?;
        }
        Ok::<_, CellError>(())
    }))
    .await;
    outcomes.into_iter().for_each(Result::unwrap);
    assert_eq!(number(&space, "n").read().await.unwrap().unwrap().value, 320);
}

#[tokio::test(start_paused = true)]
async fn contention_ends_at_the_deadline_with_what_was_seen() {
    let (space, store) = faulty(1).await;
    let cell = numbers(&space).deadline(Duration::from_secs(3)).cell("n").unwrap();
    let revision = elsewhere(&space, "n", "1").await;
    store.plan(|call| call.op.writes().then_some(Fault::Conflict));
    let started = space.clock().instant();
    match cell.update(|n| *n += 1).await {
        Err(CellError::Contended { key, attempts, last }) => {
            assert_eq!((key, last), (Key::new("n").unwrap(), Some(revision)));
            assert!(attempts > 10, "{attempts}");
        }
        other => panic!("{other:?}"),
    }
    let waited = space.clock().instant() - started;
    assert!((Duration::from_secs(3)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
}

/// G3: a read that times out is not an empty value.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_waited_for_and_never_taken_for_empty() {
    let (space, store) = faulty(1).await;
    elsewhere(&space, "n", "41").await;
    let cell = numbers(&space).deadline(Duration::from_secs(3)).cell("n").unwrap();
    store.plan(|_| Some(Fault::Unavailable));
    assert!(matches!(cell.update(|n| *n += 1).await, Err(CellError::Unavailable(_))));
    let (updated, ()) = tokio::join!(
        cell.update(|n| {
            *n += 1;
            *n
        }),
        async {
            anabranch::testing::pass(Duration::from_secs(2)).await;
            store.behave();
        }
    );
    assert_eq!(updated.unwrap(), 42);
}

/// A future that was polled once and then never again leads, and has the key: others leave it behind.
#[tokio::test(start_paused = true)]
async fn an_update_whose_caller_went_away_happens_once_and_holds_up_nobody() {
    let (space, store) = faulty(1).await;
    let cell = number(&space, "n");
    cell.update(|n| *n += 1).await.unwrap();
    store.hold_writes();
    // Looked at once, and not for a long time.
    let mut forgotten = Box::pin(cell.update(|n| {
        *n += 10;
        *n
    }));
    assert!(futures_util::poll!(&mut forgotten).is_pending());
    store.resume();
    for expected in [2, 3] {
        let others = cell.update(|n| {
            *n += 1;
            *n
        });
        assert_eq!(others.await.unwrap(), expected);
    }
    assert_eq!(forgotten.await.unwrap(), 13, "it finds out that it was left behind");
    cell.update(|n| *n += 0).await.unwrap();
    // One that is dropped after it was sent has happened, and whoever comes next sees it.
    store.once(Fault::Hang, |call| call.op.writes());
    let dropped = space.clock().timeout(Duration::from_secs(1), cell.update(|n| *n += 100)).await;
    assert!(dropped.is_none());
    assert_eq!(
        cell.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        114
    );
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_not_made_again_after_its_key_was_removed() {
    let plain = space().await;
    let store = FaultyStore::over(&plain, 1);
    let cell = number(&plain.clone().with_store(Arc::<FaultyStore>::clone(&store)), "n");
    // The first write happens, and its answer is lost; then nothing can be read for a moment.
    let (mut written, mut unread) = (false, 1);
    store.plan(move |call| match (call.op.writes(), written) {
        (true, false) => {
            written = true;
            Some(Fault::Unknown { applied: true })
        }
        (false, true) if unread > 0 => {
            unread -= 1;
            Some(Fault::Unavailable)
        }
        _ => None,
    });
    let remove = async {
        while raw(&plain, "n").await.is_none() {
            anabranch::testing::pass(Duration::from_millis(1)).await;
        }
        plain.store().delete(&Key::new("n").unwrap(), Expect::Anything).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(cell.update(|n| *n = 7), remove);
    // It was there, and somebody has removed it: whether it was is not to be seen any more.
    assert!(matches!(outcome, Err(CellError::Unknown(_))), "{outcome:?}");
    assert_eq!(raw(&plain, "n").await, None, "what was removed is there again");
}
