//! Where state and messages live: spaces with a [`Store`] and [`Queue`]s, on one of several engines.
//!
//! An [`Engine`] is opened by URL: `memory:`, `file:PATH` or `nats://HOST`. All engines keep one contract, which the suite in
//! `testing::conformance` holds them to; whoever is above this room does not know which one is below. This room does not know
//! what the bytes mean.

mod beside;
mod bucket;
mod drift;
pub mod embedded;
mod key;
#[cfg(feature = "nats")]
pub mod nats;
mod queue;
mod store;
mod stream;
mod tally;

pub use bucket::{BucketOptions, Storage, Version};
pub use drift::Difference;
pub use key::{Key, MAX_KEY_BYTES, Name, NameError, Scope};
pub use queue::{Delivery, Headers, Message, Published, Pull, Queue, QueueOptions, Settle};
pub use store::{
    Capabilities, Change, Check, Commit, Committed, Entry, Expect, KeyInfo, Outgoing, PutOptions, Rejection, Revision, Store,
    StoreError, Timer, Write, WriteOp,
};
pub use stream::{Missing, Retention, Stream, StreamOptions};

use self::beside::Beside;
pub use tally::Tally;

use crate::time::{Clock, unique};
use async_trait::async_trait;
use std::{
    collections::HashMap,
    fmt,
    sync::{self, Arc, MutexGuard, PoisonError},
};
use tokio::sync::Mutex;

/// Opens the stores and queues of one engine. Implemented by each engine, and by whoever brings another one.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Opens the store of a space, and creates it when it is not there. Never changes one that is.
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError>;

    /// Opens a queue of a space, and creates it when it is not there. Never changes one that is: other options than it was
    /// created with are [`Rejection::InvalidOption`].
    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError>;

    /// Opens the counters of a space, and makes room for them where there is none. An engine without counters has nothing to add.
    async fn tally(&self, space: &Name) -> Result<Arc<dyn Tally>, StoreError> {
        let _ = space;
        let (engine, remedy) = (format!("{self:?}"), "keep numbers in a store");
        Err(Rejection::Unsupported { what: "a tally", engine, remedy }.into())
    }

    /// Opens the store of a bucket, and creates it when it is not there. Never changes one that is: what differs from `options` is
    /// [`Rejection::Drift`]. An engine without buckets has nothing to add.
    async fn bucket(&self, name: &Name, options: BucketOptions) -> Result<Arc<dyn Store>, StoreError> {
        let _ = (name, options);
        let (engine, remedy) = (format!("{self:?}"), "open a space");
        Err(Rejection::Unsupported { what: "a bucket", engine, remedy }.into())
    }

    /// Opens a stream and its durable consumer, and creates what is not there as far as the options say. Never changes one that is:
    /// what differs from `options` is [`Rejection::Drift`]. An engine without streams has nothing to add.
    async fn stream(&self, name: &Name, options: StreamOptions) -> Result<Stream, StoreError> {
        let _ = (name, options);
        let (engine, remedy) = (format!("{self:?}"), "open a queue of a space");
        Err(Rejection::Unsupported { what: "a stream", engine, remedy }.into())
    }
}

/// A place for durable state.
///
/// ```
/// # tokio_test();
/// # fn tokio_test() { tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::engine::{Engine, Expect, Key, PutOptions};
///
/// let engine = Engine::open("memory:").await?;
/// let space = engine.space("shop").await?;
/// let key = Key::new("greeting")?;
/// let revision = space.store().put(&key, "hello".into(), Expect::Absent, PutOptions::default()).await?;
/// assert_eq!(space.store().get(&key).await?.unwrap().revision, revision);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap() }
/// ```
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn Backend>,
    clock: Clock,
    instance: String,
    /// One space object a name, so that everyone in the process shares its watches.
    spaces: Mutex<HashMap<Name, Space>>,
    /// The same for buckets.
    buckets: Mutex<HashMap<Name, Space>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("backend", &self.shared.backend).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the engine that a URL names.
    ///
    /// - `memory:` keeps everything in this process and forgets it with the last handle; each call opens another one.
    /// - `file:PATH` keeps everything in one file, which one process can have open at a time.
    /// - `nats://HOST[:PORT][,HOST...]` is a NATS server, or a cluster, with JetStream; options follow as a query, see
    ///   `engine::nats`.
    ///
    /// # Errors
    ///
    /// [`OpenError::Url`] says what a URL looks like, [`OpenError::Option`] which option of it is wrong; [`OpenError::Store`] why
    /// the engine behind a good one could not be opened. None of them shows a password.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_with(url, Clock::system()).await
    }

    /// Opens an engine that takes its time from `clock`.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with(url: &str, clock: Clock) -> Result<Self, OpenError> {
        let backend: Arc<dyn Backend> = match url.split_once(':') {
            Some(("memory", "")) => Arc::new(embedded::Embedded::memory(clock.clone())?),
            Some(("file", path)) if !path.is_empty() => Arc::new(embedded::Embedded::file(path, clock.clone()).await?),
            #[cfg(feature = "nats")]
            Some(("nats" | "tls", _)) => Arc::new(nats::Nats::connect(url, clock.clone()).await?),
            // Only what comes before the first colon: the rest may hold a secret.
            Some((scheme, _)) => return Err(OpenError::Url(format!("{scheme}:"))),
            None => return Err(OpenError::Url(url.to_owned())),
        };
        Ok(Self::of(backend, clock))
    }

    /// Wraps an engine of your own.
    #[must_use]
    pub fn of(backend: Arc<dyn Backend>, clock: Clock) -> Self {
        let instance = unique(&clock);
        Self { shared: Arc::new(Shared { backend, clock, instance, spaces: Mutex::default(), buckets: Mutex::default() }) }
    }

    /// Opens a space, and creates it when it is not there. Two spaces never see each other's keys, messages or timers.
    ///
    /// # Errors
    ///
    /// [`Rejection::Name`] for a name that is not valid, otherwise what the engine says.
    pub async fn space(&self, name: impl Into<String>) -> Result<Space, StoreError> {
        let name = Name::new(name)?;
        let mut spaces = self.shared.spaces.lock().await;
        if let Some(space) = spaces.get(&name) {
            return Ok(space.clone());
        }
        let space = self.over(name.clone(), self.shared.backend.store(&name).await?);
        spaces.insert(name, space.clone());
        Ok(space)
    }

    /// Opens a bucket, and creates it when it is not there: keys with the options of their owner, without queues or timers, and
    /// with commits of one part only. On NATS it is an ordinary KV bucket, also one that a service in another language made.
    ///
    /// One that is there is never changed. The options are compared each time.
    ///
    /// # Errors
    ///
    /// [`Rejection::Drift`] when the bucket is configured otherwise, with everything that differs: decide which side is right, and
    /// change the options, or the bucket with the server's own tools. [`Rejection::InvalidOption`] for an option out of its range,
    /// [`Rejection::Name`] for a name that is not valid, [`Rejection::Refused`] for a stream that is no bucket; otherwise what the
    /// engine says.
    pub async fn bucket(&self, name: impl Into<String>, options: BucketOptions) -> Result<Space, StoreError> {
        let name = Name::new(name)?;
        options.check()?;
        let mut buckets = self.shared.buckets.lock().await;
        let store = self.shared.backend.bucket(&name, options).await?;
        // Who opens it again shares its watches, unless it was made anew in another shape.
        if let Some(bucket) = buckets.get(&name).filter(|b| b.store.capabilities() == store.capabilities()) {
            return Ok(bucket.clone());
        }
        let bucket = self.over(name.clone(), store);
        buckets.insert(name, bucket.clone());
        Ok(bucket)
    }

    /// Opens a stream as a queue, with a durable consumer that its workers share, and creates what is not there as far as the
    /// options say. On NATS it is an ordinary stream, also one that a service in another language made and reads.
    ///
    /// One that is there is never changed. See [`StreamOptions`] for what is compared, and [`StreamOptions::as_it_is`] for how to
    /// take whatever there is.
    ///
    /// # Errors
    ///
    /// [`Rejection::Drift`] when the stream or the consumer is configured otherwise, with everything that differs: decide which side
    /// is right, and change the options, or the stream with the server's own tools. [`Rejection::Missing`] for what is not there
    /// and was not to be created, [`Rejection::InvalidOption`] for an option out of its range, [`Rejection::Name`] for a name that
    /// is not valid, [`Rejection::Unsupported`] for what the engine has no streams of; otherwise what the engine says.
    pub async fn stream(&self, name: impl Into<String>, options: StreamOptions) -> Result<Stream, StoreError> {
        let name = Name::new(name)?;
        options.check()?;
        self.shared.backend.stream(&name, options).await
    }

    fn over(&self, name: Name, store: Arc<dyn Store>) -> Space {
        Space {
            store,
            backend: Arc::clone(&self.shared.backend),
            name,
            clock: self.shared.clock.clone(),
            instance: self.shared.instance.as_str().into(),
            beside: Arc::default(),
        }
    }
}

/// One application's corner of an engine: a store, and queues beside it that a commit can reach.
#[derive(Debug, Clone)]
pub struct Space {
    name: Name,
    store: Arc<dyn Store>,
    backend: Arc<dyn Backend>,
    clock: Clock,
    instance: Arc<str>,
    beside: Arc<Beside>,
}

impl Space {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns its store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the clock that the engine was opened with.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Identifies this opening of the engine: on an engine that one process has for itself, whatever another instance owned is
    /// free.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Puts another store in front of this one's, such as one that injects faults.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = store;
        self.beside = Arc::default();
        self
    }

    /// Returns what a room above keeps beside this space, once a process, and makes it when it is not there.
    pub(crate) fn beside<T: Send + Sync + 'static>(&self, name: &'static str, make: impl FnOnce() -> T) -> Arc<T> {
        self.beside.get(name, make)
    }

    /// Opens a queue, and creates it when it is not there.
    ///
    /// # Errors
    ///
    /// [`Rejection::Name`] for a name that is not valid, [`Rejection::InvalidOption`] when the queue exists with other options,
    /// [`Rejection::Unsupported`] for a bucket, otherwise what the engine says.
    pub async fn queue(&self, name: impl Into<String>, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        if !self.store.capabilities().queues {
            return Err(bucket::lacks(self.store.capabilities(), "a queue").into());
        }
        self.backend.queue(&self.name, &Name::new(name)?, options).await
    }

    /// Opens the counters of the space: numbers that the engine itself adds up, apart from the keys of the store. On NATS the first
    /// one who asks creates a stream for them.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unsupported`] for a bucket, and on a nats-server below 2.12, as
    /// [`Capabilities::counters`] tells beforehand; otherwise what the engine says.
    pub async fn tally(&self) -> Result<Arc<dyn Tally>, StoreError> {
        if !self.store.capabilities().queues {
            return Err(bucket::lacks(self.store.capabilities(), "a tally").into());
        }
        self.backend.tally(&self.name).await
    }
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names no engine that this build has.
    #[error("`{0}` names no engine: write `memory:`, `file:PATH`, or `nats://HOST` (with the feature `nats`)")]
    Url(String),
    /// An option of the URL is not known, has a value that it cannot have, or does not go with another one.
    #[error("the option `{0}` of the URL is not known, not a valid one, or contradicts another one")]
    Option(String),
    /// The engine could not be opened.
    #[error("the engine could not be opened")]
    Store(#[from] StoreError),
}

/// Locks a mutex whose content is whole at any time, so that a panic elsewhere does no harm.
fn locked<T>(mutex: &sync::Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
