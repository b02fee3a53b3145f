//! What several processes did to cells, and when, while the network lost and delayed what they said and the server was killed: it
//! has to look as if everything happened one after the other.

use crate::kit::{fresh, in_time, number, open};
use anabranch::{
    cell::{Cell, CellError},
    testing::{
        Dice,
        server::NatsServer,
        wire::{Loses, Wire},
    },
    time::{Clock, nonce},
};
use futures_util::future::join_all;
use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

/// What a cell is when everything happens one after the other.
#[derive(Debug, Clone, Default)]
struct Register(u64);

#[derive(Debug, Clone, Copy)]
enum Act {
    Set(u64),
    Add(u64),
    Read,
    /// Reads by a closure that only looks.
    Look,
}

impl SequentialSpec for Register {
    type Op = Act;
    type Ret = u64;

    fn invoke(&mut self, act: &Act) -> u64 {
        match *act {
            Act::Set(n) => self.0 = n,
            Act::Add(n) => self.0 += n,
            Act::Read | Act::Look => {}
        }
        self.0
    }
}

async fn perform(cell: &Cell<u64>, act: Act) -> Result<u64, CellError> {
    match act {
        Act::Set(to) => {
            cell.update(move |n| {
                *n = to;
                *n
            })
            .await
        }
        Act::Add(more) => {
            cell.update(move |n| {
                *n += more;
                *n
            })
            .await
        }
        Act::Read => Ok(cell.read().await?.map_or(0, |stored| stored.value)),
        Act::Look => Ok(cell.edit(|draft| draft.get().copied().unwrap_or(0)).await?.result),
    }
}

/// The checker takes exponential time in the length of a history, so there are many short ones.
const CELLS: usize = 20;
const CLIENTS: usize = 4;
const ACTS: usize = 4;
/// Histories go on until the network or the server has failed so often.
const TROUBLES: usize = 12;

async fn histories(seed: u64, cells: [Vec<Cell<u64>>; 2]) -> (usize, usize) {
    let [ours, theirs] = cells;
    let checked = join_all(ours.into_iter().zip(theirs).enumerate().map(|(at, (one, other))| async move {
        let history = Arc::new(Mutex::new(LinearizabilityTester::new(Register::default())));
        let uncertain = join_all((0..CLIENTS).map(|client| {
            let (history, cell) = (Arc::clone(&history), if client % 2 == 0 { one.clone() } else { other.clone() });
            let mut dice = Dice::new(seed ^ ((at * CLIENTS + client) as u64) << 20);
            async move {
                let mut uncertain = 0;
                let mut thread = client;
                for number_of_act in 0..ACTS {
                    let act = match dice.roll(5) {
                        0 => Act::Set(((client * ACTS + number_of_act) * 100) as u64),
                        1 | 2 => Act::Add(1),
                        3 => Act::Read,
                        _ => Act::Look,
                    };
                    history.lock().unwrap().on_invoke(thread, act).unwrap();
                    match perform(&cell, act).await {
                        Ok(value) => drop(history.lock().unwrap().on_return(thread, value).unwrap()),
                        // It stays open: it may happen, or have happened, or not. Whoever goes on is somebody else.
                        Err(CellError::Unknown(_) | CellError::Unavailable(_)) => {
                            uncertain += 1;
                            thread += CLIENTS;
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
                uncertain
            }
        }))
        .await;
        let history = history.lock().unwrap();
        assert!(history.serialized_history().is_some(), "seed {seed}, cell {at}: {history:?}");
        uncertain.into_iter().sum::<usize>()
    }))
    .await;
    (checked.len() * CLIENTS * ACTS, checked.into_iter().sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_of_cells_are_linearizable_while_the_network_and_the_server_fail() {
    let seed = std::env::var("ANABRANCH_SEED").map_or_else(|_| nonce(), |seed| seed.parse().unwrap());
    let mut server = NatsServer::start().await.unwrap();
    let (url, name) = (server.url(), fresh());
    let wires = [Wire::to(&url).await.unwrap(), Wire::to(&url).await.unwrap()];
    let spaces = join_all(wires.iter().map(|wire| async { open(&wire.url(), &name).await })).await;
    let cells = |round: usize| {
        [0, 1].map(|process| (0..CELLS).map(|at| number(&spaces[process], &format!("n{round}.{at}"))).collect::<Vec<_>>())
    };
    let (over, mut ends) = watch::channel(false);
    let happened = AtomicUsize::new(0);
    let trouble = async {
        let (mut dice, clock) = (Dice::new(seed), Clock::system());
        while !*ends.borrow() {
            happened.fetch_add(1, Ordering::Relaxed);
            let wire = &wires[usize::try_from(dice.roll(2)).unwrap()];
            match dice.roll(4) {
                0 => wire.lose(Loses::Answers),
                1 => wire.lose(Loses::Requests),
                2 => wire.delay(Duration::from_millis(dice.roll(50))),
                _ => {
                    server.kill();
                    server.restart().await.unwrap();
                }
            }
            // The trouble lasts a while, unless everything is over.
            let _ = clock.timeout(Duration::from_millis(50 + dice.roll(200)), ends.wait_for(|over| *over)).await;
            wire.delay(Duration::ZERO);
            wire.cut();
        }
    };
    let checking = async {
        let (mut acts, mut uncertain, mut round) = (0, 0, 0);
        while happened.load(Ordering::Relaxed) < TROUBLES {
            let checked = histories(seed + round as u64, cells(round)).await;
            acts += checked.0;
            uncertain += checked.1;
            round += 1;
        }
        over.send_replace(true);
        (acts, uncertain)
    };
    let ((acts, uncertain), ()) = in_time("the histories", async { tokio::join!(checking, trouble) }).await;
    eprintln!("seed {seed}: {acts} acts, {uncertain} without outcome");
    assert!(uncertain < acts / 2, "seed {seed}: {uncertain} of {acts} acts have no outcome, so this says little");
}

/// What the checker is for: an increment that was lost, and a read that went back in time.
#[test]
fn a_history_that_lost_an_update_is_refused() {
    let mut lost = LinearizabilityTester::new(Register::default());
    for thread in [1, 2] {
        lost.on_invoke(thread, Act::Add(1)).unwrap();
    }
    for thread in [1, 2] {
        lost.on_return(thread, 1).unwrap();
    }
    assert!(lost.serialized_history().is_none());
    let mut back = LinearizabilityTester::new(Register::default());
    for (act, answer) in [(Act::Set(5), 5), (Act::Read, 0)] {
        back.on_invoke(1, act).unwrap().on_return(1, answer).unwrap();
    }
    assert!(back.serialized_history().is_none());
}
