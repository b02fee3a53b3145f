//! What the contracts promise when everything goes wrong: one random history of several processes, and what has to be true of it.
//!
//! Each process appends to registers, moves two of them with one commit and a message, holds a key that only one may hold, counts,
//! publishes, works on messages and watches, and tries again when it was told that something failed. What it was told is written
//! into a book, and at the end, when nothing goes wrong any more, the engine is held to the book:
//!
//! - what was acknowledged is there, once, and in the order of its revisions; what was refused is not there; what is unknown is
//!   there once or not at all;
//! - a commit is seen as a whole, in both registers, in one order, and with its message;
//! - nobody holds what somebody else holds;
//! - a message that was published is delivered until it is acknowledged, and not again after that; every delivery is another attempt;
//! - a counter has what was added, and perhaps what is unknown;
//! - revisions that a watch tells grow with each key, and what it told comes to what is there.
//!
//! The history does not know which engine it runs on, or who makes the trouble.

mod book;
mod messages;
mod process;
mod registers;
mod watcher;

use super::fresh_space;
use crate::{
    engine::{Engine, Space},
    testing::{
        Dice,
        faulty::{FaultyEngine, Mishaps, Odds},
    },
    time::{Clock, unique},
};
use book::Book;
use futures_util::future::join_all;
use process::{Places, Process};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

const PROCESSES: usize = 3;
const STEPS: usize = 12;

/// Runs the history of `seed` on an engine, by three processes that all kinds of faults stand in front of; see
/// [`faulty`](crate::testing::faulty). With an even seed no message comes again that was acknowledged.
///
/// Takes a second or two of the engine's clock, which a test can let pass in no time.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use anabranch::{engine::Engine, testing::conformance::under_faults, time::{Clock, Timestamp}};
///
/// let engine = Engine::open_with("memory:", Clock::following_tokio(Timestamp::EPOCH)).await?;
/// under_faults(&engine, 7).await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Panics
///
/// Panics with the seed when the engine breaks a promise, and when it does not get over the faults in time.
pub async fn under_faults(engine: &Engine, seed: u64) {
    let clock = fresh_space(engine).await.clock().clone();
    let mut dice = Dice::new(seed);
    let first = FaultyEngine::over(engine, clock.clone(), dice.number());
    let more = (1..PROCESSES).map(|_| first.beside(clock.clone(), dice.number())).collect::<Vec<_>>();
    let all: Vec<Arc<FaultyEngine>> = std::iter::once(first).chain(more).collect();
    let (odds, mishaps) = trouble(&mut dice, seed);
    for faulty in &all {
        faulty.trouble().odds(odds);
        faulty.trouble().mishaps(mishaps);
    }
    let processes: Vec<Engine> = all.iter().map(FaultyEngine::engine).collect();
    let calm = || all.iter().for_each(|faulty| faulty.trouble().behave());
    in_trouble(&processes, engine, seed, mishaps.duplicate == 0, calm).await;
}

/// Draws how bad it is.
fn trouble(dice: &mut Dice, seed: u64) -> (Odds, Mishaps) {
    let mut below = |most: u64| u16::try_from(dice.roll(most)).expect("it is small");
    let (unknown, conflict, unavailable) = (below(120), below(120), below(120));
    let odds = Odds { unknown, conflict, unavailable, latency: Duration::from_millis(below(6).into()) };
    let mishaps = Mishaps {
        stale: below(200),
        forgetful: below(100),
        full: below(60),
        // Whoever is told that a value is too large does not try again.
        too_large: 0,
        expiry: below(150),
        hang: below(3),
        duplicate: if seed.is_multiple_of(2) { 0 } else { below(200) },
        disconnect: below(10),
        gap: below(60),
        silence: below(60),
        outage: Duration::from_millis(60),
        lag: Duration::from_millis(below(20).into()),
        late: Duration::from_millis(below(4).into()),
    };
    (odds, mishaps)
}

/// Runs the history of `seed` by processes that have trouble of their own, such as a bad wire to the server, until they are through;
/// then `calm` has to end it, and `real` shows what is there.
///
/// `once` says that nothing in between delivers a message again that was acknowledged.
///
/// # Panics
///
/// As [`under_faults`].
pub async fn in_trouble(processes: &[Engine], real: &Engine, seed: u64, once: bool, calm: impl FnOnce()) {
    let name = format!("faults-{seed}-{}", unique(&Clock::system()));
    let space = real.space(name.as_str()).await.unwrap();
    let limit = super::PATIENCE * 4;
    let history = history(processes, real, &space, seed, once, calm);
    assert!(space.clock().timeout(limit, history).await.is_some(), "seed {seed}: the history hangs");
}

async fn history(processes: &[Engine], real: &Engine, space: &Space, seed: u64, once: bool, calm: impl FnOnce()) {
    let (book, finished) = (Book::new(seed), CancellationToken::new());
    let truth = Places::open(real, space.name().as_str()).await;
    let mut dice = Dice::new(!seed);
    let seeds: Vec<u64> = processes.iter().map(|_| dice.number()).collect();
    let opened = join_all(processes.iter().zip(seeds).enumerate().map(|(number, (engine, seed))| {
        let (book, truth) = (&book, &truth);
        async move { Process::open(engine, number, seed, book, truth).await }
    }));
    let opened = opened.await;
    let steps = async {
        join_all(opened.iter().map(|process| process.take_steps(STEPS))).await;
        finished.cancel();
    };
    let work = join_all(opened.iter().map(|process| process.work_until(&finished)));
    let watches = join_all(opened.iter().map(|process| process.watch_until(&finished)));
    let ((), _, known) = tokio::join!(steps, work, watches);
    calm();
    registers::check(&truth, &book).await;
    // By who was in trouble: it has to get over it, and what came again is known there only.
    messages::check(&opened[0], once).await;
    join_all(known.into_iter().map(|watched| watcher::check(&truth, &book, watched))).await;
}
