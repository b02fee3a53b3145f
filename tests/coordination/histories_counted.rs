//! Histories of counters under faults, each short and on a key of its own, are those of one counter: checked by stateright.
//!
//! An operation whose outcome is unknown, or whose caller died, stays open: it may have happened at any time since, or never.

use crate::{
    counted_kit::{TROUBLE, process, space, stranger},
    counted_spec::{Act, History, OneCounter, draw, history, perform},
};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Counter},
    testing::{Dice, faulty::FaultyStore, pass},
};
use futures_util::future::join_all;
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester};
use std::{sync::Arc, time::Duration};

/// Three operations of one client, which may die in the middle of one; returns how many are known to have happened.
async fn client(seed: u64, number: usize, counter: Counter, history: History) -> usize {
    let mut dice = Dice::new(seed * 100 + number as u64);
    for done in 0..3 {
        let act = draw(&mut dice);
        pass(Duration::from_millis(dice.roll(40))).await;
        history.lock().unwrap().on_invoke(number, act).unwrap();
        let outcome = if dice.roll(10) == 0 {
            // Its caller is killed: the future is dropped wherever it is.
            let patience = Duration::from_millis(dice.roll(40));
            let clock = anabranch::time::Clock::system();
            let Some(outcome) = clock.timeout(patience, perform(&counter, act)).await else { return done };
            outcome
        } else {
            perform(&counter, act).await
        };
        match outcome {
            Ok(value) => history.lock().unwrap().on_return(number, value).unwrap(),
            Err(CoordinationError::Cell { source: CellError::Unknown(_) | CellError::Unavailable(_), .. }) => return done,
            Err(error) => panic!("seed {seed}: {error:?}"),
        };
    }
    3
}

#[tokio::test(start_paused = true)]
async fn histories_of_a_counter_under_faults_are_those_of_one_counter() {
    let (mut whole, mut cut) = (0, 0);
    for seed in 0..300 {
        let bare = space().await;
        let store = FaultyStore::over(&bare, seed);
        store.odds(TROUBLE);
        let history = history();
        let clients = (0..4).map(|number| {
            // Two processes of two clients each.
            let counter = Counter::new(&process(&bare, &store), "n").unwrap();
            client(seed, number, counter, Arc::clone(&history))
        });
        let strange = if seed % 3 == 0 { 10 } else { 0 };
        let (done, ()) = tokio::join!(join_all(clients), stranger(bare.clone(), "counter.n", seed, strange));
        let history = history.lock().unwrap();
        assert!(history.is_consistent(), "seed {seed}: {history:?}");
        whole += done.iter().filter(|d| **d == 3).count();
        cut += done.iter().filter(|d| **d < 3).count();
    }
    // Most clients got to their end, and some did not: otherwise this shows little.
    assert!(whole > 600 && cut > 20, "{whole} {cut}");
}

#[test]
fn a_history_in_which_an_addition_is_lost_or_doubled_is_found() {
    for values in [[1, 1], [1, 3]] {
        let mut history = LinearizabilityTester::new(OneCounter::default());
        for (client, value) in values.into_iter().enumerate() {
            history.on_invret(client, Act::Add(1), value).unwrap();
        }
        assert!(!history.is_consistent(), "{values:?}");
    }
    let mut history = LinearizabilityTester::new(OneCounter::default());
    history.on_invoke(0, Act::Add(1)).unwrap();
    history.on_invret(1, Act::Read, 1).unwrap();
    assert!(history.is_consistent());
    history.on_invret(1, Act::Read, 0).unwrap();
    assert!(!history.is_consistent());
}
