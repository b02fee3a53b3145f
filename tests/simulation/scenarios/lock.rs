//! A lock and its tokens: clocks that drift as much as is borne, holders that die and stand still, a server that does so too.

use super::Scenario;
use crate::{
    holds::{ANY_TIME, Holder, LEASE, MOST_DRIFT, Records, all_have_held, check_ledger, ledger},
    stage::{self, SECOND, Skew, idle, space},
};
use anabranch::{
    coordination::{Guard, Lock},
    error::BoxError,
    testing::{
        check::election,
        sim::{Host, SERVER, Simulation},
    },
};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "lock", about: "no two hold a lock, and what an earlier holder writes is refused", run };

const HOSTS: [&str; 3] = ["a", "b", "c"];

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    for name in HOSTS {
        let (skew, records) = (Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT), records.clone());
        sim.host(name, move |host| work(host, skew, records.clone()));
        skew.set(sim, name);
    }
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 4 * SECOND);
    sim.run_for(12 * SECOND);
    stage::calm(sim, &HOSTS);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
    assert!(sim.run_until(60 * SECOND, |_| all_have_held(&records, &HOSTS, since)), "not everybody has the lock in turn");
    stage::close(sim, &records.closing, &HOSTS, 60 * SECOND);
    sim.ask(|host| async move {
        let lock = lock(&host).await?;
        lock.acquire_within(20 * SECOND).await?.release().await?;
        Ok(())
    });
    if let Err(violation) = records.holdings.look(election::check) {
        panic!("{violation}");
    }
    let written = check_ledger(sim, &records);
    assert!(written > 0 || records.holdings.len() < 10, "nobody has written anything");
}

async fn lock(host: &Host) -> Result<Lock, BoxError> {
    Ok(Lock::new(&space(host).await, "door", LEASE)?)
}

async fn work(host: Host, skew: Skew, records: Records) -> Result<(), BoxError> {
    let (space, lock) = (space(&host).await, lock(&host).await?);
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
