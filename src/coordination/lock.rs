//! A lock: one holder at a time, in the order in which they came.

use super::{
    CoordinationError,
    holding::{Guard, Holder, Holding, Want},
};
use crate::engine::Space;
use std::time::Duration;

/// A lock that processes share, at the key `lock.NAME`.
///
/// Whoever acquires it holds it for a lease that its [`Guard`] renews; a holder that dies is replaced when the lease is over. Those
/// who wait are served in their order. Each holder has a greater fencing token than the one before.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Lock, engine::Engine};
/// use std::time::Duration;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let lock = Lock::new(&space, "nightly report", Duration::from_secs(30))?.holder_info("ann");
/// let guard = lock.acquire().await?;
/// assert!(lock.try_acquire().await?.is_none());
/// assert_eq!(lock.holder().await?.unwrap().info, "ann");
/// tokio::select! {
///     () = guard.lost() => {} // stop: somebody else may hold it soon
///     () = async {} => {}     // the work, which shows `guard.token()` to whatever it changes
/// }
/// guard.release().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Lock {
    holding: Holding,
    want: Want,
}

impl Lock {
    /// Takes the lock of this name; nothing is stored yet. `lease` is how long a holder may be silent before others replace it, 1
    /// second to 24 hours: a holder that lives renews it, so it is about the time that a crash costs.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for a lease out of range, [`CoordinationError::Cell`] for a name that is empty or too long.
    pub fn new(space: &Space, name: &str, lease: Duration) -> Result<Self, CoordinationError> {
        Ok(Self { holding: Holding::new(space, "lock", name, 1, lease)?, want: Want { units: 1, ..Want::default() } })
    }

    /// Says something of this holder that [`holder`](Self::holder) shows, at most 256 bytes.
    #[must_use]
    pub fn holder_info(mut self, info: impl Into<String>) -> Self {
        self.want.info = info.into();
        self
    }

    /// Waits for the lock, and holds it.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the store is away for longer than a cell's deadline or holds something else at the key,
    /// [`CoordinationError::Invalid`] for a holder's text that is too long. An answer that was lost is no error: the request is
    /// repeated, and recognized.
    ///
    /// # Cancel safety
    ///
    /// Safe: whoever stops to wait leaves the queue in the background, at the latest when its lease is over.
    pub async fn acquire(&self) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want, None).await
    }

    /// Waits for the lock for at most `patience`, and holds it.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Deadline`] when it was not to be had, otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn acquire_within(&self, patience: Duration) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want, Some(patience)).await
    }

    /// Holds the lock if nobody holds it or waits for it; `None` when somebody does. Called again and again through one handle it
    /// also notices that a holder is dead.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); and [`CoordinationError::Cell`] when it is not known for 30 seconds whether it is held.
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    pub async fn try_acquire(&self) -> Result<Option<Guard>, CoordinationError> {
        self.holding.try_acquire(&self.want).await
    }

    /// Returns who holds the lock, as it is stored.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when it cannot be read.
    pub async fn holder(&self) -> Result<Option<Holder>, CoordinationError> {
        Ok(self.holding.holders().await?.pop())
    }
}
