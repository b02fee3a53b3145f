//! Locks on the embedded engine: processes that are cut off, answers that are lost, and time that passes.

use super::held::{LEASE, TICK, is_stored, key, lock, lost_at, process, space, spawn, writes};
use anabranch::{
    Codec,
    cell::{CellError, Cells, Fence},
    coordination::{CoordinationError, Election, Guard, Lock, Once, RwLock, Semaphore},
    core::coordination::permits::Permits,
    engine::{Expect, PutOptions, Space},
    testing::{
        faulty::{Fault, Odds, Op},
        pass,
    },
};
use futures_util::StreamExt as _;
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{join, select};

fn is_lost(outcome: &Result<(), CoordinationError>) -> bool {
    matches!(outcome, Err(CoordinationError::Lost(_)))
}

/// G18: the origin's "distributed lock" let everybody in.
#[tokio::test(start_paused = true)]
async fn two_holders_are_impossible() {
    let space = space().await;
    let inside = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for seed in 0..4 {
        let (own, _) = process(&space, seed);
        for _ in 0..4 {
            let (lock, inside, clock) = (lock(&own), Arc::clone(&inside), space.clock().clone());
            tasks.push(spawn(async move {
                let mut tokens = Vec::new();
                for _ in 0..3 {
                    let guard = lock.acquire().await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "somebody else is inside");
                    assert!(lock.try_acquire().await.unwrap().is_none());
                    clock.timeout(Duration::from_millis(50), std::future::pending::<()>()).await;
                    tokens.push(guard.token());
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
                tokens
            }));
        }
    }
    let mut all = Vec::new();
    for task in tasks {
        let tokens = task.await.unwrap();
        assert!(tokens.is_sorted_by(|a, b| a < b));
        all.extend(tokens);
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 48, "each holder has a token of its own");
    assert!(!is_stored(&space, "lock.l").await, "nothing is left of a lock that nobody holds");
}

/// G16: in the origin a lost lock was found out by asking, after a renewal had failed, and no token told holders apart.
#[tokio::test(start_paused = true)]
async fn a_holder_that_is_cut_off_stops_before_another_starts() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let clock = space.clock().clone();
    let guard = lock(&cut).acquire().await.unwrap();
    let other = spawn({
        let lock = lock(&space);
        async move { lock.acquire().await.unwrap() }
    });
    pass(3 * LEASE).await;
    assert!(guard.is_held() && !other.is_finished(), "it renews for as long as it can");
    let silent_since = clock.instant();
    store.hold();
    let lost = lost_at(&guard, &clock);
    let next = other.await.unwrap();
    let taken = clock.instant();
    let lost = lost.await.unwrap();
    assert!(lost < taken, "lost {:?} after it was taken", lost - taken);
    assert!(lost - silent_since <= LEASE && taken - silent_since >= LEASE * 2 / 3);
    assert!(taken - silent_since <= LEASE * 12 / 10 + TICK);
    assert!(!guard.is_held() && guard.valid_until() <= lost);
    assert!(next.token() > guard.token() && Fence::token(&guard).is_err() && Fence::token(&next).is_ok());
    store.resume();
    assert!(is_lost(&guard.release().await));
    assert!(next.is_held());
    next.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_only_the_newest_holder_may_write_is_not_written_by_an_earlier_one() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let (ours, theirs) = (Cells::<u64>::new(&cut, Codec::json()), Cells::<u64>::new(&space, Codec::json()));
    let guard = lock(&cut).acquire().await.unwrap();
    ours.cell("report").unwrap().update_fenced(&guard, |n| *n = 1).await.unwrap();
    store.hold();
    let next = lock(&space).acquire().await.unwrap();
    theirs.cell("report").unwrap().update_fenced(&next, |n| *n = 2).await.unwrap();
    store.resume();
    let refused = ours.cell("report").unwrap().update_fenced(&guard, |n| *n = 3).await;
    assert!(matches!(refused, Err(CellError::Lost(_))), "{refused:?}");
    // Also when it had looked at its guard just before it fell asleep.
    let refused = ours.cell("report").unwrap().update_fenced(&guard.token(), |n| *n = 3).await;
    assert!(matches!(refused, Err(CellError::Fenced { .. })), "{refused:?}");
    assert_eq!(theirs.cell("report").unwrap().read().await.unwrap().unwrap().value, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_never_given_to_another_and_whoever_waits_may_give_up() {
    let space = space().await;
    let (other, _) = process(&space, 1);
    let guard = lock(&space).holder_info("first").acquire().await.unwrap();
    let waited = lock(&other).acquire_within(20 * LEASE).await;
    assert!(matches!(waited, Err(CoordinationError::Deadline(_))), "{waited:?}");
    assert!(guard.is_held());
    let holder = lock(&other).holder().await.unwrap().unwrap();
    assert_eq!((holder.info.as_str(), holder.token), ("first", guard.token()));
    // It left the queue, so nobody waits for it.
    let next = lock(&space);
    let (released, next) = join!(guard.release(), next.acquire_within(TICK));
    released.unwrap();
    next.unwrap().release().await.unwrap();
    assert_eq!(lock(&other).holder().await.unwrap(), None);
}

/// G14: the origin's waiters polled, with a consumer for each attempt.
#[tokio::test(start_paused = true)]
async fn a_waiter_is_woken_by_whatever_ends_a_hold_and_does_not_poll() {
    let space = space().await;
    for end in ["release", "drop", "deletion", "expiry", "eviction"] {
        let (holding, holders_store) = process(&space, 1);
        let (waiting, store) = process(&space, 2);
        let calls = Arc::new([const { AtomicUsize::new(0) }; 3]);
        let counted = Arc::clone(&calls);
        store.plan(move |call| {
            for (count, counts) in counted.iter().zip([call.op == Op::Watch, call.op.writes(), call.op == Op::Read]) {
                count.fetch_add(usize::from(counts), Ordering::SeqCst);
            }
            None
        });
        let guard = lock(&holding).acquire().await.unwrap();
        let waiter = spawn(async move { Lock::new(&waiting, "l", LEASE * 100).unwrap().acquire().await.unwrap() });
        writes(&space, "lock.l", 1).await;
        pass(LEASE * 5).await;
        let counts: Vec<_> = calls.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        assert_eq!(counts, [1, 1, 1], "it came, began to watch, and waits in silence");
        let before = space.clock().instant();
        let at_once = Duration::from_millis(100);
        let patience = match end {
            "release" => {
                guard.release().await.unwrap();
                at_once
            }
            "drop" => {
                drop(guard);
                at_once
            }
            "deletion" => {
                space.store().delete(&key("lock.l"), Expect::Anything).await.unwrap();
                at_once
            }
            "expiry" => {
                // As when all members are silent for long: what is written now has not even a second to live.
                let stored = space.store().get(&key("lock.l")).await.unwrap().unwrap();
                holders_store.hold();
                let brief = PutOptions::default().ttl(Duration::from_secs(1));
                space.store().put(&key("lock.l"), stored.value, Expect::At(stored.revision), brief).await.unwrap();
                Duration::from_secs(1) + at_once
            }
            _ => {
                holders_store.hold();
                LEASE * 12 / 10
            }
        };
        let next = waiter.await.unwrap();
        let took = space.clock().instant() - before;
        assert!(took <= patience, "{end}: it took {took:?}");
        assert_eq!(calls[0].load(Ordering::SeqCst), 1, "{end}: one watch for the whole wait");
        next.release().await.unwrap();
    }
}

/// G12, G13: the origin's unlock did nothing, or reported success when it had failed.
#[tokio::test(start_paused = true)]
async fn a_release_releases_or_says_that_it_did_not() {
    let space = space().await;
    for fault in [Fault::Unknown { applied: true }, Fault::Unknown { applied: false }, Fault::Conflict, Fault::Unavailable] {
        let (own, store) = process(&space, 1);
        let guard = lock(&own).acquire().await.unwrap();
        store.once(fault, |call| call.op.writes());
        guard.release().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(!is_stored(&space, "lock.l").await, "{fault:?}");
    }
    // Where it cannot, it says so, and the lease does what is left to do.
    for fault in [Fault::Unavailable, Fault::Hang, Fault::Unknown { applied: false }] {
        let (own, store) = process(&space, 1);
        // Longer than a release is tried.
        let long = Lock::new(&own, "l", LEASE * 6).unwrap();
        let guard = long.acquire().await.unwrap();
        let lost = lost_at(&guard, space.clock());
        store.plan(move |call| (call.op != Op::Watch).then_some(fault));
        if fault == Fault::Hang {
            store.hold();
        }
        let released = guard.release().await;
        let said = match (&released, fault) {
            (Err(CoordinationError::Cell { source: CellError::Unavailable(_), .. }), fault) => fault == Fault::Unavailable,
            (Err(CoordinationError::Cell { source: CellError::Unknown(_), .. }), fault) => fault != Fault::Unavailable,
            _ => false,
        };
        assert!(said, "{fault:?}: {released:?}");
        assert!(is_stored(&space, "lock.l").await, "{fault:?}");
        lost.await.unwrap();
        let next = lock(&space).acquire_within(LEASE * 8).await.unwrap();
        store.behave();
        next.release().await.unwrap();
    }
    // What was taken away is not released.
    let guard = lock(&space).acquire().await.unwrap();
    space.store().delete(&key("lock.l"), Expect::Anything).await.unwrap();
    assert!(is_lost(&guard.release().await));
}

/// G17: in the origin an old renewal could end the renewal of the next hold.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_late_touches_no_later_guard() {
    let space = space().await;
    let (own, store) = process(&space, 1);
    let lock = lock(&own);
    let first = lock.acquire().await.unwrap();
    // A renewal of the first is on its way for longer than the first lives.
    let mut late = Some(Fault::Delay(LEASE / 3));
    store.plan(move |call| if call.op.writes() { late.take() } else { None });
    pass(LEASE / 3 + TICK).await;
    first.release().await.unwrap();
    let second = lock.acquire().await.unwrap();
    // And one that is taken away learns so from its own renewal.
    space.store().delete(&key("lock.l"), Expect::Anything).await.unwrap();
    let third = lock.acquire().await.unwrap();
    second.lost().await;
    pass(LEASE * 5).await;
    assert!(third.is_held() && !second.is_held() && third.token() > second.token());
    let holder = lock.holder().await.unwrap().unwrap();
    assert_eq!(holder.token, third.token());
    assert!(is_lost(&second.release().await));
    drop(lock);
    pass(LEASE * 5).await;
    assert!(third.is_held(), "it needs nothing but itself");
    third.release().await.unwrap();
}

/// G15, N2: in the origin a renewal, and a lock that was taken again after an unlock, had no TTL.
#[tokio::test(start_paused = true)]
async fn what_the_dead_leave_is_collected_after_renewals_and_after_a_new_start() {
    let space = space().await;
    for round in 0..3 {
        let (own, store) = process(&space, round);
        let guard = lock(&own).acquire().await.unwrap();
        pass(LEASE * 20).await;
        assert!(guard.is_held() && is_stored(&space, "lock.l").await, "a renewal keeps it");
        if round == 0 {
            guard.release().await.unwrap();
        } else {
            store.hold();
            pass(LEASE * 2).await;
            assert!(is_stored(&space, "lock.l").await, "nobody has looked");
            pass(Permits::LEAST_KEPT).await;
            store.resume();
        }
        assert!(!is_stored(&space, "lock.l").await, "round {round}: it is collected long after the lease");
    }
}

#[tokio::test(start_paused = true)]
async fn an_acquisition_whose_answer_is_lost_is_recognized() {
    let space = space().await;
    for (fault, seed) in [(Fault::Unknown { applied: true }, 1), (Fault::Unknown { applied: false }, 2), (Fault::Conflict, 3)] {
        for waits in [false, true] {
            let (own, store) = process(&space, seed);
            store.once(fault, |call| call.op == Op::Put);
            let guard =
                if waits { lock(&own).acquire().await.unwrap() } else { lock(&own).try_acquire().await.unwrap().unwrap() };
            let holder = lock(&space).holder().await.unwrap().unwrap();
            assert_eq!(holder.token, guard.token(), "{fault:?}");
            guard.release().await.unwrap();
        }
    }
    // Every second answer is lost, for long.
    let (own, store) = process(&space, 9);
    store.odds(Odds { unknown: 500, ..Odds::default() });
    for _ in 0..20 {
        let guard = lock(&own).acquire().await.unwrap();
        let holder = lock(&space).holder().await.unwrap().unwrap();
        assert_eq!(holder.token, guard.token());
        guard.release().await.unwrap();
    }
}

/// A hold counts from before it was asked for, however late the answer comes.
#[tokio::test(start_paused = true)]
async fn a_grant_that_comes_late_is_renewed_before_it_is_believed() {
    let space = space().await;
    let (own, store) = process(&space, 1);
    store.once(Fault::Delay(LEASE * 9 / 10), |call| call.op == Op::Put);
    let guard = lock(&own).acquire().await.unwrap();
    let left = guard.valid_until() - space.clock().instant();
    assert!(left > LEASE * 9 / 10, "{left:?}");
    pass(LEASE * 3).await;
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_to_wait_or_drops_a_guard_leaves() {
    let space = space().await;
    let guard = lock(&space).acquire().await.unwrap();
    let (impatient, patient) = (lock(&space), lock(&space));
    select! {
        _ = impatient.acquire() => panic!("it is held"),
        () = pass(LEASE) => {}
    }
    let mut changes = writes_of(&space);
    drop(guard);
    changes.wait().await;
    let guard = patient.acquire_within(Duration::from_millis(50)).await.unwrap();
    assert_eq!(patient.holder().await.unwrap().unwrap().token, guard.token());
    guard.release().await.unwrap();
}

struct Writes(tokio::task::JoinHandle<()>);

fn writes_of(space: &Space) -> Writes {
    let space = space.clone();
    Writes(spawn(async move { writes(&space, "lock.l", 1).await }))
}

impl Writes {
    async fn wait(&mut self) {
        (&mut self.0).await.unwrap();
    }
}

/// A try that is repeated through one handle sees that a holder is dead, without anybody waiting in the queue.
#[tokio::test(start_paused = true)]
async fn attempts_that_do_not_wait_find_a_dead_holder_too() {
    let space = space().await;
    let (cut, store) = process(&space, 1);
    let dead = lock(&cut).acquire().await.unwrap();
    store.hold();
    let began = space.clock().instant();
    let lock = lock(&space);
    let guard: Guard = loop {
        if let Some(guard) = lock.try_acquire().await.unwrap() {
            break guard;
        }
        pass(LEASE / 10).await;
    };
    let took = space.clock().instant() - began;
    assert!(!dead.is_held() && took >= LEASE && took <= LEASE * 12 / 10, "{took:?}");
    assert!(guard.token() > dead.token());
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_and_foreign_bytes_are_left_alone() {
    let space = space().await;
    for lease in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(24 * 3600 + 1), Duration::MAX] {
        assert!(matches!(Lock::new(&space, "l", lease), Err(CoordinationError::Invalid(_))), "{lease:?}");
    }
    assert!(matches!(Lock::new(&space, "", LEASE), Err(CoordinationError::Cell { .. })));
    assert!(matches!(Lock::new(&space, &"x".repeat(600), LEASE), Err(CoordinationError::Cell { .. })));
    let wordy = lock(&space).holder_info("x".repeat(257));
    assert!(matches!(wordy.acquire().await, Err(CoordinationError::Invalid(_))));
    assert!(matches!(wordy.try_acquire().await, Err(CoordinationError::Invalid(_))));
    for bytes in ["", "a text", "\u{8}\u{2}"] {
        let plain = PutOptions::default();
        let revision = space.store().put(&key("lock.l"), bytes.into(), Expect::Anything, plain).await.unwrap();
        let corrupt = |error| matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. });
        assert!(corrupt(lock(&space).acquire().await.unwrap_err()));
        assert!(corrupt(lock(&space).try_acquire().await.unwrap_err()));
        assert!(corrupt(lock(&space).holder().await.unwrap_err()));
        assert_eq!(space.store().get(&key("lock.l")).await.unwrap().unwrap().revision, revision);
    }
}

#[tokio::test(start_paused = true)]
async fn holders_that_are_gone_and_waits_that_are_given_up_leave_nothing_running() {
    let space = space().await;
    pass(Duration::from_secs(20)).await;
    let running = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = running();
    let soon = Duration::from_millis(1);
    let mut kept = Vec::new();
    for n in 0..50 {
        let name = n.to_string();
        let (lock, shared) = (Lock::new(&space, &name, LEASE).unwrap(), RwLock::new(&space, &name, LEASE).unwrap());
        let permits = Semaphore::new(&space, &name, NonZeroU32::MIN, LEASE).unwrap();
        let (election, once) = (Election::new(&space, &name, LEASE).unwrap(), Once::<u64>::new(&space, &name, LEASE).unwrap());
        let guards = [lock.acquire().await.unwrap(), shared.write().await.unwrap(), permits.acquire().await.unwrap()];
        let leadership = election.campaign().await.unwrap();
        assert_eq!(once.call(async || 7).await.unwrap(), 7);
        assert!(election.observe().await.unwrap().next().await.unwrap().is_some());
        assert!(running() > before, "holders renew what they hold");
        let (a, b, c) =
            join!(lock.acquire_within(soon), shared.read_within(soon), permits.acquire_within(NonZeroU32::MIN, soon));
        assert!(a.is_err() && b.is_err() && c.is_err());
        let [released, dropped, forgotten] = guards;
        released.release().await.unwrap();
        drop((dropped, forgotten));
        if n % 2 == 0 {
            leadership.resign().await.unwrap();
        }
        // The handles stay.
        kept.push((lock, shared, permits, election, once));
    }
    pass(Duration::from_secs(20) + 2 * LEASE).await;
    assert_eq!(running(), before);
    assert!(kept[7].0.try_acquire().await.unwrap().is_some());
}
