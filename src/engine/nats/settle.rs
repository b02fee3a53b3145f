//! Settling one delivery: said until the server has heard it.
//!
//! Saying it twice changes nothing. Nothing here knows what the message was for, or how its stream gets rid of it.

use super::{errors::Lapse, feed::nanos, pull::Source, removal::Remover, sweep::Sweeper};
use crate::engine::{Settle, StoreError};
use async_nats::{HeaderMap, Subject};
use async_trait::async_trait;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// How a queue's messages end.
#[derive(Debug, Clone)]
pub(super) enum Ends {
    /// The consumer is told, and the stream has its own rules.
    Told,
    /// The consumer is told, and the stream is swept after it.
    Swept(Arc<Sweeper>),
    /// They are removed from the stream, and the consumer finds out.
    Removed(Arc<Remover>),
}

/// Settles one delivery: a request to its reply subject, which the server answers when it is done.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) source: Arc<dyn Source>,
    pub(super) reply: Subject,
    /// Which message it is: its sequence, and the subject that it was published on.
    pub(super) sequence: u64,
    pub(super) subject: Subject,
}

impl Settling {
    /// Sees to it that the message does not come again. A crash before it is swept leaves a message that nobody is given.
    async fn end(&self, what: &'static str) -> Result<(), StoreError> {
        match self.source.ends() {
            Ends::Removed(remover) => remover.remove(self.sequence, &self.subject).await,
            Ends::Told => self.say(Bytes::from_static(what.as_bytes())).await,
            Ends::Swept(sweeper) => {
                self.say(Bytes::from_static(what.as_bytes())).await?;
                sweeper.settled(self.sequence);
                Ok(())
            }
        }
    }

    /// Says `what` until the server has heard it: saying it twice changes nothing.
    async fn say(&self, what: Bytes) -> Result<(), StoreError> {
        let link = self.source.link();
        let mut patience = link.patience();
        let mut lost = None;
        loop {
            let lapse = match link.request(self.reply.clone(), HeaderMap::new(), what.clone()).await {
                Ok(_) => return Ok(()),
                Err(Lapse::Lost(source)) => {
                    lost = Some(source);
                    None
                }
                Err(refused @ Lapse::Refused(_)) => return Err(refused.unavailable()),
                Err(other) => Some(other),
            };
            if !patience.pause().await {
                let unavailable = || lapse.map_or_else(|| StoreError::Unavailable("no answer".into()), Lapse::unavailable);
                return Err(lost.map_or_else(unavailable, StoreError::Unknown));
            }
        }
    }
}

#[async_trait]
impl Settle for Settling {
    async fn ack(&self) -> Result<(), StoreError> {
        self.end("+ACK").await
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        // The server gives a message that is handed back without delay to the next who asks, before all others: one that is
        // retried at once would starve the rest.
        let after = after.max(Duration::from_millis(2));
        self.say(format!("-NAK {{\"delay\":{}}}", nanos(after)).into()).await
    }

    async fn reject(&self) -> Result<(), StoreError> {
        self.end("+TERM").await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        self.say("+WPI".into()).await
    }
}
