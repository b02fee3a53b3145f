//! What goes wrong by chance: one seed is one behaviour, and each kind of chance is for itself.

use crate::kit::*;
use anabranch::{
    engine::{Message, PutOptions, StoreError},
    testing::{
        Dice,
        conformance::under_faults,
        faulty::{Mishaps, Odds},
    },
};
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
    time::Duration,
};

const ODDS: Odds = Odds { unknown: 100, conflict: 100, unavailable: 100, latency: Duration::from_millis(50) };

fn everything() -> Mishaps {
    Mishaps {
        stale: 100,
        forgetful: 100,
        full: 50,
        too_large: 50,
        expiry: 100,
        hang: 20,
        duplicate: 200,
        disconnect: 20,
        gap: 100,
        silence: 100,
        outage: SECOND,
        lag: SECOND,
        late: SECOND / 10,
    }
}

fn outcome<T: std::fmt::Debug>(result: Option<Result<T, StoreError>>) -> String {
    match result {
        None => "no answer".to_owned(),
        Some(Ok(done)) => format!("{done:?}"),
        Some(Err(error)) => error.to_string(),
    }
}

/// Does a little of everything, and says what happened when.
async fn history(seed: u64, odds: Odds, mishaps: Mishaps) -> Vec<String> {
    let world = World::new(seed).await;
    let (queue, mut pull) = world.queue().await;
    let mut changes = watch(&world.space).await;
    world.trouble().odds(odds);
    world.trouble().mishaps(mishaps);
    let (clock, started) = (world.space.clock(), world.space.clock().now());
    let mut dice = Dice::new(seed);
    let mut told = Vec::new();
    for step in 0..60 {
        let name = ["a", "b", "c"][usize::try_from(dice.roll(3)).unwrap()];
        let options = if dice.roll(2) == 0 { PutOptions::default() } else { PutOptions::default().ttl(600 * SECOND) };
        let both = join_all([1, 2].map(|n| {
            let (space, options, value) = (&world.space, options.clone(), format!("{step}.{n}"));
            async move { outcome(clock.timeout(5 * SECOND, put_with(space, name, &value, options)).await) }
        }));
        told.extend(both.await);
        let name = key(name);
        let read = clock.timeout(5 * SECOND, world.space.store().get(&name)).await;
        told.push(outcome(read.map(|read| read.map(|entry| entry.map(|e| e.value)))));
        told.push(outcome(clock.timeout(5 * SECOND, queue.publish(Message::new(step.to_string()))).await));
        let taken = clock.timeout(5 * SECOND, pull.next(NonZeroUsize::MIN)).await;
        if let Some(Ok(taken)) = taken {
            for delivery in taken {
                told.push(format!("{} {}", delivery.sequence(), delivery.attempt()));
                told.push(outcome(clock.timeout(5 * SECOND, delivery.ack()).await));
            }
        }
        told.extend(said(&mut changes).await);
        told.push(format!("{:?}", clock.now().since(started)));
    }
    told
}

#[tokio::test(start_paused = true)]
async fn one_seed_is_one_behaviour() {
    for seed in 0..5 {
        let one = history(seed, ODDS, everything()).await;
        assert_eq!(one, history(seed, ODDS, everything()).await, "seed {seed}");
        assert_ne!(one, history(seed + 100, ODDS, everything()).await, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_chance_happens() {
    let mut all = BTreeSet::new();
    for seed in 0..20 {
        all.extend(history(seed, ODDS, everything()).await);
    }
    for expected in ["no answer", "a key is not as expected", "the outcome is unknown", "the store is unavailable"] {
        assert!(all.contains(expected), "{expected}");
    }
    assert!(all.contains("the request was rejected") && all.contains("Resynced"));
    assert!(all.iter().any(|told| told.ends_with(" expired")));
    assert!(all.iter().any(|told| told.ends_with(" 2")), "a second attempt");
}

/// What the calls of `n` keys come to, of which each is called once.
async fn conflicts(seed: u64, mishaps: Mishaps) -> Vec<bool> {
    let world = World::new(seed).await;
    world.trouble().odds(Odds { conflict: 300, ..Odds::default() });
    world.trouble().mishaps(mishaps);
    let mut all = Vec::new();
    for n in 0..100 {
        all.push(matches!(put(&world.space, &format!("k{n}"), "1").await, Err(StoreError::Conflict)));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn to_turn_one_kind_on_changes_nothing_of_another() {
    let plain = conflicts(7, Mishaps::default()).await;
    assert!(plain.contains(&true) && plain.contains(&false));
    assert_eq!(plain, conflicts(7, Mishaps { full: 400, expiry: 100, ..Mishaps::default() }).await);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_stale_by_chance_is_not_behind_what_the_process_knows() {
    let world = World::new(3).await;
    let other = world.engine.beside(world.space.clock().clone(), 4);
    let theirs = other.engine().space("s").await.unwrap();
    for trouble in [world.trouble(), other.trouble()] {
        trouble.mishaps(Mishaps { stale: 1000, ..Mishaps::default() });
    }
    let mut behind = 0;
    for n in 0..50_u32 {
        put(&world.space, "k", &n.to_string()).await.unwrap();
        assert_eq!(text(&world.space, "k").await.unwrap(), n.to_string(), "what it wrote itself");
        let seen = text(&theirs, "k").await.map_or(0, |seen| seen.parse().unwrap());
        behind += n - seen;
        if n % 10 == 9 {
            put(&theirs, "k", &n.to_string()).await.unwrap();
            assert_eq!(text(&theirs, "k").await.unwrap(), n.to_string());
        }
    }
    assert!(behind > 0, "others see it late");
}

#[tokio::test(start_paused = true)]
async fn a_forgetful_read_is_behind_even_that() {
    let world = World::new(3).await;
    world.trouble().mishaps(Mishaps { forgetful: 1000, ..Mishaps::default() });
    put(&world.space, "k", "1").await.unwrap();
    put(&world.space, "k", "2").await.unwrap();
    assert_ne!(text(&world.space, "k").await.as_deref(), Some("2"));
}

/// What the engine is asked in the history of a seed, and when.
async fn asked(seed: u64) -> Vec<String> {
    let world = World::new(seed).await;
    let (clock, started) = (world.space.clock().clone(), world.space.clock().now());
    let all = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&all);
    world.trouble().plan(move |call| {
        let payload = call.message.map(|message| message.payload.clone());
        let told = format!("{:?} {:?} {:?} {payload:?} {}", clock.now().since(started), call.op, call.keys, call.size);
        kept.lock().unwrap().push(told);
        None
    });
    under_faults(&world.engine.engine(), seed).await;
    std::mem::take(&mut *all.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_history_under_faults_is_repeated_by_its_seed() {
    for seed in 0..10 {
        let one = asked(seed).await;
        assert!(one.len() > 100, "seed {seed}: {}", one.len());
        assert_eq!(one, asked(seed).await, "seed {seed}");
    }
}
