//! A read-write lock: any number of readers, or one writer, in the order in which they came.

use super::{
    CoordinationError,
    holding::{Guard, Holder, Holding, Want},
};
use crate::engine::Space;
use std::time::Duration;

/// A writer takes everything.
const ALL: u32 = u32::MAX;

/// A lock that many may hold to read, or one to write, at the key `rw-lock.NAME`.
///
/// The queue is one: a reader that comes after a waiting writer waits for it, so writers do not starve, and readers that stand side
/// by side hold it together.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::RwLock, engine::Engine};
/// use std::time::Duration;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let catalogue = RwLock::new(&space, "catalogue", Duration::from_secs(30))?;
/// let (one, other) = (catalogue.read().await?, catalogue.read().await?);
/// assert!(catalogue.try_write().await?.is_none());
/// one.release().await?;
/// other.release().await?;
/// let alone = catalogue.write().await?;
/// assert!(catalogue.try_read().await?.is_none());
/// # alone.release().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct RwLock {
    holding: Holding,
    info: String,
}

impl RwLock {
    /// Takes the lock of this name; nothing is stored yet. `lease` as for [`Lock::new`](super::Lock::new).
    ///
    /// # Errors
    ///
    /// As [`Lock::new`](super::Lock::new).
    pub fn new(space: &Space, name: &str, lease: Duration) -> Result<Self, CoordinationError> {
        Ok(Self { holding: Holding::new(space, "rw-lock", name, ALL, lease)?, info: String::new() })
    }

    /// Says something of this holder that [`holders`](Self::holders) shows, at most 256 bytes.
    #[must_use]
    pub fn holder_info(mut self, info: impl Into<String>) -> Self {
        self.info = info.into();
        self
    }

    fn want(&self, units: u32) -> Want {
        Want { units, info: self.info.clone(), ..Want::default() }
    }

    /// Waits to read, and holds the lock together with other readers.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn read(&self) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(1), None).await
    }

    /// Waits to write, and holds the lock alone.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn write(&self) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(ALL), None).await
    }

    /// Waits to read for at most `patience`.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_within`](super::Lock::acquire_within).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn read_within(&self, patience: Duration) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(1), Some(patience)).await
    }

    /// Waits to write for at most `patience`.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire_within`](super::Lock::acquire_within).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn write_within(&self, patience: Duration) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(ALL), Some(patience)).await
    }

    /// Holds the lock to read, unless a writer holds it or waits for it.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`](super::Lock::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn try_read(&self) -> Result<Option<Guard>, CoordinationError> {
        self.holding.try_acquire(&self.want(1)).await
    }

    /// Holds the lock to write, unless anybody holds it or waits for it.
    ///
    /// # Errors
    ///
    /// As [`Lock::try_acquire`](super::Lock::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn try_write(&self) -> Result<Option<Guard>, CoordinationError> {
        self.holding.try_acquire(&self.want(ALL)).await
    }

    /// Returns who holds the lock, as it is stored: readers hold 1 unit each, a writer holds [`u32::MAX`].
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when it cannot be read.
    pub async fn holders(&self) -> Result<Vec<Holder>, CoordinationError> {
        self.holding.holders().await
    }
}
