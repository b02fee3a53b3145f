//! A semaphore: so many permits and no more, in the order in which they were asked for.

use super::{
    CoordinationError,
    holding::{Guard, Holder, Holding, Want},
};
use crate::engine::Space;
use std::{num::NonZeroU32, time::Duration};

/// Permits that processes share, at the key `semaphore.NAME`.
///
/// A permit is a [`Guard`], which expires with its holder. A large request is not overtaken by smaller ones that come later. A
/// permit can have a name: a name holds its permits once, however often it asks, so that a worker that is started again
/// under its name goes on with the permit that it had.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Semaphore, engine::Engine};
/// use std::{num::NonZeroU32, time::Duration};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let two = NonZeroU32::new(2).unwrap();
/// let printers = Semaphore::new(&space, "printers", two, Duration::from_secs(30))?;
/// let permit = printers.acquire_as("worker 7").await?;
/// assert_eq!(printers.available().await?, 1);
/// let same = printers.acquire_as("worker 7").await?; // it was started again
/// assert_eq!(printers.available().await?, 1);
/// assert!(printers.try_acquire_many(two).await?.is_none());
/// same.release().await?;
/// # drop(permit);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Semaphore {
    holding: Holding,
    info: String,
}

impl Semaphore {
    /// Takes the semaphore of this name; nothing is stored yet. Whoever uses it says the same capacity; `lease` as for
    /// [`Lock::new`](super::Lock::new).
    ///
    /// # Errors
    ///
    /// As [`Lock::new`](super::Lock::new).
    pub fn new(space: &Space, name: &str, capacity: NonZeroU32, lease: Duration) -> Result<Self, CoordinationError> {
        Ok(Self { holding: Holding::new(space, "semaphore", name, capacity.get(), lease)?, info: String::new() })
    }

    /// Says something of this holder that [`holders`](Self::holders) shows, at most 256 bytes.
    #[must_use]
    pub fn holder_info(mut self, info: impl Into<String>) -> Self {
        self.info = info.into();
        self
    }

    fn want(&self, units: u32, name: &str) -> Want {
        Want { units, info: self.info.clone(), name: name.to_owned() }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Mismatch`] when the semaphore is in use with another capacity, otherwise as
    /// [`Lock::acquire`](super::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn acquire(&self) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(1, ""), None).await
    }

    /// Waits for so many permits, which come and go together.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] when there are not so many, otherwise as [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn acquire_many(&self, permits: NonZeroU32) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(permits.get(), ""), None).await
    }

    /// Waits for the permit of a name, at most 256 bytes. When the name has it already, or waits for it, this call takes
    /// its place: the guard of the earlier one is lost, and the earlier wait ends with [`CoordinationError::Lost`]. An empty name is no
    /// name.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn acquire_as(&self, name: &str) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(1, name), None).await
    }

    /// Waits for so many permits for at most `patience`.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Deadline`] when they were not to be had, otherwise as [`acquire_many`](Self::acquire_many).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn acquire_within(&self, permits: NonZeroU32, patience: Duration) -> Result<Guard, CoordinationError> {
        self.holding.acquire(&self.want(permits.get(), ""), Some(patience)).await
    }

    /// Takes a permit if one is free that nobody waits for; `None` when none is.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire); and [`CoordinationError::Cell`] when it is not known for 30 seconds whether it is held.
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn try_acquire(&self) -> Result<Option<Guard>, CoordinationError> {
        self.holding.try_acquire(&self.want(1, "")).await
    }

    /// Takes so many permits if they are free and nobody waits for them.
    ///
    /// # Errors
    ///
    /// As [`acquire_many`](Self::acquire_many) and [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn try_acquire_many(&self, permits: NonZeroU32) -> Result<Option<Guard>, CoordinationError> {
        self.holding.try_acquire(&self.want(permits.get(), "")).await
    }

    /// Takes the permit of a name if the name has it already, or one is free that nobody waits for.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    pub async fn try_acquire_as(&self, name: &str) -> Result<Option<Guard>, CoordinationError> {
        self.holding.try_acquire(&self.want(1, name)).await
    }

    /// Returns how many permits nobody holds, as it is stored; some may be waited for.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when it cannot be read, [`CoordinationError::Mismatch`] for another capacity.
    pub async fn available(&self) -> Result<u32, CoordinationError> {
        self.holding.available().await
    }

    /// Returns who holds permits, as it is stored, in the order in which they got them.
    ///
    /// # Errors
    ///
    /// As [`available`](Self::available).
    pub async fn holders(&self) -> Result<Vec<Holder>, CoordinationError> {
        self.holding.holders().await
    }
}
