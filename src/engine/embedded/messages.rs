//! Messages inside a transaction: a message is ready, or parked until a time, and no step costs more when a queue is long.
//!
//! A parked message is with a worker or waits out a delay; its number of deliveries is stored with every step, so that a kill
//! counts. Nothing here knows who waits for messages: a queue in which something became ready is rung.

use super::database::{Batch, Letter, QueueId, SpaceId};
use crate::{
    engine::{Headers, Message, Published, QueueOptions, Rejection},
    time::Timestamp,
};
use bytes::Bytes;
use redb::{ReadableTable, StorageError};
use std::time::Duration;

/// How many forgotten ids are cleaned up for each one that is remembered.
const TIDY: usize = 4;

/// A message that was handed to a worker.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) sequence: u64,
    pub(super) attempt: u32,
    pub(super) published_at: Timestamp,
    pub(super) message: Message,
    /// When it goes to somebody else.
    pub(super) until: Timestamp,
}

impl Batch<'_> {
    /// Finds the number of a queue, and gives it one when it has none: messages may come before the queue is opened.
    pub(super) fn queue(&mut self, space: SpaceId, name: &str) -> Result<QueueId, StorageError> {
        let found = self.tables.queues.get((space, name))?.map(|id| id.value());
        if let Some(id) = found {
            return Ok(id);
        }
        let id = self.next_number("queue")?;
        self.tables.queues.insert((space, name), id)?;
        Ok(id)
    }

    /// Fixes the options of a queue, or compares them with those that are fixed.
    pub(super) fn agree_on(&mut self, queue: QueueId, options: &QueueOptions) -> Result<Result<(), Rejection>, StorageError> {
        let asked = (micros(options.ack_wait), options.max_in_flight as u64, micros(options.dedupe_window));
        let fixed = self.tables.options.get(queue)?.map(|fixed| fixed.value());
        match fixed {
            Some(fixed) if fixed != asked => Ok(Err(Rejection::InvalidOption("the queue exists with other options"))),
            Some(_) => Ok(Ok(())),
            None => self.tables.options.insert(queue, asked).map(|_| Ok(())),
        }
    }

    /// Adds a message, unless its id is taken.
    pub(super) fn enqueue(&mut self, queue: QueueId, message: &Message) -> Result<Published, StorageError> {
        let taken = match message.id.as_deref() {
            Some(id) => self.tables.ids.get((queue, id))?.map(|taken| taken.value()),
            None => None,
        };
        if let Some((sequence, until)) = taken
            && until > self.now.as_micros()
        {
            return Ok(Published::new(sequence, true));
        }
        let (last, in_flight) = self.tally(queue)?;
        let sequence = last + 1;
        self.tables.tallies.insert(queue, (sequence, in_flight))?;
        if let Some(id) = message.id.as_deref() {
            self.remember(queue, id, sequence, taken.map(|(_, until)| until))?;
        }
        self.tables.messages.insert((queue, sequence), (self.now.as_micros(), letter(message)))?;
        self.make_ready(queue, sequence, 0)?;
        Ok(Published::new(sequence, false))
    }

    /// Hands out up to `most` messages, as far as the queue's options allow.
    pub(super) fn take(&mut self, queue: QueueId, most: usize, options: &QueueOptions) -> Result<Vec<Taken>, StorageError> {
        let (last, in_flight) = self.tally(queue)?;
        let room = usize::try_from(in_flight).map_or(0, |out| options.max_in_flight.saturating_sub(out));
        let until = self.now + options.ack_wait;
        let mut first = Vec::new();
        let mut more = false;
        for row in self.tables.ready.range((queue, 0)..=(queue, u64::MAX))? {
            let (row, deliveries) = row?;
            more = first.len() == most.min(room);
            if more {
                break;
            }
            first.push((row.value().1, deliveries.value().saturating_add(1)));
        }
        let mut taken = Vec::with_capacity(first.len());
        for (sequence, attempt) in first {
            self.tables.ready.remove((queue, sequence))?;
            self.park(queue, sequence, attempt, until, true)?;
            taken.push(self.open_letter(queue, sequence, attempt, until)?);
        }
        self.tables.tallies.insert(queue, (last, in_flight + taken.len() as u64))?;
        // One ring wakes one worker; as long as there is more, each wakes the next.
        if more && taken.len() < room {
            self.effects.rung.insert(queue);
        }
        Ok(taken)
    }

    /// Removes a message for good, whoever has it: work that was done late is done.
    pub(super) fn remove_message(&mut self, queue: QueueId, sequence: u64) -> Result<(), StorageError> {
        self.unpark(queue, sequence)?;
        self.tables.ready.remove((queue, sequence))?;
        self.tables.messages.remove((queue, sequence))?;
        Ok(())
    }

    /// Starts the silence of a delivery anew, unless somebody else has the message by now.
    pub(super) fn extend(
        &mut self,
        queue: QueueId,
        sequence: u64,
        attempt: u32,
        ack_wait: Duration,
    ) -> Result<(), StorageError> {
        if let Some(old) = self.due_if_with(queue, sequence, attempt)? {
            self.tables.dues.remove((old, queue, sequence))?;
            self.park(queue, sequence, attempt, self.now + ack_wait, true)?;
        }
        Ok(())
    }

    /// Makes a delivery come again after a delay, unless somebody else has the message by now.
    pub(super) fn hand_back(
        &mut self,
        queue: QueueId,
        sequence: u64,
        attempt: u32,
        after: Duration,
    ) -> Result<(), StorageError> {
        if self.due_if_with(queue, sequence, attempt)?.is_none() {
            return Ok(());
        }
        self.unpark(queue, sequence)?;
        if after.is_zero() {
            return self.make_ready(queue, sequence, attempt);
        }
        self.park(queue, sequence, attempt, self.now + after, false)
    }

    /// Undoes a delivery that no worker has seen.
    pub(super) fn untake(&mut self, queue: QueueId, sequence: u64, attempt: u32) -> Result<(), StorageError> {
        if self.due_if_with(queue, sequence, attempt)?.is_some() {
            self.unpark(queue, sequence)?;
            self.make_ready(queue, sequence, attempt.saturating_sub(1))?;
        }
        Ok(())
    }

    /// Makes up to `most` parked messages ready whose time has come, and tells how many it found.
    pub(super) fn unpark_due(&mut self, most: usize) -> Result<usize, StorageError> {
        let end = (self.now.as_micros().saturating_add(1), 0, 0);
        let mut due = Vec::new();
        for row in self.tables.dues.range(..end)?.take(most) {
            let (_, queue, sequence) = row?.0.value();
            due.push((queue, sequence));
        }
        self.release(&due)?;
        Ok(due.len())
    }

    /// Makes everything ready that is with a worker: on an engine that was just opened, all of them are dead.
    pub(super) fn release_all_in_flight(&mut self) -> Result<(), StorageError> {
        let mut left = Vec::new();
        for row in self.tables.parked.iter()? {
            let (row, state) = row?;
            if state.value().2 {
                left.push(row.value());
            }
        }
        self.release(&left)
    }

    fn release(&mut self, parked: &[(QueueId, u64)]) -> Result<(), StorageError> {
        for (queue, sequence) in parked {
            if let Some(attempt) = self.unpark(*queue, *sequence)? {
                self.make_ready(*queue, *sequence, attempt)?;
            }
        }
        Ok(())
    }

    fn make_ready(&mut self, queue: QueueId, sequence: u64, deliveries: u32) -> Result<(), StorageError> {
        self.tables.ready.insert((queue, sequence), deliveries)?;
        self.effects.rung.insert(queue);
        Ok(())
    }

    fn park(
        &mut self,
        queue: QueueId,
        sequence: u64,
        attempt: u32,
        due: Timestamp,
        in_flight: bool,
    ) -> Result<(), StorageError> {
        self.tables.parked.insert((queue, sequence), (attempt, due.as_micros(), in_flight))?;
        self.tables.dues.insert((due.as_micros(), queue, sequence), ())?;
        self.wake_at(due);
        Ok(())
    }

    /// Takes a message out of where it is parked, and returns its deliveries so far. Room that a worker leaves is rung.
    fn unpark(&mut self, queue: QueueId, sequence: u64) -> Result<Option<u32>, StorageError> {
        let parked = self.tables.parked.remove((queue, sequence))?.map(|parked| parked.value());
        let Some((attempt, due, in_flight)) = parked else { return Ok(None) };
        self.tables.dues.remove((due, queue, sequence))?;
        if in_flight {
            let (last, out) = self.tally(queue)?;
            self.tables.tallies.insert(queue, (last, out.saturating_sub(1)))?;
            self.effects.rung.insert(queue);
        }
        Ok(Some(attempt))
    }

    /// When a message goes to somebody else, provided that it is with the worker of this very attempt.
    fn due_if_with(&self, queue: QueueId, sequence: u64, attempt: u32) -> Result<Option<i64>, StorageError> {
        let parked = self.tables.parked.get((queue, sequence))?.map(|parked| parked.value());
        Ok(parked.filter(|(found, _, in_flight)| *in_flight && *found == attempt).map(|(_, due, _)| due))
    }

    fn tally(&self, queue: QueueId) -> Result<(u64, u64), StorageError> {
        Ok(self.tables.tallies.get(queue)?.map_or((0, 0), |tally| tally.value()))
    }

    fn open_letter(&self, queue: QueueId, sequence: u64, attempt: u32, until: Timestamp) -> Result<Taken, StorageError> {
        let found = self.tables.messages.get((queue, sequence))?;
        let found = found.ok_or_else(|| StorageError::Corrupted(format!("message {sequence} has no content")))?;
        let (published_at, letter) = found.value();
        let published_at = Timestamp::from_micros(published_at);
        Ok(Taken { sequence, attempt, published_at, message: message(letter), until })
    }

    /// Remembers an id for the queue's window, and forgets a few whose window is over: as many go as come.
    fn remember(&mut self, queue: QueueId, id: &str, sequence: u64, old: Option<i64>) -> Result<(), StorageError> {
        if let Some(until) = old {
            self.tables.id_ends.remove((queue, until, id))?;
        }
        let mut over = Vec::new();
        let end = (queue, self.now.as_micros().saturating_add(1), "");
        for row in self.tables.id_ends.range((queue, i64::MIN, "")..end)?.take(TIDY) {
            let row = row?.0;
            let (_, until, id) = row.value();
            over.push((until, id.to_owned()));
        }
        for (until, id) in over {
            self.tables.id_ends.remove((queue, until, &*id))?;
            self.tables.ids.remove((queue, &*id))?;
        }
        let window = self.tables.options.get(queue)?.map(|options| Duration::from_micros(options.value().2));
        let until = (self.now + window.unwrap_or(QueueOptions::default().dedupe_window)).as_micros();
        self.tables.ids.insert((queue, id), (sequence, until))?;
        self.tables.id_ends.insert((queue, until, id), ())?;
        Ok(())
    }
}

/// What a message is as a row.
pub(super) fn letter(message: &Message) -> (Option<&str>, Vec<(&str, &str)>, &[u8]) {
    (message.id.as_deref(), message.headers.iter().collect(), &message.payload)
}

/// Reads a row back.
pub(super) fn message((id, headers, payload): <Letter as redb::Value>::SelfType<'_>) -> Message {
    let mut message = Message::new(Bytes::copy_from_slice(payload));
    message.id = id.map(ToOwned::to_owned);
    message.headers = headers.into_iter().fold(Headers::default(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    });
    message
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
