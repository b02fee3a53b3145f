//! Two workers, one run, and every order in which they can get into each other's way.
//!
//! The checker explores a store with compare-and-set, workers that crash, are replaced while they live, lose a request or its
//! acknowledgement, a signal that is sent twice and a cancellation, at every point. The transition function is the real
//! [`RunMachine`]; time stands still, so that only order matters. Three broken versions of the protocol must be
//! caught.
//!
//! One thing is left out: an owner may pause between the acknowledgement and the start of a body. It then starts late, after
//! somebody has taken over, and only its report is fenced: bodies that must not overlap use their attempt as idempotency key.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

#[path = "core/shape.rs"]
mod shape;

use anabranch::{
    NodePolicy, RetryPolicy,
    core::{
        graph::NodeId,
        machine::{Disposition, Effects, Event, NewRun, Plan, RunMachine, note_cancel, note_signal},
        snapshot::{FailureKind, NodeStatus, Owner, RunStatus, Snapshot, Value},
    },
    time::Timestamp,
};
use bytes::Bytes;
use shape::{topology, wait, work};
use stateright::{Checker, Model, Property};
use std::{
    collections::BTreeSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

const NOW: Timestamp = Timestamp::from_millis(1);
const SIGNAL: &str = "approval";

/// How workers go about a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    /// Write with the expected revision, then act.
    Sound,
    /// The store takes whatever it is given.
    WriteWithoutExpectation,
    /// Bodies start before their attempt is stored.
    ActThenPersist,
    /// An owner that finds its own write after a lost acknowledgement acts on it, although somebody has taken over since.
    TrustWriteId,
}

/// A snapshot that is told from others by its encoding.
#[derive(Debug, Clone)]
struct State {
    snapshot: Arc<Snapshot>,
    bytes: Bytes,
}

impl State {
    fn of(snapshot: &Snapshot) -> Self {
        Self { bytes: snapshot.encode(), snapshot: Arc::new(snapshot.clone()) }
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for State {}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct System {
    store: Store,
    workers: [Worker; 2],
    left: Budget,
    signals_sent: u8,
    ghost: Ghost,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Store {
    state: State,
    revision: u8,
    /// Ids of the writes that were applied.
    writes: Vec<WriteId>,
}

/// A worker decides at most one write for each revision, so the pair is unique.
type WriteId = (usize, u8);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    Owner(Memory),
}

/// What an owner knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Memory {
    /// The newest state that it knows to be stored; `None` until it has adopted the run.
    confirmed: Option<State>,
    /// The revision of that state.
    revision: u8,
    write: Option<Write>,
    bodies: BTreeSet<(NodeId, u32)>,
}

/// A transition on its way to the store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Write {
    next: State,
    execute: Vec<(NodeId, u32)>,
    /// What it was decided for, to decide again after a conflict; `None` for an adoption or a refresh.
    cause: Option<Report>,
    /// Nobody knows whether it was applied.
    unknown: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Report {
    body: (NodeId, u32),
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum End {
    Completes,
    Fails,
    Stops,
}

/// How often things may still go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Budget {
    crashes: u8,
    takeovers: u8,
    lost_requests: u8,
    lost_acks: u8,
    failures: u8,
    cancellations: u8,
}

/// What an observer of everything has seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a promise that was broken, or a case that was reached")]
struct Ghost {
    started: BTreeSet<(NodeId, u32)>,
    completed: BTreeSet<NodeId>,
    payload: Option<Bytes>,
    signals_accepted: u8,
    signal_refused: bool,
    recognised_own_write: bool,
    fenced: bool,
    started_twice: bool,
    started_after_completion: bool,
    started_unrecorded: bool,
    overwrote_unseen: bool,
    wrote_after_takeover: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Adopt(usize),
    Deliver(usize),
    DeliverWithoutAck(usize),
    LoseRequest(usize),
    Resolve(usize),
    Notice(usize),
    Ends(usize, Report),
    Crash(usize),
    Signal,
    Cancel,
}

#[derive(Debug, Clone)]
struct Race {
    plan: Plan,
    protocol: Protocol,
    budget: Budget,
}

impl Race {
    fn new(protocol: Protocol, budget: Budget) -> Self {
        let retry = RetryPolicy::default().max_attempts(3).max_crashes(3).delays([]).jitter(0);
        let policy = NodePolicy { timeout: None, retry };
        let plan = topology([
            wait("approve", SIGNAL),
            work("check").policy(policy.clone()),
            work("publish").after("approve").after("check").policy(policy),
        ]);
        Self { plan, protocol, budget }
    }

    fn machine(&self, state: &State) -> RunMachine {
        RunMachine::load(self.plan.clone(), Snapshot::clone(&state.snapshot)).unwrap()
    }

    /// Sends a transition off.
    fn propose(&self, system: &mut System, memory: &mut Memory, next: &Snapshot, effects: Effects, cause: Option<Report>) {
        let execute = effects.execute;
        if self.protocol == Protocol::ActThenPersist {
            Self::start(system, memory, next, &execute);
        }
        memory.write = Some(Write { next: State::of(next), execute, cause, unknown: false });
    }

    fn start(system: &mut System, memory: &mut Memory, stored: &Snapshot, execute: &[(NodeId, u32)]) {
        for (node, attempt) in execute {
            let ghost = &mut system.ghost;
            ghost.started_twice |= !ghost.started.insert((*node, *attempt));
            ghost.started_after_completion |= ghost.completed.contains(node);
            let state = &stored.nodes[node.index()];
            ghost.started_unrecorded |= (state.status, state.attempt) != (NodeStatus::Running, *attempt);
            memory.bodies.insert((*node, *attempt));
        }
    }

    /// The store looks at a write; `true` when it applies it.
    fn applies(&self, system: &mut System, worker: usize, memory: &Memory) -> bool {
        let Some(write) = &memory.write else { return false };
        let seen = memory.revision == system.store.revision;
        if !seen && self.protocol != Protocol::WriteWithoutExpectation {
            return false;
        }
        let (before, after) = (system.store.state.clone(), write.next.clone());
        system.ghost.overwrote_unseen |= !seen;
        system.ghost.wrote_after_takeover |= after.snapshot.epoch < before.snapshot.epoch;
        system.store.writes.push((worker, memory.revision));
        self.commit(system, after);
        true
    }

    fn commit(&self, system: &mut System, state: State) {
        let nodes = self.plan.graph.nodes().zip(&state.snapshot.nodes);
        let completed = nodes.filter(|(_, n)| n.status == NodeStatus::Completed).map(|((id, _), _)| id);
        system.ghost.completed.extend(completed);
        system.store.state = state;
        system.store.revision += 1;
    }

    /// The owner learns that its write is stored, and acts.
    fn acknowledged(&self, system: &mut System, mut memory: Memory) -> Worker {
        let Some(write) = memory.write.take() else { return Worker::Owner(memory) };
        memory.revision += 1;
        let stored = Arc::clone(&write.next.snapshot);
        memory.confirmed = Some(write.next);
        if let Some(report) = write.cause {
            memory.bodies.remove(&report.body);
        }
        if self.protocol != Protocol::ActThenPersist {
            Self::start(system, &mut memory, &stored, &write.execute);
        }
        if stored.status == RunStatus::Running { Worker::Owner(memory) } else { Worker::Idle }
    }

    /// The owner reads what is stored instead of what it knew: it goes on under its epoch, or drops everything.
    fn reread(&self, system: &mut System, mut memory: Memory) -> Worker {
        let cause = memory.write.take().and_then(|w| w.cause);
        let Some(confirmed) = memory.confirmed.take() else { return Worker::Idle };
        let stored = system.store.state.clone();
        let mut machine = self.machine(&confirmed);
        if stored.snapshot.epoch != machine.snapshot().epoch {
            system.ghost.fenced = true;
            return Worker::Idle;
        }
        let mut effects = machine.refresh(Snapshot::clone(&stored.snapshot), NOW).unwrap();
        memory.confirmed = Some(stored);
        memory.revision = system.store.revision;
        if let Some(report) = cause {
            match machine.apply(event(report), NOW) {
                Ok(later) => effects.merge(later),
                Err(_) => _ = memory.bodies.remove(&report.body),
            }
        }
        let next = machine.snapshot().clone();
        if next != *system.store.state.snapshot {
            self.propose(system, &mut memory, &next, effects, cause);
        }
        Worker::Owner(memory)
    }

    fn adopt(&self, system: &mut System, worker: usize) -> Option<Worker> {
        let mut machine = self.machine(&system.store.state);
        let owner = Owner { worker: format!("w{worker}"), instance: "i".into() };
        let effects = machine.adopt(owner, NOW).ok()?;
        let mut memory = Memory { confirmed: None, revision: system.store.revision, write: None, bodies: BTreeSet::new() };
        let next = machine.snapshot().clone();
        self.propose(system, &mut memory, &next, effects, None);
        Some(Worker::Owner(memory))
    }

    fn ends(&self, system: &mut System, mut memory: Memory, report: Report) -> Option<Worker> {
        let mut machine = self.machine(memory.confirmed.as_ref()?);
        match machine.apply(event(report), NOW) {
            Ok(effects) => {
                let next = machine.snapshot().clone();
                self.propose(system, &mut memory, &next, effects, Some(report));
            }
            Err(_) => _ = memory.bodies.remove(&report.body),
        }
        Some(Worker::Owner(memory))
    }
}

fn event(Report { body: (node, attempt), end }: Report) -> Event {
    match end {
        End::Completes => Event::Completed { node, attempt, output: Value::Inline("1".into()) },
        End::Fails => {
            let disposition = Disposition::Retry { after: None };
            Event::Failed { node, attempt, kind: FailureKind::Error, message: "no luck".into(), disposition }
        }
        End::Stops => Event::Stopped { node, attempt },
    }
}

impl System {
    fn status(&self) -> RunStatus {
        self.store.state.snapshot.status
    }

    fn owner_lives(&self) -> bool {
        let owner = &self.store.state.snapshot.owner;
        let name = |worker: usize| format!("w{worker}");
        let lives = |(w, worker): (usize, &Worker)| match worker {
            Worker::Idle => false,
            Worker::Owner(_) => owner.as_ref().is_some_and(|o| o.worker == name(w)),
        };
        self.workers.iter().enumerate().any(lives)
    }
}

impl Model for Race {
    type State = System;
    type Action = Action;

    /// The run was started by the first worker, whose first body runs.
    fn init_states(&self) -> Vec<System> {
        let owner = Owner { worker: "w0".into(), instance: "i".into() };
        let new = NewRun {
            run: "r".into(),
            input: Value::Inline("0".into()),
            input_digest: [0; 32],
            included: vec![true; self.plan.graph.len()],
            provided: Vec::new(),
            owner,
            trace: None,
            source: None,
        };
        let (machine, effects) = RunMachine::create(self.plan.clone(), new, NOW);
        let state = State::of(machine.snapshot());
        let mut memory = Memory { confirmed: Some(state.clone()), revision: 1, write: None, bodies: BTreeSet::new() };
        let store = Store { state, revision: 1, writes: Vec::new() };
        let workers = [Worker::Idle, Worker::Idle];
        let mut system = System { store, workers, left: self.budget, signals_sent: 0, ghost: Ghost::default() };
        Self::start(&mut system, &mut memory, machine.snapshot(), &effects.execute);
        system.workers[0] = Worker::Owner(memory);
        vec![system]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        let stored = &system.store.state.snapshot;
        let noted = !stored.signals.is_empty() || stored.cancel.is_some();
        let moves = stored.status == RunStatus::Running || stored.status == RunStatus::Suspended && noted;
        let left = &system.left;
        for (w, worker) in system.workers.iter().enumerate() {
            let Worker::Owner(memory) = worker else {
                if moves && (left.takeovers > 0 || !system.owner_lives()) {
                    actions.push(Action::Adopt(w));
                }
                continue;
            };
            if left.crashes > 0 {
                actions.push(Action::Crash(w));
            }
            match &memory.write {
                Some(write) if write.unknown => actions.push(Action::Resolve(w)),
                Some(_) => {
                    actions.push(Action::Deliver(w));
                    if left.lost_acks > 0 {
                        actions.push(Action::DeliverWithoutAck(w));
                    }
                    if left.lost_requests > 0 {
                        actions.push(Action::LoseRequest(w));
                    }
                }
                None => {
                    if memory.revision < system.store.revision {
                        actions.push(Action::Notice(w));
                    }
                    let told = memory.confirmed.as_ref().is_some_and(|c| c.snapshot.cancel.is_some());
                    for body in memory.bodies.iter().copied() {
                        actions.push(Action::Ends(w, Report { body, end: End::Completes }));
                        if left.failures > 0 {
                            actions.push(Action::Ends(w, Report { body, end: End::Fails }));
                        }
                        if told {
                            actions.push(Action::Ends(w, Report { body, end: End::Stops }));
                        }
                    }
                }
            }
        }
        if system.signals_sent < 2 && !stored.status.is_terminal() {
            actions.push(Action::Signal);
        }
        if left.cancellations > 0 && !stored.status.is_terminal() {
            actions.push(Action::Cancel);
        }
    }

    fn next_state(&self, before: &System, action: Action) -> Option<System> {
        let mut system = before.clone();
        let mut take = |w: usize| match std::mem::replace(&mut system.workers[w], Worker::Idle) {
            Worker::Owner(memory) => Some(memory),
            Worker::Idle => None,
        };
        let (worker, becomes) = match action {
            Action::Adopt(w) => {
                if system.owner_lives() {
                    system.left.takeovers -= 1;
                }
                (w, self.adopt(&mut system, w)?)
            }
            Action::Deliver(w) => {
                let memory = take(w)?;
                let applied = self.applies(&mut system, w, &memory);
                let becomes = if applied { self.acknowledged(&mut system, memory) } else { self.reread(&mut system, memory) };
                (w, becomes)
            }
            Action::DeliverWithoutAck(w) => {
                let mut memory = take(w)?;
                system.left.lost_acks -= 1;
                self.applies(&mut system, w, &memory);
                memory.write.as_mut()?.unknown = true;
                (w, Worker::Owner(memory))
            }
            Action::LoseRequest(w) => {
                let mut memory = take(w)?;
                system.left.lost_requests -= 1;
                memory.write.as_mut()?.unknown = true;
                (w, Worker::Owner(memory))
            }
            Action::Resolve(w) => {
                let mut memory = take(w)?;
                // Its own write may be stored and yet be history: whoever took over since has what it asks for.
                let epoch = memory.write.as_ref()?.next.snapshot.epoch;
                let superseded = system.store.state.snapshot.epoch > epoch && self.protocol != Protocol::TrustWriteId;
                let becomes = if superseded {
                    self.reread(&mut system, memory)
                } else if system.store.writes.contains(&(w, memory.revision)) {
                    system.ghost.recognised_own_write = true;
                    self.acknowledged(&mut system, memory)
                } else if system.store.revision == memory.revision {
                    memory.write.as_mut()?.unknown = false;
                    Worker::Owner(memory)
                } else {
                    self.reread(&mut system, memory)
                };
                (w, becomes)
            }
            Action::Notice(w) => {
                let memory = take(w)?;
                (w, self.reread(&mut system, memory))
            }
            Action::Ends(w, report) => {
                let memory = take(w)?;
                if report.end == End::Fails {
                    system.left.failures -= 1;
                }
                (w, self.ends(&mut system, memory, report)?)
            }
            Action::Crash(w) => {
                system.left.crashes -= 1;
                (w, Worker::Idle)
            }
            Action::Signal => {
                system.signals_sent += 1;
                let payload = Bytes::from(system.signals_sent.to_string());
                let mut snapshot = Snapshot::clone(&system.store.state.snapshot);
                match note_signal(&mut snapshot, &self.plan.graph, SIGNAL, Value::Inline(payload.clone()), NOW) {
                    Ok(()) => {
                        system.ghost.signals_accepted += 1;
                        system.ghost.payload.get_or_insert(payload);
                        self.commit(&mut system, State::of(&snapshot));
                    }
                    Err(_) => system.ghost.signal_refused = true,
                }
                return Some(system);
            }
            Action::Cancel => {
                system.left.cancellations -= 1;
                let mut snapshot = Snapshot::clone(&system.store.state.snapshot);
                if note_cancel(&mut snapshot, "enough".into(), NOW).is_ok() {
                    self.commit(&mut system, State::of(&snapshot));
                }
                return Some(system);
            }
        };
        system.workers[worker] = becomes;
        Some(system)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(SEEN, |_, s: &System| !s.ghost.overwrote_unseen),
            Property::always(FENCED, |_, s: &System| !s.ghost.wrote_after_takeover),
            Property::always(ONCE, |_, s: &System| !s.ghost.started_twice),
            Property::always(AGAIN, |_, s: &System| !s.ghost.started_after_completion),
            Property::always("what starts was recorded as running", |_, s: &System| !s.ghost.started_unrecorded),
            Property::always("a signal is taken once and its payload stays", |_, s: &System| {
                let stored = s.store.state.snapshot.signals.get(SIGNAL).map(|r| r.payload.clone());
                s.ghost.signals_accepted <= 1 && stored == s.ghost.payload.clone().map(Value::Inline)
            }),
            // Every action uses something up, so no path is endless: this is "the run ends at last", without the checker's
            // `eventually`, which can miss a counterexample where paths join.
            Property::always("what cannot move has ended", |model: &Self, s: &System| {
                let mut actions = Vec::new();
                model.actions(s, &mut actions);
                !actions.is_empty() || s.status().is_terminal()
            }),
            Property::always("nothing is stuck", |_, s: &System| s.status() != RunStatus::Stuck),
            Property::sometimes("the run completes", |_, s: &System| s.status() == RunStatus::Completed),
            Property::sometimes("an owner is fenced", |_, s: &System| s.ghost.fenced),
            Property::sometimes("a second signal is refused", |_, s: &System| s.ghost.signal_refused),
        ];
        if self.budget.lost_acks > 0 {
            let recognised = |_: &Self, s: &System| s.ghost.recognised_own_write;
            properties.push(Property::sometimes("a lost acknowledgement is recognised", recognised));
        }
        if self.budget.cancellations > 0 {
            let cancelled = |_: &Self, s: &System| s.status() == RunStatus::Cancelled;
            properties.push(Property::sometimes("the run is cancelled", cancelled));
        }
        properties
    }
}

const SEEN: &str = "each revision has one writer, who had seen the one before";
const FENCED: &str = "a fenced owner never writes after a takeover";
const ONCE: &str = "an attempt is started once, by one owner";
const AGAIN: &str = "a completed node never runs again";

const NOTHING: Budget = Budget { crashes: 0, takeovers: 0, lost_requests: 0, lost_acks: 0, failures: 0, cancellations: 0 };

/// Explores every order, and fails if there are fewer states than there must be.
fn holds(budget: Budget, at_least: usize) {
    let checker = Race::new(Protocol::Sound, budget).checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    let states = checker.unique_state_count();
    assert!(states >= at_least, "only {states} states were explored: the model has lost its point");
}

#[test]
fn a_crash_a_takeover_and_lost_messages_never_run_anything_twice() {
    holds(Budget { crashes: 1, takeovers: 1, lost_requests: 1, lost_acks: 1, ..NOTHING }, 40_000);
}

#[test]
fn a_cancellation_at_any_point_ends_the_run() {
    holds(Budget { crashes: 1, takeovers: 1, lost_acks: 1, cancellations: 1, ..NOTHING }, 60_000);
}

#[test]
fn owners_that_replace_each_other_while_bodies_fail_still_finish_the_run() {
    holds(Budget { crashes: 1, takeovers: 2, failures: 1, ..NOTHING }, 30_000);
}

/// A broken protocol breaks these promises, and the checker says so.
fn is_caught<const N: usize>(protocol: Protocol, budget: Budget, broken: [&'static str; N]) {
    let checker = Race::new(protocol, budget).checker().threads(2).target_max_depth(11).spawn_bfs().join();
    for property in broken {
        assert!(checker.discovery(property).is_some(), "{protocol:?} must break: {property}");
    }
}

#[test]
fn writing_without_expectation_is_caught() {
    let budget = Budget { takeovers: 1, ..NOTHING };
    is_caught(Protocol::WriteWithoutExpectation, budget, [SEEN, FENCED, ONCE]);
}

#[test]
fn acting_before_persisting_is_caught() {
    is_caught(Protocol::ActThenPersist, Budget { crashes: 1, takeovers: 1, ..NOTHING }, [ONCE]);
}

#[test]
fn acting_on_ones_own_write_after_a_takeover_is_caught() {
    is_caught(Protocol::TrustWriteId, Budget { takeovers: 1, lost_acks: 1, ..NOTHING }, [AGAIN]);
}
