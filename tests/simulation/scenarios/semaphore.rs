//! A semaphore with nameless and named permits: never more than there are, and those of the dead come back.

use super::Scenario;
use crate::{
    holds::{Holder, LEASE, Records, contend},
    stage::{SECOND, Skew, idle, micros, space},
};
use anabranch::{
    coordination::{Guard, Semaphore},
    error::BoxError,
    testing::{
        check::{Holding, semaphore},
        sim::{Host, Simulation},
    },
};
use std::num::NonZeroU32;

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "semaphore", about: "never more permits are held than there are, and those of the dead come back", run };

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
const PERMITS: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
const TWO: NonZeroU32 = NonZeroU32::new(2).expect("not zero");

fn run(sim: &mut Simulation) {
    let records = contend(sim, &HOSTS, "not everybody has a permit in turn", work);
    sim.ask(|host| async move {
        let permits = Semaphore::new(&space(&host).await, "printers", PERMITS, LEASE)?;
        permits.acquire_within(PERMITS, 20 * SECOND).await?.release().await?;
        let free = permits.available().await?;
        assert_eq!(free, PERMITS.get(), "permits are held that nobody has");
        Ok(())
    });
    if let Err(violation) = records.holdings.look(|events| semaphore::check(events, PERMITS.get())) {
        panic!("{violation}");
    }
}

/// The first two hosts have a permit of their name, which they take over from themselves when they are started again.
async fn work(host: Host, skew: Skew, records: Records) -> Result<(), BoxError> {
    let permits = Semaphore::new(&space(&host).await, "printers", PERMITS, LEASE)?;
    let named = ["a", "b"].contains(&host.name());
    let client = format!("{}/{}", host.name(), host.boot());
    if named {
        let before: Box<str> = format!("{}/{}", host.name(), host.boot() - 1).into();
        records.holdings.push(Holding::Died { client: before, at: micros(&host) });
    }
    let mut holder = Holder { host: host.clone(), skew, client, object: "printers", records, ledger: None, number: 0 };
    while !holder.records.closing.is_closed() {
        let guard: Option<(Guard, u32)> = match host.roll(5) {
            0 if named => permits.try_acquire_as(host.name()).await.ok().flatten().map(|guard| (guard, 1)),
            _ if named => permits.acquire_as(host.name()).await.ok().map(|guard| (guard, 1)),
            0 => permits.try_acquire().await.ok().flatten().map(|guard| (guard, 1)),
            1 => permits.acquire_within(PERMITS, SECOND).await.ok().map(|guard| (guard, 3)),
            2 => permits.acquire_many(TWO).await.ok().map(|guard| (guard, 2)),
            3 => permits.try_acquire_many(TWO).await.ok().flatten().map(|guard| (guard, 2)),
            _ => permits.acquire().await.ok().map(|guard| (guard, 1)),
        };
        match guard {
            Some((guard, units)) => drop(holder.hold(guard, units).await),
            None => idle(&host, SECOND).await,
        }
        idle(&host, SECOND / 2).await;
    }
    Ok(())
}
