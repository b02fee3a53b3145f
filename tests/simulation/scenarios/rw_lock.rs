//! A lock of readers and writers: no writer beside anybody, whatever dies, stands still or drifts.

use super::Scenario;
use crate::{
    holds::{Holder, LEASE, Records, contend},
    stage::{SECOND, Skew, idle, space},
};
use anabranch::{
    coordination::{Guard, RwLock},
    error::BoxError,
    testing::{
        check::semaphore,
        sim::{Host, Simulation},
    },
};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "rw_lock", about: "nobody reads while somebody writes, and writers are alone", run };

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
/// More than all readers: a writer takes all of them.
const ALL: u32 = 1000;

fn run(sim: &mut Simulation) {
    let records = contend(sim, &HOSTS, "not everybody has the lock in turn", work);
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
