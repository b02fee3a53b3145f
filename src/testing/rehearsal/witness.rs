//! What a rehearsal has seen of its runs: every state that was stored, and what follows from it about when something happens next.
//!
//! It learns of states by a watch of its own, over a connection that takes no time, so it sees each of them. It does not know what
//! processes do in memory.

use super::{changes::changes, timeline::Entry};
use crate::{
    core::snapshot::{NodeStatus, RunStatus, Snapshot},
    time::Timestamp,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long nothing is stored before a rehearsal takes it that everything under way has ended.
const SETTLED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Witness(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    runs: BTreeMap<String, Seeing>,
    /// When something was stored last, in true time.
    changed: Duration,
    /// What is wrong with the rehearsal itself.
    complaint: Option<String>,
}

#[derive(Debug)]
struct Seeing {
    newest: Snapshot,
    entries: Vec<Entry>,
}

/// What is to be expected while nobody does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing before this moment.
    Until(Timestamp),
    /// Nothing at all.
    ForEver,
}

impl Witness {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a state that was stored.
    pub(super) fn saw(&self, snapshot: Snapshot, at: Timestamp, elapsed: Duration) {
        let mut seen = self.seen();
        seen.changed = elapsed;
        match seen.runs.get_mut(&snapshot.run) {
            // A watch that began anew tells again what is known.
            Some(known) if known.newest == snapshot => {}
            Some(known) => {
                let entries = changes(Some(&known.newest), &snapshot, at);
                known.entries.extend(entries);
                known.newest = snapshot;
            }
            None => {
                let entries = changes(None, &snapshot, at);
                seen.runs.insert(snapshot.run.clone(), Seeing { newest: snapshot, entries });
            }
        }
    }

    /// Takes note that something was asked for at `elapsed`, whose consequences are still to come.
    pub(super) fn stir(&self, elapsed: Duration) {
        self.seen().changed = elapsed;
    }

    /// Says what is wrong with the rehearsal itself; the first complaint stays.
    pub(super) fn complain(&self, complaint: String) {
        self.seen().complaint.get_or_insert(complaint);
    }

    pub(super) fn complaint(&self) -> Option<String> {
        self.seen().complaint.clone()
    }

    pub(super) fn newest(&self, run: &str) -> Option<Snapshot> {
        self.seen().runs.get(run).map(|run| run.newest.clone())
    }

    pub(super) fn entries(&self, run: &str) -> Vec<Entry> {
        self.seen().runs.get(run).map(|run| run.entries.clone()).unwrap_or_default()
    }

    /// Tells whether a run is as `wanted`; a run that nobody has seen is not.
    pub(super) fn is(&self, run: &str, wanted: impl FnOnce(&Snapshot) -> bool) -> bool {
        self.seen().runs.get(run).is_some_and(|run| wanted(&run.newest))
    }

    /// Tells whether nothing happens for a while, and for how long; `None` while something may.
    ///
    /// While the only process there is waits for the next attempt of a node, nothing happens until then. Several processes watch each
    /// other meanwhile.
    pub(super) fn rest(&self, now: Timestamp, elapsed: Duration, alone: bool) -> Option<Rest> {
        let seen = self.seen();
        if elapsed.saturating_sub(seen.changed) < SETTLED {
            return None;
        }
        let mut next: Option<Timestamp> = None;
        for run in seen.runs.values().map(|run| &run.newest) {
            if run.status == RunStatus::Running {
                let works = run.nodes.iter().any(|node| node.status == NodeStatus::Running);
                let due = run.nodes.iter().filter_map(|node| node.due_at).min();
                let due = due.filter(|due| alone && !works && *due > now + SETTLED)?;
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        Some(next.map_or(Rest::ForEver, Rest::Until))
    }
}
