//! Read-write locks and semaphores on the embedded engine.

use super::held::{LEASE, TICK, is_stored, lost_at, process, space, spawn, writes};
use anabranch::{
    coordination::{CoordinationError, RwLock, Semaphore},
    engine::Space,
    testing::{Dice, faulty::Odds, pass},
};
use std::{
    num::NonZeroU32,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{select, sync::mpsc};

fn catalogue(space: &Space) -> RwLock {
    RwLock::new(space, "r", LEASE).unwrap()
}

fn number(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn semaphore(space: &Space, capacity: u32) -> Semaphore {
    Semaphore::new(space, "s", number(capacity), LEASE).unwrap()
}

#[tokio::test(start_paused = true)]
async fn readers_share_a_lock_and_a_waiting_writer_is_not_starved() {
    let space = space().await;
    let (other, _) = process(&space, 1);
    let (one, two) = (catalogue(&space).read().await.unwrap(), catalogue(&other).read().await.unwrap());
    assert!(catalogue(&space).try_write().await.unwrap().is_none());
    let (told, mut order) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for (who, writes_to) in [("writer", true), ("reader 3", false), ("reader 4", false)] {
        let (lock, told, clock) = (catalogue(if writes_to { &other } else { &space }), told.clone(), space.clock().clone());
        tasks.push(spawn(async move {
            let guard = if writes_to { lock.write().await.unwrap() } else { lock.read().await.unwrap() };
            told.send(format!("{who} in")).unwrap();
            clock.timeout(Duration::from_secs(1), std::future::pending::<()>()).await;
            told.send(format!("{who} out")).unwrap();
            guard.release().await.unwrap();
        }));
        writes(&space, "rw-lock.r", 1).await;
    }
    assert!(catalogue(&space).try_read().await.unwrap().is_none(), "a reader that comes later waits behind the writer");
    assert!(matches!(catalogue(&space).read_within(TICK).await, Err(CoordinationError::Deadline(_))));
    one.release().await.unwrap();
    pass(LEASE).await;
    assert!(order.try_recv().is_err(), "one reader is left");
    two.release().await.unwrap();
    for task in tasks {
        task.await.unwrap();
    }
    let mut said = Vec::new();
    while let Ok(line) = order.try_recv() {
        said.push(line);
    }
    assert_eq!(said[..2], ["writer in", "writer out"]);
    assert!(said[2].ends_with(" in") && said[3].ends_with(" in"), "the readers are in together: {said:?}");
    assert!(!is_stored(&space, "rw-lock.r").await);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_is_cut_off_lets_readers_in_and_one_reader_keeps_writers_out() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let writer = catalogue(&cut).write().await.unwrap();
    store.hold();
    let lost = lost_at(&writer, space.clock());
    let reader = catalogue(&space).read_within(LEASE * 2).await.unwrap();
    assert!(lost.await.unwrap() < space.clock().instant());
    let second = catalogue(&space).read_within(TICK).await.unwrap();
    second.release().await.unwrap();
    assert!(matches!(catalogue(&space).write_within(LEASE * 3).await, Err(CoordinationError::Deadline(_))));
    assert!(reader.is_held());
    assert_eq!(catalogue(&space).holders().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn permits_come_and_go_together_and_a_large_request_is_not_overtaken() {
    let space = space().await;
    let (other, _) = process(&space, 1);
    let two = semaphore(&space, 3).acquire_many(number(2)).await.unwrap();
    assert_eq!(semaphore(&other, 3).available().await.unwrap(), 1);
    let large = spawn({
        let semaphore = semaphore(&other, 3);
        async move { semaphore.acquire_many(number(3)).await.unwrap() }
    });
    writes(&space, "semaphore.s", 1).await;
    assert!(semaphore(&space, 3).try_acquire().await.unwrap().is_none(), "one is free, and it is kept for who came first");
    assert!(matches!(semaphore(&space, 3).acquire_within(number(1), LEASE).await, Err(CoordinationError::Deadline(_))));
    two.release().await.unwrap();
    let large = large.await.unwrap();
    assert_eq!(semaphore(&space, 3).available().await.unwrap(), 0);
    large.release().await.unwrap();
    let one = semaphore(&space, 3).try_acquire_many(number(2)).await.unwrap().unwrap();
    assert_eq!(semaphore(&other, 3).holders().await.unwrap()[0].units, 2);
    one.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_name_has_one_permit_and_the_newest_call_has_the_guard() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let crashed = semaphore(&cut, 2).acquire_as("worker 7").await.unwrap();
    store.hold();
    // It is started again, before anybody knows that it was gone.
    let again = semaphore(&space, 2).acquire_as("worker 7").await.unwrap();
    assert_eq!(semaphore(&space, 2).available().await.unwrap(), 1);
    assert!(again.token() > crashed.token());
    store.resume();
    crashed.lost().await;
    pass(LEASE * 3).await;
    assert!(again.is_held() && !crashed.is_held());
    assert!(matches!(crashed.release().await, Err(CoordinationError::Lost(_))));
    assert!(again.is_held(), "what the earlier call does does not touch it");
    let third = semaphore(&space, 2).try_acquire_as("worker 7").await.unwrap().unwrap();
    let other = semaphore(&space, 2).try_acquire_as("worker 8").await.unwrap().unwrap();
    assert!(semaphore(&space, 2).try_acquire_as("worker 9").await.unwrap().is_none());
    let holders = semaphore(&space, 2).holders().await.unwrap();
    assert_eq!(holders.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["worker 7", "worker 8"]);

    // Also in the queue.
    let waits = spawn({
        let semaphore = semaphore(&cut, 2);
        async move { semaphore.acquire_as("worker 9").await }
    });
    writes(&space, "semaphore.s", 1).await;
    let newer = spawn({
        let semaphore = semaphore(&space, 2);
        async move { semaphore.acquire_as("worker 9").await }
    });
    assert!(matches!(waits.await.unwrap(), Err(CoordinationError::Lost(_))));
    third.release().await.unwrap();
    let replaced = newer.await.unwrap().unwrap();
    again.lost().await;
    assert!(replaced.is_held() && other.is_held());
}

#[tokio::test(start_paused = true)]
async fn a_semaphore_of_another_capacity_and_impossible_requests_are_refused() {
    let space = space().await;
    let permit = semaphore(&space, 3).acquire().await.unwrap();
    let wrong = semaphore(&space, 4);
    let mismatch = |error: CoordinationError| match error {
        CoordinationError::Mismatch { stored, wanted, .. } => (stored, wanted),
        other => panic!("{other:?}"),
    };
    let told = ("3".to_owned(), "4".to_owned());
    assert_eq!(mismatch(wrong.acquire().await.unwrap_err()), told);
    assert_eq!(mismatch(wrong.try_acquire().await.unwrap_err()), told);
    assert_eq!(mismatch(wrong.available().await.unwrap_err()), told);
    assert_eq!(mismatch(wrong.holders().await.unwrap_err()), told);
    for many in [4, u32::MAX] {
        assert!(matches!(semaphore(&space, 3).acquire_many(number(many)).await, Err(CoordinationError::Invalid(_))));
        assert!(matches!(semaphore(&space, 3).try_acquire_many(number(many)).await, Err(CoordinationError::Invalid(_))));
    }
    assert!(matches!(semaphore(&space, 3).acquire_as(&"n".repeat(257)).await, Err(CoordinationError::Invalid(_))));
    assert_eq!((permit.is_held(), semaphore(&space, 3).available().await.unwrap()), (true, 2));
}

/// Several processes whose stores lose, refuse and delay, and now and then fall silent: never more is held than there is.
async fn chaos(seed: u64) -> u32 {
    const CAPACITY: u32 = 3;
    let space = space().await;
    let active = Arc::new(Mutex::new((0_u32, 0_u32)));
    let mut tasks = Vec::new();
    let mut stores = Vec::new();
    for process_number in 0..3_u64 {
        let (own, store) = process(&space, seed * 10 + process_number);
        store.odds(Odds { unknown: 60, conflict: 60, unavailable: 60, latency: Duration::from_millis(200) });
        stores.push(store);
        for task in 0..3_u64 {
            let (semaphore, active, clock) = (semaphore(&own, CAPACITY), Arc::clone(&active), space.clock().clone());
            let mut dice = Dice::new(seed.wrapping_mul(1000) + process_number * 10 + task);
            tasks.push(spawn(async move {
                let mut lost = 0;
                for _ in 0..6 {
                    let units = 1 + u32::try_from(dice.roll(u64::from(CAPACITY))).unwrap();
                    let Ok(guard) = semaphore.acquire_many(number(units)).await else { continue };
                    if !guard.is_held() {
                        continue;
                    }
                    {
                        let mut active = active.lock().unwrap();
                        active.0 += units;
                        active.1 = active.1.max(active.0);
                        assert!(active.0 <= CAPACITY, "seed {seed}: {} of {CAPACITY} are held", active.0);
                    }
                    let work = Duration::from_millis(dice.roll(15_000));
                    select! {
                        biased;
                        () = guard.lost() => lost += 1,
                        _ = clock.timeout(work, std::future::pending::<()>()) => {}
                    }
                    active.lock().unwrap().0 -= units;
                    if dice.roll(3) > 0 {
                        // Whether that goes well is the store's business.
                        let _ = guard.release().await;
                    }
                }
                lost
            }));
        }
    }
    let mut dice = Dice::new(seed);
    for _ in 0..8 {
        pass(Duration::from_millis(2000 + dice.roll(8_000))).await;
        let store = &stores[usize::try_from(dice.roll(3)).unwrap()];
        store.hold();
        pass(Duration::from_millis(12_000 + dice.roll(15_000))).await;
        store.resume();
    }
    for store in &stores {
        store.behave();
    }
    let mut lost = 0;
    for task in tasks {
        lost += task.await.unwrap();
    }
    let (held, most) = *active.lock().unwrap();
    assert_eq!((held, most), (0, CAPACITY), "seed {seed}: it was used, and nobody is left");
    // Whatever was left behind is cleared away by whoever comes next.
    let all = semaphore(&space, CAPACITY).acquire_within(number(CAPACITY), LEASE * 3).await.unwrap();
    all.release().await.unwrap();
    lost
}

#[tokio::test(start_paused = true)]
async fn never_more_permits_are_held_than_there_are_whatever_happens_to_stores() {
    let mut lost = 0;
    for seed in 1..=6 {
        lost += chaos(seed).await;
    }
    assert!(lost > 3, "hardly anybody was cut off while he held something: {lost}");
}
