//! What is there when all faults are over: every run and job that was accepted has ended, and the rest of the firings.
//!
//! It looks through the library, past all wires, while the workers still take up what is left. What it finds it notes as workers do;
//! it fails only where the cluster is of no use.

use crate::{
    history::{Act, Answer, Fact, History, Line, now},
    workload::{
        Failure, Site,
        jobs::{self, Jobs},
        runs::Host,
        schedules,
    },
};
use anabranch::{
    core::{jobs::State, snapshot::RunStatus},
    testing::Dice,
};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// How long what was accepted may take to end, once nothing goes wrong any more.
const ENDS: Duration = Duration::from_secs(45);
const LOOK: Duration = Duration::from_millis(300);

/// What was asked for, and whether it was accepted for certain.
#[derive(Debug, Default)]
struct Accepted {
    runs: BTreeMap<String, bool>,
    jobs: BTreeMap<u64, bool>,
}

fn accepted(lives: &[Vec<Line>]) -> Accepted {
    let mut accepted = Accepted::default();
    for life in lives {
        let mut calls = BTreeMap::new();
        for line in life {
            match &line.fact {
                Fact::Call { op, object, act: act @ (Act::Start(_) | Act::Submit(_)) } => {
                    calls.insert(*op, (object.clone(), act.clone()));
                    match act {
                        Act::Start(_) => accepted.runs.insert(object.clone(), false),
                        Act::Submit(job) => accepted.jobs.insert(*job, false),
                        _ => None,
                    };
                }
                Fact::Back { op, answer } => match (calls.get(op), answer) {
                    (Some((run, Act::Start(_))), Answer::Done) => drop(accepted.runs.insert(run.clone(), true)),
                    (Some((_, Act::Submit(job))), Answer::Done) => drop(accepted.jobs.insert(*job, true)),
                    _ => {}
                },
                _ => {}
            }
        }
    }
    accepted
}

/// Looks at everything that was asked for, until what was accepted has ended or the time is over.
pub(crate) async fn audit(url: &str, history: &Path, lives: &[Vec<Line>]) -> Result<(), Failure> {
    let history = History::create(history)?;
    let site = Site::open(url, history, (u32::MAX, 0), 0, Dice::new(now()).number()).await?;
    let (host, jobs) = (Host::start(&site).await?, jobs::open(&site).await?);
    let Accepted { mut runs, jobs: mut submitted } = accepted(lives);
    let until = site.space.clock().instant() + ENDS;
    let mut last = false;
    loop {
        look_at_runs(&site, &host, &mut runs, last).await?;
        look_at_jobs(&site, &jobs, &mut submitted, last).await?;
        if last {
            break;
        }
        // What nobody was told of, and is not there either, is looked at once more.
        let left = runs.values().chain(submitted.values()).any(|certain| *certain);
        last = !left || site.space.clock().instant() > until;
        site.space.clock().sleep(LOOK).await;
    }
    schedules::receive_the_rest(&site).await?;
    host.drain().await;
    Ok(())
}

/// Notes the runs that have ended and takes them off the list; in the end those that have not.
async fn look_at_runs(site: &Site, host: &Host, runs: &mut BTreeMap<String, bool>, last: bool) -> Result<(), Failure> {
    for id in runs.keys().cloned().collect::<Vec<_>>() {
        let Some(snapshot) = host.runs.inspect(&id).await? else {
            if last {
                site.history.note(Fact::Ended {
                    run: id,
                    status: "absent".to_owned(),
                    output: None,
                    epoch: 0,
                    attempts: Vec::new(),
                });
            }
            continue;
        };
        if !snapshot.status.is_terminal() && !last {
            // Whatever was asked for is accepted if it is there.
            runs.insert(id, true);
            continue;
        }
        let output = match snapshot.status {
            RunStatus::Completed => Some(host.runs.get(&id).await?.outcome().await?),
            _ => None,
        };
        let epoch = snapshot.epoch;
        let attempts = snapshot.nodes.iter().map(|node| (node.name.clone(), node.attempt)).collect();
        site.history.note(Fact::Ended { run: id.clone(), status: snapshot.status.name().to_owned(), output, epoch, attempts });
        runs.remove(&id);
    }
    Ok(())
}

async fn look_at_jobs(site: &Site, jobs: &Jobs, submitted: &mut BTreeMap<u64, bool>, last: bool) -> Result<(), Failure> {
    for job in submitted.keys().copied().collect::<Vec<_>>() {
        let state = match jobs.record(&format!("j{job}")).await?.map(|record| record.state) {
            Some(State::Completed { .. }) => "completed",
            Some(State::Cancelled) => "cancelled",
            Some(State::Dead { .. }) => "dead",
            Some(State::Open) => "open",
            None => "absent",
        };
        if state == "open" {
            submitted.insert(job, true);
        }
        if last || !matches!(state, "open" | "absent") {
            site.history.note(Fact::Kept { job, state: state.to_owned() });
            submitted.remove(&job);
        }
    }
    Ok(())
}
