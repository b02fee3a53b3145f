//! Removing settled messages from the space's stream, which keeps them until it is told otherwise.
//!
//! What is settled is asked of the consumer and never assumed: everything up to its acknowledgement floor goes in one request.
//! A message that was settled while an earlier one is still out is above the floor, and is deleted by itself when the next look
//! finds it there again. Whoever dies between settling and sweeping leaves work to whoever settles, or opens the queue, next.
//!
//! The server forgets at every purge which messages it was about to deliver again, so that they come only after `ack_wait`. So
//! nothing is purged while there can be such a message: what is settled gathers for a while then, and is deleted one by one.
//!
//! For streams of one replica, and for those that forbid deletions, which have no other choice. At a purge the server that leads a
//! consumer writes down what it knows of the deliveries, also what the other replicas have not agreed to yet. When it is elected again it
//! goes on from there, and a message among those is one that the others take for delivered and not for pending: it is lost when one of
//! them leads next. `removal` is for those that can delete.

use super::{errors::refused, link::Link};
use crate::engine::StoreError;
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use std::{
    mem::take,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// How long settled messages gather before they are removed together.
const GATHER: Duration = Duration::from_millis(250);
/// How many deletions are under way at once.
const AT_ONCE: usize = 32;
/// How many messages gather while they cannot be removed together, and for how many looks.
const MOST: usize = 4096;
const LOOKS: u32 = 40;

/// Sweeps one queue, for as long as something of it is settled here.
#[derive(Debug)]
pub(super) struct Sweeper {
    link: Arc<Link>,
    stream: String,
    consumer: String,
    /// The subjects of the queue's messages.
    filter: String,
    settled: Mutex<Settled>,
    /// At most one task, which ends when there is nothing to sweep.
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Settled {
    sequences: Vec<u64>,
    sweeping: bool,
}

impl Sweeper {
    pub(super) fn new(link: Arc<Link>, stream: String, consumer: String, filter: String) -> Self {
        Self { link, stream, consumer, filter, settled: Mutex::default(), tasks: TaskTracker::new() }
    }

    /// Hears that the server has taken note of a message's end.
    pub(super) fn settled(self: &Arc<Self>, sequence: u64) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.sequences.push(sequence);
        if !settled.sweeping {
            settled.sweeping = true;
            self.tasks.spawn(Arc::clone(self).sweep());
        }
    }

    /// Sweeps until nothing is left of what was settled here.
    async fn sweep(self: Arc<Self>) {
        let mut left = Left::default();
        loop {
            self.link.clock.sleep(GATHER).await;
            let fresh = {
                let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                if settled.sequences.is_empty() && left.sequences.is_empty() {
                    settled.sweeping = false;
                    return;
                }
                take(&mut settled.sequences)
            };
            left = match self.remove(take(&mut left), fresh).await {
                Ok(left) => left,
                Err(error) => {
                    // The floor passes these messages in time, and then they go.
                    tracing::debug!(%error, consumer = self.consumer, "settled messages stay for now");
                    Left::default()
                }
            };
        }
    }

    /// Removes what is below the floor, and what has been above it for a while; returns what is to be looked at again.
    async fn remove(&self, left: Left, mut fresh: Vec<u64>) -> Result<Left, StoreError> {
        let verb = format!("CONSUMER.INFO.{}.{}", self.stream, self.consumer);
        let found = self.link.api(&verb, &Value::Null, &mut self.link.patience()).await?.map_err(refused)?;
        if forgets_nothing(&found) {
            let floor = self.purge(&found).await?;
            self.delete(left.sequences.into_iter().filter(|sequence| *sequence > floor)).await?;
            fresh.retain(|sequence| *sequence > floor);
            return Ok(Left { sequences: fresh, looks: 0 });
        }
        let Left { mut sequences, looks } = left;
        sequences.append(&mut fresh);
        if sequences.len() < MOST && looks < LOOKS {
            return Ok(Left { sequences, looks: looks + 1 });
        }
        self.delete(sequences.into_iter()).await?;
        Ok(Left::default())
    }

    /// Deletes messages one by one.
    async fn delete(&self, sequences: impl Iterator<Item = u64>) -> Result<(), StoreError> {
        let verb = format!("STREAM.MSG.DELETE.{}", self.stream);
        let deletions = sequences.map(|sequence| {
            let (verb, request) = (&verb, json!({ "seq": sequence, "no_erase": true }));
            // The server refuses when the message is gone already.
            async move { self.link.api(verb, &request, &mut self.link.patience()).await.map(drop) }
        });
        let done: Vec<_> = stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect()
    }

    /// Removes what is below the floor of a consumer that was found, if the server forgets nothing by it, and returns the floor.
    pub(super) async fn purge(&self, consumer: &Value) -> Result<u64, StoreError> {
        let floor = consumer["ack_floor"]["stream_seq"].as_u64().unwrap_or(0);
        if floor > 0 && forgets_nothing(consumer) {
            let verb = format!("STREAM.PURGE.{}", self.stream);
            let request = json!({ "filter": self.filter, "seq": floor + 1 });
            self.link.api(&verb, &request, &mut self.link.patience()).await?.map_err(refused)?;
        }
        Ok(floor)
    }
}

/// What was settled here and is still there, as far as is known.
#[derive(Debug, Default)]
struct Left {
    sequences: Vec<u64>,
    /// How often nothing could be purged.
    looks: u32,
}

/// Tells whether no message can be about to be delivered again: none is out, or somebody waits for messages and would have it.
fn forgets_nothing(consumer: &Value) -> bool {
    consumer["num_ack_pending"].as_u64() == Some(0) || consumer["num_waiting"].as_u64().is_some_and(|waiting| waiting > 0)
}
