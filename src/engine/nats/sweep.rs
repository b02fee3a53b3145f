//! Removing settled messages from the space's stream, which keeps them until it is told otherwise.
//!
//! What is settled is asked of the consumer and never assumed: everything up to its acknowledgement floor goes in one request.
//! A message that was settled while an earlier one is still out is above the floor, and is deleted by itself when the next look
//! finds it there again. Whoever dies between settling and sweeping leaves work to whoever settles, or opens the queue, next.

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
        // What the last look found settled behind a message that is still out.
        let mut behind = Vec::new();
        loop {
            self.link.clock.sleep(GATHER).await;
            let fresh = {
                let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
                if settled.sequences.is_empty() && behind.is_empty() {
                    settled.sweeping = false;
                    return;
                }
                take(&mut settled.sequences)
            };
            behind = match self.remove(take(&mut behind), fresh).await {
                Ok(behind) => behind,
                Err(error) => {
                    // The floor passes these messages in time, and then they go.
                    tracing::debug!(%error, consumer = self.consumer, "settled messages stay for now");
                    Vec::new()
                }
            };
        }
    }

    /// Removes what is below the floor, and what has been above it for a while; returns what is above it since a moment ago.
    async fn remove(&self, behind: Vec<u64>, mut fresh: Vec<u64>) -> Result<Vec<u64>, StoreError> {
        let verb = format!("CONSUMER.INFO.{}.{}", self.stream, self.consumer);
        let found = self.link.api(&verb, &Value::Null, &mut self.link.patience()).await?.map_err(refused)?;
        let floor = self.purge(&found).await?;
        let verb = format!("STREAM.MSG.DELETE.{}", self.stream);
        let deletions = behind.into_iter().filter(|sequence| *sequence > floor).map(|sequence| {
            let (verb, request) = (&verb, json!({ "seq": sequence, "no_erase": true }));
            // The server refuses when the message is gone already.
            async move { self.link.api(verb, &request, &mut self.link.patience()).await.map(drop) }
        });
        let done: Vec<_> = stream::iter(deletions).buffer_unordered(AT_ONCE).collect().await;
        done.into_iter().collect::<Result<(), _>>()?;
        fresh.retain(|sequence| *sequence > floor);
        Ok(fresh)
    }

    /// Removes what is below the floor of a consumer that was found, and returns the floor.
    pub(super) async fn purge(&self, consumer: &Value) -> Result<u64, StoreError> {
        let floor = consumer["ack_floor"]["stream_seq"].as_u64().unwrap_or(0);
        if floor > 0 {
            let verb = format!("STREAM.PURGE.{}", self.stream);
            let request = json!({ "filter": self.filter, "seq": floor + 1 });
            self.link.api(&verb, &request, &mut self.link.patience()).await?.map_err(refused)?;
        }
        Ok(floor)
    }
}
