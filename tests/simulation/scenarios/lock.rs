//! A lock and its tokens: clocks that drift as much as is borne, holders that die and stand still, a server that does so too.

use super::Scenario;
use crate::{
    holds::{ANY_TIME, Holder, LEASE, MOST_DRIFT, Records, all_have_held, check_ledger, ledger},
    stage::{self, MILLISECOND, SECOND, Skew, idle, micros, space},
};
use anabranch::{
    coordination::{Guard, Lock},
    error::BoxError,
    testing::{
        Dice,
        check::{Holding, election},
        sim::{Host, SERVER, Simulation},
    },
};
use std::time::Duration;

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "lock", about: "no two hold a lock, and what an earlier holder writes is refused", run };

const HOSTS: [&str; 3] = ["a", "b", "c"];

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    // The longer it is, the more there is to drift.
    let lease = if dice.roll(2) == 0 { LEASE } else { 4 * LEASE };
    for name in HOSTS {
        let (skew, records) = (Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT), records.clone());
        sim.host(name, move |host| work(host, skew, lease, records.clone()));
        skew.set(sim, name);
    }
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 4 * SECOND);
    sim.run_for(12 * SECOND);
    stage::calm(sim, &HOSTS);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
    assert!(sim.run_until(60 * SECOND, |_| all_have_held(&records, &HOSTS, since)), "not everybody has the lock in turn");
    stage::close(sim, &records.closing, &HOSTS, 60 * SECOND);
    sim.ask(move |host| async move {
        let lock = lock(&host, lease).await?;
        lock.acquire_within(20 * SECOND).await?.release().await?;
        Ok(())
    });
    at_the_limit(sim, &mut dice, &records);
    if let Err(violation) = records.holdings.look(election::check) {
        panic!("{violation}");
    }
    let written = check_ledger(sim, &records);
    assert!(written > 0 || records.holdings.len() < 10, "nobody has written anything");
}

/// The slowest clock that is borne is a holder's who is cut off, and the fastest one belongs to who waits: as near as they can come.
fn at_the_limit(sim: &mut Simulation, dice: &mut Dice, records: &Records) {
    for (name, drift_ppm) in [("slow", -MOST_DRIFT), ("fast", MOST_DRIFT)] {
        let (records, skew) = (records.clone(), Skew { ahead_micros: 0, drift_ppm });
        sim.host(name, move |host| hold_on(host, skew, records.clone()));
        skew.set(sim, name);
        sim.latency(name, MILLISECOND, MILLISECOND);
        sim.run_for(2 * SECOND);
    }
    sim.run_for(MILLISECOND * u32::try_from(dice.roll(2000)).unwrap_or(0));
    sim.cut("slow", true);
    assert!(sim.run_until(20 * SECOND, |_| all_have_held(records, &["fast"], 0)), "who is cut off keeps the lock");
}

/// Holds for as long as that goes.
async fn hold_on(host: Host, skew: Skew, records: Records) -> Result<(), BoxError> {
    let guard = Lock::new(&space(&host).await, "limit", 4 * LEASE)?.acquire().await?;
    let (hold, token, mut known) = (Box::<str>::from(host.name()), guard.token().get(), guard.valid_until());
    let (at, until) = (micros(&host), Some(skew.true_instant(&host, known)));
    let (client, object) = (hold.clone(), "limit".into());
    records.holdings.push(Holding::Held { client, object, hold: hold.clone(), units: 1, token, at, until });
    while host.clock().timeout(5 * MILLISECOND, guard.lost()).await.is_none() {
        if guard.valid_until() != known {
            known = guard.valid_until();
            let (at, until) = (micros(&host), Some(skew.true_instant(&host, known)));
            records.holdings.push(Holding::Renewed { hold: hold.clone(), at, until });
        }
    }
    records.holdings.push(Holding::Ended { hold, at: micros(&host) });
    Ok(())
}

async fn lock(host: &Host, lease: Duration) -> Result<Lock, BoxError> {
    Ok(Lock::new(&space(host).await, "door", lease)?)
}

async fn work(host: Host, skew: Skew, lease: Duration, records: Records) -> Result<(), BoxError> {
    let (space, lock) = (space(&host).await, lock(&host, lease).await?);
    let client = format!("{}/{}", host.name(), host.boot());
    let ledger = Some(ledger(&space));
    let mut holder = Holder { host: host.clone(), skew, client, object: "door", records, ledger, number: 0 };
    while !holder.records.closing.is_closed() {
        let guard: Option<Guard> = match host.roll(4) {
            0 => lock.try_acquire().await.ok().flatten(),
            1 => lock.acquire_within(SECOND).await.ok(),
            _ => lock.acquire().await.ok(),
        };
        match guard {
            Some(guard) => drop(holder.hold(guard, 1).await),
            None => idle(&host, SECOND).await,
        }
        idle(&host, SECOND / 2).await;
    }
    Ok(())
}
