//! Wait groups on the embedded engine: nobody waits for ever, and nothing counts twice.

use crate::counted_kit::{DAY, HOUR, Scripted, TROUBLE, faulty, key, process, put, raw, space, spawn, stranger};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Ended, WaitGroup},
    core::coordination::group::Group,
    engine::{Change, Entry, Rejection, Revision, Space},
    testing::{
        Dice,
        faulty::{Fault, FaultyStore, Op},
        pass,
    },
};
use futures_util::{FutureExt as _, future::join_all};
use std::{sync::Arc, time::Duration};

fn group(space: &Space) -> WaitGroup {
    WaitGroup::new(space, "batch-7").unwrap()
}

/// Runs until nothing happens any more but for the passing of time.
async fn settle() {
    pass(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn sixty_four_waiters_are_all_woken_at_zero() {
    let (space, store) = faulty(1).await;
    let jobs = group(&space);
    jobs.enter("a").await.unwrap();
    jobs.add(2).await.unwrap();
    let waiters = (0..64).map(|n| {
        // In one process, and in others.
        let group = if n % 2 == 0 { jobs.clone() } else { group(&process(&space, &store)) };
        spawn(async move { group.wait().await.unwrap() })
    });
    let waiters = join_all(waiters.collect::<Vec<_>>()).map(|all| all.into_iter().map(Result::unwrap).collect::<Vec<_>>());
    tokio::pin!(waiters);
    settle().await;
    assert_eq!((jobs.done().await.unwrap(), jobs.leave("a").await.unwrap()), (2, 1));
    settle().await;
    assert!(waiters.as_mut().now_or_never().is_none());
    jobs.done().await.unwrap();
    assert_eq!(waiters.await, [Ended::Zero; 64]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_nobody_entered_has_nothing_to_wait_for() {
    let group = group(&space().await);
    assert_eq!(group.wait().await.unwrap(), Ended::Zero);
    assert_eq!(group.count().await.unwrap(), 0);
}

/// G9: the group is read, then watched, and what happens in between is never told.
#[tokio::test(start_paused = true)]
async fn g9_an_end_that_comes_between_looking_and_watching_is_seen() {
    // Whichever of the two comes first is slow, and the last member leaves while it is under way.
    for slow in [Op::Watch, Op::Read] {
        let (space, store) = faulty(1).await;
        let other = group(&space.clone().with_store(Arc::clone(space.store())));
        let group = group(&space);
        other.enter("a").await.unwrap();
        store.once(Fault::Delay(Duration::from_secs(5)), move |call| call.op == slow);
        let waiting = group.wait_within(HOUR);
        let leaving = async {
            pass(Duration::from_secs(1)).await;
            // It goes past the fault, which has struck.
            other.leave("a").await.unwrap();
        };
        let (ended, ()) = tokio::join!(waiting, leaving);
        assert_eq!(ended.unwrap(), Ended::Zero);
    }
}

#[tokio::test(start_paused = true)]
async fn a_zero_that_is_over_at_once_wakes_who_waited_for_it() {
    let space = space().await;
    let group = group(&space);
    group.enter("a").await.unwrap();
    let waiting = spawn({
        let group = group.clone();
        async move { group.wait_within(HOUR).await.unwrap() }
    });
    settle().await;
    // Both are in one write, so there never was a revision without a member.
    let (left, entered) = tokio::join!(biased; group.leave("a"), group.enter("b"));
    assert!(entered.unwrap());
    assert_eq!(left.unwrap(), 0);
    assert_eq!(waiting.await.unwrap(), Ended::Zero);
    assert_eq!(group.count().await.unwrap(), 1);
}

/// G10: whoever waits is not woken when the group is closed, deleted or expires.
#[tokio::test(start_paused = true)]
async fn g10_close_deletion_and_expiry_wake_who_waits() {
    for (what, wanted) in [("close", Ended::Closed), ("delete", Ended::Closed), ("expire", Ended::Expired)] {
        let (space, store) = faulty(1).await;
        let group = group(&space).expires_after(HOUR).unwrap();
        group.enter("a").await.unwrap();
        let began = space.clock().now();
        let waiting = (0..8).map(|_| WaitGroup::new(&process(&space, &store), "batch-7").unwrap());
        let waiting = join_all(waiting.map(|g| spawn(async move { g.wait_within(DAY).await.unwrap() })));
        settle().await;
        match what {
            "close" => group.close().await.unwrap(),
            "delete" => group.delete().await.unwrap(),
            _ => {}
        }
        for ended in waiting.await {
            assert_eq!(ended.unwrap(), wanted, "{what}");
        }
        let passed = space.clock().now().since(began);
        assert!(if what == "expire" { (HOUR..HOUR + Duration::from_secs(1)).contains(&passed) } else { passed < HOUR });
    }
}

/// G10: waiting does not listen to its cancellation.
#[tokio::test(start_paused = true)]
async fn g10_a_wait_ends_when_its_time_is_over_and_leaves_nothing_behind() {
    let space = space().await;
    let group = group(&space);
    group.enter("a").await.unwrap();
    // What the key itself keeps is gone after a while.
    pass(Duration::from_secs(60)).await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let began = space.clock().now();
    let late = join_all((0..16).map(|_| group.wait_within(Duration::from_secs(5)))).await;
    for ended in late {
        assert!(matches!(ended, Err(CoordinationError::Deadline(name)) if name == "group.batch-7"));
    }
    assert!(space.clock().now().since(began) < Duration::from_secs(6));
    settle().await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
    group.leave("a").await.unwrap();
    assert_eq!(group.wait().await.unwrap(), Ended::Zero);
}

#[tokio::test(start_paused = true)]
async fn a_group_lives_a_day_after_its_last_change() {
    let group = group(&space().await);
    group.enter("a").await.unwrap();
    pass(23 * HOUR).await;
    group.enter("b").await.unwrap();
    pass(23 * HOUR).await;
    // What changes nothing does not prolong it.
    group.enter("a").await.unwrap();
    assert_eq!(group.members().await.unwrap(), ["a", "b"]);
    pass(2 * HOUR).await;
    assert_eq!(group.count().await.unwrap(), 0);
}

/// G8: one mutex for all groups, held over all retries, also for readers.
#[tokio::test(start_paused = true)]
async fn g8_a_group_whose_writes_hang_keeps_no_other_one_waiting() {
    let (space, store) = faulty(1).await;
    let (stuck, free) = (WaitGroup::new(&space, "stuck").unwrap(), WaitGroup::new(&space, "free").unwrap());
    stuck.enter("a").await.unwrap();
    store.plan(|call| call.writes_below("group.stuck").then_some(Fault::Hang));
    let hanging = spawn({
        let stuck = stuck.clone();
        async move { stuck.leave("a").await }
    });
    settle().await;
    free.enter("b").await.unwrap();
    assert_eq!(free.leave("b").await.unwrap(), 0);
    assert_eq!(free.wait().await.unwrap(), Ended::Zero);
    // Reading the one that hangs does not hang.
    stuck.count().await.unwrap();
    assert!(!hanging.is_finished());
    hanging.abort();
}

/// G11: redelivered messages enter and leave again, in any order, while the store loses answers and a stranger wipes out their
/// traces.
#[tokio::test(start_paused = true)]
async fn g11_redelivered_members_are_counted_once_whatever_the_store_does() {
    for seed in 0..40 {
        let bare = space().await;
        let store = FaultyStore::over(&bare, seed);
        let mut dice = Dice::new(seed);
        let processes: Vec<_> = (0..3).map(|_| group(&process(&bare, &store))).collect();
        // One member that stays until the end, so that nobody sees a zero before.
        processes[0].enter("last").await.unwrap();
        store.odds(TROUBLE);
        let mut deliveries = Vec::new();
        for job in 0..8 {
            for _ in 0..=dice.roll(3) {
                let group = processes[usize::try_from(dice.roll(3)).unwrap()].clone();
                let delay = Duration::from_millis(dice.roll(100));
                deliveries.push(async move {
                    pass(delay).await;
                    let id = format!("job-{job}");
                    while group.enter(&id).await.is_err() {}
                    while group.leave(&id).await.is_err() {}
                });
            }
        }
        let waiter = {
            let group = group(&process(&bare, &store));
            spawn(async move {
                loop {
                    // The watch may not begin while the store is away.
                    match group.wait_within(HOUR).await {
                        Ok(ended) => return ended,
                        Err(CoordinationError::Cell { source: CellError::Unavailable(_), .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        tokio::join!(join_all(deliveries), stranger(bare.clone(), "group.batch-7", seed, 20));
        assert!(!waiter.is_finished(), "seed {seed}");
        store.behave();
        assert_eq!(processes[1].members().await.unwrap(), ["last"], "seed {seed}");
        assert_eq!(processes[2].leave("last").await.unwrap(), 0, "seed {seed}");
        assert_eq!(waiter.await.unwrap(), Ended::Zero, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn counting_a_group_below_zero_is_an_error_and_writes_nothing() {
    let space = space().await;
    let group = group(&space);
    assert!(matches!(group.done().await, Err(CoordinationError::OutOfRange { .. })));
    assert_eq!(raw(&space, "group.batch-7").await, None);
    group.enter("a").await.unwrap();
    group.add(1).await.unwrap();
    let before = raw(&space, "group.batch-7").await;
    assert!(matches!(group.add(-2).await, Err(CoordinationError::OutOfRange { .. })));
    assert!(matches!(group.add(i64::MIN).await, Err(CoordinationError::OutOfRange { .. })));
    assert_eq!(raw(&space, "group.batch-7").await, before);
}

#[tokio::test(start_paused = true)]
async fn nothing_enters_a_closed_group() {
    let group = group(&space().await);
    group.enter("a").await.unwrap();
    group.close().await.unwrap();
    assert!(matches!(group.enter("b").await, Err(CoordinationError::Closed(name)) if name == "group.batch-7"));
    assert!(matches!(group.add(1).await, Err(CoordinationError::Closed(_))));
    assert_eq!(group.wait().await.unwrap(), Ended::Closed);
    group.leave("a").await.unwrap();
    assert_eq!(group.wait().await.unwrap(), Ended::Zero);
    group.delete().await.unwrap();
    assert!(group.enter("b").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_stored_at_a_groups_key_stays_as_it_is() {
    let space = space().await;
    for foreign in [&b"3"[..], &[0x08, 4], b""] {
        put(&space, "group.batch-7", foreign).await;
        let group = group(&space);
        let corrupt = |error| matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. });
        assert!(corrupt(group.wait_within(HOUR).await.unwrap_err()));
        assert!(corrupt(group.enter("a").await.unwrap_err()));
        assert!(corrupt(group.leave("a").await.unwrap_err()));
        assert!(corrupt(group.done().await.unwrap_err()));
        assert!(corrupt(group.close().await.unwrap_err()));
        assert_eq!(raw(&space, "group.batch-7").await.unwrap(), foreign);
    }
}

#[tokio::test(start_paused = true)]
async fn a_groups_arguments_out_of_range_are_errors() {
    let space = space().await;
    let group = group(&space);
    assert!(matches!(WaitGroup::new(&space, ""), Err(CoordinationError::Cell { .. })));
    assert!(matches!(group.clone().remembering(0), Err(CoordinationError::Invalid(_))));
    assert!(matches!(group.clone().remembering(32_769), Err(CoordinationError::Invalid(_))));
    assert!(matches!(group.clone().expires_after(Duration::from_millis(999)), Err(CoordinationError::Invalid(_))));
    assert!(matches!(group.enter("").await, Err(CoordinationError::Invalid(_))));
    assert!(matches!(group.leave(&"x".repeat(513)).await, Err(CoordinationError::Invalid(_))));
}

fn stored(space: &Space, members: &[&str], revision: u64) -> Change {
    stored_at(space, members, revision, 1)
}

fn stored_at(space: &Space, members: &[&str], revision: u64, born: u64) -> Change {
    let mut group = Group::new(born);
    for member in members {
        group.enter(member).unwrap();
    }
    let now = space.clock().now();
    Change::Put(Entry::new(key("group.batch-7"), group.encode(), Revision::new(revision), None, now))
}

#[tokio::test(start_paused = true)]
async fn what_happened_in_a_gap_of_the_watch_is_found_out_after_it() {
    let space = space().await;
    let ended = async |after: Vec<Change>| {
        let mut changes = vec![stored(&space, &["a"], 1), Change::Synced, Change::Resynced];
        changes.extend(after);
        group(&Scripted::over(&space, changes)).wait_within(HOUR).await
    };
    assert_eq!(ended(vec![stored(&space, &[], 2), Change::Synced]).await.unwrap(), Ended::Zero);
    assert_eq!(ended(vec![Change::Synced]).await.unwrap(), Ended::Closed);
    let still = ended(vec![stored(&space, &["a"], 1), Change::Synced]).await;
    assert!(matches!(still, Err(CoordinationError::Deadline(_))));
    // Gone, and its time had run out.
    let old = stored(&space, &["a"], 1);
    pass(DAY).await;
    let gone = Scripted::over(&space, vec![old, Change::Synced, Change::Resynced, Change::Synced]);
    assert_eq!(group(&gone).wait_within(HOUR).await.unwrap(), Ended::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_removed_and_made_anew_in_one_write_has_ended() {
    let space = space().await;
    let group = group(&space);
    group.enter("a").await.unwrap();
    let waiting = spawn({
        let group = group.clone();
        async move { group.wait_within(HOUR).await.unwrap() }
    });
    settle().await;
    let (deleted, entered) = tokio::join!(biased; group.delete(), group.enter("b"));
    deleted.unwrap();
    assert!(entered.unwrap());
    assert_eq!(waiting.await.unwrap(), Ended::Closed);
    assert_eq!(group.members().await.unwrap(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_expired_and_was_made_anew_before_anybody_saw_it_has_expired() {
    let space = space().await;
    let old = stored(&space, &["a"], 1);
    pass(DAY).await;
    let changes = vec![old, Change::Synced, Change::Resynced, stored_at(&space, &["b"], 3, 2), Change::Synced];
    assert_eq!(group(&Scripted::over(&space, changes)).wait_within(HOUR).await.unwrap(), Ended::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_outgrows_a_value_refuses_a_member_and_keeps_the_others() {
    let space = space().await;
    let mut large = Group::new(1);
    for n in 0..2030 {
        large.enter(&format!("{n:0512}")).unwrap();
    }
    put(&space, "group.batch-7", &large.encode()).await;
    let group = group(&space);
    let mut more = 2030;
    let refused = loop {
        match group.enter(&format!("{more:0512}")).await {
            Ok(entered) => assert!(entered && more < 2100),
            Err(error) => break error,
        }
        more += 1;
    };
    let too_large = |source: &CellError| matches!(source, CellError::Rejected(Rejection::TooLarge { .. }));
    assert!(matches!(&refused, CoordinationError::Cell { source, .. } if too_large(source)), "{refused:?}");
    assert_eq!(group.count().await.unwrap(), more);
    // There is room again once somebody has left.
    group.leave(&format!("{:0512}", 0)).await.unwrap();
    assert!(group.enter(&format!("{more:0512}")).await.unwrap());
}
