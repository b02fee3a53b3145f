//! Driving one run: apply events, persist, act; look again when a write conflicts.
//!
//! The machine is ahead of the store by the events of two batches: the one that is being written and the one that waits for it.
//! Effects belong to a batch and happen when it is persisted. After a conflict the machine is put back on what is stored and
//! the events are applied anew: either somebody left a note under our epoch, and we go on with it, or the run has another owner,
//! and everything here is dropped.

use super::{
    body::{self, Attempt, Desk, Stop},
    claim::{Held, Stored},
    error::RunError,
    hosted::{Ended, Hosted, Live, Progress},
    message::{End, Msg, NotTaken, Reply},
};
use crate::{
    core::{
        graph::NodeId,
        machine::{Effects, Event, IllegalEvent, RunMachine},
        retry::StopReason,
        snapshot::{NodeStatus, Owner, RunStatus, Snapshot, Value},
    },
    engine::{Expect, Key, Revision, StoreError},
    error::panic_text,
    newest, telemetry,
    time::{Backoff, Timestamp},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use ractor::ActorRef;
use std::{collections::BTreeMap, mem, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{Instrument as _, Span};

pub(super) struct Driver<C> {
    hosted: Arc<Hosted<C>>,
    myself: ActorRef<Msg>,
    machine: RunMachine,
    run: Arc<str>,
    key: Key,
    revision: Revision,
    /// Who we are, and in which epoch.
    claim: (Owner, u64),
    /// Applied and not yet persisted.
    waiting: Batch,
    writing: Option<Writing>,
    /// How many writes were begun.
    writes: u64,
    /// What waits is written once everybody who is ready has had a turn.
    gathers: bool,
    /// In an order of its own: they are told to stop in that.
    bodies: BTreeMap<(NodeId, u32), Stop>,
    /// Of each node, which attempt's body began here last, and when: from then on its time counts. That it was decided may be long ago, if
    /// the store was away.
    begun: Vec<Option<(u32, Timestamp)>>,
    /// Bodies have been told that the run is cancelled: from then on their grace counts.
    told: bool,
    /// Bodies, the write and the timer; dropped with the actor, so nothing outlives it.
    tasks: JoinSet<()>,
    timer: Option<(Timestamp, AbortHandle)>,
    releasing: bool,
    progress: newest::Sender<Progress>,
    backoff: Backoff,
    span: Span,
}

/// Events that are persisted together.
#[derive(Default)]
struct Batch {
    events: Vec<Recorded>,
    effects: Effects,
    /// The snapshot changed although no event is listed.
    dirty: bool,
}

struct Recorded {
    event: Event,
    at: Timestamp,
    reply: Option<Reply>,
}

/// A batch under way.
struct Writing {
    /// Which write it is: one that was given up for a newer state still has an outcome, which says nothing of this one.
    number: u64,
    batch: Batch,
    /// What is being written, to recognize it.
    bytes: Bytes,
    /// What it starts.
    attempts: Vec<Attempt>,
    /// Somebody left a note meanwhile: if the write was first, it has no conflict by which to find that.
    nudged: bool,
}

impl<C: Send + Sync + 'static> Driver<C> {
    pub(super) fn new(hosted: Arc<Hosted<C>>, held: Held, progress: newest::Sender<Progress>, myself: ActorRef<Msg>) -> Self {
        let Held { machine, effects, stored: Stored { key, revision, .. } } = held;
        let snapshot = machine.snapshot();
        let span = telemetry::run_span(&snapshot.topology, &snapshot.run, snapshot.epoch, snapshot.trace.as_ref());
        let claim = (hosted.shared.worker.me().clone(), snapshot.epoch);
        let begun = vec![None; snapshot.nodes.len()];
        hosted.enter(snapshot.run.clone(), Live { actor: myself.clone(), progress: progress.subscribe() });
        Self {
            hosted,
            myself,
            run: snapshot.run.as_str().into(),
            machine,
            key,
            revision,
            claim,
            waiting: Batch { effects, ..Batch::default() },
            writing: None,
            writes: 0,
            gathers: false,
            bodies: BTreeMap::new(),
            begun,
            told: false,
            tasks: JoinSet::new(),
            timer: None,
            releasing: false,
            progress,
            backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(5)),
            span,
        }
    }

    /// Acts on what the claim persisted.
    pub(super) fn begin(&mut self) {
        let effects = mem::take(&mut self.waiting.effects);
        let attempts = self.attempts(&effects);
        self.perform(effects, attempts);
        self.arm();
    }

    pub(super) fn happened(&mut self, event: Event, reply: Option<Reply>) {
        // Without an owner in the snapshot the run is everybody's: it came to rest, or was let go, in a write under way.
        if self.ended().is_some() || self.machine.snapshot().owner.is_none() {
            return answer(reply, Err(NotTaken::Gone));
        }
        let at = self.hosted.clock().now();
        match self.apply(event.clone(), at) {
            Ok(effects) if event == Event::Tick && effects.is_empty() => answer(reply, Ok(())),
            Ok(effects) => {
                self.waiting.effects.merge(effects);
                self.waiting.events.push(Recorded { event, at, reply });
            }
            Err(refused) => {
                tracing::debug!(parent: &self.span, %refused, "an event came too late");
                answer(reply, Err(refused.into()));
            }
        }
    }

    /// Applies an event; no time passes for an attempt whose start is not stored, since its body has not begun, nor for bodies that a
    /// cancellation ends and that have not been told, since it is not stored that they are to be.
    fn apply(&mut self, event: Event, at: Timestamp) -> Result<Effects, IllegalEvent> {
        if event == Event::Tick {
            for (attempt, began) in self.running() {
                if began.is_none() {
                    self.machine.begin(attempt, at);
                }
            }
            if !self.told && !self.bodies.is_empty() {
                self.machine.tell(at);
            }
        }
        self.machine.apply(event, at)
    }

    /// Returns the attempts that run, and when their bodies began here, if they did. They may have ended since.
    fn running(&self) -> Vec<((NodeId, u32), Option<Timestamp>)> {
        let nodes = self.machine.snapshot().nodes.iter().zip(&self.begun).enumerate();
        let running = nodes.filter(|(_, (node, _))| node.status == NodeStatus::Running);
        let when = running.map(|(index, (node, last))| {
            let began = last.filter(|(attempt, _)| *attempt == node.attempt).map(|(_, at)| at);
            ((NodeId::at(index), node.attempt), began)
        });
        when.collect()
    }

    pub(super) fn body_ended(&mut self, node: NodeId, attempt: u32, end: End) {
        self.bodies.remove(&(node, attempt));
        if self.releasing && matches!(end, End::Stopped) && self.machine.snapshot().cancel.is_none() {
            // The release takes the attempt back; as an event of its own, its end would start the next one. Until then other bodies may
            // take their time, and no time passes for this attempt: what was stopped does not time out.
            self.begun[node.index()].take_if(|(last, _)| *last == attempt);
            return;
        }
        self.happened(end.into_event(node, attempt), None);
    }

    pub(super) fn due(&mut self) {
        self.timer = None;
        self.happened(Event::Tick, None);
    }

    pub(super) fn release(&mut self) {
        self.releasing = true;
        self.bodies.values().for_each(|stop| stop.ask(StopReason::Shutdown));
    }

    pub(super) fn release_now(&mut self) {
        self.releasing = true;
        // What they did is not recorded; they start again elsewhere.
        self.tasks.abort_all();
        self.bodies.clear();
        if let Some(writing) = self.writing.take() {
            // The aborted write may have landed all the same: the store tells, and what was applied is applied anew.
            self.waiting = joined(writing.batch, mem::take(&mut self.waiting));
            let _ = self.myself.cast(Msg::LookAgain);
        }
    }

    /// What follows every message: write if there is something to write, sleep until the next deadline, end if all is done.
    pub(super) async fn go_on(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let idle = self.writing.is_none() && self.waiting.events.is_empty() && !self.waiting.dirty;
        if self.releasing && idle && self.bodies.is_empty() {
            self.happened(Event::Released, None);
        }
        if self.writes_soon() && !self.bodies.is_empty() && !mem::replace(&mut self.gathers, true) {
            // Bodies that end together share a write: whoever is about to end has its turn first, and is heard before this.
            tokio::task::yield_now().await;
            let _ = self.myself.cast(Msg::GoOn);
            return self.arm();
        }
        self.write().await;
        self.arm();
    }

    /// Whether there is something to write, and no write is under way.
    fn writes_soon(&self) -> bool {
        self.writing.is_none() && (!self.waiting.events.is_empty() || self.waiting.dirty)
    }

    /// Starts to write what waits, unless a write is under way.
    async fn write(&mut self) {
        if !self.writes_soon() {
            return;
        }
        self.gathers = false;
        let batch = mem::take(&mut self.waiting);
        let bytes = match self.hosted.encode(self.machine.snapshot_mut()).await {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::warn!(parent: &self.span, error = &error as &dyn std::error::Error, "a value was not moved out");
                self.waiting = batch;
                return self.look_again_later();
            }
        };
        let transition = self.hosted.transition(self.machine.snapshot(), bytes.clone());
        let attempts = self.attempts(&batch.effects);
        self.writes += 1;
        let number = self.writes;
        self.writing = Some(Writing { number, batch, bytes, attempts, nudged: false });
        let (hosted, myself, key, revision) = (Arc::clone(&self.hosted), self.myself.clone(), self.key.clone(), self.revision);
        self.tasks.spawn(async move {
            let write = hosted.store_at(&key, transition, Expect::At(revision));
            // A crash here is a crash after the transition: whoever adopts the run finds it done.
            let _ = myself.cast(match AssertUnwindSafe(write).catch_unwind().await {
                Ok(outcome) => Msg::Written(number, outcome),
                Err(panic) => Msg::Broken(format!("a write panicked: {}", panic_text(&*panic))),
            });
        });
    }

    pub(super) async fn written(&mut self, number: u64, outcome: Result<Revision, RunError>) {
        if self.writing.as_ref().is_none_or(|writing| writing.number != number) {
            return;
        }
        match outcome {
            Ok(revision) => self.persisted(revision),
            Err(RunError::Store(StoreError::Conflict | StoreError::Unknown(_))) => self.look_again().await,
            Err(error) => {
                tracing::warn!(parent: &self.span, error = &error as &dyn std::error::Error, "a transition was not stored");
                self.look_again_later();
            }
        }
    }

    /// The batch under way is in the store: act on it.
    fn persisted(&mut self, revision: Revision) {
        let Some(Writing { batch, bytes, attempts, nudged, number: _ }) = self.writing.take() else { return };
        self.backoff.reset();
        self.revision = revision;
        self.progress.send_modify(|p| p.stored = bytes);
        let released = batch.events.iter().any(|r| r.event == Event::Released);
        batch.events.into_iter().for_each(|recorded| answer(recorded.reply, Ok(())));
        self.perform(batch.effects, attempts);
        if released {
            self.end(Ended::Released);
        }
        if nudged {
            let _ = self.myself.cast(Msg::Nudged);
        }
    }

    /// What effects start, as the run is now: a body has to see what is stored with its attempt and nothing newer.
    fn attempts(&self, effects: &Effects) -> Vec<Attempt> {
        let (snapshot, graph) = (self.machine.snapshot(), &self.hosted.plan.graph);
        effects.execute.iter().map(|attempt| Attempt::of(snapshot, graph, *attempt)).collect()
    }

    /// Does what a persisted transition asks for.
    fn perform(&mut self, effects: Effects, attempts: Vec<Attempt>) {
        for (node, attempt, reason) in effects.stop {
            if reason == StopReason::Cancelled && !mem::replace(&mut self.told, true) {
                self.machine.tell(self.hosted.clock().now());
            }
            if let Some(stop) = self.bodies.get(&(node, attempt)) {
                stop.ask(reason);
            }
        }
        if let Some(status) = effects.finished {
            tracing::debug!(parent: &self.span, %status, "the run is at rest");
            self.let_values_expire(status);
            return self.end(Ended::AtRest);
        }
        if self.releasing {
            // Committed as running, and never started: the release takes the attempts back.
            return;
        }
        for attempt in attempts {
            self.start(attempt);
        }
    }

    fn start(&mut self, attempt: Attempt) {
        let (node, number, stop) = (attempt.node, attempt.number, Stop::new());
        if self.told {
            stop.ask(StopReason::Cancelled);
        }
        let span = telemetry::node_span(&self.span, &self.hosted.plan.graph.node(node).name, number);
        let (hosted, myself, run) = (Arc::clone(&self.hosted), self.myself.clone(), Arc::clone(&self.run));
        let desk = Desk::new(hosted, myself, run, attempt, stop.subscribe());
        self.tasks.spawn(body::run(desk).instrument(span));
        let now = self.hosted.clock().now();
        self.machine.begin((node, number), now);
        self.begun[node.index()] = Some((number, now));
        self.bodies.insert((node, number), stop);
    }

    pub(super) async fn nudged(&mut self) {
        if let Some(writing) = &mut self.writing {
            writing.nudged = true;
        } else if self.ended().is_none() {
            self.look_again().await;
        }
    }

    /// Puts the machine on what is stored, and applies anew what is not.
    pub(super) async fn look_again(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let record = match self.hosted.store().get(&self.key).await {
            Ok(Some(entry)) => {
                if self.writing.as_ref().is_some_and(|w| w.bytes == entry.value) {
                    // Our own write, whose acknowledgement was lost.
                    return self.persisted(entry.revision);
                }
                if entry.revision == self.revision && self.writing.is_none() {
                    return;
                }
                self.hosted.decode(&self.machine.snapshot().run, entry)
            }
            Ok(None) => return self.fenced("the run was deleted"),
            Err(error) => Err(error.into()),
        };
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                tracing::warn!(parent: &self.span, error = &error as &dyn std::error::Error, "the run cannot be read");
                return self.look_again_later();
            }
        };
        let (me, epoch) = &self.claim;
        if record.snapshot.epoch != *epoch || record.snapshot.owner.as_ref() != Some(me) {
            return self.fenced("another worker took the run over");
        }
        self.revision = record.revision;
        self.reapply(record.snapshot);
    }

    fn reapply(&mut self, stored: Snapshot) {
        let now = self.hosted.clock().now();
        let before = self.writing.take().map(|w| w.batch).unwrap_or_default();
        let batch = joined(before, mem::take(&mut self.waiting));
        let Ok(mut effects) = self.machine.refresh(stored, now) else {
            return self.fenced("the run was migrated");
        };
        for (attempt, began) in self.running() {
            if let Some(began) = began {
                self.machine.begin(attempt, began);
            }
        }
        let mut events = Vec::with_capacity(batch.events.len());
        for Recorded { event, at, reply } in batch.events {
            match self.apply(event.clone(), at) {
                Ok(more) => {
                    effects.merge(more);
                    events.push(Recorded { event, at, reply });
                }
                Err(refused) => answer(reply, Err(refused.into())),
            }
        }
        // Whatever runs in this epoch and has not begun here never started: it was committed by a write whose outcome we missed,
        // or follows from the note. A body that has ended and was too late is not started again: its attempt ends as it did before.
        effects.execute = self.running().into_iter().filter(|(_, began)| began.is_none()).map(|(attempt, _)| attempt).collect();
        // And whatever has a body here, or is to have one, and is to end may not have been told, for the same reason.
        let snapshot = self.machine.snapshot();
        for &(node, attempt) in self.bodies.keys().chain(&effects.execute) {
            let state = &snapshot.nodes[node.index()];
            if snapshot.cancel.is_some() {
                effects.stop.push((node, attempt, StopReason::Cancelled));
            } else if state.status != NodeStatus::Running || state.attempt != attempt {
                effects.stop.push((node, attempt, StopReason::Timeout));
            }
        }
        self.waiting = Batch { events, effects, dirty: true };
    }

    fn fenced(&mut self, why: &str) {
        tracing::info!(parent: &self.span, why, "the run is no longer ours");
        self.bodies.values().for_each(|stop| stop.ask(StopReason::Fenced));
        self.end(Ended::Fenced);
    }

    fn look_again_later(&mut self) {
        let (delay, clock, myself) = (self.backoff.next_delay(), self.hosted.clock().clone(), self.myself.clone());
        self.tasks.spawn(async move {
            clock.sleep(delay).await;
            let _ = myself.cast(Msg::LookAgain);
        });
    }

    /// Sleeps until the machine has something to do.
    fn arm(&mut self) {
        // Ended tasks are reaped here, after every message, so that a long run does not collect them.
        while self.tasks.try_join_next().is_some() {}
        let next = self.machine.next_deadline().filter(|_| self.ended().is_none());
        if self.timer.as_ref().map(|(at, _)| *at) == next {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            timer.abort();
        }
        if let Some(at) = next {
            let (clock, myself) = (self.hosted.clock().clone(), self.myself.clone());
            let timer = self.tasks.spawn(async move {
                clock.sleep_until(at).await;
                let _ = myself.cast(Msg::Due);
            });
            self.timer = Some((at, timer));
        }
    }

    /// Large values expire with their run. A crash before this leaves them to whoever deletes the run.
    fn let_values_expire(&mut self, status: RunStatus) {
        let Some(ttl) = self.hosted.kept_for(status) else { return };
        // Nothing is applied to a run that has ended: these are the values that are stored.
        let stored = self.machine.snapshot().values().filter(|v| matches!(v, Value::Stored(_))).cloned();
        let stored: Vec<_> = stored.collect();
        if stored.is_empty() {
            return;
        }
        let hosted = Arc::clone(&self.hosted);
        self.hosted.shared.tasks.spawn(async move {
            for value in stored {
                if let Err(error) = hosted.outputs.expire(&value, ttl).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a value keeps no time");
                }
            }
        });
    }

    fn ended(&self) -> Option<Ended> {
        self.progress.borrow().ended
    }

    fn end(&mut self, how: Ended) {
        self.leave();
        self.progress.send_modify(|p| p.ended = Some(how));
        let unanswered =
            mem::take(&mut self.waiting).events.into_iter().chain(self.writing.take().into_iter().flat_map(|w| w.batch.events));
        unanswered.for_each(|recorded| answer(recorded.reply, Err(NotTaken::Gone)));
        self.myself.stop(None);
    }

    /// Takes the run off the list of those that live here.
    pub(super) fn leave(&self) {
        self.hosted.leave(&self.machine.snapshot().run, self.myself.get_id());
    }
}

fn joined(mut first: Batch, second: Batch) -> Batch {
    first.events.extend(second.events);
    first.effects.merge(second.effects);
    first.dirty |= second.dirty;
    first
}

fn answer(reply: Option<Reply>, outcome: Result<(), NotTaken>) {
    if let Some(reply) = reply {
        // Whoever asked may have lost interest.
        let _ = reply.send(outcome);
    }
}
