//! What happened between two states of a run that were stored one after the other.
//!
//! Pure: it is told the states and when the newer one was stored, and knows nothing of where they come from. What a state itself dates
//! has that date; a state that was missed in between is made up for as far as the newer one tells.

use super::timeline::{Entry, What};
use crate::{
    core::snapshot::{NodeState, NodeStatus, RunStatus, Snapshot, StoredKind, Value},
    time::Timestamp,
};
use std::time::Duration;

/// Compares a state with the one before it; `at` is when it was stored.
pub(super) fn changes(before: Option<&Snapshot>, after: &Snapshot, at: Timestamp) -> Vec<Entry> {
    let mut found = Found { created: after.created_at, entries: Vec::new() };
    let moved = |what| Entry { at: at.since(after.created_at), node: None, attempt: 0, what };
    let Some(before) = before else {
        found.entries.push(Entry { at: Duration::ZERO, node: None, attempt: 0, what: What::Created });
        after.nodes.iter().for_each(|node| found.node(None, node, after, at));
        return found.ended(RunStatus::Running, after, at);
    };
    for (name, signal) in &after.signals {
        if !before.signals.contains_key(name) {
            found.run(signal.at, What::Signalled(name.clone()));
        }
    }
    if let Some(cancel) = after.cancel.as_ref().filter(|_| before.cancel.is_none()) {
        found.run(cancel.at, What::CancelRequested(cancel.reason.clone()));
    }
    if before.status.is_terminal() && after.epoch > before.epoch {
        found.entries.push(moved(What::Resumed));
    } else if before.owner.is_some() && after.owner.is_some() && after.owner != before.owner {
        found.entries.push(moved(What::TakenOver));
    }
    for node in &after.nodes {
        found.node(before.node(&node.name), node, after, at);
    }
    found.ended(before.status, after, at)
}

struct Found {
    created: Timestamp,
    entries: Vec<Entry>,
}

impl Found {
    fn run(&mut self, at: Timestamp, what: What) {
        self.entries.push(Entry { at: at.since(self.created), node: None, attempt: 0, what });
    }

    /// What happened to a node, in the order in which it can have happened.
    fn node(&mut self, before: Option<&NodeState>, after: &NodeState, run: &Snapshot, at: Timestamp) {
        let mut happened = |when: Option<Timestamp>, attempt: u32, what: What| {
            let at = when.unwrap_or(at).since(run.created_at);
            self.entries.push(Entry { at, node: Some(after.name.clone()), attempt, what });
        };
        let (known, status) = before.map_or((0, NodeStatus::Pending), |node| (node.attempt, node.status));
        let failure = after.error.as_ref().filter(|error| before.and_then(|node| node.error.as_ref()) != Some(*error));
        // Whoever is throttled leaves an error that is no failure.
        let counts = after.status == NodeStatus::Errored || before.is_none_or(|node| node.failures != after.failures);
        let failed = |happened: &mut dyn FnMut(Option<Timestamp>, u32, What), attempt: u32| {
            if let Some(error) = failure.filter(|error| error.attempt == attempt) {
                let what =
                    if counts { What::Failed { kind: error.kind, reason: error.message.clone() } } else { What::PutBack };
                happened(Some(error.at), attempt, what);
                return true;
            }
            false
        };
        let progress = after.saved.as_ref().filter(|saved| before.and_then(|node| node.saved.as_ref()) != Some(*saved));
        if let Some(progress) = progress {
            happened(None, known.max(1), What::Saved(text(progress)));
        }
        let over = status == NodeStatus::Running && (after.attempt > known || after.status == NodeStatus::Pending);
        if !failed(&mut happened, known) && over {
            happened(None, known, What::PutBack);
        }
        for attempt in known + 1..=after.attempt {
            happened(after.started_at, attempt, What::Started);
            failed(&mut happened, attempt);
        }
        if after.status != status || (after.attempt > known && after.status != NodeStatus::Running) {
            let attempt = after.attempt;
            match after.status {
                NodeStatus::Completed if after.kind == StoredKind::Branch => {
                    let arm = after.selected.as_ref().map(|selected| selected.name.clone());
                    happened(after.finished_at, attempt, What::Took(arm));
                }
                NodeStatus::Completed => happened(after.finished_at, attempt, What::Completed),
                NodeStatus::Skipped => happened(after.finished_at, attempt, What::Skipped),
                NodeStatus::Errored => happened(after.finished_at, attempt, What::GaveUp),
                NodeStatus::Suspended => happened(after.started_at, attempt, What::Suspended),
                NodeStatus::Pending | NodeStatus::Running | NodeStatus::Excluded => {}
            }
        }
    }

    /// Puts what happened at different times into order, and says how the run came to rest.
    fn ended(mut self, before: RunStatus, after: &Snapshot, at: Timestamp) -> Vec<Entry> {
        self.entries.sort_by_key(|entry| entry.at);
        if after.status != before && after.status != RunStatus::Running {
            self.run(after.finished_at.unwrap_or(at), What::Rests(after.status));
        }
        self.entries
    }
}

/// Progress for people: JSON as it is.
fn text(value: &Value) -> String {
    match value {
        Value::Inline(bytes) => std::str::from_utf8(bytes).map_or_else(|_| format!("{} bytes", bytes.len()), str::to_owned),
        Value::Stored(stored) => format!("{} bytes", stored.size),
    }
}
