//! Histories of the coordination objects between processes whose network loses, delays and cuts what they say.

use crate::{
    counted::client,
    counted_spec::history,
    judge::judge,
    recorded::{Units, use_lock, use_units},
    recorder::Recorder,
};
use anabranch::{
    coordination::{Counter, Lock, RateLimiter, Semaphore},
    core::coordination::Quota,
    engine::{Engine, Space},
    testing::{Dice, check, server::NatsServer, wire::Wire},
    time::{Clock, nonce},
};
use futures_util::future::{join_all, select_all};
use std::{num::NonZeroU32, sync::Mutex, time::Duration};

const PROCESSES: usize = 3;
/// How many one client does to a counter.
const OPERATIONS: usize = 4;
const LEASE: Duration = Duration::from_secs(2);
/// Turns a hang into a failure, and decides nothing else.
const PATIENCE: Duration = Duration::from_secs(180);

/// A space as so many processes see it, each at the end of its own wire.
async fn behind_wires(url: &str) -> (Vec<Wire>, Vec<Space>) {
    let name = format!("test-{:x}", nonce());
    let (mut wires, mut spaces) = (Vec::new(), Vec::new());
    for _ in 0..PROCESSES {
        let wire = Wire::to(url).await.unwrap();
        let engine = Engine::open(&format!("{}?timeout=1s", wire.url())).await.unwrap();
        spaces.push(engine.space(&*name).await.unwrap());
        wires.push(wire);
    }
    (wires, spaces)
}

/// Tells whether the wires have done harm of every kind, and each some of it.
fn is_harmed(wires: &[Wire]) -> bool {
    let harm = || wires.iter().map(Wire::harm);
    harm().all(|harm| harm.cut >= 8) && harm().any(|harm| harm.lost > 0) && harm().any(|harm| harm.delayed > 0)
}

/// Does something while all wires misbehave, and has it that they did.
async fn in_bad_weather<T>(seed: u64, wires: &[Wire], what: impl Future<Output = T>) -> T {
    let weather = wires.iter().zip(seed..).map(|(wire, seed)| Box::pin(wire.misbehave(seed)));
    let done = tokio::select! {
        done = Clock::system().timeout(PATIENCE, what) => done,
        _ = select_all(weather) => unreachable!("a wire misbehaves for ever"),
    };
    let done = done.unwrap_or_else(|| panic!("seed {seed}: it does not end"));
    assert!(is_harmed(wires), "seed {seed}: {:?}", wires.iter().map(Wire::harm).collect::<Vec<_>>());
    done
}

fn seed() -> u64 {
    std::env::var("ANABRANCH_SEED").map_or_else(|_| nonce() >> 16, |seed| seed.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_histories_of_a_lock_and_a_semaphore_on_a_bad_network_are_linearizable() {
    let seed = seed();
    let (wires, spaces) = behind_wires(&NatsServer::shared().await.url()).await;
    let (locks, permits, clock) = (Recorder::new(check::Lock), Recorder::new(Units(2)), Clock::system());
    let (mut lockers, mut users) = (Vec::new(), Vec::new());
    for (number, space) in (0..).step_by(10).zip(&spaces) {
        for task in 0..2 {
            let dice = Dice::new(seed.wrapping_add(number + task));
            let lock = Lock::new(space, "l", LEASE).unwrap();
            lockers.push(use_lock(lock, clock.clone(), locks.clone(), 8, dice.clone(), 300));
            let semaphore = Semaphore::new(space, "s", NonZeroU32::new(2).unwrap(), LEASE).unwrap();
            users.push(use_units(semaphore, 2, clock.clone(), permits.clone(), 8, dice, 300));
        }
    }
    let all = async { tokio::join!(join_all(lockers), join_all(users)) };
    let (locked, used) = in_bad_weather(seed, &wires, all).await;
    let (locked, used): (u32, u32) = (locked.iter().sum(), used.iter().sum());
    assert!(locked >= 32 && used >= 32, "seed {seed}: {locked} and {used} of 48 were granted");
    locks.judge().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    permits.judge().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
}

/// Each history is short, and of a counter of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_histories_of_a_counter_on_a_bad_network_are_those_of_one_counter() {
    let seed = seed();
    let (wires, spaces) = behind_wires(&NatsServer::shared().await.url()).await;
    let rounds = async {
        let (mut round, mut known, mut unknown) = (0, 0, 0);
        while round < 40 || !is_harmed(&wires) {
            let history = history();
            let clients = spaces.iter().enumerate().map(|(number, space)| {
                let counter = Counter::new(space, &format!("n-{round}")).unwrap();
                client(seed.wrapping_add(round), number, OPERATIONS, counter, history.clone(), || {})
            });
            for done in join_all(clients).await {
                known += done;
                unknown += usize::from(done < OPERATIONS);
            }
            history.judge().unwrap_or_else(|violation| panic!("seed {seed}, round {round}: {violation}"));
            round += 1;
        }
        (known, unknown)
    };
    let (known, unknown) = in_bad_weather(seed, &wires, rounds).await;
    assert!(known > 20 * unknown, "seed {seed}: {known} outcomes are known, and {unknown} are not, so this says little");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_network_admits_no_more_than_the_quota() {
    let seed = seed();
    let (wires, spaces) = behind_wires(&NatsServer::shared().await.url()).await;
    let quota = Quota::per_second(100).unwrap().burst(20).unwrap();
    let passed = Mutex::new(Vec::new());
    // As long as it takes for many faults of every kind.
    let goes_on = || passed.lock().unwrap().len() < 300 || !is_harmed(&wires);
    let callers = spaces.iter().zip(0..).flat_map(|(space, process)| {
        let limiter = RateLimiter::new(space, "smtp", quota).unwrap().deadline(Duration::from_secs(10));
        // Of one process each takes what it needs, and of the others each so many at once.
        let limiter = if process == 0 { limiter } else { limiter.leased(NonZeroU32::new(5).unwrap()).unwrap() };
        let (passed, goes_on) = (&passed, &goes_on);
        (0..4).map(move |_| {
            let limiter = limiter.clone();
            async move {
                let clock = Clock::system();
                while goes_on() {
                    let called = clock.now().as_micros();
                    if limiter.until_ready_n_within(1, Duration::from_secs(2)).await.is_ok() {
                        passed.lock().unwrap().push((called, clock.now().as_micros(), 1));
                    }
                }
            }
        })
    });
    in_bad_weather(seed, &wires, join_all(callers)).await;
    judge(quota, &passed.lock().unwrap(), 0);
}
