//! How records are stored, and what leaves together with them.
//!
//! Three kinds of engines, one meaning. With timers and commits, one commit has the record, the messages and the timer of the next
//! firing. Without timers it has no timer, and whoever leads finds out what is due. Without commits the record is first written with
//! what is to be sent, then that is sent, each under an id, and then the record is written without it: whoever finds a
//! record that has something to send sends it again. Nothing here decides anything.

use super::{
    ScheduleError,
    wake::{Kind, Label, Wake},
};
use crate::{
    core::schedule::{Firing, Letter, Live, Record, Waiting},
    engine::{Commit, Entry, Expect, Key, Message, Name, Outgoing, Rejection, Revision, Space, Store, StoreError, Timer},
    jobs::sent_by,
    time::{Clock, Timestamp},
};
use std::sync::Arc;

/// The schedules and delayed messages of a space.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    pub(super) space: Space,
    /// Whether timers wake up whoever works on what is due; otherwise somebody polls.
    pub(super) timers: bool,
    /// Whether a record and messages are one commit.
    commits: bool,
}

impl Ledger {
    pub(super) fn new(space: &Space) -> Result<Self, ScheduleError> {
        let can = space.store().capabilities();
        if !can.queues {
            let (engine, remedy) = (can.engine.clone(), "take a space");
            return Err(Rejection::Unsupported { what: "a schedule", engine, remedy }.into());
        }
        let commits = can.atomic_commit;
        Ok(Self { space: space.clone(), timers: can.timers && commits, commits })
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        self.space.store()
    }

    pub(super) fn clock(&self) -> &Clock {
        self.space.clock()
    }

    /// Reads a schedule.
    pub(super) async fn schedule(&self, key: &Key) -> Result<Option<(Record, Revision)>, ScheduleError> {
        let Some(entry) = self.store().get(key).await? else { return Ok(None) };
        read_schedule(entry).map(Some)
    }

    /// Writes a schedule together with what it sends, and tells what is stored from now on.
    pub(super) async fn put_schedule(
        &self,
        (key, name): (&Key, &str),
        expect: Expect,
        record: &Record,
        firings: &[Firing],
    ) -> Result<(), StoreError> {
        if !self.commits && !firings.is_empty() {
            let now = self.clock().now();
            let pending = firings.iter().map(|firing| Live { firing: firing.clone(), sent: now });
            let record = Record { pending: pending.collect(), ..record.clone() };
            let revision = self.store().put(key, record.encode(), expect, self.label(due(&record)).options()).await?;
            // A crash here, or an outage, leaves it to whoever leads: what is pending is due.
            return self.send_pending((key, name), &record, revision).await;
        }
        let mut commit = Commit::new().put(key.clone(), record.encode(), expect, self.label(due(record)).options());
        for firing in firings {
            commit.messages.push(outgoing(&record.plan.letter, |message| named(message, name, firing))?);
        }
        if self.timers {
            commit.timers.push(match record.next {
                Some(at) => arm(key, at),
                None => Timer::Cancel { name: key.clone() },
            });
        }
        self.store().commit(commit).await.map(drop)
    }

    /// Sends what was decided and not sent yet, and then writes that it was. Done twice it sends the same ids twice, which
    /// the queue drops within its window.
    pub(super) async fn send_pending(
        &self,
        (key, name): (&Key, &str),
        record: &Record,
        revision: Revision,
    ) -> Result<(), StoreError> {
        for live in &record.pending {
            let sent = outgoing(&record.plan.letter, |message| named(message, name, &live.firing))?;
            self.store().commit(Commit { messages: vec![sent], ..Commit::new() }).await?;
        }
        let record = Record { pending: Vec::new(), ..record.clone() };
        let options = self.label(due(&record)).options();
        self.store().put(key, record.encode(), Expect::At(revision), options).await.map(drop)
    }

    pub(super) async fn delete(&self, key: &Key, revision: Revision) -> Result<(), StoreError> {
        let mut commit = Commit::new().delete(key.clone(), Expect::At(revision));
        if self.timers {
            commit.timers.push(Timer::Cancel { name: key.clone() });
        }
        self.store().commit(commit).await.map(drop)
    }

    /// Writes a delayed message, and arms its timer.
    pub(super) async fn put_delayed(&self, key: &Key, expect: Expect, waiting: &Waiting) -> Result<(), StoreError> {
        let mut commit = Commit::new().put(key.clone(), waiting.encode(), expect, self.label(Some(waiting.due)).options());
        if self.timers {
            commit.timers.push(arm(key, waiting.due));
        }
        self.store().commit(commit).await.map(drop)
    }

    /// Sends a delayed message and removes it.
    pub(super) async fn send_delayed(
        &self,
        (key, name): (&Key, &str),
        waiting: &Waiting,
        revision: Revision,
    ) -> Result<(), StoreError> {
        let id = waiting.message_id(name);
        let sent = outgoing(&waiting.letter, |message| message.id(id))?;
        if self.commits {
            let commit = Commit { messages: vec![sent], ..Commit::new().delete(key.clone(), Expect::At(revision)) };
            return self.store().commit(commit).await.map(drop);
        }
        let revision = if waiting.leaving {
            revision
        } else {
            // From here on nobody can stop it: who cancels it is told that it is gone.
            let leaving = Waiting { leaving: true, ..waiting.clone() };
            let options = self.label(Some(waiting.due)).options();
            self.store().put(key, leaving.encode(), Expect::At(revision), options).await?
        };
        self.store().commit(Commit { messages: vec![sent], ..Commit::new() }).await?;
        // A crash here sends it once more, under the same id.
        self.store().delete(key, Expect::At(revision)).await.map(drop)
    }

    fn label(&self, due: Option<Timestamp>) -> Label {
        Label { due, timer: self.timers }
    }
}

fn arm(key: &Key, at: Timestamp) -> Timer {
    let message = Wake { key: key.clone(), at }.message();
    Timer::Arm { name: key.clone(), at, send: Outgoing { queue: Wake::queue(), message } }
}

/// When somebody has to look at a schedule.
fn due(record: &Record) -> Option<Timestamp> {
    if record.pending.is_empty() { record.next } else { Some(record.since) }
}

pub(super) fn read_schedule(entry: Entry) -> Result<(Record, Revision), ScheduleError> {
    match Record::decode(entry.value) {
        Ok(record) => Ok((record, entry.revision)),
        Err(source) => Err(ScheduleError::Corrupt { key: entry.key, source }),
    }
}

pub(super) fn read_delayed(entry: Entry) -> Result<(Waiting, Revision), ScheduleError> {
    match Waiting::decode(entry.value) {
        Ok(waiting) => Ok((waiting, entry.revision)),
        Err(source) => Err(ScheduleError::Corrupt { key: entry.key, source }),
    }
}

/// When the value of a key is due, as its label says, or as it says itself.
pub(super) fn due_of(kind: Kind, entry: Entry) -> Option<Timestamp> {
    match (Label::of(entry.label.as_deref()), kind) {
        (Some(label), _) => label.due,
        (None, Kind::Schedule) => read_schedule(entry).ok().and_then(|(record, _)| due(&record)),
        (None, Kind::Delayed) => read_delayed(entry).ok().map(|(waiting, _)| waiting.due),
    }
}

/// Takes a message apart.
pub(super) fn letter(outgoing: &Outgoing) -> Letter {
    let Outgoing { queue, message } = outgoing;
    Letter {
        queue: queue.as_str().to_owned(),
        id: message.id.clone(),
        headers: message.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        payload: message.payload.clone(),
    }
}

/// Puts a message together again.
pub(super) fn outgoing(letter: &Letter, finish: impl FnOnce(Message) -> Message) -> Result<Outgoing, StoreError> {
    let mut message = Message::new(letter.payload.clone());
    for (name, value) in &letter.headers {
        message.headers.append(name.clone(), value.clone());
    }
    message.id.clone_from(&letter.id);
    Ok(Outgoing { queue: Name::new(letter.queue.clone())?, message: finish(message) })
}

fn named(message: Message, schedule: &str, firing: &Firing) -> Message {
    sent_by(message.id(firing.id.clone()), schedule, firing.at)
}
