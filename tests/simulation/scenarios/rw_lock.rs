//! A lock of readers and writers: no writer beside anybody, whatever dies, stands still or drifts.

use super::Scenario;
use crate::{
    holds::{ANY_TIME, Holder, LEASE, MOST_DRIFT, Records, all_have_held},
    stage::{self, SECOND, Skew, idle, space},
};
use anabranch::{
    coordination::{Guard, RwLock},
    error::BoxError,
    testing::{
        check::semaphore,
        sim::{Host, SERVER, Simulation},
    },
};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "rw_lock", about: "nobody reads while somebody writes, and writers are alone", run };

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
/// More than all readers: a writer takes all of them.
const ALL: u32 = 1000;

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    for name in HOSTS {
        let (skew, records) = (Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT), records.clone());
        sim.host(name, move |host| work(host, skew, records.clone()));
        skew.set(sim, name);
    }
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 4 * SECOND);
    sim.run_for(10 * SECOND);
    stage::calm(sim, &HOSTS);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
    assert!(sim.run_until(60 * SECOND, |_| all_have_held(&records, &HOSTS, since)), "not everybody has the lock in turn");
    stage::close(sim, &records.closing, &HOSTS, 60 * SECOND);
    sim.ask(|host| async move {
        let lock = RwLock::new(&space(&host).await, "catalogue", LEASE)?;
        lock.write_within(20 * SECOND).await?.release().await?;
        Ok(())
    });
    if let Err(violation) = records.holdings.look(|events| semaphore::check(events, ALL)) {
        panic!("{violation}");
    }
}

async fn work(host: Host, skew: Skew, records: Records) -> Result<(), BoxError> {
    let lock = RwLock::new(&space(&host).await, "catalogue", LEASE)?;
    let client = format!("{}/{}", host.name(), host.boot());
    let mut holder = Holder { host: host.clone(), skew, client, object: "catalogue", records, ledger: None, number: 0 };
    while !holder.records.closing.is_closed() {
        let guard: Option<(Guard, u32)> = match host.roll(6) {
            0 => lock.try_write().await.ok().flatten().map(|guard| (guard, ALL)),
            1 => lock.try_read().await.ok().flatten().map(|guard| (guard, 1)),
            2 => lock.write_within(SECOND).await.ok().map(|guard| (guard, ALL)),
            3 => lock.write().await.ok().map(|guard| (guard, ALL)),
            _ => lock.read().await.ok().map(|guard| (guard, 1)),
        };
        match guard {
            Some((guard, units)) => drop(holder.hold(guard, units).await),
            None => idle(&host, SECOND).await,
        }
        idle(&host, SECOND / 2).await;
    }
    Ok(())
}
