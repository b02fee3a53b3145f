//! Records of messages that were given up, with why.
//!
//! The record of a failed run is committed together with the run's last state, so there is never one without the other. A
//! message that cannot be read has no run: its record is published before the message is rejected, under an id that makes a
//! repetition harmless.

use super::{RunError, hosted::Hosted, pb};
use crate::{
    core::snapshot::{NodeStatus, RunStatus, Snapshot, Source, Trace},
    engine::{Delivery, Headers, Message, Name, Outgoing},
    telemetry,
    time::Timestamp,
};
use bytes::Bytes;
use prost::Message as _;
use std::fmt::Write as _;

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The topology that it was for.
    pub topology: String,
    /// The run that it started; empty when it could not be read.
    pub run: String,
    /// The queue that it came from.
    pub queue: String,
    /// Its position in that queue.
    pub sequence: u64,
    /// Its id; may be empty.
    pub message_id: String,
    /// Its content.
    pub payload: Bytes,
    /// Its headers, where they are still known: those of a message that could not be read.
    pub headers: Headers,
    /// Why it was given up.
    pub reason: String,
    /// The nodes that failed.
    pub failures: Vec<NodeFailure>,
    /// When it was given up.
    pub at: Timestamp,
    /// The trace that it belongs to; may be empty.
    pub traceparent: String,
}

/// A node that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFailure {
    /// Its name.
    pub node: String,
    /// How many attempts were started.
    pub attempts: u32,
    /// The newest error and its causes.
    pub message: String,
}

impl DeadLetter {
    /// Reads a record from the payload of a message in a dead-letter queue.
    ///
    /// # Errors
    ///
    /// When the bytes are no such record.
    pub fn decode(bytes: Bytes) -> Result<Self, prost::DecodeError> {
        let letter = pb::DeadLetter::decode(bytes)?;
        let mut headers = Headers::default();
        letter.headers.into_iter().for_each(|h| headers.append(h.name, h.value));
        let failures = letter.failures.into_iter();
        Ok(Self {
            topology: letter.topology,
            run: letter.run,
            queue: letter.queue,
            sequence: letter.sequence,
            message_id: letter.message_id,
            payload: letter.payload,
            headers,
            reason: letter.reason,
            failures: failures.map(|f| NodeFailure { node: f.node, attempts: f.attempts, message: f.message }).collect(),
            at: Timestamp::from_micros(letter.at),
            traceparent: letter.traceparent,
        })
    }

    pub(super) fn encode(&self) -> Bytes {
        let headers = self.headers.iter().map(|(name, value)| pb::Header { name: name.into(), value: value.into() });
        let failures = self.failures.iter().cloned();
        pb::DeadLetter {
            topology: self.topology.clone(),
            run: self.run.clone(),
            queue: self.queue.clone(),
            sequence: self.sequence,
            message_id: self.message_id.clone(),
            payload: self.payload.clone(),
            headers: headers.collect(),
            reason: self.reason.clone(),
            failures: failures.map(|f| pb::NodeFailure { node: f.node, attempts: f.attempts, message: f.message }).collect(),
            at: self.at.as_micros(),
            traceparent: self.traceparent.clone(),
        }
        .encode_to_vec()
        .into()
    }
}

/// Tells which message a run's last state is recorded for: none when it did not fail, or when no message started it.
pub(super) fn due(snapshot: &Snapshot) -> Option<&Source> {
    let failed = matches!(snapshot.status, RunStatus::Errored | RunStatus::Dead | RunStatus::Stuck);
    snapshot.source.as_ref().filter(|_| failed)
}

/// Lists the nodes of a run that failed for good.
pub(super) fn failures(snapshot: &Snapshot) -> Vec<NodeFailure> {
    let errored = snapshot.nodes.iter().filter(|n| n.status == NodeStatus::Errored);
    errored
        .map(|n| NodeFailure {
            node: n.name.clone(),
            attempts: n.attempt,
            message: n.error.as_ref().map(|e| e.message.clone()).unwrap_or_default(),
        })
        .collect()
}

impl<C: Send + Sync + 'static> Hosted<C> {
    /// Where the records of messages from `queue` go.
    pub(super) fn dead_letter_queue(&self, queue: &str) -> Result<Name, RunError> {
        match &self.options.dead_letters {
            Some(name) => Ok(name.clone()),
            None => Ok(Name::new(format!("{queue}-dead"))?),
        }
    }

    /// The record that the last state of a run which failed is committed with.
    pub(super) async fn dead_letter(&self, snapshot: &Snapshot, source: &Source) -> Result<Outgoing, RunError> {
        let letter = DeadLetter {
            topology: snapshot.topology.clone(),
            run: snapshot.run.clone(),
            queue: source.queue.clone(),
            sequence: source.sequence,
            message_id: source.message_id.clone(),
            payload: match self.outputs.fetch(&snapshot.input).await {
                // That it is lost may be why the run failed; the record has to be kept all the same.
                Err(RunError::ValueLost(_)) => Bytes::new(),
                fetched => fetched?,
            },
            headers: Headers::default(),
            reason: snapshot.reason.clone().unwrap_or_else(|| format!("the run is {}", snapshot.status)),
            failures: failures(snapshot),
            at: snapshot.finished_at.unwrap_or(snapshot.progressed_at),
            traceparent: snapshot.trace.as_ref().map(|t| t.parent.clone()).unwrap_or_default(),
        };
        // One record for each time that the run ends in failure, however often its commit is tried.
        let id = format!("{}/{}/{}", snapshot.topology, snapshot.run, snapshot.epoch);
        let message = self.message(letter, id, snapshot.trace.as_ref());
        Ok(Outgoing { queue: self.dead_letter_queue(&source.queue)?, message })
    }

    /// The record of a message of which no run can be made.
    pub(super) fn unreadable(&self, queue: &Name, delivery: &Delivery, trace: Option<&Trace>, reason: String) -> Message {
        let message = delivery.message();
        let letter = DeadLetter {
            topology: self.plan.graph.name().to_owned(),
            run: String::new(),
            queue: queue.as_str().to_owned(),
            sequence: delivery.sequence(),
            message_id: message.id.clone().unwrap_or_default(),
            payload: message.payload.clone(),
            headers: message.headers.clone(),
            reason,
            failures: Vec::new(),
            at: self.clock().now(),
            traceparent: trace.map(|t| t.parent.clone()).unwrap_or_default(),
        };
        let id = format!("{}/{queue}/{}", self.plan.graph.name(), delivery.sequence());
        self.message(letter, id, trace)
    }

    /// Makes a message of a record. A content as large as messages may be leaves no room for the rest and is left out: a record
    /// that could not be kept would leave its run, or its message, without an end.
    fn message(&self, mut letter: DeadLetter, id: String, trace: Option<&Trace>) -> Message {
        const ROOM: usize = 1024;
        let most = self.store().capabilities().max_value.saturating_sub(ROOM);
        let mut bytes = letter.encode();
        if bytes.len() > most {
            let _ = write!(letter.reason, " (without its content of {} bytes, which is too large)", letter.payload.len());
            letter.payload = Bytes::new();
            bytes = letter.encode();
        }
        if bytes.len() > most {
            letter.headers = Headers::default();
            letter.failures.truncate(1);
            bytes = letter.encode();
        }
        let mut message = Message::new(bytes).id(id);
        if let Some(trace) = trace {
            telemetry::inject(trace, |name, value| message.headers.set(name, value));
        }
        message
    }
}
