//! Runs, jobs and firings: nothing that was accepted is lost, and nothing is done again that was completed.

use super::{
    Life,
    ops::{Op, begun, over},
};
use crate::{
    history::{self, Act, Answer, Fact},
    workload::schedules::SCHEDULE,
};
use anabranch::{
    testing::check::{
        Until, Violation,
        queues::{self, Verdict},
        runs, schedules,
    },
    time::Clock,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// How much earlier than due a firing may come: the clocks of schedulers are two seconds ahead at most.
const EARLY: Duration = Duration::from_secs(3);
/// How late a firing may be when all faults are over, in microseconds: the clocks of schedulers are two seconds behind at most, and what
/// one of them leaves the next one takes up after five.
const LATE: u64 = 10_000_000;

pub(super) fn check(lives: &[Life], ops: &[Op], complain: &mut impl FnMut(&str, Violation)) {
    let _ = runs::check(&runs_of(lives, ops), Until::Quiet).map_err(|violation| complain("runs", violation));
    let _ = queues::check(&jobs_of(lives, ops), Until::Quiet).map_err(|violation| complain("jobs", violation));
    let (firings, last) = firings_of(lives);
    let _ = schedules::check(&firings, EARLY, last).map_err(|violation| complain("firings", violation));
}

/// All lines, each with whose it is.
fn lines(lives: &[Life]) -> impl Iterator<Item = (&str, &history::Line)> {
    lives.iter().flat_map(|life| life.lines.iter().map(move |line| (life.name.as_str(), line)))
}

/// That a node is completed was not noted: it was so at the latest when a node began that depends on it, or when the run had ended.
fn runs_of(lives: &[Life], ops: &[Op]) -> Vec<runs::Event> {
    let mut events = Vec::new();
    let mut began: HashMap<(&str, &str), u64> = HashMap::new();
    for (worker, line) in lines(lives) {
        let (name, at) = (|text: &str| -> Box<str> { text.into() }, begun(line.at));
        match &line.fact {
            Fact::Begins { run, node, attempt } => {
                began.entry((run, node)).and_modify(|first| *first = at.min(*first)).or_insert(at);
                let (run, node, worker) = (name(run), name(node), name(worker));
                events.push(runs::Event::Started { run, node, attempt: *attempt, epoch: None, worker, at });
            }
            Fact::Ends { run, node, attempt } => {
                let (run, node, worker) = (name(run), name(node), name(worker));
                events.push(runs::Event::Ended { run, node, attempt: *attempt, worker, completed: true, at });
            }
            _ => {}
        }
    }
    for (_, line) in lines(lives) {
        let Fact::Ended { run, status, output, epoch, attempts } = &line.fact else { continue };
        if status == "absent" {
            continue;
        }
        let (name, at) = (|| -> Box<str> { run.as_str().into() }, over(line.at));
        // One that has changed hands may have had attempts that were counted and never begun.
        events.extend((1..=*epoch).map(|epoch| runs::Event::Claimed { run: name(), epoch, worker: "".into(), at: 0 }));
        let first = |nodes: &[&str]| nodes.iter().filter_map(|node| began.get(&(run.as_str(), *node))).min().copied();
        for (node, attempt) in attempts.iter().filter(|_| status == "completed") {
            let behind = match node.as_str() {
                "a" => first(&["b", "c"]),
                "b" | "c" => first(&["d"]),
                _ => None,
            };
            let (node, at) = (node.as_str().into(), behind.unwrap_or(at));
            events.push(runs::Event::Committed { run: name(), node, attempt: *attempt, epoch: *epoch, at });
        }
        events.push(runs::Event::Finished { run: name(), outcome: format!("{status} {output:?}").into(), at });
    }
    for op in ops.iter().filter(|op| matches!((&op.act, &op.end), (Act::Start(_), Some((_, Answer::Done))))) {
        events.push(runs::Event::Submitted { run: op.object.as_str().into(), at: op.from });
    }
    events
}

fn jobs_of(lives: &[Life], ops: &[Op]) -> Vec<queues::Event> {
    let id = |job: u64| -> Box<str> { job.to_string().into() };
    let mut events = Vec::new();
    for op in ops {
        let Act::Submit(job) = op.act else { continue };
        match op.end {
            Some((at, Answer::Done)) => events.push(queues::Event::Published { id: id(job), at }),
            Some((_, Answer::Not)) => {}
            _ => events.push(queues::Event::Attempted { id: id(job), at: op.from }),
        }
    }
    for (worker, line) in lines(lives) {
        let (worker, at): (Box<str>, _) = (worker.into(), begun(line.at));
        match &line.fact {
            Fact::Works { job, .. } => events.push(queues::Event::Handled { id: id(*job), worker, at }),
            Fact::Completed { job } => {
                events.push(queues::Event::Settled { id: id(*job), verdict: Verdict::Done, worker, at });
            }
            Fact::Kept { job, state } => {
                let verdict = match state.as_str() {
                    "completed" => Verdict::Done,
                    "dead" => Verdict::Dead,
                    "cancelled" => Verdict::Dropped,
                    _ => continue,
                };
                events.push(queues::Event::Settled { id: id(*job), verdict, worker, at });
            }
            _ => {}
        }
    }
    events
}

/// Each message of the schedule, however often it came; and what had to come from the first one on until the schedule was paused.
fn firings_of(lives: &[Life]) -> (Vec<schedules::Event>, Option<u64>) {
    // From the clock that all processes have in common to wall time, in which things are due.
    let wall = u64::try_from(Clock::system().now().as_micros()).unwrap_or(0).saturating_sub(begun(history::now()));
    let mut sent: BTreeMap<u64, (u64, u64, &str)> = BTreeMap::new();
    for (worker, line) in lines(lives) {
        if let Fact::Fired { due, place, .. } = &line.fact {
            let (due, at) = (due.unsigned_abs(), wall + over(line.at));
            let first = sent.entry(*place).or_insert((due, at, worker));
            first.1 = first.1.min(at);
        }
    }
    let dues: BTreeSet<u64> = sent.values().map(|(due, ..)| *due).collect();
    let (Some(first), Some(last)) = (dues.first().copied(), dues.last().copied()) else { return (Vec::new(), None) };
    let paused = lines(lives).filter(|(_, line)| line.fact == Fact::Pauses).map(|(_, line)| wall + begun(line.at)).max();
    let last = last.max(paused.map_or(0, |paused| paused - LATE));
    let due = (first..=last).step_by(1_000_000).map(|due| schedules::Event::Due { schedule: SCHEDULE.into(), due });
    let fired = sent.values().map(|(due, at, by)| schedules::Event::Fired {
        schedule: SCHEDULE.into(),
        due: *due,
        by: (*by).into(),
        at: *at,
    });
    (due.chain(fired).collect(), Some(last))
}
