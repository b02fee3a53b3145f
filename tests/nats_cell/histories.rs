//! What several processes did to cells, and when, while the network lost and delayed what they said and the server was killed: it
//! has to look as if everything happened one after the other.

use crate::kit::{fresh, in_time, number, open};
use anabranch::{
    cell::{Cell, CellError},
    testing::{
        Dice,
        check::{History, Keyed, Model, linearizable},
        server::NatsServer,
        wire::{Loses, Wire},
    },
    time::{Clock, nonce},
};
use futures_util::future::join_all;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::sync::watch;

/// What a cell is when everything happens one after the other.
struct Number;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    Set(u64),
    Add(u64),
    Read,
    /// Reads by a closure that only looks.
    Look,
}

impl Model for Number {
    type State = u64;
    type Op = Act;
    type Ret = u64;

    fn initial(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, act: &Act, ret: Option<&u64>) -> Vec<u64> {
        let next = match *act {
            Act::Set(n) => n,
            Act::Add(n) => state + n,
            Act::Read | Act::Look => *state,
        };
        if ret.is_none_or(|ret| *ret == next) { vec![next] } else { vec![] }
    }

    fn only_looks(&self, act: &Act, _: Option<&u64>) -> bool {
        matches!(act, Act::Read | Act::Look)
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

const CELLS: usize = 5;
const CLIENTS: usize = 4;
const ACTS: usize = 16;
/// Histories go on until the network or the server has failed so often.
const TROUBLES: usize = 12;

async fn histories(seed: u64, cells: [Vec<Cell<u64>>; 2]) -> (usize, usize) {
    let (history, clock) = (History::new(), Clock::system());
    let began = clock.instant();
    let now = || u64::try_from((clock.instant() - began).as_micros()).unwrap();
    let [ours, theirs] = cells;
    join_all(ours.iter().zip(&theirs).enumerate().flat_map(|(at, (one, other))| {
        let (history, now) = (&history, &now);
        (0..CLIENTS).map(move |client| {
            let shared = if client % 2 == 0 { one.clone() } else { other.clone() };
            let mut dice = Dice::new(seed ^ ((at * CLIENTS + client) as u64) << 20);
            async move {
                for number_of_act in 0..ACTS {
                    let act = match dice.roll(5) {
                        0 => Act::Set(((client * ACTS + number_of_act) * 100) as u64),
                        1 | 2 => Act::Add(1),
                        3 => Act::Read,
                        _ => Act::Look,
                    };
                    let call = history.invoke(client, (Box::from(at.to_string()), act), now());
                    match perform(&shared, act).await {
                        Ok(value) => history.returned(call, value, now()),
                        // It may happen, or have happened, or not.
                        Err(CellError::Unknown(_) | CellError::Unavailable(_)) => history.unknown(call),
                        Err(error) => panic!("{error:?}"),
                    }
                }
            }
        })
    }))
    .await;
    linearizable(&Keyed(Number), &history).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    (history.len(), history.open())
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
    let lost = History::new();
    for call in [1, 2].map(|client| lost.invoke(client, Act::Add(1), 0)) {
        lost.returned(call, 1, 10);
    }
    assert!(!linearizable(&Number, &lost).unwrap_err().is_undecided());
    let back = History::new();
    for (act, answer, at) in [(Act::Set(5), 5, 0), (Act::Read, 0, 10)] {
        back.returned(back.invoke(1, act, at), answer, at);
    }
    assert!(!linearizable(&Number, &back).unwrap_err().is_undecided());
}
