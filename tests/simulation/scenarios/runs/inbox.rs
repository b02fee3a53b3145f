//! A queue that tells the witness when a message is acknowledged.

use super::witness::Witness;
use anabranch::{
    engine::{Delivery, Message, Name, Published, Pull, Queue, QueueOptions, Settle, StoreError},
    testing::sim::Host,
};
use async_trait::async_trait;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// A queue as one host sees it.
#[derive(Clone)]
pub(crate) struct Inbox {
    queue: Arc<dyn Queue>,
    host: Host,
    witness: Witness,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn over(queue: Arc<dyn Queue>, host: &Host, witness: &Witness) -> Arc<Self> {
        Arc::new(Self { queue, host: host.clone(), witness: witness.clone() })
    }

    fn deliver(&self, from: Delivery) -> Delivery {
        let (message, sequence, attempt, at) = (from.message().clone(), from.sequence(), from.attempt(), from.published_at());
        let run = message.id.clone();
        Delivery::new(message, sequence, attempt, at, Box::new(Told { inbox: self.clone(), run, from: Mutex::new(Some(from)) }))
    }
}

#[async_trait]
impl Queue for Inbox {
    fn name(&self) -> &Name {
        self.queue.name()
    }

    fn options(&self) -> &QueueOptions {
        self.queue.options()
    }

    fn is_in_a_space(&self) -> bool {
        self.queue.is_in_a_space()
    }

    async fn publish(&self, message: Message) -> Result<Published, StoreError> {
        self.queue.publish(message).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        Ok(Box::new(Pulled { inbox: self.clone(), pull: self.queue.pull().await? }))
    }
}

#[derive(Debug)]
struct Pulled {
    inbox: Inbox,
    pull: Box<dyn Pull>,
}

#[async_trait]
impl Pull for Pulled {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        let some = self.pull.next(max).await?;
        Ok(some.into_iter().map(|delivery| self.inbox.deliver(delivery)).collect())
    }

    async fn close(self: Box<Self>) {
        self.pull.close().await;
    }
}

struct Told {
    inbox: Inbox,
    run: Option<String>,
    from: Mutex<Option<Delivery>>,
}

impl Told {
    async fn take(&self) -> Delivery {
        self.from.lock().await.take().expect("a delivery is settled once")
    }
}

#[async_trait]
impl Settle for Told {
    async fn ack(&self) -> Result<(), StoreError> {
        if let Some(run) = &self.run {
            self.inbox.witness.acks(&self.inbox.host, run);
        }
        self.take().await.ack().await
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        self.take().await.retry(after).await
    }

    async fn reject(&self) -> Result<(), StoreError> {
        self.take().await.reject().await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        let from = self.from.lock().await;
        let Some(delivery) = &*from else { return Ok(()) };
        delivery.extend().await
    }
}
