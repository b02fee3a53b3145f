//! Histories of counters under faults, each short and on a key of its own, are those of one counter.
//!
//! An operation whose outcome is unknown, or whose caller died, stays open: it may have happened at any time since, or never.

use crate::{
    counted_kit::{TROUBLE, process, space, stranger},
    counted_spec::{History, draw, history, perform},
};
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Counter},
    testing::{Dice, check::CounterOp, faulty::FaultyStore, pass},
};
use futures_util::future::join_all;
use std::time::Duration;

/// Three operations of one client, which may die in the middle of one; returns how many are known to have happened.
async fn client(seed: u64, number: usize, counter: Counter, history: History) -> usize {
    let mut dice = Dice::new(seed * 100 + number as u64);
    for done in 0..3 {
        let act = draw(&mut dice);
        pass(Duration::from_millis(dice.roll(40))).await;
        let call = history.begins(number, act.clone());
        let outcome = if dice.roll(10) == 0 {
            // Its caller is killed: the future is dropped wherever it is.
            let patience = Duration::from_millis(dice.roll(40));
            let clock = anabranch::time::Clock::system();
            let Some(outcome) = clock.timeout(patience, perform(&counter, &act)).await else { return done };
            outcome
        } else {
            perform(&counter, &act).await
        };
        match outcome {
            Ok(value) => history.ends(call, value),
            Err(CoordinationError::Cell { source: CellError::Unknown(_) | CellError::Unavailable(_), .. }) => return done,
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
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
            client(seed, number, counter, history.clone())
        });
        let strange = if seed % 3 == 0 { 10 } else { 0 };
        let (done, ()) = tokio::join!(join_all(clients), stranger(bare.clone(), "counter.n", seed, strange));
        history.judge().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        whole += done.iter().filter(|d| **d == 3).count();
        cut += done.iter().filter(|d| **d < 3).count();
    }
    // Most clients got to their end, and some did not: otherwise this shows little.
    assert!(whole > 600 && cut > 20, "{whole} {cut}");
}

#[test]
fn a_history_in_which_an_addition_is_lost_or_doubled_is_found() {
    for values in [[1, 1], [1, 3]] {
        let history = history();
        for (client, value) in values.into_iter().enumerate() {
            history.ends(history.begins(client, CounterOp::Add(1)), value);
        }
        assert!(history.judge().is_err(), "{values:?}");
    }
    let history = history();
    history.begins(0, CounterOp::Add(1));
    history.ends(history.begins(1, CounterOp::Read), 1);
    assert!(history.judge().is_ok());
    history.ends(history.begins(1, CounterOp::Read), 0);
    assert!(history.judge().is_err());
}
