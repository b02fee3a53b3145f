//! The JetStream engine: a space is one stream with its keys, its queues and its timers, on one server or a cluster.
//!
//! [`Nats::connect`] takes a URL: `nats://[user:password@]host[:port][,host...][?option=value&...]`, or the same with `tls://`.
//!
//! | option | meaning | default |
//! |---|---|---|
//! | `replicas` | copies of each stream that is created, 1 to 5 | 1 |
//! | `storage` | `file` or `memory`, of each stream that is created | `file` |
//! | `prefix` | goes before the name of every space, so that applications share an account without meeting | none |
//! | `writes` | `shared`: single writes that come together share a batch, too. For servers with `sync_interval: always`, which make each message durable by itself and a batch at once; elsewhere it is slower | `single` |
//! | `user` and `password`; `token` | as before the `@`: `user:password@` or `token@` | none |
//! | `nkey` | a file with the seed of an nkey | none |
//! | `creds` | a credentials file: a JWT and the seed of its nkey | none |
//! | `tls` | `required` refuses a connection that is not encrypted, as `tls://` does | as the server says |
//! | `ca` | a PEM file with the certificates to trust; implies `tls=required` | the system's |
//! | `cert`, `key` | PEM files with a certificate of the client and its key; imply `tls=required` | none |
//! | `name` | what the server shows for the connections | `anabranch` |
//! | `timeout` | how long one operation tries, such as `10s` or `500ms` | `10s` |
//!
//! Values are percent-encoded where they contain `%`, `&`, `?`, `/`, `,`, `:` or `@` and it would be misread. A URL says who it is
//! in one way. Keys come from files only, since a URL is easily shown or logged; no error and no `Debug` of this library shows a
//! secret of one. Files are read for each connection anew, so that a renewed one counts from the next reconnect on. A server that
//! refuses a login or a certificate is [`Rejection::Refused`](super::Rejection::Refused) at once.
//!
//! Names on the wire are listed in `docs/wire.md`. This is the only room that knows async-nats; it decides nothing about what
//! the bytes mean.

mod access;
mod asides;
mod batch;
mod bucket;
mod commit;
mod core;
#[cfg(feature = "testing")]
pub(crate) mod doors;
mod errors;
mod expiry;
mod feed;
mod forgetful;
mod found;
mod group;
mod history;
mod ids;
#[cfg(feature = "cli")]
pub(crate) mod inspect;
mod keys;
mod link;
mod names;
mod options;
mod parts;
mod passed;
mod publish;
mod pull;
mod queue;
mod read;
mod reader;
mod removal;
mod requests;
mod rounds;
mod settle;
mod space;
mod store;
mod stream;
mod sweep;
mod tally;
mod verdict;
mod watch;
mod whole;
mod write;

use self::{
    core::Core, link::Link, names::Names, options::Options, queue::JetQueue, space::Shape, store::JetStore, tally::JetTally,
};
use super::{Backend, BucketOptions, Name, OpenError, Queue, QueueOptions, Store, StoreError, Stream, StreamOptions, Tally};
use crate::time::Clock;
use async_trait::async_trait;
use std::sync::Arc;

/// Connections to a NATS server, or to a cluster.
#[derive(Debug)]
pub struct Nats {
    /// For state: what the server pushes cannot hold up or break these requests.
    link: Arc<Link>,
    /// For watches and pulls.
    feed: Arc<Link>,
    prefix: String,
    shape: Shape,
    shares_writes: bool,
}

impl Nats {
    /// Connects to the servers that a URL names.
    ///
    /// # Errors
    ///
    /// [`OpenError::Url`] for a URL that cannot be understood, [`OpenError::Option`] for an option that is not known or not valid;
    /// [`OpenError::Store`] when no server could be reached within the `timeout`, when a login, a certificate or a file was
    /// refused, or when there is no JetStream.
    pub async fn connect(url: &str, clock: Clock) -> Result<Self, OpenError> {
        let options = Options::parse(url)?;
        let (link, feed) =
            tokio::try_join!(Link::connect(&options, "state", clock.clone()), Link::connect(&options, "feed", clock.clone()))?;
        link.has_jetstream().await?;
        let shape = Shape { replicas: options.replicas, memory: options.memory };
        Ok(Self {
            link: Arc::new(link),
            feed: Arc::new(feed),
            prefix: options.prefix,
            shape,
            shares_writes: options.shares_writes,
        })
    }
}

#[async_trait]
impl Backend for Nats {
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError> {
        let names = Names::new(&self.prefix, space);
        let opened = space::open(&self.link, &names, self.shape).await?;
        let links = (Arc::clone(&self.link), Arc::clone(&self.feed));
        Ok(Arc::new(JetStore::new(Core::new(links, names, opened, self.shares_writes))))
    }

    async fn bucket(&self, name: &Name, options: BucketOptions) -> Result<Arc<dyn Store>, StoreError> {
        let names = Names::new(&self.prefix, name);
        let opened = bucket::open(&self.link, &names, self.shape, &options).await?;
        let links = (Arc::clone(&self.link), Arc::clone(&self.feed));
        Ok(Arc::new(JetStore::new(Core::new(links, names, opened, self.shares_writes))))
    }

    async fn stream(&self, name: &Name, options: StreamOptions) -> Result<Stream, StoreError> {
        let links = (Arc::clone(&self.link), Arc::clone(&self.feed));
        stream::open(links, format!("{}{name}", self.prefix), name, self.shape, options).await
    }

    async fn tally(&self, space: &Name) -> Result<Arc<dyn Tally>, StoreError> {
        let names = Names::new(&self.prefix, space);
        Ok(Arc::new(JetTally::open(Arc::clone(&self.link), names, self.shape).await?))
    }

    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        queue::check(&options)?;
        let names = Names::new(&self.prefix, space);
        let opened = space::open(&self.link, &names, self.shape).await?;
        space::remember(&self.link, &names, &opened, options.dedupe_window).await?;
        let links = (Arc::clone(&self.link), Arc::clone(&self.feed));
        Ok(JetQueue::open(links, (names, &opened), name, options).await?)
    }
}
