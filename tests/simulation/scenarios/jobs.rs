//! Jobs of all kinds while workers, clients and the server die, stand still and are cut off: each ends once, as it has to.

use super::Scenario;
use crate::{
    labour::{self, ACK_WAIT, Begun, DEDUPE, KINDS, Kind, MOST_ATTEMPTS, PLAIN, Records, WORK, jobs, look, name, submit},
    stage::{self, SECOND, close, idle, space},
};
use anabranch::{
    error::BoxError,
    testing::{
        check::{
            Until,
            queues::{Verdict, check},
        },
        sim::{Host, Simulation},
    },
};
use std::{collections::BTreeMap, num::NonZeroUsize};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "jobs", about: "each job ends once, as it has to, and dead letters are of those that were given up", run };

const WORKERS: [&str; 3] = ["a", "b", "c"];
const ALL: [&str; 4] = ["a", "b", "c", "client"];
/// How many jobs a drain meets.
const LATE: u32 = 12;

/// The jobs that meet trouble: each kind, and three that keep no result.
fn troubled() -> Vec<(String, Kind, bool)> {
    let kept = KINDS.iter().map(|kind| (format!("t-{kind:?}"), *kind, true));
    kept.chain((0..3).map(|number| (format!("p-{number}"), Kind::Quick, false))).collect()
}

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    for name in WORKERS {
        let records = records.clone();
        sim.host(name, move |host| labour::work(host, records.clone()));
    }
    let told = records.clone();
    sim.host("client", move |host| client(host, told.clone()));
    stage::everything_goes_wrong(sim, &mut dice, &ALL, 4 * SECOND);
    sim.run_for(10 * SECOND);
    stage::calm(sim, &ALL);
    assert!(sim.run_until(150 * SECOND, |sim| !sim.is_up("client")), "not every job has ended in its time");
    in_peace(sim, &records);
    nothing_runs_again(sim, &records);
    let letters = letters(sim);
    check_letters(sim, &records, &letters);
    put_back(sim, &records, &letters);
    if let Err(violation) = records.events.look(|events| check(events, Until::Cut)) {
        panic!("{violation}");
    }
    check_attempts(&records);
    check_results(&records);
    drain(sim, &records);
}

/// Submits the jobs, as often as it takes, and looks until all have ended.
async fn client(host: Host, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let jobs = loop {
        match jobs(&space).await {
            Ok(jobs) => break jobs,
            Err(_) => idle(&host, SECOND).await,
        }
    };
    let all = troubled();
    let (work, plain) = (WORK, PLAIN);
    let submits = all.iter().map(|(id, kind, kept)| {
        let (host, records, jobs, topic) = (&host, &records, &jobs, if *kept { &work } else { &plain });
        async move {
            idle(host, 3 * SECOND).await;
            submit(host, records, jobs, topic, id, *kind).await;
        }
    });
    futures_util::future::join_all(submits).await;
    let mut left: Vec<_> = all.iter().filter(|(.., kept)| *kept).map(|(id, ..)| id.as_str()).collect();
    while !left.is_empty() {
        idle(&host, 2 * SECOND).await;
        let mut open = Vec::new();
        for id in left {
            // Also what has ended is looked at again: an end does not change.
            if !matches!(look(&host, &records, &jobs, id).await, Ok(Some(_))) || host.roll(4) == 0 {
                open.push(id);
            }
        }
        left = open;
    }
    // What keeps no result leaves no trace but what its handler says.
    let done = |id: &str| records.returned.look(|returned| returned.iter().any(|(there, _)| *there == name(id, 0)));
    for (id, ..) in all.iter().filter(|(.., kept)| !kept) {
        while !done(id) && look(&host, &records, &jobs, id).await?.is_none() {
            idle(&host, 2 * SECOND).await;
        }
    }
    Ok(())
}

/// Without trouble each kind of job has its fate, in exactly so many attempts.
fn in_peace(sim: &mut Simulation, records: &Records) {
    let told = records.clone();
    sim.ask(move |host| {
        let records = told.clone();
        async move {
            let jobs = jobs(&space(&host).await).await?;
            let each = KINDS.iter().map(|kind| {
                let (host, records, jobs) = (&host, &records, &jobs);
                async move {
                    let id = format!("c-{kind:?}");
                    submit(host, records, jobs, &WORK, &id, *kind).await;
                    let mut waited = 0;
                    while look(host, records, jobs, &id).await?.is_none() {
                        waited += 1;
                        assert!(waited < 60, "{id} has not ended, though nothing goes wrong");
                        host.clock().sleep(SECOND).await;
                    }
                    let (verdict, _) = look(host, records, jobs, &id).await?.ok_or("its end is gone")?;
                    let begun = attempts(records, &name(&id, 0));
                    let last = begun.last().map(|begun| begun.attempt);
                    let (fate, most) = kind.fate();
                    assert_eq!((verdict, last.unwrap_or(1)), (fate, most), "{id}: {begun:?}");
                    let times = if *kind == Kind::Snoozed { 3 } else { most };
                    assert!(begun.len() == times as usize || *kind == Kind::Unwanted, "{id} was begun {begun:?}");
                    Ok::<_, BoxError>(())
                }
            });
            futures_util::future::try_join_all(each).await?;
            Ok(())
        }
    });
}

fn attempts(records: &Records, name: &str) -> Vec<Begun> {
    records.begun.look(|begun| begun.iter().filter(|begun| begun.name == name).cloned().collect())
}

/// What has ended does not run again under its id, also when its queue has forgotten the id.
fn nothing_runs_again(sim: &mut Simulation, records: &Records) {
    // Messages of earlier deliveries that are still under way have come by then.
    sim.run_for(2 * DEDUPE);
    let before = records.begun.len();
    sim.ask(|host| async move {
        let jobs = jobs(&space(&host).await).await?;
        for kind in KINDS {
            for id in [format!("t-{kind:?}"), format!("c-{kind:?}")] {
                let again = jobs.submit_as(id, &WORK, &kind).await?;
                assert!(!again.duplicate, "{} is remembered for longer than was said", again.id);
            }
        }
        Ok(())
    });
    sim.run_for(5 * SECOND);
    records.begun.look(|begun| assert_eq!(begun.len(), before, "what has ended runs again: {:?}", &begun[before..]));
}

type Letters = Vec<(String, u32)>;

fn letters(sim: &mut Simulation) -> Letters {
    sim.ask(|host| async move {
        let letters = jobs(&space(&host).await).await?.dead_letters().await?.list(100).await?;
        Ok(letters.into_iter().map(|letter| (letter.id, letter.generation)).collect())
    })
}

/// There is exactly one letter of each job that was given up, and none of any other.
fn check_letters(sim: &mut Simulation, records: &Records, letters: &Letters) {
    let told = records.clone();
    let ended = sim.ask(move |host| {
        let records = told.clone();
        async move {
            let jobs = jobs(&space(&host).await).await?;
            let mut ended = BTreeMap::new();
            let peaceful = KINDS.iter().map(|kind| format!("c-{kind:?}"));
            for id in troubled().into_iter().map(|(id, ..)| id).chain(peaceful) {
                if let Some(end) = look(&host, &records, &jobs, &id).await? {
                    ended.insert(id, end);
                }
            }
            Ok(ended)
        }
    });
    let mut found = letters.clone();
    found.sort();
    let dead: Letters = ended
        .iter()
        .filter(|(_, (verdict, _))| *verdict == Verdict::Dead)
        .map(|(id, (_, generation))| (id.clone(), *generation))
        .collect();
    assert_eq!(found, dead, "letters are not those of the jobs that were given up");
    for (id, (verdict, _)) in &ended {
        let may = KINDS.iter().find(|kind| id.ends_with(&format!("{kind:?}"))).is_none_or(|kind| match kind.fate().0 {
            // Too many attempts may have died with their workers.
            Verdict::Done => *verdict != Verdict::Dropped,
            Verdict::Dead => *verdict == Verdict::Dead,
            Verdict::Dropped => *verdict != Verdict::Done,
        });
        assert!(may, "{id} has ended as {verdict:?}");
    }
}

/// What is put back has fresh attempts, and ends as it has to, since nothing goes wrong any more.
fn put_back(sim: &mut Simulation, records: &Records, letters: &Letters) {
    let count = letters.len();
    sim.ask(move |host| async move {
        let put_back = jobs(&space(&host).await).await?.dead_letters().await?.redrive_all().await?;
        assert_eq!(put_back, count, "not every letter was put back, once");
        Ok(())
    });
    for (id, generation) in letters {
        let name = name(id, generation + 1);
        let at = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
        records.events.push(anabranch::testing::check::queues::Event::Published { id: name.into(), at });
    }
    sim.run_for(20 * SECOND);
    let again = self::letters(sim);
    check_letters(sim, records, &again);
    let fates = |(id, generation): &(String, u32)| {
        let kind = KINDS.iter().find(|kind| id.ends_with(&format!("{kind:?}"))).copied().unwrap_or(Kind::Quick);
        let attempts = attempts(records, &name(id, generation + 1)).last().map_or(0, |begun| begun.attempt);
        (id.clone(), kind, attempts)
    };
    for (id, kind, attempts) in letters.iter().map(fates) {
        let (verdict, most) = kind.fate();
        let dead = again.iter().any(|(there, _)| *there == id);
        if kind != Kind::Unwanted {
            assert_eq!((dead, attempts), (verdict == Verdict::Dead, most), "{id}, which was put back");
        }
    }
}

/// Attempts are no more than the policy allows.
fn check_attempts(records: &Records) {
    records.begun.look(|begun| {
        for begun in begun {
            assert!((1..=MOST_ATTEMPTS).contains(&begun.attempt), "{begun:?} is beyond {MOST_ATTEMPTS}");
        }
    });
}

/// Whoever looks sees one result of a job, which is one that its handler returned.
fn check_results(records: &Records) {
    records.results.look(|seen| {
        let mut results: BTreeMap<&str, &Vec<u8>> = BTreeMap::new();
        for (name, result) in seen {
            let first = results.entry(name).or_insert(result);
            assert_eq!(*first, result, "{name} has two results");
            let told: String = serde_json::from_slice(result).unwrap_or_default();
            let returned =
                records.returned.look(|returned| returned.iter().any(|(there, value)| there == name && *value == told));
            assert!(returned, "nobody has returned {told:?}, the result of {name}");
        }
        assert!(!results.is_empty(), "no job has a result");
    });
}

/// Workers that are told to end leave nothing that nobody works on: what is not done is there for the next one at once.
fn drain(sim: &mut Simulation, records: &Records) {
    sim.ask(|host| async move {
        let jobs = jobs(&space(&host).await).await?;
        for number in 0..LATE {
            jobs.submit_as(format!("late-{number}"), &WORK, &Kind::Long).await?;
        }
        Ok(())
    });
    sim.run_for(SECOND);
    close(sim, &records.closing, &WORKERS, 20 * SECOND);
    let (ended, left) = sim.ask(|host| async move {
        let jobs = jobs(&space(&host).await).await?;
        let mut ended = 0;
        for number in 0..LATE {
            ended += u32::from(jobs.record(&format!("late-{number}")).await?.is_some_and(|record| record.is_ended()));
        }
        let (mut left, mut pull) = (0, jobs.queue().pull().await?);
        while let Some(more) = host.clock().timeout(ACK_WAIT / 2, pull.next(NonZeroUsize::MIN)).await {
            for delivery in more? {
                left += 1;
                delivery.ack().await?;
            }
        }
        Ok((ended, left))
    });
    assert!(ended > 0 && left > 0, "a drain in the middle of work met {ended} that ended and {left} that were left");
    assert_eq!(ended + left, LATE, "{ended} jobs have ended, and {left} are there at once");
}
