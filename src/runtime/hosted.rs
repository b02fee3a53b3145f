//! A topology on a runtime: what its runs share in this process, and which of them live here.

use super::{
    admission::Turns,
    message::Msg,
    options::{HostOptions, RuntimeOptions},
    outputs::Outputs,
    root::RootMsg,
    worker::Worker,
};
use crate::{
    core::{graph::NodeId, machine::Plan, snapshot::Snapshot},
    engine::{Key, Space, Store},
    newest,
    time::Clock,
    topology::definition::Definition,
};
use bytes::Bytes;
use ractor::ActorRef;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What everything on one runtime shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) space: Space,
    pub(super) options: RuntimeOptions,
    pub(super) worker: Arc<Worker>,
    /// The actor that all run actors are linked to.
    pub(super) root: ActorRef<RootMsg>,
    /// Set once the runtime drains: nothing new is taken up.
    pub(super) draining: CancellationToken,
    /// Background work that a drain waits for.
    pub(super) tasks: TaskTracker,
    /// Claims under way, which a drain waits for before it lets go of the runs.
    pub(super) claims: TaskTracker,
    /// Set once the worker is gone without a word: whatever it does ends where it is.
    pub(super) gone: CancellationToken,
}

/// One topology on one runtime.
pub(super) struct Hosted<C> {
    pub(super) shared: Arc<Shared>,
    pub(super) definition: Arc<Definition<C>>,
    pub(super) plan: Plan,
    pub(super) app: Arc<C>,
    pub(super) options: HostOptions,
    pub(super) outputs: Outputs,
    /// `run.<topology>`
    pub(super) runs: Key,
    /// `nudge.<topology>`
    pub(super) nudges: Key,
    live: Mutex<HashMap<String, Live>>,
    pub(super) turns: Turns,
    /// What the topology and its nodes are called in the contexts of bodies.
    names: (Arc<str>, Vec<Arc<str>>),
}

/// A run that lives here.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) actor: ActorRef<Msg>,
    pub(super) progress: newest::Receiver<Progress>,
}

/// What a run's actor last persisted, and how it ended.
#[derive(Debug)]
pub(super) struct Progress {
    /// The snapshot as it was stored: few look at it, and they decode it.
    pub(super) stored: Bytes,
    pub(super) ended: Option<Ended>,
}

impl Progress {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot::decode(self.stored.clone()).expect("a snapshot decodes from what it was encoded to")
    }
}

/// Why a run's actor is done. The run's own state is in the store, whatever the actor's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The run ended, or only a signal can move it.
    AtRest,
    /// Somebody else owns the run.
    Fenced,
    /// This runtime drains, and let go of the run.
    Released,
}

impl Live {
    /// Tells whether the actor is gone without having said how it ended: it panicked, or was killed.
    pub(super) fn is_dead(&self) -> bool {
        self.progress.is_over()
    }
}

impl<C: Send + Sync + 'static> Hosted<C> {
    pub(super) fn new(shared: Arc<Shared>, definition: Arc<Definition<C>>, app: Arc<C>, options: HostOptions) -> Self {
        let topology = Key::token(definition.graph.name());
        let key = |room: &str| Key::new(room).expect("a word is a key").join(&topology);
        let plan = Plan {
            graph: Arc::new(definition.graph.clone()),
            policies: definition.policies.clone().into(),
            cancel_grace: shared.options.stop_grace + shared.options.stop_grace / 2,
        };
        let outputs = Outputs::new(Arc::clone(shared.space.store()), key("out"), shared.options.inline_limit);
        let (runs, nudges) = (key("run"), key("nudge"));
        let nodes = definition.graph.nodes().map(|(_, node)| node.name.as_str().into());
        let names = (definition.graph.name().into(), nodes.collect());
        Self {
            shared,
            definition,
            plan,
            app,
            options,
            outputs,
            runs,
            nudges,
            live: Mutex::default(),
            turns: Turns::default(),
            names,
        }
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.shared.space.store()
    }

    pub(super) fn clock(&self) -> &Clock {
        self.shared.space.clock()
    }

    /// Names the topology and one of its nodes.
    pub(super) fn names_of(&self, node: NodeId) -> (Arc<str>, Arc<str>) {
        let (topology, nodes) = &self.names;
        (Arc::clone(topology), Arc::clone(&nodes[node.index()]))
    }

    /// Finds the actor of a run that lives here.
    pub(super) fn live(&self, run: &str) -> Option<Live> {
        self.lock().get(run).cloned()
    }

    /// Finds the run that an actor drives.
    pub(super) fn find(&self, actor: ractor::ActorId) -> Option<(String, Live)> {
        self.lock().iter().find(|(_, live)| live.actor.get_id() == actor).map(|(run, live)| (run.clone(), live.clone()))
    }

    /// Lists all runs that live here.
    pub(super) fn all_live(&self) -> Vec<Live> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn enter(&self, run: String, live: Live) {
        self.lock().insert(run, live);
    }

    /// Forgets a run's actor, unless another has taken its place.
    pub(super) fn leave(&self, run: &str, actor: ractor::ActorId) {
        let mut live = self.lock();
        if live.get(run).is_some_and(|l| l.actor.get_id() == actor) {
            live.remove(run);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
