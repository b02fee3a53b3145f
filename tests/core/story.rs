//! Runs told as stories: what happens, and what must follow from it.
//!
//! ```ignore
//! Story::of(diamond()).starts(["load"]).completes("load").starts(["left", "right"]);
//! ```
//!
//! Every transition is checked on the way: the snapshot survives its encoding, what starts is running in the snapshot that is
//! to be persisted, and no attempt starts twice.

use anabranch::{
    StopReason,
    core::{
        graph::NodeId,
        machine::{Continuation, Disposition, Effects, Event, IllegalEvent, NewRun, Plan, RunMachine},
        snapshot::{FailureKind, NodeState, NodeStatus, Owner, RunStatus, Snapshot, Value},
    },
    time::Timestamp,
};
use std::{collections::BTreeSet, time::Duration};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn value(json: impl Into<serde_json::Value>) -> Value {
    Value::Inline(json.into().to_string().into())
}

pub(crate) fn owner(worker: &str) -> Owner {
    Owner { worker: worker.into(), instance: "i-1".into() }
}

/// A run in which everything is included.
pub(crate) fn new_run(plan: &Plan) -> NewRun {
    NewRun {
        run: "order-42".into(),
        input: value("order"),
        input_digest: [7; 32],
        included: vec![true; plan.graph.len()],
        provided: Vec::new(),
        owner: owner("ann"),
        trace: None,
        source: None,
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Story {
    pub(crate) machine: RunMachine,
    pub(crate) now: Timestamp,
    last: Effects,
    started: BTreeSet<(String, u32)>,
}

#[track_caller]
fn expect<T: PartialEq + std::fmt::Debug>(found: T, wanted: T, what: &str) {
    assert!(found == wanted, "{what}: found {found:?}, wanted {wanted:?}");
}

impl Story {
    #[track_caller]
    pub(crate) fn of(plan: Plan) -> Self {
        let new = new_run(&plan);
        Self::create(plan, new)
    }

    #[track_caller]
    pub(crate) fn create(plan: Plan, new: NewRun) -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let (machine, effects) = RunMachine::create(plan, new, now);
        Self { machine, now, last: Effects::default(), started: BTreeSet::new() }.then(effects)
    }

    /// Goes on with a snapshot that was edited by hand, as a new process would.
    #[track_caller]
    pub(crate) fn edited(mut self, edit: impl FnOnce(&mut Snapshot)) -> Self {
        let mut snapshot = self.machine.snapshot().clone();
        edit(&mut snapshot);
        self.machine = RunMachine::load(self.machine.plan().clone(), snapshot).unwrap();
        self
    }

    /// Carries the run over to another version of its graph.
    #[track_caller]
    pub(crate) fn migrated(mut self, plan: Plan) -> Self {
        let snapshot = self.machine.snapshot().clone().aligned_with(&plan.graph);
        self.machine = RunMachine::load(plan, snapshot).unwrap();
        self
    }

    #[track_caller]
    fn then(mut self, effects: Effects) -> Self {
        let snapshot = self.machine.snapshot();
        expect(Snapshot::decode(snapshot.encode()).as_ref(), Ok(snapshot), "the snapshot survives its encoding");
        for (node, attempt) in &effects.execute {
            let state = &snapshot.nodes[node.index()];
            expect((state.status, state.attempt), (NodeStatus::Running, *attempt), "what starts is recorded as running");
            assert!(self.started.insert((state.name.clone(), *attempt)), "attempt {attempt} of `{}` starts twice", state.name);
        }
        self.last = effects;
        self
    }

    #[track_caller]
    fn apply(mut self, event: Event) -> Self {
        let effects = self.machine.apply(event, self.now).unwrap();
        self.then(effects)
    }

    #[track_caller]
    pub(crate) fn refuses(mut self, event: Event) -> (Self, IllegalEvent) {
        let before = self.machine.snapshot().clone();
        let error = self.machine.apply(event, self.now).unwrap_err();
        assert!(self.machine.snapshot() == &before, "a refused event changes nothing");
        (self, error)
    }

    #[track_caller]
    pub(crate) fn id(&self, node: &str) -> NodeId {
        self.machine.plan().graph.find(node).unwrap()
    }

    #[track_caller]
    pub(crate) fn node(&self, node: &str) -> &NodeState {
        self.machine.snapshot().node(node).unwrap()
    }

    // What happens.

    #[track_caller]
    pub(crate) fn completes(self, node: &str) -> Self {
        let attempt = self.node(node).attempt;
        let event = self.completion(node, attempt);
        self.apply(event)
    }

    pub(crate) fn completion(&self, node: &str, attempt: u32) -> Event {
        Event::Completed { node: self.id(node), attempt, output: value(format!("{node} of attempt {attempt}")) }
    }

    #[track_caller]
    pub(crate) fn takes(self, branch: &str, arm: &str) -> Self {
        let (node, attempt) = (self.id(branch), self.node(branch).attempt);
        let arms = match &self.machine.plan().graph.node(node).kind {
            anabranch::core::graph::NodeKind::Branch { arms } => arms.clone(),
            other => panic!("`{branch}` is {other:?}"),
        };
        let edges = self.machine.plan().graph.nodes().flat_map(|(_, n)| n.edges.clone());
        let wanted = arms.iter().position(|a| a == arm);
        let id = edges.into_iter().find_map(|e| match e.upstream {
            anabranch::core::graph::Upstream::Arm(b, a) if b == node && Some(a.index()) == wanted => Some(a),
            _ => None,
        });
        let taken = Some((id.expect("some node depends on the arm"), value(format!("for {arm}"))));
        self.apply(Event::Branched { node, attempt, taken, because: Some(format!("it is {arm}")) })
    }

    #[track_caller]
    pub(crate) fn takes_none(self, branch: &str) -> Self {
        let (node, attempt) = (self.id(branch), self.node(branch).attempt);
        self.apply(Event::Branched { node, attempt, taken: None, because: None })
    }

    #[track_caller]
    pub(crate) fn saves(self, node: &str) -> Self {
        let (node, attempt) = (self.id(node), self.node(node).attempt);
        self.apply(Event::Saved { node, attempt, progress: value("half way") })
    }

    #[track_caller]
    fn ends(self, node: &str, disposition: Disposition) -> Self {
        let (node, attempt) = (self.id(node), self.node(node).attempt);
        self.apply(Event::Failed { node, attempt, kind: FailureKind::Error, message: "no luck".into(), disposition })
    }

    #[track_caller]
    pub(crate) fn fails(self, node: &str) -> Self {
        self.ends(node, Disposition::Retry { after: None })
    }

    #[track_caller]
    pub(crate) fn fails_for(self, node: &str, after: Duration) -> Self {
        self.ends(node, Disposition::Retry { after: Some(after) })
    }

    #[track_caller]
    pub(crate) fn fails_for_good(self, node: &str) -> Self {
        self.ends(node, Disposition::Terminal)
    }

    #[track_caller]
    pub(crate) fn snoozes(self, node: &str, after: Duration) -> Self {
        self.ends(node, Disposition::Snooze { after })
    }

    #[track_caller]
    pub(crate) fn stopped(self, node: &str) -> Self {
        let (node, attempt) = (self.id(node), self.node(node).attempt);
        self.apply(Event::Stopped { node, attempt })
    }

    #[track_caller]
    pub(crate) fn signalled(self, name: &str) -> Self {
        self.apply(signal(name))
    }

    #[track_caller]
    pub(crate) fn cancelled(self) -> Self {
        self.apply(Event::CancelRequested { reason: "changed my mind".into() })
    }

    #[track_caller]
    pub(crate) fn released(self) -> Self {
        self.apply(Event::Released)
    }

    /// Time passes, and nobody looks.
    pub(crate) fn passes(mut self, duration: Duration) -> Self {
        self.now = self.now + duration;
        self
    }

    /// Time passes, and somebody looks.
    #[track_caller]
    pub(crate) fn after(mut self, duration: Duration) -> Self {
        self.now = self.now + duration;
        self.apply(Event::Tick)
    }

    /// Bodies are told that the run is cancelled.
    pub(crate) fn tells(mut self) -> Self {
        self.machine.tell(self.now);
        self
    }

    /// The process dies, and another one takes over.
    #[track_caller]
    pub(crate) fn crashes(mut self) -> Self {
        let stored = Snapshot::decode(self.machine.snapshot().encode()).unwrap();
        self.machine = RunMachine::load(self.machine.plan().clone(), stored).unwrap();
        let effects = self.machine.adopt(owner("bob"), self.now).unwrap();
        self.then(effects)
    }

    #[track_caller]
    pub(crate) fn resumed(mut self, how: Continuation) -> Self {
        let effects = self.machine.resume(owner("cat"), how, self.now);
        self.then(effects)
    }

    // What follows.

    /// The last transition starts these nodes, and no others.
    #[track_caller]
    pub(crate) fn starts<const N: usize>(self, nodes: [&str; N]) -> Self {
        let names = self.last.execute.iter().map(|(n, _)| self.machine.plan().graph.node(*n).name.as_str());
        expect(names.collect::<Vec<_>>(), nodes.to_vec(), "what starts");
        self
    }

    #[track_caller]
    pub(crate) fn starts_attempt(self, node: &str, attempt: u32) -> Self {
        expect(&self.last.execute, &vec![(self.id(node), attempt)], "what starts");
        self
    }

    /// The last transition ends these bodies, and no others.
    #[track_caller]
    pub(crate) fn stops<const N: usize>(self, nodes: [&str; N], reason: StopReason) -> Self {
        let wanted = nodes.map(|n| (self.id(n), self.node(n).attempt, reason));
        expect(&self.last.stop, &wanted.to_vec(), "what is stopped");
        self
    }

    #[track_caller]
    pub(crate) fn finishes(self, status: RunStatus) -> Self {
        expect(self.last.finished, Some(status), "how the run ends");
        expect(self.machine.snapshot().status, status, "the run's status");
        expect(self.machine.snapshot().owner.as_ref(), None, "who works on a run that stands");
        self
    }

    #[track_caller]
    pub(crate) fn goes_on(self) -> Self {
        expect(self.last.finished, None, "how the run ends");
        expect(self.machine.snapshot().status, RunStatus::Running, "the run's status");
        self
    }

    #[track_caller]
    pub(crate) fn is<const N: usize>(self, status: NodeStatus, nodes: [&str; N]) -> Self {
        for node in nodes {
            expect(self.node(node).status, status, node);
        }
        self
    }

    #[track_caller]
    pub(crate) fn attempts(self, node: &str, attempt: u32) -> Self {
        expect(self.node(node).attempt, attempt, "the newest attempt");
        self
    }

    /// Nothing is to be done before this much time has passed.
    #[track_caller]
    pub(crate) fn looks_again_in(self, wanted: Option<Duration>) -> Self {
        expect(self.machine.next_deadline().map(|at| at.since(self.now)), wanted, "the next deadline");
        self
    }
}

pub(crate) fn signal(name: &str) -> Event {
    Event::Signalled { name: name.into(), payload: value("yes") }
}
