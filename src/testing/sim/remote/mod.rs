//! The server of a simulation as a host sees it: an engine whose calls travel.
//!
//! It answers as an engine with a server does: outcomes can be unknown, watches heal themselves, and who stops pulling loses what was
//! under way. It does not know which engine the server runs.

mod queue;
mod store;
mod watch;

use super::net::{Door, Line};
use crate::engine::{
    Backend, BucketOptions, Capabilities, Key, Name, Queue, QueueOptions, Store, StoreError, Stream, StreamOptions, Tally,
};
use async_trait::async_trait;
use queue::{Place, RemoteQueue};
use std::sync::Arc;
use store::RemoteStore;

/// A host's engine.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) line: Line,
}

/// Others have the server, too.
fn shared(capabilities: &Capabilities) -> Capabilities {
    Capabilities { exclusive: false, engine: "a simulated server".to_owned(), ..capabilities.clone() }
}

#[async_trait]
impl Backend for Remote {
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(RemoteStore::open(self.line.clone(), Door::Space(space.clone())).await?))
    }

    async fn bucket(&self, name: &Name, options: BucketOptions) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(RemoteStore::open(self.line.clone(), Door::Bucket(name.clone(), options)).await?))
    }

    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        let place = Place::Space { space: space.clone(), name: name.clone(), options };
        Ok(Arc::new(RemoteQueue::open(self.line.clone(), place).await?))
    }

    async fn stream(&self, name: &Name, options: StreamOptions) -> Result<Stream, StoreError> {
        let place = Place::Stream { name: name.clone(), options: options.clone() };
        let (at, asked) = (name.clone(), options);
        let open = move |served: super::net::Served| -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move { served.stream(at, asked).await })
        };
        let stream = self.line.call(false, || "open a stream".to_owned(), open).await?;
        let queue = RemoteQueue::of(self.line.clone(), place, stream.queue().options().clone());
        Ok(Stream::new(Arc::new(queue), stream.differences().to_vec(), shared(stream.capabilities())))
    }

    async fn tally(&self, space: &Name) -> Result<Arc<dyn Tally>, StoreError> {
        let tally = RemoteTally { line: self.line.clone(), space: space.clone() };
        // It may be refused, and is found out now.
        tally.ask(false, "open a tally".to_owned(), |_| Box::pin(async { Ok(()) })).await?;
        Ok(Arc::new(tally))
    }
}

/// Counters on the server.
#[derive(Debug)]
struct RemoteTally {
    line: Line,
    space: Name,
}

impl RemoteTally {
    async fn ask<T: std::fmt::Debug + Send + 'static>(
        &self,
        writes: bool,
        what: String,
        work: impl FnOnce(Arc<dyn Tally>) -> futures_util::future::BoxFuture<'static, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let space = self.space.clone();
        let there = move |served: super::net::Served| -> futures_util::future::BoxFuture<'static, _> {
            Box::pin(async move { work(served.engine.space(space.as_str()).await?.tally().await?).await })
        };
        self.line.call(writes, || what, there).await
    }
}

#[async_trait]
impl Tally for RemoteTally {
    async fn add(&self, key: &Key, delta: i64) -> Result<i128, StoreError> {
        let at = key.clone();
        self.ask(true, format!("add {delta} to {key}"), move |tally| Box::pin(async move { tally.add(&at, delta).await })).await
    }

    async fn value(&self, key: &Key) -> Result<Option<i128>, StoreError> {
        let at = key.clone();
        self.ask(false, format!("read counter {key}"), move |tally| Box::pin(async move { tally.value(&at).await })).await
    }
}
