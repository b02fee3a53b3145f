//! An election with observers: one leader at a time, in terms that grow, and another one when it dies or stands still.

use super::Scenario;
use crate::{
    holds::{ANY_TIME, Holder, LEASE, MOST_DRIFT, Records, all_have_held, check_ledger, ledger},
    stage::{self, Log, SECOND, Skew, idle, space},
};
use anabranch::{
    coordination::Election,
    error::BoxError,
    testing::{
        check::{Holding, election},
        sim::{Host, SERVER, Simulation},
    },
};
use futures_util::StreamExt as _;

pub(crate) const SCENARIO: Scenario = Scenario { name: "election", about: "one leads at a time, and everybody sees who", run };

const HOSTS: [&str; 3] = ["a", "b", "c"];
const ALL: [&str; 4] = ["a", "b", "c", "observer"];

fn run(sim: &mut Simulation) {
    let (mut dice, records, seen) = (stage::dice(sim), Records::default(), Log::default());
    for name in HOSTS {
        let (skew, records) = (Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT), records.clone());
        sim.host(name, move |host| work(host, skew, records.clone()));
        skew.set(sim, name);
    }
    let told = seen.clone();
    sim.host("observer", move |host| observe(host, told.clone()));
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &ALL, 4 * SECOND);
    sim.run_for(12 * SECOND);
    stage::calm(sim, &ALL);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
    assert!(sim.run_until(60 * SECOND, |_| all_have_held(&records, &HOSTS, since)), "not everybody leads in turn");
    stage::close(sim, &records.closing, &HOSTS, 60 * SECOND);
    // A leader that dies without a word is seen to be gone, and another one is found and seen.
    let term = sim.ask(|host| async move {
        let election = Election::new(&space(&host).await, "scheduler", LEASE)?.candidate("last");
        let leadership =
            host.clock().timeout(20 * SECOND, election.campaign()).await.ok_or("nobody else leads, and this one may not")??;
        let term = leadership.term().get();
        std::mem::forget(leadership);
        Ok(term)
    });
    let ends = |seen: &Log<Option<u64>>| seen.look(|seen| seen.contains(&Some(term)) && seen.last() == Some(&None));
    assert!(
        sim.run_until(20 * SECOND, |_| ends(&seen)),
        "an observer of term {term} saw {:?} last",
        seen.look(|seen| seen.last().copied())
    );
    if let Err(violation) = records.holdings.look(election::check) {
        panic!("{violation}");
    }
    check_ledger(sim, &records);
    check_terms(&records, &seen);
}

/// What observers see are terms that grow. Whose they are is not known of all: a leader may be killed before it says that it is one.
fn check_terms(records: &Records, seen: &Log<Option<u64>>) {
    let last = records.holdings.look(|events| {
        events.iter().filter_map(|event| if let Holding::Held { token, .. } = event { Some(*token) } else { None }).max()
    });
    assert!(last.is_some(), "nobody has ever led");
    seen.look(|seen| {
        let terms: Vec<_> = seen.iter().flatten().collect();
        // A revision of the store, so a later leader's is greater whoever looks, and whenever it begins to.
        assert!(terms.is_sorted(), "terms were seen in the order {terms:?}");
    });
}

async fn observe(host: Host, seen: Log<Option<u64>>) -> Result<(), BoxError> {
    let election = Election::new(&space(&host).await, "scheduler", LEASE)?;
    loop {
        if let Ok(mut leaders) = election.observe().await {
            while let Some(leader) = leaders.next().await {
                seen.push(leader.map(|leader| leader.term.get()));
            }
        }
        idle(&host, SECOND).await;
    }
}

async fn work(host: Host, skew: Skew, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let election = Election::new(&space, "scheduler", LEASE)?.candidate(host.name());
    let client = format!("{}/{}", host.name(), host.boot());
    let ledger = Some(ledger(&space));
    let mut holder = Holder { host: host.clone(), skew, client, object: "scheduler", records, ledger, number: 0 };
    while !holder.records.closing.is_closed() {
        match election.campaign().await {
            Ok(leadership) => drop(holder.hold(leadership, 1).await),
            Err(_) => idle(&host, SECOND).await,
        }
        idle(&host, SECOND / 2).await;
    }
    Ok(())
}
