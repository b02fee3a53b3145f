//! What happened to runs: what bodies tell, and what an observer sees in the store.
//!
//! The observer watches the runs' keys over a link without delay, so that it knows of a state as soon as it is stored, unless the server dies
//! at that moment: then it knows of it when it is back. What it complains about is beside what [`runs::check`] does: states that go
//! back, progress that is lost, and messages that are acknowledged too early.

use super::graph::{NAME, Order};
use anabranch::{
    core::snapshot::{Failure, FailureKind, NodeStatus, RunStatus, Snapshot, Value},
    engine::{Change, Entry, Key, Space},
    testing::{
        check::{
            Until,
            runs::{self, Event},
        },
        sim::Host,
    },
};
use futures_util::StreamExt as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What all hosts tell.
#[derive(Clone, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    sent: BTreeMap<u64, u64>,
    submitted: BTreeSet<u64>,
    complaints: Vec<String>,
    runs: BTreeMap<String, Snapshot>,
    /// When a run first needed nobody, at the earliest.
    rests: BTreeMap<String, u64>,
    /// Messages that were acknowledged, by the runs that they started.
    acked: Vec<(String, u64)>,
    /// By run and attempt, how far `pick` has come.
    saved: BTreeMap<(String, u32), u64>,
    /// Until when everything was seen that happened.
    known_until: u64,
    starts: usize,
}

pub(crate) fn micros(host: &Host) -> u64 {
    u64::try_from(host.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Names one life of a host.
fn life(host: &Host) -> Box<str> {
    format!("{}/{}", host.name(), host.boot()).into()
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, event: Event) {
        self.seen().events.push(event);
    }

    fn complain(&self, what: String) {
        self.seen().complaints.push(what);
    }

    /// A host begins a life, and so ended the one before.
    pub(crate) fn boots(&self, host: &Host) {
        if host.boot() > 1 {
            let worker = format!("{}/{}", host.name(), host.boot() - 1).into();
            self.record(Event::Crashed { worker, at: micros(host) });
        }
    }

    /// An order is sent, which it may be again.
    pub(crate) fn sends(&self, host: &Host, order: Order) {
        self.seen().sent.entry(order.number).or_insert(micros(host));
    }

    /// An order was accepted, when it was sent first or later.
    pub(crate) fn submitted(&self, order: Order) {
        let mut seen = self.seen();
        if seen.submitted.insert(order.number) {
            let at = seen.sent.get(&order.number).copied().unwrap_or(0);
            seen.events.push(Event::Submitted { run: order.id().into(), at });
        }
    }

    pub(crate) fn started(&self, host: &Host, run: &str, node: &str, attempt: u32) {
        self.seen().starts += 1;
        let (run, node, worker) = (run.into(), node.into(), life(host));
        self.record(Event::Started { run, node, attempt, epoch: None, worker, at: micros(host) });
    }

    pub(crate) fn ended(&self, host: &Host, run: &str, node: &str, attempt: u32, completed: bool) {
        let (run, node, worker) = (run.into(), node.into(), life(host));
        self.record(Event::Ended { run, node, attempt, worker, completed, at: micros(host) });
    }

    pub(crate) fn observed(&self, host: &Host, run: &str, outcome: &str) {
        self.record(Event::Observed { run: run.into(), outcome: outcome.into(), at: micros(host) });
    }

    /// An attempt of `pick` begins with the progress that it was given.
    pub(crate) fn resumes(&self, run: &str, attempt: u32, from: u64) {
        let seen = self.seen();
        let before = seen.saved.range((run.to_owned(), 0)..(run.to_owned(), attempt)).map(|(_, saved)| *saved).max();
        drop(seen);
        if before.is_some_and(|before| before > from) {
            self.complain(format!("attempt {attempt} of pick of {run} begins at {from}, and {before:?} was saved before it"));
        }
    }

    pub(crate) fn saved(&self, run: &str, attempt: u32, step: u64) {
        self.seen().saved.insert((run.to_owned(), attempt), step);
    }

    /// The message of a run is about to be acknowledged.
    pub(crate) fn acks(&self, host: &Host, run: &str) {
        self.seen().acked.push((run.to_owned(), micros(host)));
    }

    /// Watches the runs of a space until the host is killed.
    pub(crate) async fn watch(&self, host: &Host, space: &Space) {
        let scope = Key::new("run").expect("a key").join(NAME).below();
        loop {
            let Ok(mut changes) = space.store().watch(&scope).await else {
                host.clock().sleep(std::time::Duration::from_millis(20)).await;
                continue;
            };
            // What is told before everything was told may be old.
            let mut fresh = false;
            while let Some(change) = changes.next().await {
                match change {
                    Change::Put(entry) => self.sees(host, &entry, fresh),
                    Change::Synced => fresh = true,
                    Change::Resynced => fresh = false,
                    Change::Deleted(key, _) | Change::Expired(key, _) => self.complain(format!("{key} is gone")),
                    other => self.complain(format!("{other:?} is not known")),
                }
                if fresh {
                    self.seen().known_until = micros(host);
                }
            }
        }
    }

    fn sees(&self, host: &Host, entry: &Entry, fresh: bool) {
        let at = micros(host);
        let snapshot = match Snapshot::decode(entry.value.clone()) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.complain(format!("{} cannot be read: {error}", entry.key)),
        };
        let mut seen = self.seen();
        let before = seen.runs.insert(snapshot.run.clone(), snapshot.clone());
        if before.as_ref() == Some(&snapshot) {
            return;
        }
        let run: Box<str> = snapshot.run.as_str().into();
        if let Some(before) = &before
            && let Some(wrong) = goes_back(before, &snapshot)
        {
            seen.complaints.push(format!("{run} goes back: {wrong}\nfrom {before:?}\nto   {snapshot:?}"));
        }
        let since = if fresh { at } else { seen.known_until };
        for epoch in before.as_ref().map_or(0, |before| before.epoch) + 1..=snapshot.epoch {
            let worker = snapshot.owner.as_ref().map(|owner| owner.worker.as_str()).unwrap_or_default().into();
            seen.events.push(Event::Claimed { run: run.clone(), epoch, worker, at: since });
        }
        for (place, node) in snapshot.nodes.iter().enumerate() {
            let then = before.as_ref().and_then(|before| before.nodes.get(place));
            if let Some(Failure { kind: FailureKind::Timeout, attempt, .. }) = node.error
                && then.is_none_or(|then| then.error != node.error)
            {
                let (run, node) = (run.clone(), node.name.as_str().into());
                seen.events.push(Event::TimedOut { run, node, attempt, at: since });
            }
            let was = then.map(|node| node.status);
            if node.status == NodeStatus::Completed && was != Some(NodeStatus::Completed) {
                let (attempt, epoch) = (node.attempt, snapshot.epoch);
                seen.events.push(Event::Committed { run: run.clone(), node: node.name.as_str().into(), attempt, epoch, at });
            }
        }
        if snapshot.status != RunStatus::Running {
            seen.rests.entry(snapshot.run.clone()).or_insert(since);
        }
        if snapshot.status.is_terminal() && !before.is_some_and(|before| before.status.is_terminal()) {
            seen.events.push(Event::Finished { run, outcome: outcome(&snapshot).into(), at });
        }
    }

    /// Returns the state of a run that was seen last.
    pub(crate) fn status(&self, run: &str) -> Option<RunStatus> {
        self.seen().runs.get(run).map(|snapshot| snapshot.status)
    }

    pub(crate) fn runs(&self) -> BTreeMap<String, Snapshot> {
        self.seen().runs.clone()
    }

    /// Returns how many bodies started.
    pub(crate) fn starts(&self) -> usize {
        self.seen().starts
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.seen().acked.len()
    }

    /// Complains by a panic about everything that is wrong.
    pub(crate) fn judge(&self) {
        let seen = self.seen();
        if let Err(violation) = runs::check(&seen.events, Until::Quiet) {
            panic!("{violation}");
        }
        for (run, at) in &seen.acked {
            let rests = seen.rests.get(run).is_some_and(|rests| rests <= at);
            assert!(rests, "the message of {run} is acknowledged at {at} us, and it is at rest from {:?}", seen.rests.get(run));
        }
        assert!(seen.complaints.is_empty(), "{}", seen.complaints.join("\n"));
    }
}

/// Says how a run has ended, in the words in which its callers are told.
pub(crate) fn outcome(snapshot: &Snapshot) -> String {
    let output = snapshot.nodes.last().and_then(|ship| match &ship.output {
        Some(Value::Inline(bytes)) if snapshot.status == RunStatus::Completed => serde_json::from_slice::<u64>(bytes).ok(),
        _ => None,
    });
    output.map_or_else(|| snapshot.status.to_string(), |output| format!("{} {output}", snapshot.status))
}

/// Says what of a state is behind the one that was stored before.
fn goes_back(before: &Snapshot, now: &Snapshot) -> Option<String> {
    let ended = |status| matches!(status, NodeStatus::Completed | NodeStatus::Skipped | NodeStatus::Errored);
    if now.epoch < before.epoch {
        return Some(format!("epoch {} after {}", now.epoch, before.epoch));
    }
    if before.status.is_terminal() && now.status != before.status {
        return Some(format!("{} after {}", now.status, before.status));
    }
    if let Some(lost) = before.signals.keys().find(|name| !now.signals.contains_key(*name)) {
        return Some(format!("the signal {lost} is lost"));
    }
    if before.cancel.is_some() && now.cancel.is_none() {
        return Some("the wish to cancel it is lost".to_owned());
    }
    before.nodes.iter().zip(&now.nodes).find_map(|(before, now)| {
        let name = &now.name;
        if now.attempt < before.attempt {
            Some(format!("attempt {} of {name} after {}", now.attempt, before.attempt))
        } else if ended(before.status)
            && (now.status, now.attempt, &now.output) != (before.status, before.attempt, &before.output)
        {
            Some(format!("{name} is {} after it was {}", now.status, before.status))
        } else if before.saved.is_some() && now.saved.is_none() && !ended(now.status) {
            Some(format!("what {name} saved is lost"))
        } else {
            None
        }
    })
}
