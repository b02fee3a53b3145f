//! Counters on the embedded engine: nothing is lost, nothing counts twice, and what is not known is said.

use crate::counted_kit::{TROUBLE, faulty, process, put, raw, space, stranger};
use anabranch::{
    cell::CellError,
    coordination::{Barrier, CoordinationError, Counter, Latch, WaitGroup},
    testing::{
        Dice,
        faulty::{Fault, FaultyStore},
        pass,
    },
};
use futures_util::{StreamExt as _, future::join_all};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_counter_counts_up_and_down_and_starts_over() {
    let counter = Counter::new(&space().await, "hits per day").unwrap();
    assert_eq!(counter.value().await.unwrap(), 0);
    assert_eq!(counter.increment().await.unwrap(), 1);
    assert_eq!(counter.decrement().await.unwrap(), 0);
    assert_eq!(counter.add(-7).await.unwrap(), -7);
    assert_eq!(counter.reset().await.unwrap(), -7);
    assert_eq!(counter.value().await.unwrap(), 0);
    counter.add(3).await.unwrap();
    counter.delete().await.unwrap();
    assert_eq!(counter.value().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn additions_of_many_tasks_in_several_processes_are_all_counted() {
    let (space, store) = faulty(1).await;
    let tasks = (0..3).flat_map(|_| {
        let counter = Counter::new(&process(&space, &store), "n").unwrap();
        (0..64).map(move |_| counter.clone())
    });
    let mut values = join_all(tasks.map(|counter| async move { counter.increment().await.unwrap() })).await;
    values.sort_unstable();
    // Each of them saw a value of its own.
    assert_eq!(values, (1..=192).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_sum_that_does_not_fit_is_an_error_and_writes_nothing() {
    let space = space().await;
    let counter = Counter::new(&space, "n").unwrap();
    counter.add(i64::MAX).await.unwrap();
    let before = raw(&space, "counter.n").await;
    assert!(matches!(counter.increment().await, Err(CoordinationError::OutOfRange { object, .. }) if object == "counter.n"));
    assert!(matches!(counter.add_once("a", 1).await, Err(CoordinationError::OutOfRange { .. })));
    assert_eq!(raw(&space, "counter.n").await, before);
    counter.decrement().await.unwrap();
    // It was refused and not counted, so that it still can be.
    assert!(!counter.add_once("a", 1).await.unwrap().repeated);
}

#[tokio::test(start_paused = true)]
async fn arguments_out_of_range_are_errors() {
    let space = space().await;
    let counter = Counter::new(&space, "n").unwrap();
    assert!(matches!(Counter::new(&space, ""), Err(CoordinationError::Cell { .. })));
    assert!(matches!(Counter::new(&space, &"n".repeat(600)), Err(CoordinationError::Cell { .. })));
    assert!(matches!(counter.clone().remembering(0), Err(CoordinationError::Invalid(_))));
    assert!(matches!(counter.clone().remembering(16_385), Err(CoordinationError::Invalid(_))));
    assert!(matches!(counter.add_once("", 1).await, Err(CoordinationError::Invalid(_))));
    assert!(matches!(counter.add_once(&"x".repeat(513), 1).await, Err(CoordinationError::Invalid(_))));
    assert_eq!(raw(&space, "counter.n").await, None);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_stored_at_a_counters_key_stays_as_it_is() {
    let space = space().await;
    // Text, another object, and something that a default would be taken for.
    for foreign in [&b"12"[..], &[0x08, 5, 0x18, 3], b""] {
        put(&space, "counter.n", foreign).await;
        let counter = Counter::new(&space, "n").unwrap();
        let corrupt = |error| matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. });
        assert!(corrupt(counter.value().await.unwrap_err()));
        assert!(corrupt(counter.increment().await.unwrap_err()));
        assert!(corrupt(counter.add_once("a", 1).await.unwrap_err()));
        assert!(corrupt(counter.reset().await.unwrap_err()));
        assert!(corrupt(counter.watch().await.unwrap().next().await.unwrap().unwrap_err()));
        assert_eq!(raw(&space, "counter.n").await.unwrap(), foreign);
    }
}

#[tokio::test(start_paused = true)]
async fn a_counter_is_watched_from_what_it_is_to_its_end() {
    let counter = Counter::new(&space().await, "n").unwrap();
    counter.add(5).await.unwrap();
    let mut values = counter.watch().await.unwrap();
    assert_eq!(values.next().await.unwrap().unwrap(), 5);
    counter.add(2).await.unwrap();
    assert_eq!(values.next().await.unwrap().unwrap(), 7);
    counter.delete().await.unwrap();
    assert_eq!(values.next().await.unwrap().unwrap(), 0);
    counter.add(1).await.unwrap();
    assert_eq!(values.next().await.unwrap().unwrap(), 1);
}

/// Messages that are delivered two or three times, by any of three processes, while the store loses answers, refuses and goes
/// away, and a stranger's writes wipe out the traces of lost answers: each counts exactly once.
#[tokio::test(start_paused = true)]
async fn a_redelivered_message_counts_once_whatever_the_store_does() {
    for seed in 0..60 {
        let bare = space().await;
        let store = FaultyStore::over(&bare, seed);
        store.odds(TROUBLE);
        let mut dice = Dice::new(seed);
        let processes: Vec<_> = (0..3).map(|_| Counter::new(&process(&bare, &store), "n").unwrap()).collect();
        let mut deliveries = Vec::new();
        for message in 0..12_u32 {
            for _ in 0..2 + dice.roll(2) {
                let counter = processes[usize::try_from(dice.roll(3)).unwrap()].clone();
                deliveries.push(async move {
                    // Whoever does not know repeats, as a queue does.
                    loop {
                        match counter.add_once(&format!("message-{message}"), i64::from(message)).await {
                            Ok(answer) => return !answer.repeated,
                            Err(CoordinationError::Cell { .. }) => {}
                            Err(error) => panic!("seed {seed}: {error}"),
                        }
                    }
                });
            }
        }
        let (first, ()) = tokio::join!(join_all(deliveries), stranger(bare.clone(), "counter.n", seed, 20));
        let first: usize = first.into_iter().map(usize::from).sum();
        store.behave();
        assert_eq!(processes[0].value().await.unwrap(), (0..12).sum::<i64>(), "seed {seed}");
        // One whose own answer was lost, and finds itself, is told that it was repeated.
        assert!(first <= 12, "seed {seed}: {first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plain_addition_whose_outcome_is_lost_is_unknown_and_one_with_an_id_is_not() {
    let mut unknowns = 0;
    for seed in 0..40 {
        let inner = space().await;
        let store = FaultyStore::over(&inner, seed);
        let space = process(&inner, &store);
        let (plain, named) = (Counter::new(&space, "plain").unwrap(), Counter::new(&space, "named").unwrap());
        plain.add(0).await.unwrap();
        named.add(0).await.unwrap();
        store.odds(TROUBLE);
        let strangers = join_all(["counter.plain", "counter.named"].map(|name| stranger(inner.clone(), name, seed, 60)));
        let additions = async {
            let (mut known, mut unknown) = (0, 0);
            for id in 0..20 {
                match plain.increment().await {
                    Ok(_) => known += 1,
                    Err(CoordinationError::Cell { source: CellError::Unknown(_), .. }) => unknown += 1,
                    Err(error) => panic!("seed {seed}: {error}"),
                }
                named.add_once(&id.to_string(), 1).await.unwrap();
            }
            (known, unknown)
        };
        let (_, (known, unknown)) = tokio::join!(strangers, additions);
        store.behave();
        let counted = plain.value().await.unwrap();
        assert!((known..=known + unknown).contains(&counted), "seed {seed}: {known} {unknown} {counted}");
        assert_eq!(named.value().await.unwrap(), 20, "seed {seed}");
        unknowns += unknown;
    }
    // Otherwise this shows nothing.
    assert!(unknowns > 10, "{unknowns}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_goes_away_after_a_lost_answer_leaves_no_false_certainty() {
    let (space, store) = faulty(1).await;
    let counter = Counter::new(&space, "n").unwrap();
    counter.add(1).await.unwrap();
    // The write happens, its answer is lost, and nobody can look at it any more.
    let mut lost = false;
    store.plan(move |call| {
        let first = call.op.writes() && !std::mem::replace(&mut lost, true);
        Some(if first { Fault::Unknown { applied: true } } else { Fault::Unavailable })
    });
    let error = counter.add_once("a", 1).await.unwrap_err();
    assert!(matches!(error, CoordinationError::Cell { source: CellError::Unknown(_), .. }), "{error:?}");
    store.behave();
    assert!(counter.add_once("a", 1).await.unwrap().repeated);
    assert_eq!(counter.value().await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_overwritten_before_it_could_be_looked_for_is_unknown_and_not_refused() {
    let bare = space().await;
    let store = FaultyStore::over(&bare, 1);
    let counter = Counter::new(&process(&bare, &store), "n").unwrap();
    counter.add(1).await.unwrap();
    // The write happens and its answer is lost; before anybody looks, somebody writes what is no counter.
    let mut lost = false;
    store.plan(move |call| match (call.op.writes(), lost) {
        (true, false) => {
            lost = true;
            Some(Fault::Unknown { applied: true })
        }
        _ => Some(Fault::Delay(Duration::from_secs(1))),
    });
    let overwriting = async {
        pass(Duration::from_millis(500)).await;
        put(&bare, "counter.n", b"12").await;
    };
    let (outcome, ()) = tokio::join!(counter.add_once("a", 1), overwriting);
    let error = outcome.unwrap_err();
    assert!(matches!(error, CoordinationError::Cell { source: CellError::Unknown(_), .. }), "{error:?}");
    assert_eq!(raw(&bare, "counter.n").await.unwrap(), &b"12"[..]);
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_idle_leave_nothing_running() {
    let space = space().await;
    pass(Duration::from_secs(20)).await;
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut kept = Vec::new();
    for n in 0..200 {
        let name = n.to_string();
        let (counter, group) = (Counter::new(&space, &name).unwrap(), WaitGroup::new(&space, &name).unwrap());
        let (latch, barrier) = (Latch::new(&space, &name, 2).unwrap(), Barrier::new(&space, &name, 2).unwrap());
        counter.add_once("a", 1).await.unwrap();
        let _ = counter.watch().await.unwrap().next().await;
        group.enter("a").await.unwrap();
        latch.count_down_as("a").await.unwrap();
        let arrived = barrier.arrive("a").await.unwrap();
        let limit = Duration::from_millis(1);
        let (a, b, c) = tokio::join!(group.wait_within(limit), latch.wait_within(limit), arrived.wait_within(limit));
        assert!(a.is_err() && b.is_err() && c.is_err());
        // The handles stay.
        kept.push((counter, group, latch, barrier));
    }
    pass(Duration::from_secs(20)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
    assert_eq!(kept[7].0.value().await.unwrap(), 1);
}
