//! What must hold of runs, whatever crashes, hangs and is taken over.
//!
//! It holds runs to `docs/semantics.md`: "no attempt runs twice", "never run a completed node again", the attempts of "Failure", and that
//! an owner that was replaced writes nothing. It knows no graph: in which order nodes run is not judged here.

use super::{
    Until,
    violation::{Row, Violation},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to runs. A run that is restarted or deleted and begun anew is another one, and is to be given another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A run was accepted.
    Submitted {
        /// Which.
        run: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// A worker came to own a run.
    Claimed {
        /// Which.
        run: Box<str>,
        /// With which epoch.
        epoch: u64,
        /// Who.
        worker: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// The body of a node starts.
    Started {
        /// Of which run.
        run: Box<str>,
        /// Which node.
        node: Box<str>,
        /// Which attempt; the first one is 1.
        attempt: u32,
        /// By whose epoch, if that is known.
        epoch: Option<u64>,
        /// Where.
        worker: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// The body of a node ends by itself.
    Ended {
        /// Of which run.
        run: Box<str>,
        /// Which node.
        node: Box<str>,
        /// Which attempt.
        attempt: u32,
        /// Where.
        worker: Box<str>,
        /// Whether it returned an output.
        completed: bool,
        /// When, in microseconds.
        at: u64,
    },
    /// The store has it that an attempt took too long. Its body may not have started: its process may have stood still since it was counted.
    TimedOut {
        /// Of which run.
        run: Box<str>,
        /// Which node.
        node: Box<str>,
        /// Which attempt.
        attempt: u32,
        /// When, in microseconds.
        at: u64,
    },
    /// The store has it that a node is completed. Events of one run are in the order of the writes, where they have the same time.
    Committed {
        /// Of which run.
        run: Box<str>,
        /// Which node.
        node: Box<str>,
        /// By which attempt; zero for a node without a body.
        attempt: u32,
        /// In which epoch.
        epoch: u64,
        /// When, in microseconds.
        at: u64,
    },
    /// The store has it that a run has ended.
    Finished {
        /// Which.
        run: Box<str>,
        /// How, in whatever words, and with which output.
        outcome: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// Somebody was told how a run has ended.
    Observed {
        /// Which.
        run: Box<str>,
        /// How, in the same words.
        outcome: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// A run that has ended goes on.
    Resumed {
        /// Which.
        run: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// A worker is no more.
    Crashed {
        /// Who.
        worker: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
}

impl Event {
    fn at(&self) -> u64 {
        let (Self::Submitted { at, .. }
        | Self::Claimed { at, .. }
        | Self::Started { at, .. }
        | Self::Ended { at, .. }
        | Self::TimedOut { at, .. }
        | Self::Committed { at, .. }
        | Self::Finished { at, .. }
        | Self::Observed { at, .. }
        | Self::Resumed { at, .. }
        | Self::Crashed { at, .. }) = self;
        *at
    }

    fn run(&self) -> Option<&str> {
        match self {
            Self::Submitted { run, .. }
            | Self::Claimed { run, .. }
            | Self::Started { run, .. }
            | Self::Ended { run, .. }
            | Self::TimedOut { run, .. }
            | Self::Committed { run, .. }
            | Self::Finished { run, .. }
            | Self::Observed { run, .. }
            | Self::Resumed { run, .. } => Some(run),
            Self::Crashed { .. } => None,
        }
    }

    fn node(&self) -> Option<&str> {
        match self {
            Self::Started { node, .. }
            | Self::Ended { node, .. }
            | Self::TimedOut { node, .. }
            | Self::Committed { node, .. } => Some(node),
            _ => None,
        }
    }

    fn row(&self) -> Row {
        let of = |epoch: &Option<u64>| epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
        let (who, what) = match self {
            Self::Submitted { .. } => ("", "submitted".into()),
            Self::Claimed { epoch, worker, .. } => (&**worker, format!("claims it, epoch {epoch}")),
            Self::Started { node, attempt, epoch, worker, .. } => {
                (&**worker, format!("{node}: attempt {attempt} starts{}", of(epoch)))
            }
            Self::Ended { node, attempt, worker, completed: true, .. } => {
                (&**worker, format!("{node}: attempt {attempt} returns"))
            }
            Self::Ended { node, attempt, worker, .. } => (&**worker, format!("{node}: attempt {attempt} fails")),
            Self::TimedOut { node, attempt, .. } => ("", format!("{node}: attempt {attempt} took too long")),
            Self::Committed { node, attempt, epoch, .. } => {
                ("", format!("{node}: completed by attempt {attempt}, epoch {epoch}"))
            }
            Self::Finished { outcome, .. } => ("", format!("ended: {outcome}")),
            Self::Observed { outcome, .. } => ("", format!("observed: {outcome}")),
            Self::Resumed { .. } => ("", "resumed".into()),
            Self::Crashed { worker, .. } => (&**worker, "crashes".into()),
        };
        Row::at(self.at(), who, what)
    }
}

/// Checks what must hold of runs.
///
/// - An attempt starts once (rule `runs.repeated`).
/// - The attempts of a node are numbered from 1 without a gap, and epochs do not fall along them (`runs.attempts`). An owner that
///   ended between counting an attempt and starting it leaves a gap, so there may be one where the epoch grew; where epochs are not known,
///   where a worker crashed or a run was claimed before. So does an owner that stood still for so long that the attempt timed out.
/// - No attempt starts once a node is completed by an earlier one or by itself (`runs.again`). An attempt that is *older* than the one that
///   completed the node may start late: its process was paused, and is promised to change nothing any more.
/// - A node is completed once, by an attempt that had started and had not failed (`runs.completed`). That is judged only of nodes of which
///   any start was recorded.
/// - Once an epoch has committed, no earlier one does (`runs.fencing`).
/// - All who know how a run has ended know the same (`runs.outcome`), unless it was resumed.
/// - When everything has come to rest, each run that was submitted has ended (`runs.lost`).
///
/// # Errors
///
/// The first of these that does not hold, with all that happened to the node, or to the run.
///
/// ```
/// use anabranch::testing::check::{Until, runs::{Event, check}};
///
/// let started = |attempt, at| Event::Started { run: "r".into(), node: "n".into(), attempt, epoch: Some(1), worker: "w".into(), at };
/// let committed = |at| Event::Committed { run: "r".into(), node: "n".into(), attempt: 1, epoch: 1, at };
/// let events = [Event::Submitted { run: "r".into(), at: 0 }, started(1, 10), committed(20)];
/// check(&events, Until::Cut)?;
/// assert_eq!(check(&events, Until::Quiet).unwrap_err().rule(), "runs.lost");
/// let violation = check(&[started(1, 10), committed(20), started(2, 30)], Until::Cut).unwrap_err();
/// assert_eq!(
///     violation.to_string(),
///     "\
/// runs.again: attempt 2 of n of r starts, which attempt 1 has completed
///   seconds after 10 us
///       0.000000                w  n: attempt 1 starts, epoch 1
///       0.000010                   n: completed by attempt 1, epoch 1
///       0.000020                w  n: attempt 2 starts, epoch 1"
/// );
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub fn check(events: &[Event], until: Until) -> Result<(), Violation> {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|at| events[*at].at());
    let mut runs: BTreeMap<&str, Vec<(usize, &Event)>> = BTreeMap::new();
    let mut crashes = Vec::new();
    for at in order {
        match events[at].run() {
            Some(run) => runs.entry(run).or_default().push((at, &events[at])),
            None => crashes.push((at, &events[at])),
        }
    }
    for (name, events) in runs {
        let run = Run { name, events, crashes: &crashes };
        let nodes: BTreeSet<&str> = run.events.iter().filter_map(|(_, event)| event.node()).collect();
        for node in nodes {
            run.attempts(node)?;
            run.completion(node)?;
        }
        run.fencing()?;
        run.outcome()?;
        if until == Until::Quiet {
            run.ended()?;
        }
    }
    Ok(())
}

struct Run<'e> {
    name: &'e str,
    /// In their order.
    events: Vec<(usize, &'e Event)>,
    crashes: &'e [(usize, &'e Event)],
}

impl Run<'_> {
    fn attempts(&self, node: &str) -> Result<(), Violation> {
        let mut starts: Vec<(u32, Option<u64>, u64)> = self.starts(node).collect();
        starts.sort_by_key(|(attempt, ..)| *attempt);
        let mut before: (u32, Option<u64>, u64) = (0, None, 0);
        for (attempt, epoch, at) in starts {
            let wrong = |rule, what: String| Err(self.tell(rule, format!("{what} of {node} of {}", self.name), Some(node)));
            if attempt == before.0 {
                let what =
                    if attempt == 0 { "there is an attempt 0".into() } else { format!("attempt {attempt} starts twice") };
                return wrong("runs.repeated", what);
            }
            if let (Some(earlier), Some(epoch)) = (before.1, epoch)
                && epoch < earlier
            {
                let what =
                    format!("attempt {attempt} is of epoch {epoch}, and an earlier one is of epoch {earlier}: an attempt");
                return wrong("runs.attempts", what);
            }
            let skipped = before.0 + 1..attempt;
            if !skipped.clone().all(|missing| self.timed_out(node, missing))
                && !self.may_skip((before.1, before.2), (epoch, at))
            {
                let (first, last) = (skipped.start, attempt - 1);
                let missing = if first == last { format!("attempt {first}") } else { format!("attempts {first} to {last}") };
                return wrong("runs.attempts", format!("nothing accounts for what became of {missing}: the attempts"));
            }
            before = (attempt, epoch.or(before.1), at);
        }
        Ok(())
    }

    /// Returns whether an attempt may have been counted and not started between two that started: of which epochs, and when.
    fn may_skip(&self, (before, since): (Option<u64>, u64), (epoch, at): (Option<u64>, u64)) -> bool {
        match (before, epoch) {
            (Some(before), Some(epoch)) => epoch > before,
            // The first that started may be of an owner that took the run over.
            (None, Some(epoch)) if self.first_epoch().is_some() => self.first_epoch().is_some_and(|first| epoch > first),
            _ => {
                let claimed = |(_, event): &&(usize, &Event)| matches!(event, Event::Claimed { .. }) && event.at() <= at;
                self.crashes.iter().any(|(_, crash)| (since..=at).contains(&crash.at()))
                    || self.events.iter().filter(claimed).count() > 1
            }
        }
    }

    fn timed_out(&self, of: &str, which: u32) -> bool {
        let it = |(_, event): &(usize, &Event)| matches!(event, Event::TimedOut { node, attempt, .. } if &**node == of && *attempt == which);
        self.events.iter().any(it)
    }

    fn first_epoch(&self) -> Option<u64> {
        let epoch = |(_, event): &(usize, &Event)| match event {
            Event::Claimed { epoch, .. } | Event::Committed { epoch, .. } | Event::Started { epoch: Some(epoch), .. } => {
                Some(*epoch)
            }
            _ => None,
        };
        self.events.iter().filter_map(epoch).min()
    }

    fn starts<'r>(&'r self, of: &'r str) -> impl Iterator<Item = (u32, Option<u64>, u64)> + 'r {
        self.events.iter().filter_map(move |(_, event)| match event {
            Event::Started { node, attempt, epoch, at, .. } if &**node == of => Some((*attempt, *epoch, *at)),
            _ => None,
        })
    }

    fn completion(&self, node: &str) -> Result<(), Violation> {
        let (mut completed, mut failed) = (None, BTreeSet::new());
        let name = self.name;
        let known = self.starts(node).next().is_some();
        for (_, event) in self.events.iter().filter(|(_, event)| event.node() == Some(node)) {
            match event {
                Event::Started { attempt, .. } => {
                    if let Some(by) = completed.filter(|by| by <= attempt) {
                        let what = format!("attempt {attempt} of {node} of {name} starts, which attempt {by} has completed");
                        return Err(self.tell("runs.again", what, Some(node)));
                    }
                }
                Event::Ended { attempt, completed: false, .. } => drop(failed.insert(*attempt)),
                Event::Committed { attempt, .. } => {
                    let wrong = |what: String| Err(self.tell("runs.completed", format!("{node} of {name} {what}"), Some(node)));
                    if let Some(by) = completed.filter(|by| by != attempt) {
                        return wrong(format!("was completed by attempt {attempt}, after attempt {by} had completed it"));
                    }
                    let started =
                        *attempt == 0 || self.starts(node).any(|(start, _, at)| start == *attempt && at <= event.at());
                    if known && !started {
                        return wrong(format!("was completed by attempt {attempt}, which had not started"));
                    }
                    if failed.contains(attempt) {
                        return wrong(format!("was completed by attempt {attempt}, which had failed"));
                    }
                    completed = Some(*attempt);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn fencing(&self) -> Result<(), Violation> {
        let mut newest: Option<u64> = None;
        for (_, event) in &self.events {
            let Event::Committed { epoch, node, .. } = event else { continue };
            if let Some(newest) = newest.filter(|newest| newest > epoch) {
                let what = format!("epoch {epoch} has completed {node} of {}, after epoch {newest} had committed", self.name);
                return Err(self.tell("runs.fencing", what, None));
            }
            newest = Some(*epoch);
        }
        Ok(())
    }

    fn outcome(&self) -> Result<(), Violation> {
        if self.events.iter().any(|(_, event)| matches!(event, Event::Resumed { .. })) {
            return Ok(());
        }
        let outcome = |(_, event): &(usize, &'_ Event)| match event {
            Event::Finished { outcome, .. } | Event::Observed { outcome, .. } => Some(outcome.clone()),
            _ => None,
        };
        let outcomes: BTreeSet<Box<str>> = self.events.iter().filter_map(outcome).collect();
        if outcomes.len() > 1 {
            return Err(self.tell("runs.outcome", format!("{} has ended in different ways: {outcomes:?}", self.name), None));
        }
        Ok(())
    }

    fn ended(&self) -> Result<(), Violation> {
        // One that was resumed has to end again.
        let newest = |(_, event): &&(usize, &Event)| {
            matches!(event, Event::Submitted { .. } | Event::Resumed { .. } | Event::Finished { .. } | Event::Observed { .. })
        };
        match self.events.iter().rfind(newest) {
            Some((_, Event::Submitted { .. } | Event::Resumed { .. })) => {
                Err(self.tell("runs.lost", format!("{} was accepted, and has not ended", self.name), None))
            }
            _ => Ok(()),
        }
    }

    /// Tells what happened to a node, or to the whole run.
    fn tell(&self, rule: &'static str, what: String, node: Option<&str>) -> Violation {
        let workers: BTreeSet<&str> = self.events.iter().filter_map(|(_, event)| worker(event)).collect();
        let crashes = self.crashes.iter().filter(|(_, crash)| worker(crash).is_some_and(|worker| workers.contains(worker)));
        let matters = |(_, event): &&(usize, &Event)| node.is_none() || event.node().is_none() || event.node() == node;
        let mut events: Vec<&(usize, &Event)> = self.events.iter().filter(matters).chain(crashes).collect();
        events.sort_by_key(|(_, event)| event.at());
        events.into_iter().fold(Violation::new(rule, what), |violation, (at, event)| violation.with(*at, event.row()))
    }
}

fn worker(event: &Event) -> Option<&str> {
    match event {
        Event::Claimed { worker, .. }
        | Event::Started { worker, .. }
        | Event::Ended { worker, .. }
        | Event::Crashed { worker, .. } => Some(worker),
        _ => None,
    }
}
