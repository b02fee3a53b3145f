//! The runs of one topology: start, find, signal, cancel, resume, list, and take in by message.

use super::{
    RunError,
    admission::Claimed,
    claim::{Ask, Note, Want},
    hosted::{Hosted, Live},
    intake::SupervisorBuilder,
    lifecycle::Runtime,
    message::{Msg, NotTaken},
    options::{OnDuplicate, StartOptions},
    outputs::digest,
    record::Label,
    recovery::{Host as _, Recovered},
    run::Run,
};
use crate::{
    codec::Payload,
    core::{
        graph::{NodeId, NodeKind},
        machine::{Continuation, Event, IllegalEvent, NewRun, NoteError},
        snapshot::{RunStatus, Snapshot, Source, Trace, Value},
    },
    engine::{Expect, Key, Queue, StoreError},
    telemetry,
    topology::{Signal, Topology},
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use std::{fmt, sync::Arc};
use tokio::sync::oneshot;

/// The runs of one topology on one runtime. Handles are cheap.
pub struct Runs<I, O, C> {
    pub(super) hosted: Arc<Hosted<C>>,
    pub(super) topology: Topology<I, O, C>,
    /// Keeps the runtime alive.
    pub(super) runtime: Runtime,
}

impl<I, O, C> Clone for Runs<I, O, C> {
    fn clone(&self) -> Self {
        Self { hosted: Arc::clone(&self.hosted), topology: self.topology.clone(), runtime: self.runtime.clone() }
    }
}

impl<I, O, C> fmt::Debug for Runs<I, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runs").field("topology", &self.topology).finish_non_exhaustive()
    }
}

/// A run as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunSummary {
    /// Its id.
    pub id: String,
    /// How far it is.
    pub status: RunStatus,
    /// The worker that has it, if one has.
    pub worker: Option<String>,
}

impl<I, O, C: Send + Sync + 'static> Runs<I, O, C> {
    pub(super) fn new(hosted: Arc<Hosted<C>>, topology: Topology<I, O, C>, runtime: Runtime) -> Self {
        Self { hosted, topology, runtime }
    }

    /// Returns the topology.
    #[must_use]
    pub fn topology(&self) -> &Topology<I, O, C> {
        &self.topology
    }

    /// Returns the runtime that hosts it.
    #[must_use]
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn handle(&self, id: &str) -> Run<I, O, C> {
        Run { hosted: Arc::clone(&self.hosted), topology: self.topology.clone(), id: id.into(), runtime: self.runtime.clone() }
    }

    /// Finds a run.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] when there is none.
    pub async fn get(&self, id: &str) -> Result<Run<I, O, C>, RunError> {
        match self.inspect(id).await? {
            Some(_) => Ok(self.handle(id)),
            None => Err(RunError::NotFound(id.to_owned())),
        }
    }

    /// Reads a run's state; `None` when there is no such run. Large values are named, not read.
    ///
    /// # Errors
    ///
    /// [`RunError::Unreadable`] when another version wrote it.
    pub async fn inspect(&self, id: &str) -> Result<Option<Snapshot>, RunError> {
        Ok(self.hosted.load(id).await?.map(|record| record.snapshot))
    }

    /// Renders a run as JSON in topology-runner's shape, its large values included.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] when there is none.
    pub async fn to_json(&self, id: &str) -> Result<serde_json::Value, RunError> {
        let snapshot = self.inspect(id).await?.ok_or_else(|| RunError::NotFound(id.to_owned()))?;
        let mut fetched = std::collections::HashMap::new();
        for value in snapshot.values() {
            if let Value::Stored(stored) = value {
                fetched.insert(stored.key.clone(), self.hosted.outputs.fetch(value).await?);
            }
        }
        Ok(snapshot.to_json(|stored| fetched.get(&stored.key).cloned()))
    }

    /// Lists the runs, in no particular order, without reading their states.
    ///
    /// # Errors
    ///
    /// An item is an error when the store could not go on.
    pub async fn list(&self) -> Result<impl Stream<Item = Result<RunSummary, RunError>> + Send + use<I, O, C>, RunError> {
        let keys = self.hosted.store().keys(&self.hosted.runs.below()).await?;
        let hosted = Arc::clone(&self.hosted);
        Ok(keys.err_into().try_filter_map(move |info| {
            let hosted = Arc::clone(&hosted);
            async move {
                let Some(id) = Key::untoken(info.key.last_token()) else { return Ok(None) };
                if let Some(Label { status, worker }) = Label::parse(&info) {
                    return Ok(Some(RunSummary { id, status, worker }));
                }
                // Another client wrote it, without a label.
                let record = hosted.load(&id).await?;
                Ok(record.map(|r| RunSummary { id, status: r.snapshot.status, worker: r.snapshot.owner.map(|o| o.worker) }))
            }
        }))
    }

    /// Takes over the runs whose owners are known to be dead, now; those whose owners may live are taken over when they turn out
    /// to be dead, without another call.
    ///
    /// # Errors
    ///
    /// What the store says when the runs cannot be listed.
    pub async fn recover(&self) -> Result<Recovered, RunError> {
        Arc::clone(&self.hosted).sweep().await
    }

    /// Asks a run to end: its bodies are told, and what has not started never will.
    ///
    /// Returns once the wish is stored. A run that nobody works on is ended by this call.
    ///
    /// # Errors
    ///
    /// [`RunError::Refused`] when the run has ended, or is being cancelled already.
    pub async fn cancel(&self, id: &str, reason: impl Into<String>) -> Result<(), RunError> {
        let reason = reason.into();
        let event = Event::CancelRequested { reason: reason.clone() };
        self.note(id, event, Note::Cancel { reason }).await
    }

    async fn signal_bytes(&self, id: &str, name: &str, payload: Bytes) -> Result<(), RunError> {
        self.hosted.definition.accepts(name, &payload)?;
        let payload = self.hosted.outputs.keep(id, payload).await?;
        let event = Event::Signalled { name: name.to_owned(), payload: payload.clone() };
        self.note(id, event, Note::Signal { name: name.to_owned(), payload }).await
    }

    /// Tells a run a fact: its actor, if it lives here, or else its snapshot.
    async fn note(&self, id: &str, event: Event, note: Note) -> Result<(), RunError> {
        loop {
            if let Some(mut live) = self.hosted.live(id) {
                let (reply, taken) = oneshot::channel();
                let sent = live.actor.cast(Msg::Happened(event.clone(), Some(reply))).is_ok();
                match taken.await {
                    Ok(Ok(())) if sent => return Ok(()),
                    Ok(Err(NotTaken::Illegal(IllegalEvent::Note(refused)))) => return Err(refused.into()),
                    Ok(Err(NotTaken::Illegal(IllegalEvent::Closed(status)))) => {
                        return Err(NoteError::Closed(status).into());
                    }
                    // It comes to rest, or lost the run: once it is gone, the store knows.
                    _ => {
                        let _ = live.progress.wait_for(|p| p.ended.is_some()).await;
                    }
                }
            }
            let want = Want::Note(note.clone());
            match self.hosted.claim_and_drive(id, Ask::TakeUp(want)).await? {
                // Done with the claim, or left for the owner.
                Claimed::Driven(_) | Claimed::Elsewhere(_) => return Ok(()),
                Claimed::AtRest(snapshot) => return Err(NoteError::Closed(snapshot.status).into()),
                Claimed::Here(_) | Claimed::Gone => tokio::task::yield_now().await,
            }
        }
    }

    /// Moves a run again that ended without completing, or is parked: what completed and was skipped is kept, the rest is tried
    /// anew with fresh counts. A run that is alive, suspended or completed is left as it is.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] when there is no such run, [`RunError::GraphChanged`] when it belongs to another graph and the
    /// policy is not to migrate.
    pub async fn resume(&self, id: &str) -> Result<Run<I, O, C>, RunError> {
        self.continue_as(id, Continuation::KeepCompleted).await
    }

    /// Starts an ended run again from its first node, with its old input.
    ///
    /// # Errors
    ///
    /// As [`resume`](Self::resume).
    pub async fn restart(&self, id: &str) -> Result<Run<I, O, C>, RunError> {
        self.continue_as(id, Continuation::FromScratch).await
    }

    async fn continue_as(&self, id: &str, how: Continuation) -> Result<Run<I, O, C>, RunError> {
        loop {
            match self.hosted.claim_and_drive(id, Ask::TakeUp(Want::Resume(how))).await? {
                Claimed::Here(live) if self.comes_to_rest(id, &live).await? => {}
                Claimed::Gone => tokio::task::yield_now().await,
                _ => return Ok(self.handle(id)),
            }
        }
    }

    /// Waits for the actor of a run that came to rest in the store, and returns whether it did. Whoever moves a run because it
    /// failed may have learned of that before its actor has: the run is alive here, and nobody would move it.
    async fn comes_to_rest(&self, id: &str, live: &Live) -> Result<bool, RunError> {
        let stored = self.inspect(id).await?.ok_or_else(|| RunError::NotFound(id.to_owned()))?;
        if stored.owner.is_some() {
            return Ok(false);
        }
        // An error means that the actor is gone as well.
        let _ = live.progress.clone().wait_for(|p| p.ended.is_some()).await;
        Ok(true)
    }

    /// Deletes an ended run and its large values, before its retention is over.
    ///
    /// # Errors
    ///
    /// [`RunError::AlreadyExists`] when it has not ended: cancel it first. [`RunError::NotFound`] when there is none.
    pub async fn delete(&self, id: &str) -> Result<(), RunError> {
        let record = self.hosted.load(id).await?.ok_or_else(|| RunError::NotFound(id.to_owned()))?;
        let status = record.snapshot.status;
        if !status.is_terminal() {
            return Err(RunError::AlreadyExists { run: id.to_owned(), status });
        }
        // The snapshot first: a crash in between leaves values that nothing names, never a snapshot that names nothing.
        self.hosted.store().delete(&self.hosted.key(id)?, Expect::At(record.revision)).await?;
        let mut values = self.hosted.store().keys(&self.hosted.outputs.of_run(id).below()).await?;
        while let Some(value) = values.try_next().await? {
            self.hosted.store().delete(&value.key, Expect::Anything).await?;
        }
        Ok(())
    }

    /// Puts a run that was exported as JSON, by this library or by topology-runner, under an id, and goes on with it.
    ///
    /// What completed and was skipped is kept, the rest runs. Importing the same id again is refused.
    ///
    /// # Errors
    ///
    /// [`RunError::Import`] says what in the JSON does not fit the topology, [`RunError::AlreadyExists`] that the id is taken.
    pub async fn resume_from_json(&self, id: &str, json: &serde_json::Value) -> Result<Run<I, O, C>, RunError> {
        let now = self.hosted.clock().now();
        let snapshot = Snapshot::from_json(json, &self.hosted.plan.graph, id, now)?;
        let bytes = snapshot.encode();
        match self.hosted.write(&snapshot, bytes, Expect::Absent).await {
            Ok(_) => {}
            Err(RunError::Store(StoreError::Conflict)) => {
                return Err(RunError::AlreadyExists { run: id.to_owned(), status: snapshot.status });
            }
            Err(error) => return Err(error),
        }
        // A crash before this leaves a run without an owner, which the next sweep takes up.
        self.hosted.claim_and_drive(id, Ask::TakeUp(Want::Continue)).await?;
        Ok(self.handle(id))
    }
}

impl<I: Payload, O, C: Send + Sync + 'static> Runs<I, O, C> {
    /// Starts a run under an id, or joins the one that has it.
    ///
    /// # Errors
    ///
    /// [`RunError::InputConflict`] when the id is taken by a run with another input.
    ///
    /// # Cancel safety
    ///
    /// Safe: the run is started or not, and starting it again joins it.
    pub async fn start(&self, id: &str, input: I) -> Result<Run<I, O, C>, RunError> {
        self.start_with(id, input, StartOptions::default()).await
    }

    /// Starts a run with options.
    ///
    /// # Errors
    ///
    /// Beside those of [`start`](Self::start): [`RunError::AlreadyExists`] when the options refuse a duplicate,
    /// [`RunError::Subset`] and [`RunError::CannotProvide`] when they do not fit the graph.
    pub async fn start_with(&self, id: &str, input: I, mut options: StartOptions) -> Result<Run<I, O, C>, RunError> {
        let trace = options.trace.take().or_else(telemetry::current);
        let new = self.new_run(id, &input, trace, None, &options).await?;
        loop {
            match self.replace_or_join(id, new.clone(), options.on_duplicate).await? {
                Claimed::Gone => tokio::task::yield_now().await,
                _ => return Ok(self.handle(id)),
            }
        }
    }

    /// A start beside a live run of the id: the claim is made where no actor of this process is in its way.
    async fn replace_or_join(&self, id: &str, new: NewRun, policy: OnDuplicate) -> Result<Claimed, RunError> {
        if let Some(mut live) = self.hosted.live(id).filter(|live| !live.is_dead()) {
            let snapshot = live.progress.borrow().snapshot();
            match policy {
                OnDuplicate::Reject => return Err(RunError::AlreadyExists { run: id.to_owned(), status: snapshot.status }),
                OnDuplicate::Restart => {
                    // Let go of it first, so that the claim does not find it here.
                    let _ = live.actor.cast(Msg::ReleaseNow);
                    let _ = live.progress.wait_for(|p| p.ended.is_some()).await;
                }
                // It may have failed: the claim looks at what is stored.
                OnDuplicate::RestartFailed if self.comes_to_rest(id, &live).await? => {}
                OnDuplicate::Attach | OnDuplicate::RestartFailed if snapshot.input_digest != new.input_digest => {
                    return Err(RunError::InputConflict(id.to_owned()));
                }
                OnDuplicate::Attach | OnDuplicate::RestartFailed => return Ok(Claimed::Here(live)),
            }
        }
        self.hosted.claim_and_drive(id, Ask::Create(new.into(), policy)).await
    }

    /// What a run is made of; the input is stored first when it is large.
    pub(super) async fn new_run(
        &self,
        id: &str,
        input: &I,
        trace: Option<Trace>,
        source: Option<Source>,
        options: &StartOptions,
    ) -> Result<NewRun, RunError> {
        self.hosted.key(id)?;
        let graph = &self.hosted.plan.graph;
        let mut provided: Vec<(NodeId, Value)> = Vec::new();
        for (name, bytes) in &options.provided {
            let unknown = || crate::core::graph::SubsetError::Unknown(name.clone());
            let node = graph.find(name).ok_or_else(unknown)?;
            if matches!(graph.node(node).kind, NodeKind::Branch { .. }) {
                return Err(RunError::CannotProvide(name.clone()));
            }
            provided.push((node, self.hosted.outputs.keep(id, bytes.clone()).await?));
        }
        let given = |node: NodeId| provided.iter().any(|(p, _)| *p == node);
        let included = options.subset.resolve(graph, given, self.hosted.definition.lenient)?;
        let bytes = self.topology.encode_input(input)?;
        Ok(NewRun {
            run: id.to_owned(),
            input_digest: digest(&bytes),
            input: self.hosted.outputs.keep(id, bytes).await?,
            included,
            provided,
            owner: self.hosted.shared.worker.me().clone(),
            trace,
            source,
        })
    }

    /// Sends a run the signal that it waits for, or will wait for.
    ///
    /// A signal is a variable that is written once: it may come early, it resumes every node that waits for it, and a second one
    /// is refused. Returns once it is stored.
    ///
    /// # Errors
    ///
    /// [`RunError::Refused`] when it arrived before, when nothing waits for it, or when the run has ended; [`RunError::Codec`] when
    /// the nodes that wait for it could not read the payload.
    pub async fn signal<T: Payload>(&self, id: &str, signal: Signal<T>, payload: T) -> Result<(), RunError> {
        self.signal_bytes(id, signal.name(), payload.encode()?).await
    }

    /// Sends a signal by name, with a JSON payload: for graphs that come from configuration.
    ///
    /// # Errors
    ///
    /// As [`signal`](Self::signal).
    pub async fn signal_named(&self, id: &str, signal: &str, payload: serde_json::Value) -> Result<(), RunError> {
        self.signal_bytes(id, signal, payload.encode()?).await
    }
}

impl<I: Payload, O: Send + 'static, C: Send + Sync + 'static> Runs<I, O, C> {
    /// Prepares to start a run for each message of a queue.
    pub fn supervise(&self, queue: Arc<dyn Queue>) -> SupervisorBuilder<I, O, C> {
        SupervisorBuilder::new(self.clone(), queue)
    }
}
