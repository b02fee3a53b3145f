//! A snapshot of anybody: what is read is the same after it was written, can be shown, and can be taken up.

use super::{NOW, topology_runner::plan};
use crate::core::{
    machine::{Continuation, Event, Plan, RunMachine, park},
    snapshot::{Owner, Snapshot},
};
use bytes::Bytes;

/// Reads bytes as a snapshot.
///
/// # Panics
///
/// When one that was read is another one after it was written, or cannot be shown or taken up.
pub fn snapshot(bytes: &[u8]) {
    let Ok(read) = Snapshot::decode(Bytes::copy_from_slice(bytes)) else { return };
    let written = read.encode();
    let again = Snapshot::decode(written.clone()).expect("what was written can be read");
    assert_eq!(again, read, "a snapshot is the same after it was written");
    assert_eq!(again.encode(), written, "and is written alike");
    let json = read.to_json(|_| None);
    assert_eq!(json["status"], read.status.name());
    let plan = plan();
    if read.nodes.len() == plan.graph.len() {
        taken_up(&plan, read);
    }
}

/// Moves a snapshot in every way in which a worker moves one that it found: whatever it says, nothing panics, and what comes of
/// it can be stored.
pub(super) fn taken_up(plan: &Plan, mut found: Snapshot) {
    // Somebody who can write a snapshot can write the fingerprint of the graph as well.
    found.fingerprint = plan.graph.fingerprint();
    let owner = Owner { worker: "w".into(), instance: "i".into() };
    let machine = RunMachine::load(plan.clone(), found.clone()).expect("it has the fingerprint and as many nodes");
    for how in [Continuation::KeepCompleted, Continuation::FromScratch] {
        let mut resumed = machine.clone();
        let _ = resumed.resume(owner.clone(), how, NOW);
        lives(resumed);
    }
    let mut adopted = machine;
    if adopted.adopt(owner, NOW).is_ok() {
        lives(adopted);
    }
    park(&mut found, "another graph".into());
    stored(&found);
}

fn lives(mut machine: RunMachine) {
    stored(machine.snapshot());
    // What may come next, and what may not: either changes the run or is refused.
    let late = machine.next_deadline().map_or(NOW, |at| at.max(NOW));
    for (event, now) in [
        (Event::Tick, late),
        (Event::CancelRequested { reason: "enough".into() }, NOW),
        (Event::Tick, crate::time::Timestamp::from_micros(i64::MAX)),
    ] {
        let _ = machine.apply(event, now);
        stored(machine.snapshot());
    }
}

fn stored(snapshot: &Snapshot) {
    let again = Snapshot::decode(snapshot.encode()).expect("what a worker stores can be read");
    assert_eq!(&again, snapshot, "a snapshot is the same after it was written");
}
