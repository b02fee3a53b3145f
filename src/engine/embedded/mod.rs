//! The engine without a server: `memory:` and `file:PATH`, one engine over redb.
//!
//! Keys, messages and timers are in one database, so a commit over all of them is one transaction. On a file every
//! acknowledged write, delivery count and timer survives a kill; in memory everything goes with the last handle. One process
//! has a file for itself, so what a dead one had in flight is ready as soon as the file is opened again.
//!
//! The rooms: `database` knows the tables, `group` runs transactions, `values`, `bucket`, `messages`, `stream` and `timers` say what
//! happens in one, `watch` tells others, and `store` and `queue` are the contract's faces. None of them knows what the bytes mean.

mod bucket;
mod database;
mod group;
#[cfg(feature = "cli")]
pub(crate) mod inspect;
mod messages;
mod queue;
mod store;
mod stream;
mod tally;
mod timers;
mod values;
mod watch;

use super::{
    Backend, BucketOptions, Capabilities, Name, Queue, QueueOptions, Store, StoreError, Stream, StreamOptions, Tally, locked,
};
use crate::time::{Backoff, Clock};
use async_trait::async_trait;
use database::{Batch, Effects, QueueId};
use group::{Leads, Writer};
use redb::Database;
#[cfg(feature = "testing")]
pub use redb::StorageBackend;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};
use timers::Alarm;
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle};
use watch::Hub;

/// How long opening waits for another handle of the file to go: the one before may be flushing.
const TAKEOVER: Duration = Duration::from_secs(1);

/// The embedded engine; [`Engine::open`](super::Engine::open) makes one of `memory:` and of `file:PATH`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, embedded::Embedded}, time::Clock};
/// use std::sync::Arc;
///
/// let clock = Clock::system();
/// let engine = Engine::of(Arc::new(Embedded::memory(clock.clone())?), clock);
/// assert!(engine.space("shop").await?.store().capabilities().exclusive);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Embedded {
    core: Arc<Core>,
}

impl Embedded {
    /// Opens an engine that keeps everything in this process.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when there is no memory for it.
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime, which runs what is due.
    pub fn memory(clock: Clock) -> Result<Self, StoreError> {
        let backend = redb::backends::InMemoryBackend::new();
        let database = Database::builder().create_with_backend(backend).map_err(database::unreadable)?;
        let capabilities = Capabilities { durable: false, exclusive: true, ..Capabilities::full("embedded memory") };
        Self::start(database, clock, capabilities)
    }

    /// Opens an engine that keeps everything in the file at `path`, and creates it when it is not there.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when another process has the file open, when its directory is missing, or when the system
    /// refuses; the source says which. [`Rejection::Corrupt`](super::Rejection::Corrupt) when the file is none of ours.
    ///
    /// # Cancel safety
    ///
    /// Safe: a file that was opened for a dropped call is closed again.
    pub async fn file(path: impl Into<PathBuf>, clock: Clock) -> Result<Self, StoreError> {
        let path: Arc<Path> = path.into().into();
        let started = clock.instant();
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(100));
        let database = loop {
            let opened = Arc::clone(&path);
            // A file that was not closed properly is checked as a whole first, so this may take a while.
            let opening = tokio::task::spawn_blocking(move || database::open_file(&opened)).await;
            match opening.unwrap_or_else(|stopped| Err(StoreError::Unavailable(stopped.into()))) {
                Err(StoreError::Unavailable(problem))
                    if problem.is::<database::InUse>() && clock.instant().duration_since(started) < TAKEOVER =>
                {
                    clock.sleep(backoff.next_delay()).await;
                }
                opened => break opened?,
            }
        };
        Self::start(database, clock, on_file())
    }

    /// Opens an engine over any storage that redb can use, such as one that loses what was not synced.
    ///
    /// # Errors
    ///
    /// As [`file`](Self::file).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime, which runs what is due.
    #[cfg(feature = "testing")]
    pub fn with_backend(backend: impl redb::StorageBackend, clock: Clock) -> Result<Self, StoreError> {
        let database = Database::builder().create_with_backend(backend).map_err(database::unreadable)?;
        Self::start(database, clock, on_file())
    }

    /// Opens an engine over any storage, and does everything in tasks of the caller's runtime, without a thread: what a simulation
    /// can decide about.
    ///
    /// # Errors
    ///
    /// As [`file`](Self::file).
    ///
    /// # Panics
    ///
    /// Panics outside of a tokio runtime, which runs what is due.
    #[cfg(feature = "testing")]
    pub fn in_turn(backend: impl redb::StorageBackend, clock: Clock) -> Result<Self, StoreError> {
        let database = Database::builder().create_with_backend(backend).map_err(database::unreadable)?;
        Self::lead(database, clock, on_file(), Leads::InATask)
    }

    fn start(database: Database, clock: Clock, capabilities: Capabilities) -> Result<Self, StoreError> {
        let leads = if capabilities.durable { Leads::OnAThread } else { Leads::InATask };
        Self::lead(database, clock, capabilities, leads)
    }

    fn lead(database: Database, clock: Clock, capabilities: Capabilities, leads: Leads) -> Result<Self, StoreError> {
        recover(&database, &clock)?;
        let outside = Arc::new(Outside { hub: Arc::default(), bells: Mutex::default(), alarm: Arc::new(Alarm::new()) });
        let told = Arc::clone(&outside);
        let writer = Writer::new(database, clock.clone(), leads, move |effects| told.hear(effects));
        let core = Arc::new(Core { writer: Arc::new(writer), outside, capabilities, keeper: OnceLock::new() });
        let keeping = timers::keep_time(Arc::downgrade(&core), Arc::clone(&core.outside.alarm), clock);
        core.keeper.get_or_init(|| Handle::current().spawn(keeping).abort_handle());
        Ok(Self { core })
    }
}

fn on_file() -> Capabilities {
    Capabilities { exclusive: true, ..Capabilities::full("embedded file") }
}

/// Creates what is missing, and takes back what a dead process had in flight.
fn recover(database: &Database, clock: &Clock) -> Result<(), StoreError> {
    let transaction = database.begin_write().map_err(database::unreadable)?;
    let mut batch = Batch::open(&transaction, clock.now()).map_err(database::unreadable)?;
    let recovered = database::prepare(&mut batch).and_then(|()| Ok(batch.release_all_in_flight()?));
    drop(batch);
    recovered.map_err(|fault| match fault {
        database::Fault::Refused(error) => error,
        database::Fault::Broken(error) => database::unreadable(error),
    })?;
    transaction.commit().map_err(database::unreadable)
}

#[async_trait]
impl Backend for Embedded {
    async fn store(&self, space: &Name) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(store::EmbeddedStore::open(Arc::clone(&self.core), space).await?))
    }

    async fn bucket(&self, name: &Name, options: BucketOptions) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::new(store::EmbeddedStore::open_bucket(Arc::clone(&self.core), name, options).await?))
    }

    async fn stream(&self, name: &Name, options: StreamOptions) -> Result<Stream, StoreError> {
        stream::open(Arc::clone(&self.core), name, options).await
    }

    async fn tally(&self, space: &Name) -> Result<Arc<dyn Tally>, StoreError> {
        Ok(Arc::new(tally::EmbeddedTally::open(Arc::clone(&self.core), space).await?))
    }

    async fn queue(&self, space: &Name, name: &Name, options: QueueOptions) -> Result<Arc<dyn Queue>, StoreError> {
        Ok(Arc::new(queue::EmbeddedQueue::open(Arc::clone(&self.core), space, name, options).await?))
    }
}

/// What all stores and queues of one engine share.
#[derive(Debug)]
struct Core {
    writer: Arc<Writer>,
    outside: Arc<Outside>,
    capabilities: Capabilities,
    keeper: OnceLock<AbortHandle>,
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

/// Whoever waits for something that a transaction may bring.
#[derive(Debug)]
struct Outside {
    hub: Arc<Hub>,
    bells: Mutex<HashMap<QueueId, Arc<Notify>>>,
    alarm: Arc<Alarm>,
}

impl Outside {
    /// Tells what a transaction did, once it is durable.
    fn hear(&self, effects: Effects) {
        if !effects.changes.is_empty() {
            self.hub.publish(&effects.changes);
        }
        for queue in effects.rung {
            self.bell(queue).notify_one();
        }
        if let Some(at) = effects.due {
            self.alarm.set(at);
        }
    }

    /// Returns the bell that is rung when a queue may have something for a worker. A ring that nobody hears is kept for the next
    /// who listens.
    fn bell(&self, queue: QueueId) -> Arc<Notify> {
        Arc::clone(locked(&self.bells).entry(queue).or_default())
    }
}
