//! A handler without its types: a payload decoded, keys read off it, a future that ends in bytes.
//!
//! It does not run what it makes. A payload that cannot be decoded is an error before anything of the application's is called.

use super::{
    events::Bus,
    held::Held,
    job::Job,
    options::{Rules, TopicOptions},
    topic::{JOB_TOPIC, Topic},
};
use crate::{
    codec::{CodecError, Payload},
    coordination::RateLimiter,
    engine::Message,
    topology::{NodeError, NodeResult},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{num::NonZeroU32, sync::Arc};

/// What a message says its topic is; empty when it says nothing.
pub(super) fn topic_of(message: &Message) -> &str {
    message.headers.get(JOB_TOPIC).unwrap_or_default()
}

/// What a handler does, once it is polled.
pub(super) type Body = BoxFuture<'static, NodeResult<Option<Bytes>>>;

/// A job that was decoded.
pub(super) struct Opened {
    pub(super) body: Body,
    /// A key of which so many may run at once.
    pub(super) concurrency: Option<(String, NonZeroU32)>,
    /// A key of a limiter.
    pub(super) rate: Option<(String, RateLimiter)>,
}

/// A handler of one topic.
pub(super) trait Handle: Send + Sync {
    fn rules(&self) -> &Rules;
    /// Decodes the payload; runs nothing but what reads keys off it.
    fn open(&self, held: &Arc<Held>, bus: &Arc<Bus>) -> Result<Opened, CodecError>;
}

pub(super) struct Handler<T, F> {
    topic: Topic<T>,
    options: TopicOptions<T>,
    code: Arc<F>,
}

impl<T, F> Handler<T, F> {
    pub(super) fn new(topic: Topic<T>, options: TopicOptions<T>, code: F) -> Self {
        Self { topic, options, code: Arc::new(code) }
    }
}

impl<T, R, F, Fut> Handle for Handler<T, F>
where
    T: Send + 'static,
    R: Payload,
    F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<R>> + Send + 'static,
{
    fn rules(&self) -> &Rules {
        &self.options.rules
    }

    fn open(&self, held: &Arc<Held>, bus: &Arc<Bus>) -> Result<Opened, CodecError> {
        let payload = self.topic.codec().decode(&held.delivery.message().payload)?;
        let concurrency = self.options.concurrency.as_ref().map(|(key, most)| (key(&payload), *most));
        let rate = self.options.rate.as_ref().map(|(key, limiter)| (key(&payload), limiter.clone()));
        let job = Job { payload, held: Arc::clone(held), bus: Arc::clone(bus) };
        let (code, keep) = (Arc::clone(&self.code), self.options.rules.keep);
        let body = async move {
            let returned = code(job).await?;
            // What cannot be written now cannot be written by another attempt either.
            if keep { returned.encode().map(Some).map_err(NodeError::terminal) } else { Ok(None) }
        };
        Ok(Opened { body: body.boxed(), concurrency, rate })
    }
}
