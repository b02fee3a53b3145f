//! What holds for every graph and every history of its runs.
//!
//! A `World` performs a history as a process would: events change the run in memory, a persist makes them durable and starts
//! what they ask for, a crash loses the rest. After every step it checks what must always hold.

use crate::{
    random::{Act, SIGNALS, acts, plans},
    shape::GRACE,
    story::{new_run, owner, signal, value},
};
use anabranch::{
    core::{
        graph::{NodeId, NodeKind, Upstream},
        machine::{Continuation, Disposition, Effects, Event, Plan, RunMachine, note_signal},
        snapshot::{FailureKind, NodeState, NodeStatus, RunStatus, Snapshot},
    },
    time::Timestamp,
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use std::{collections::BTreeSet, time::Duration};

struct World {
    machine: RunMachine,
    /// What the store has.
    stored: Snapshot,
    /// What is to be done once the state in memory is stored.
    effects: Effects,
    /// Every attempt whose body ever started.
    bodies: Vec<(NodeId, u32)>,
    now: Timestamp,
}

/// How far a node is: grows with every step that it takes.
fn progress(node: &NodeState) -> (u32, u8) {
    let step = match node.status {
        NodeStatus::Running => 0,
        NodeStatus::Pending => 1,
        NodeStatus::Suspended => 2,
        NodeStatus::Completed | NodeStatus::Skipped | NodeStatus::Errored | NodeStatus::Excluded => 3,
    };
    (node.attempt, step)
}

impl World {
    fn new(plan: Plan) -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let new = new_run(&plan);
        let (machine, effects) = RunMachine::create(plan, new, now);
        let stored = machine.snapshot().clone();
        let mut world = Self { machine, stored, effects, bodies: Vec::new(), now };
        world.persist();
        world
    }

    fn load(&self, snapshot: &Snapshot) -> RunMachine {
        let decoded = Snapshot::decode(snapshot.encode()).unwrap();
        assert_eq!(&decoded, snapshot, "decode(encode(s)) == s");
        RunMachine::load(self.machine.plan().clone(), decoded).unwrap()
    }

    fn run(&mut self, acts: &[Act]) {
        for act in acts {
            self.act(act);
        }
        self.persist();
    }

    fn act(&mut self, act: &Act) {
        let body = |world: &Self, index: usize| world.bodies.get(index % world.bodies.len().max(1)).copied();
        let event = match act {
            Act::Complete(index, arm) => body(self, *index).map(|(node, attempt)| self.success(node, attempt, *arm)),
            Act::Fail(index) => body(self, *index).map(|b| failed(b, Disposition::Retry { after: None })),
            Act::FailForGood(index) => body(self, *index).map(|b| failed(b, Disposition::Terminal)),
            Act::Snooze(index) => {
                let after = Duration::from_secs(3);
                body(self, *index).map(|b| failed(b, Disposition::Snooze { after }))
            }
            Act::Stop(index) => body(self, *index).map(|(node, attempt)| Event::Stopped { node, attempt }),
            Act::Save(index) => {
                body(self, *index).map(|(node, attempt)| Event::Saved { node, attempt, progress: value(attempt) })
            }
            Act::Signal(index) => Some(signal(SIGNALS.get(*index).copied().unwrap_or("unknown"))),
            Act::Cancel => Some(Event::CancelRequested { reason: "enough".into() }),
            Act::Wait(seconds) => {
                self.now = self.now + Duration::from_secs(*seconds);
                Some(Event::Tick)
            }
            Act::Release => Some(Event::Released),
            Act::Persist => return self.persist(),
            Act::Crash => return self.crash(),
            Act::Conflict(index) => return self.conflict(SIGNALS[*index]),
            Act::Resume(from_scratch) => return self.resume(*from_scratch),
        };
        if let Some(event) = event {
            self.apply(event);
        }
    }

    fn running(&self) -> Vec<(NodeId, u32)> {
        let nodes = self.machine.plan().graph.nodes().zip(&self.machine.snapshot().nodes);
        nodes.filter(|(_, n)| n.status == NodeStatus::Running).map(|((id, _), n)| (id, n.attempt)).collect()
    }

    fn success(&self, node: NodeId, attempt: u32, arm: Option<usize>) -> Event {
        let graph = &self.machine.plan().graph;
        if !matches!(graph.node(node).kind, NodeKind::Branch { .. }) {
            return Event::Completed { node, attempt, output: value(attempt) };
        }
        let mut arms = graph.nodes().flat_map(|(_, n)| &n.edges).filter_map(|e| match e.upstream {
            Upstream::Arm(branch, arm) if branch == node => Some(arm),
            _ => None,
        });
        let taken = arm.and_then(|n| arms.find(|a| a.index() == n)).map(|arm| (arm, value("taken")));
        Event::Branched { node, attempt, taken, because: None }
    }

    fn apply(&mut self, event: Event) {
        let before = self.machine.snapshot().clone();
        let ticks = event == Event::Tick;
        match self.machine.apply(event.clone(), self.now) {
            Ok(effects) => self.moved(&before, effects, true),
            Err(_) => assert_eq!(self.machine.snapshot(), &before, "{event:?} is illegal and changes nothing"),
        }
        if ticks {
            let next = self.machine.next_deadline();
            assert!(next.is_none_or(|at| at > self.now), "a tick that changes nothing is not asked for again");
        }
    }

    /// Checks one transition.
    fn moved(&mut self, before: &Snapshot, effects: Effects, forward: bool) {
        let after = self.machine.snapshot();
        for (old, new) in before.nodes.iter().zip(&after.nodes) {
            assert!(new.attempt >= old.attempt, "attempt numbers of {} go on", old.name);
            if forward {
                assert!(progress(new) >= progress(old), "{} moves forward: {old:?} to {new:?}", old.name);
                let ended = progress(old).1 == 3 && old.attempt == new.attempt;
                assert!(!ended || old == new, "{} has ended", old.name);
            }
        }
        for (node, attempt) in &effects.execute {
            let state = &after.nodes[node.index()];
            assert_eq!((state.status, state.attempt), (NodeStatus::Running, *attempt), "what starts runs");
        }
        assert!(effects.execute.is_empty() || after.owner.is_some(), "nothing starts in a run that nobody owns");
        assert_ne!(after.status, RunStatus::Stuck);
        let open = |n: &NodeState| progress(n).1 < 3;
        assert!(after.status != RunStatus::Completed || !after.nodes.iter().any(open), "completed is complete");
        assert!(!after.status.is_terminal() || after.nodes.iter().all(|n| n.status != NodeStatus::Running));
        for (state, policy) in after.nodes.iter().zip(self.machine.plan().policies.iter()) {
            let (exhausted, poison) =
                (policy.retry.delay_after(state.failures, 0).is_none(), policy.retry.is_poison(state.crashes));
            assert!(state.status == NodeStatus::Errored || !exhausted && !poison, "{state:?} is bounded by {policy:?}");
        }
        self.effects.merge(effects);
    }

    fn persist(&mut self) {
        self.stored = self.machine.snapshot().clone();
        let effects = std::mem::take(&mut self.effects);
        for (node, attempt) in effects.execute {
            let state = &self.stored.nodes[node.index()];
            let runs = (state.status, state.attempt) == (NodeStatus::Running, attempt);
            assert!(runs || self.stored.cancel.is_some(), "what starts was recorded as running: {state:?}");
            assert!(!self.bodies.contains(&(node, attempt)), "attempt {attempt} of {} starts twice", state.name);
            self.bodies.push((node, attempt));
        }
    }

    fn crash(&mut self) {
        let running = |s: &Snapshot| s.nodes.iter().filter(|n| n.status == NodeStatus::Running).count();
        self.effects = Effects::default();
        self.machine = self.load(&self.stored);
        let before = self.stored.clone();
        match self.machine.adopt(owner("bob"), self.now) {
            Ok(effects) => {
                assert_eq!(self.machine.snapshot().epoch, before.epoch + 1, "the run changed hands");
                self.moved(&before, effects, true);
            }
            Err(status) => assert!(status.is_terminal() && running(&before) == 0 && self.machine.snapshot() == &before),
        }
        self.persist();
    }

    /// The owner's write loses against a note of somebody else; it reads that note and goes on.
    fn conflict(&mut self, name: &str) {
        self.persist();
        let mut noted = self.stored.clone();
        if note_signal(&mut noted, &self.machine.plan().graph, name, value("noted"), self.now).is_err() {
            return;
        }
        let before = noted.clone();
        let effects = self.machine.refresh(noted, self.now).unwrap();
        self.moved(&before, effects, true);
    }

    fn resume(&mut self, from_scratch: bool) {
        if !self.machine.snapshot().status.is_terminal() {
            return;
        }
        self.persist();
        let how = if from_scratch { Continuation::FromScratch } else { Continuation::KeepCompleted };
        let mut once = self.load(&self.stored);
        let effects = once.resume(owner("cat"), how, self.now);
        let mut twice = once.clone();
        let _ = twice.resume(owner("cat"), how, self.now);
        let statuses = |m: &RunMachine| m.snapshot().nodes.iter().map(|n| n.status).collect::<Vec<_>>();
        assert_eq!(statuses(&once), statuses(&twice), "resuming twice is resuming once");
        self.machine = once;
        let before = self.stored.clone();
        self.moved(&before, effects, false);
    }

    /// Lets everything happen that can, bodies succeeding or failing as `luck` says, until the run has ended.
    fn settle(&mut self, luck: &[bool]) {
        let mut luck = luck.iter().copied().cycle();
        for _ in 0..500 {
            self.persist();
            let snapshot = self.machine.snapshot();
            if snapshot.status.is_terminal() {
                return;
            }
            if let Some(body) = self.running().first().copied() {
                let event = if luck.next() == Some(false) {
                    failed(body, Disposition::Retry { after: None })
                } else {
                    self.success(body.0, body.1, Some(0))
                };
                self.apply(event);
            } else if snapshot.status == RunStatus::Running && snapshot.owner.is_none() {
                self.crash();
            } else if let Some(at) = self.machine.next_deadline() {
                self.now = at;
                self.apply(Event::Tick);
            } else {
                assert_eq!(snapshot.status, RunStatus::Suspended, "a run that stands waits for a signal");
                let missing = SIGNALS.iter().find(|s| {
                    let waits = |n: &NodeState| n.status == NodeStatus::Suspended;
                    let graph = &self.machine.plan().graph;
                    let mut nodes = graph.nodes().zip(&snapshot.nodes);
                    nodes.any(|((_, n), state)| waits(state) && n.kind == NodeKind::Wait { signal: (**s).into() })
                });
                self.apply(signal(missing.expect("a suspended node waits for a signal that has not come")));
            }
        }
        panic!("the run does not end: {:?}", self.machine.snapshot());
    }
}

fn failed((node, attempt): (NodeId, u32), disposition: Disposition) -> Event {
    Event::Failed { node, attempt, kind: FailureKind::Error, message: "no luck".into(), disposition }
}

/// A failure prints its seed, and keeps it to be tried first next time.
fn config() -> ProptestConfig {
    let seeds = FileFailurePersistence::Direct("tests/core/property.seeds");
    ProptestConfig { cases: 500, failure_persistence: Some(Box::new(seeds)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn every_history_of_every_graph_keeps_the_promises(plan in plans(), acts in acts(60)) {
        World::new(plan).run(&acts);
    }

    #[test]
    fn every_fair_schedule_ends_and_is_never_stuck(plan in plans(), acts in acts(30), luck in prop::collection::vec(any::<bool>(), 1..8)) {
        let mut world = World::new(plan);
        world.run(&acts);
        world.settle(&luck);
        prop_assert!(world.machine.snapshot().status.is_terminal());
    }

    #[test]
    fn retries_are_bounded_by_the_policy(plan in plans(), acts in acts(60)) {
        let takes_no_attempt = |a: &Act| matches!(a, Act::Release | Act::Snooze(_) | Act::Stop(_) | Act::Resume(_));
        let acts: Vec<_> = acts.into_iter().filter(|a| !takes_no_attempt(a)).collect();
        let mut world = World::new(plan.clone());
        world.run(&acts);
        for (node, attempt) in world.bodies {
            let retry = &plan.policies[node.index()].retry;
            prop_assert!(attempt == 1 || retry.delay_after(attempt - 1, 0).is_some(), "attempt {attempt} of {node:?}");
        }
    }

    #[test]
    fn a_cancelled_run_ends_within_its_grace(plan in plans(), acts in acts(30)) {
        let mut world = World::new(plan);
        world.run(&acts);
        world.apply(Event::CancelRequested { reason: String::new() });
        world.now = world.now + GRACE;
        world.apply(Event::Tick);
        prop_assert!(world.machine.snapshot().status.is_terminal());
    }

    #[test]
    fn a_snapshot_edited_by_hand_is_never_stuck_nor_completed_with_something_open(
        plan in plans(), acts in acts(20), edits in prop::collection::vec((0..8_usize, 0..7_usize), 1..6)
    ) {
        let mut world = World::new(plan);
        world.run(&acts);
        let mut edited = world.stored.clone();
        let all = [
            NodeStatus::Pending, NodeStatus::Running, NodeStatus::Suspended, NodeStatus::Completed, NodeStatus::Skipped,
            NodeStatus::Errored, NodeStatus::Excluded,
        ];
        let count = edited.nodes.len();
        for (node, status) in edits {
            edited.nodes[node % count].status = all[status];
        }
        edited.status = RunStatus::Running;
        let mut machine = world.load(&edited);
        let _ = machine.apply(Event::Tick, world.now);
        let after = machine.snapshot();
        prop_assert_ne!(after.status, RunStatus::Stuck);
        let open = after.nodes.iter().any(|n| progress(n).1 < 3);
        prop_assert!(after.status != RunStatus::Completed || !open);
    }

    #[test]
    fn json_brings_back_what_a_resume_keeps(plan in plans(), acts in acts(40)) {
        let mut world = World::new(plan.clone());
        world.run(&acts);
        let before = &world.stored;
        let after = Snapshot::from_json(&before.to_json(|_| None), &plan.graph, before.run.as_str(), world.now).unwrap();
        for (old, new) in before.nodes.iter().zip(&after.nodes) {
            let kept = matches!(old.status, NodeStatus::Completed | NodeStatus::Skipped | NodeStatus::Excluded);
            prop_assert_eq!(new.status, if kept { old.status } else { NodeStatus::Pending });
            prop_assert_eq!((new.attempt, &new.saved), (old.attempt, &old.saved));
            if kept {
                prop_assert_eq!((&new.output, &new.selected, new.finished_at), (&old.output, &old.selected, old.finished_at));
            }
        }
        prop_assert_eq!((&after.input, &after.signals), (&before.input, &before.signals));
    }

    #[test]
    fn bytes_that_are_no_snapshot_are_an_error_and_never_a_panic(
        plan in plans(), acts in acts(20), cut in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let _ = Snapshot::decode(noise.into());
        let mut world = World::new(plan);
        world.run(&acts);
        let whole = world.stored.encode();
        let _ = Snapshot::decode(whole.slice(..cut.index(whole.len())));
        let mut broken = whole.to_vec();
        for (at, byte) in flips {
            let at = at.index(broken.len());
            broken[at] = byte;
        }
        if let Ok(odd) = Snapshot::decode(broken.into()) {
            // What decodes can be shown, and refused or run, but nothing panics.
            let _ = odd.to_json(|_| None);
            if let Ok(mut machine) = RunMachine::load(world.machine.plan().clone(), odd) {
                let _ = machine.adopt(owner("bob"), world.now);
                let _ = machine.apply(Event::Tick, world.now);
            }
        }
    }
}

/// The histories above reach what they are about: without this they could pass on runs that never move.
#[test]
fn random_histories_reach_every_kind_of_end() {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut ends, mut bodies, mut retried) = (BTreeSet::new(), 0, 0);
    for _ in 0..400 {
        let (plan, acts) = (plans(), acts(60)).new_tree(&mut runner).unwrap().current();
        let mut world = World::new(plan);
        world.run(&acts);
        ends.insert(world.stored.status);
        bodies += world.bodies.len();
        retried += world.bodies.iter().filter(|(_, attempt)| *attempt > 1).count();
    }
    let all = [
        RunStatus::Running,
        RunStatus::Suspended,
        RunStatus::Completed,
        RunStatus::Errored,
        RunStatus::Cancelled,
        RunStatus::Dead,
    ];
    assert_eq!(ends, BTreeSet::from(all));
    assert!(bodies > 1000 && retried > 200, "{bodies} bodies, {retried} of them retries");
}
