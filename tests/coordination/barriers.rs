//! Barriers on the embedded engine.

use crate::counted_kit::{DAY, HOUR, TROUBLE, faulty, process, put, raw, space, spawn, stranger};
use anabranch::{
    cell::CellError,
    coordination::{Barrier, CoordinationError},
    testing::{
        Dice,
        faulty::{Fault, FaultyStore},
        pass,
    },
};
use futures_util::future::join_all;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// Parties in processes of their own go through five phases together, while the store does what it may: nobody is ever more than
/// one phase ahead of anybody.
#[tokio::test(start_paused = true)]
async fn nobody_is_a_phase_ahead_whatever_the_store_does() {
    for seed in 0..20 {
        let bare = space().await;
        let store = FaultyStore::over(&bare, seed);
        store.odds(TROUBLE);
        let phases = Arc::new(Mutex::new([0_u64; 4]));
        let parties = (0..4_usize).map(|n| {
            let (barrier, phases) = (Barrier::new(&process(&bare, &store), "phase", 4).unwrap(), Arc::clone(&phases));
            let mut dice = Dice::new(seed * 10 + n as u64);
            async move {
                for phase in 0..5 {
                    pass(Duration::from_millis(dice.roll(200))).await;
                    phases.lock().unwrap()[n] = phase;
                    let arrived = barrier.arrive(&format!("party-{n}")).await.unwrap();
                    assert_eq!(arrived.generation(), phase, "seed {seed}");
                    // The watch may not begin while the store is away.
                    while let Err(error) = arrived.wait().await {
                        assert!(matches!(error, CoordinationError::Cell { .. }), "seed {seed}: {error:?}");
                    }
                    let others = *phases.lock().unwrap();
                    assert!(others.iter().all(|p| *p == phase || *p == phase + 1), "seed {seed}: {others:?} in {phase}");
                }
            }
        });
        tokio::join!(join_all(parties), stranger(bare.clone(), "barrier.phase", seed, 30));
    }
}

#[tokio::test(start_paused = true)]
async fn a_party_that_gives_up_is_not_there_any_more() {
    let (space, store) = faulty(1).await;
    let barrier = Barrier::new(&space, "phase", 3).unwrap();
    let dead = barrier.arrive("dead").await.unwrap();
    let ann = barrier.arrive("ann").await.unwrap();
    let began = space.clock().now();
    // The third never comes; the first died after it arrived.
    assert!(matches!(ann.wait_within(HOUR).await, Err(CoordinationError::Deadline(name)) if name == "barrier.phase"));
    assert!(space.clock().now().since(began) < HOUR + Duration::from_secs(1));
    assert_eq!(barrier.waiting().await.unwrap(), ["dead"]);
    drop(dead);
    // It is started again, and is there once.
    let risen = Barrier::new(&process(&space, &store), "phase", 3).unwrap().arrive("dead").await.unwrap();
    let ann = barrier.arrive("ann").await.unwrap();
    assert_eq!(barrier.waiting().await.unwrap(), ["dead", "ann"]);
    let bob = barrier.arrive("bob").await.unwrap();
    let all = tokio::join!(risen.wait(), ann.wait_within(HOUR), bob.wait());
    assert!(matches!(all, (Ok(()), Ok(()), Ok(()))), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_is_complete_at_the_last_moment_is_passed() {
    let (space, store) = faulty(1).await;
    let barrier = Barrier::new(&space, "phase", 2).unwrap();
    let ann = barrier.arrive("ann").await.unwrap();
    // What withdraws her is slow, and bob arrives in the meantime.
    let other = Barrier::new(&process(&space, &store), "phase", 2).unwrap();
    store.once(Fault::Delay(Duration::from_secs(5)), |call| call.op.writes());
    let late = async {
        pass(Duration::from_secs(2)).await;
        other.arrive("bob").await.unwrap().wait().await.unwrap();
    };
    let (ann, ()) = tokio::join!(ann.wait_within(Duration::from_secs(1)), late);
    ann.unwrap();
    assert!(barrier.waiting().await.unwrap().is_empty());
    assert!(!barrier.arrive("ann").await.unwrap().withdraw().await.map(|back| !back).unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_arrival_at_a_barrier_that_goes_away_is_told() {
    let space = space().await;
    for expires in [false, true] {
        let barrier = Barrier::new(&space, "phase", 2).unwrap().expires_after(HOUR).unwrap();
        let ann = barrier.arrive("ann").await.unwrap();
        let waiting = spawn(async move { ann.wait_within(DAY).await });
        pass(Duration::from_secs(1)).await;
        if !expires {
            barrier.delete().await.unwrap();
        }
        assert!(matches!(waiting.await.unwrap(), Err(CoordinationError::Closed(name)) if name == "barrier.phase"));
        assert_eq!(barrier.arrive("bob").await.unwrap().generation(), 0);
        barrier.delete().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_barrier_for_another_number_is_refused_and_left_as_it_is() {
    let space = space().await;
    let _ann = Barrier::new(&space, "phase", 3).unwrap().arrive("ann").await.unwrap();
    let before = raw(&space, "barrier.phase").await;
    let other = Barrier::new(&space, "phase", 2).unwrap();
    for error in [other.arrive("bob").await.unwrap_err(), other.waiting().await.unwrap_err()] {
        let CoordinationError::Mismatch { what, stored, wanted, .. } = error else { panic!("{error:?}") };
        assert_eq!((what, &*stored, &*wanted), ("parties", "3", "2"));
    }
    assert_eq!(raw(&space, "barrier.phase").await, before);
}

#[tokio::test(start_paused = true)]
async fn a_barriers_bad_input_is_an_error_and_overwrites_nothing() {
    let space = space().await;
    for parties in [0, 4097] {
        assert!(matches!(Barrier::new(&space, "phase", parties), Err(CoordinationError::Invalid(_))));
    }
    let barrier = Barrier::new(&space, "phase", 2).unwrap();
    assert!(matches!(barrier.arrive("").await, Err(CoordinationError::Invalid(_))));
    put(&space, "barrier.phase", &[0x08, 6, 0x10, 2]).await;
    let error = barrier.arrive("ann").await.unwrap_err();
    assert!(matches!(error, CoordinationError::Cell { source: CellError::Corrupt { .. }, .. }));
    assert_eq!(raw(&space, "barrier.phase").await.unwrap(), &[0x08, 6, 0x10, 2][..]);
}

#[tokio::test(start_paused = true)]
async fn a_barrier_that_is_made_anew_lets_nobody_of_the_old_one_pass() {
    let space = space().await;
    let barrier = Barrier::new(&space, "phase", 2).unwrap();
    let ann = barrier.arrive("ann").await.unwrap();
    // Its watch sees nothing of what happens in between.
    let (deleted, bob, cleo) = tokio::join!(biased; barrier.delete(), barrier.arrive("bob"), barrier.arrive("cleo"));
    deleted.unwrap();
    bob.unwrap().wait().await.unwrap();
    cleo.unwrap().wait().await.unwrap();
    assert!(matches!(ann.wait().await, Err(CoordinationError::Closed(_))));
    assert!(matches!(ann.wait_within(HOUR).await, Err(CoordinationError::Closed(_))));
}
