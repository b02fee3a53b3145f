//! What is stored of jobs: bytes to a [`Record`] or a [`Letter`] and back.
//!
//! Whatever is neither is an error, never a job of which nothing is known.

use super::{
    pb,
    record::{Failure, How, Progress, Record, State},
};
use crate::{core::coordination::NotThis, time::Timestamp};
use bytes::Bytes;
use prost::Message as _;

/// Tells records from what else there may be at a key.
const RECORD: u32 = 9;
/// Tells letters from other messages.
const LETTER: u32 = 10;

impl Record {
    /// Writes it as protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let end = match &self.state {
            State::Open => None,
            State::Completed { result } => Some(pb::job::End::Done(pb::JobDone { result: result.clone() })),
            State::Cancelled => Some(pb::job::End::Cancelled(true)),
            State::Dead { reason } => Some(pb::job::End::Dead(reason.clone())),
        };
        let job = pb::Job {
            kind: RECORD,
            topic: self.topic.clone(),
            generation: self.generation,
            decided: self.decided,
            spared: self.spared,
            blocked: self.blocked,
            failed: self.failed,
            failures: self.failures.iter().map(write_failure).collect(),
            progress: self.progress.as_ref().map(|p| pb::JobProgress {
                percent: p.percent.map(u32::from),
                text: p.text.clone(),
                data: p.data.clone(),
                at: p.at.as_micros(),
            }),
            resume_at: self.resume_at.map(Timestamp::as_micros),
            cancel: self.cancel,
            ended_at: self.ended_at.map(Timestamp::as_micros),
            end,
        };
        job.encode_to_vec().into()
    }

    /// Reads it back.
    ///
    /// # Errors
    ///
    /// [`NotThis`] when the bytes are something else; they are to be left as they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let job = pb::Job::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(job.kind, RECORD, "job")?;
        let state = match job.end {
            None => State::Open,
            Some(pb::job::End::Done(done)) => State::Completed { result: done.result },
            Some(pb::job::End::Cancelled(_)) => State::Cancelled,
            Some(pb::job::End::Dead(reason)) => State::Dead { reason },
        };
        let progress = job.progress.map(|p| {
            let percent = p.percent.map(u8::try_from).transpose().ok().filter(|p| p.is_none_or(|p| p <= 100));
            let percent = percent.ok_or(NotThis::Broken("a job's progress is 0 to 100 percent"))?;
            Ok(Progress { percent, text: p.text, data: p.data, at: Timestamp::from_micros(p.at) })
        });
        Ok(Self {
            topic: job.topic,
            generation: job.generation,
            state,
            decided: job.decided,
            spared: job.spared,
            blocked: job.blocked,
            failed: job.failed,
            failures: read_failures(job.failures)?,
            progress: progress.transpose()?,
            resume_at: job.resume_at.map(Timestamp::from_micros),
            cancel: job.cancel,
            ended_at: job.ended_at.map(Timestamp::from_micros),
        })
    }
}

/// A job that was given up: its message as it was, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letter {
    /// The queue that it came from.
    pub queue: String,
    /// The job's id.
    pub id: String,
    /// Its topic; empty when its message names none.
    pub topic: String,
    /// The position of its message in the queue.
    pub sequence: u64,
    /// The id that the message itself had.
    pub message_id: Option<String>,
    /// What the message contained.
    pub payload: Bytes,
    /// The message's headers, its trace among them.
    pub headers: Vec<(String, String)>,
    /// Why the job was given up.
    pub reason: String,
    /// How many attempts were started.
    pub attempts: u32,
    /// What went wrong in the newest of them, oldest first.
    pub failures: Vec<Failure>,
    /// How often the job was put back before.
    pub generation: u32,
    /// When it was given up.
    pub at: Timestamp,
    /// When the message was published.
    pub published_at: Timestamp,
}

impl Letter {
    /// Assembles a letter; `pub(crate)` since its fields grow.
    pub(crate) fn new(queue: String, id: String, topic: String, reason: String) -> Self {
        Self {
            queue,
            id,
            topic,
            reason,
            sequence: 0,
            message_id: None,
            payload: Bytes::new(),
            headers: Vec::new(),
            attempts: 0,
            failures: Vec::new(),
            generation: 0,
            at: Timestamp::EPOCH,
            published_at: Timestamp::EPOCH,
        }
    }

    /// Writes it as protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let headers = self.headers.iter().map(|(name, value)| pb::JobHeader { name: name.clone(), value: value.clone() });
        let letter = pb::DeadJob {
            kind: LETTER,
            queue: self.queue.clone(),
            id: self.id.clone(),
            topic: self.topic.clone(),
            sequence: self.sequence,
            message_id: self.message_id.clone(),
            payload: self.payload.clone(),
            headers: headers.collect(),
            reason: self.reason.clone(),
            attempts: self.attempts,
            failures: self.failures.iter().map(write_failure).collect(),
            generation: self.generation,
            at: self.at.as_micros(),
            published_at: self.published_at.as_micros(),
        };
        letter.encode_to_vec().into()
    }

    /// Reads it back from the payload of a message in a dead-letter queue.
    ///
    /// # Errors
    ///
    /// [`NotThis`] when the bytes are something else, such as the record of a run.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let letter = pb::DeadJob::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(letter.kind, LETTER, "dead job")?;
        Ok(Self {
            queue: letter.queue,
            id: letter.id,
            topic: letter.topic,
            sequence: letter.sequence,
            message_id: letter.message_id,
            payload: letter.payload,
            headers: letter.headers.into_iter().map(|h| (h.name, h.value)).collect(),
            reason: letter.reason,
            attempts: letter.attempts,
            failures: read_failures(letter.failures)?,
            generation: letter.generation,
            at: Timestamp::from_micros(letter.at),
            published_at: Timestamp::from_micros(letter.published_at),
        })
    }
}

fn write_failure(failure: &Failure) -> pb::JobFailure {
    let how = match failure.how {
        How::Error => 1,
        How::Panic => 2,
        How::Timeout => 3,
    };
    pb::JobFailure { attempt: failure.attempt, how, message: failure.message.clone(), at: failure.at.as_micros() }
}

fn read_failures(failures: Vec<pb::JobFailure>) -> Result<Vec<Failure>, NotThis> {
    let read = |f: pb::JobFailure| {
        let how = match f.how {
            1 => How::Error,
            2 => How::Panic,
            3 => How::Timeout,
            _ => return Err(NotThis::Broken("a failure of a job is an error, a panic or a timeout")),
        };
        Ok(Failure { attempt: f.attempt, how, message: f.message, at: Timestamp::from_micros(f.at) })
    };
    failures.into_iter().map(read).collect()
}
