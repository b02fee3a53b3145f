//! Something that is done once, by hosts with clocks of their own that die, stand still and are cut off in the middle of it.
//!
//! What has to hold is what `docs/semantics.md` says: one result, which all callers have; and two who do it at once are as impossible as
//! two who hold a lock. That it is begun again after one who died or was cut off is none of its promises.

use crate::{
    stage::{self, Log, SECOND, Skew, idle, micros, space},
    try_seeds,
};
use anabranch::{
    coordination::Once,
    error::BoxError,
    testing::sim::{Host, SERVER, Simulation},
};
use std::{collections::BTreeSet, time::Duration};

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
const LEASE: Duration = SECOND;
/// What holders bear (`docs/semantics.md`, "Locks, permits and leaders").
const MOST_DRIFT: i64 = 50_000;
const ANY_TIME: Duration = Duration::from_secs(3 * 3600);
/// How long a look at what is stored may be old when it is believed: an answer is waited for for two seconds, and who stands still for
/// longer than a lease meanwhile does not begin any more.
const STALE: u64 = 4_000_000;

/// What happened, in its order. A call has a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Called(usize),
    /// The body of a call begins.
    Begins(usize, u64),
    /// It is still at it.
    Works(usize),
    /// It comes to an end, with a result unless it fails.
    Ends(usize, Option<String>),
    /// The call returned a result.
    Told(usize, String, u64),
}

type Seens = Log<Seen>;

fn run(sim: &mut Simulation) {
    let (mut dice, seens) = (stage::dice(sim), Seens::default());
    for name in HOSTS {
        let seens = seens.clone();
        sim.host(name, move |host| work(host, seens.clone()));
        Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, name);
    }
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 3 * SECOND);
    sim.run_for(8 * SECOND);
    stage::calm(sim, &HOSTS);
    let all_were_told = |seens: &[Seen], since: usize| {
        let told: BTreeSet<_> = seens[since..]
            .iter()
            .filter_map(|seen| if let Seen::Told(call, ..) = seen { Some(call % HOSTS.len()) } else { None })
            .collect();
        told.len() == HOSTS.len()
    };
    let since = seens.len();
    assert!(sim.run_until(60 * SECOND, |_| seens.look(|seens| all_were_told(seens, since))), "not everybody is told a result");
    let stored = sim.ask(|host| async move { Ok(once(&host).await?.get().await?) });
    seens.look(|seens| check(seens, stored.as_deref()));
}

async fn once(host: &Host) -> Result<Once<String>, BoxError> {
    Ok(Once::new(&space(host).await, "migration", LEASE)?)
}

async fn work(host: Host, seens: Seens) -> Result<(), BoxError> {
    let once = once(&host).await?;
    idle(&host, 2 * SECOND).await;
    let place = HOSTS.iter().position(|name| *name == host.name()).ok_or("it is one of them")?;
    loop {
        // Another one for each call, and the same for each host when it is divided by their number.
        let call = seens.len() * HOSTS.len() + place;
        seens.push(Seen::Called(call));
        if let Ok(told) = once.try_call(|| body(&host, &seens, call)).await {
            seens.push(Seen::Told(call, told, micros(&host)));
        }
        idle(&host, SECOND / 2).await;
    }
}

/// Takes longer than a lease as often as not, and fails now and then.
async fn body(host: &Host, seens: &Seens, call: usize) -> Result<String, &'static str> {
    seens.push(Seen::Begins(call, micros(host)));
    for _ in 0..host.roll(30) {
        idle(host, SECOND / 5).await;
        seens.push(Seen::Works(call));
    }
    let result = (host.roll(4) > 0).then(|| format!("{} did it in call {call}", host.name()));
    seens.push(Seen::Ends(call, result.clone()));
    result.ok_or("there is no paper")
}

fn check(seens: &[Seen], stored: Option<&str>) {
    // Who works, and what came of it, as of each moment.
    let (mut working, mut results, mut told) = (None, BTreeSet::new(), None::<(&str, u64)>);
    // Calls that were made when the result had been told to somebody.
    let mut late = BTreeSet::new();
    for seen in seens {
        match seen {
            Seen::Called(call) => {
                if told.is_some() {
                    late.insert(call);
                }
            }
            Seen::Begins(call, at) => {
                working = Some(call);
                assert!(!late.contains(call), "call {call} begins, and before it was made it was done: {seens:?}");
                let in_time = told.is_none_or(|(_, done)| *at < done + STALE);
                assert!(in_time, "call {call} begins at {at}, and it was told to be done: {told:?}, {seens:?}");
            }
            Seen::Works(call) | Seen::Ends(call, _) => {
                assert_eq!(working, Some(call), "call {call} is still at it, and another one has begun: {seens:?}");
                if let Seen::Ends(_, Some(result)) = seen {
                    results.insert(result.as_str());
                }
            }
            Seen::Told(_, result, at) => {
                assert!(results.contains(result.as_str()), "nobody has come to {result:?}: {seens:?}");
                let (first, _) = *told.get_or_insert((result, *at));
                assert_eq!(first, result, "two results were told: {seens:?}");
            }
        }
    }
    assert_eq!(told.map(|(result, _)| result), stored, "what is stored is not what was told");
}

#[test]
fn what_is_done_once_has_one_result_and_one_who_does_it_whoever_dies() {
    try_seeds(40, run);
}
