//! The contract of engines on the simulated network: keys, buckets, queues, streams, tallies and watches of three hosts whose requests and
//! answers come late, get lost and are cut off, while the server stands still, is killed and loses power.
//!
//! What is held to it is what hosts of every other simulation stand on: `testing::sim`'s own engine, and the embedded one behind it. The
//! history is that of `conformance::in_trouble`, which cannot be the program of a host: it opens what it works on by the clock of the system,
//! for which hosts have no timer, and its future is not `Send`. So it runs beside the simulation, with the timers of a runtime whose clock
//! stands still unless it is moved, and with the engines of hosts that do nothing else; the two get on in turn. For everything after that
//! it waits by the clocks of the hosts.

use crate::stage::{self, MILLISECOND, SECOND, Skew};
use anabranch::{
    engine::{Change, Engine, Expect, Key, PutOptions, Scope},
    error::BoxError,
    testing::{
        Dice,
        conformance::in_trouble,
        seeds,
        sim::{Host, SERVER, Simulation, Trouble},
    },
    time::Clock,
};
use futures_util::StreamExt as _;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    future::Future as _,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

const HOSTS: [&str; 3] = ["a", "b", "c"];
/// How far the history and the simulation get in one turn.
const TURN: Duration = MILLISECOND;
/// After how many turns the history has begun.
const OPEN: u32 = 30;
/// By how much clocks differ: timers are armed by that of a host, and fire by the server's.
const AHEAD: Duration = Duration::from_millis(500);
const DRIFT_PPM: i64 = 20_000;

/// What befalls the hosts, and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Network,
    NetworkAndServer,
}

/// Adds a host that does nothing by itself, and returns its engine.
fn engine_of(sim: &mut Simulation, name: &str) -> Engine {
    let slot = Arc::<Mutex<Option<Engine>>>::default();
    let shared = Arc::clone(&slot);
    sim.host(name, move |host| {
        *shared.lock().unwrap() = Some(host.engine());
        std::future::pending::<Result<(), BoxError>>()
    });
    let engine = slot.lock().unwrap().take();
    engine.expect("a program begins with its host")
}

/// Lets requests and answers come late and get lost, and connections break.
fn network_goes_wrong(sim: &mut Simulation, dice: &mut Dice) {
    for name in HOSTS {
        Skew::draw(dice, AHEAD, DRIFT_PPM).set(sim, name);
        sim.loss(name, u16::try_from(dice.roll(60)).unwrap());
        let most = if dice.roll(6) == 0 { 200 } else { 1 + dice.roll(20) };
        sim.latency(name, MILLISECOND / 10, Duration::from_millis(most));
    }
    sim.trouble(Trouble::cut(2 * SECOND).lasting(SECOND / 2).of(HOSTS));
    sim.trouble(Trouble::broken_connection(SECOND).of(HOSTS));
}

/// Lets the server stand still, be killed and lose power.
fn server_goes_wrong(sim: &mut Simulation) {
    sim.trouble(Trouble::pause(4 * SECOND).lasting(SECOND / 2).of([SERVER]));
    sim.trouble(Trouble::crash(4 * SECOND).lasting(SECOND / 2).of([SERVER]));
    sim.trouble(Trouble::power_loss(6 * SECOND).lasting(SECOND / 2).of([SERVER]));
}

/// Ends all trouble, and waits until the server is back.
fn calm(sim: &mut Simulation) {
    stage::calm(sim, &HOSTS);
    sim.ask(|host| async move { Ok(stage::space(&host).await) });
}

/// Runs the history of a seed to its end, and returns how much happened in the simulation.
fn history(seed: u64, weather: Weather) -> (u64, Duration) {
    let mut sim = Simulation::new(seed);
    let mut dice = stage::dice(&sim);
    let hosts: Vec<Engine> = HOSTS.iter().map(|name| engine_of(&mut sim, name)).collect();
    let real = engine_of(&mut sim, "real");
    network_goes_wrong(&mut sim, &mut dice);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let sim = RefCell::new(sim);
    let mut history = pin!(in_trouble(&hosts, &real, seed, true, || calm(&mut sim.borrow_mut())));
    for turn in 0.. {
        {
            // Its timers are those of the runtime, which it does not run in: to calm the simulation is to run other ones.
            let _entered = runtime.enter();
            if history.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
        }
        runtime.block_on(async { Clock::system().timeout(TURN, std::future::pending::<()>()).await });
        let mut sim = sim.borrow_mut();
        sim.run_for(TURN);
        // The history begins with a space, for which it asks once.
        if turn == OPEN && weather == Weather::NetworkAndServer {
            server_goes_wrong(&mut sim);
        }
    }
    let sim = sim.borrow();
    (sim.events(), sim.elapsed())
}

#[test]
fn the_contract_holds_for_hosts_whose_network_loses_delays_and_cuts() {
    for seed in seeds(24) {
        history(seed, Weather::Network);
    }
}

#[test]
fn the_contract_holds_for_hosts_of_a_server_that_stands_still_is_killed_and_loses_power() {
    for seed in seeds(24) {
        history(seed, Weather::NetworkAndServer);
    }
}

#[test]
fn a_history_in_trouble_is_the_same_each_time() {
    assert_eq!(history(1, Weather::NetworkAndServer), history(1, Weather::NetworkAndServer));
}

/// The keys that somebody knows who watches.
type Known = Arc<Mutex<BTreeSet<Key>>>;

async fn watch(host: Host, known: Known) -> Result<(), BoxError> {
    let mut changes = stage::space(&host).await.store().watch(&Scope::All).await?;
    while let Some(change) = changes.next().await {
        let mut known = known.lock().unwrap();
        match change {
            Change::Put(entry) => drop(known.insert(entry.key)),
            Change::Deleted(key, _) | Change::Expired(key, _) => drop(known.remove(&key)),
            Change::Resynced => known.clear(),
            _ => {}
        }
    }
    Ok(())
}

#[test]
fn a_watch_that_breaks_before_it_told_everything_does_not_keep_what_is_removed_meanwhile() {
    let mut sim = Simulation::new(1);
    sim.ask(|host| async move {
        let space = stage::space(&host).await;
        for name in ["one", "two"] {
            space.store().put(&Key::new(name)?, "1".into(), Expect::Absent, PutOptions::default()).await?;
        }
        Ok(())
    });
    let known = Known::default();
    let mine = Arc::clone(&known);
    sim.host("a", move |host| watch(host, Arc::clone(&mine)));
    sim.latency("a", SECOND / 10, SECOND / 10);
    let first = || known.lock().unwrap().first().cloned();
    assert!(sim.run_until(10 * SECOND, |_| first().is_some()), "it is told of nothing");
    sim.cut("a", true);
    let gone = first().unwrap();
    sim.ask(move |host| {
        let gone = gone.clone();
        async move { Ok(stage::space(&host).await.store().delete(&gone, Expect::Anything).await?) }
    });
    sim.cut("a", false);
    sim.run_for(10 * SECOND);
    let known = known.lock().unwrap();
    assert_eq!(known.len(), 1, "of {known:?} one is gone");
}
