//! Once: of all callers in all processes one does it, and everybody has its result.

use super::{
    CoordinationError,
    holding::{Holding, Want},
};
use crate::{
    cell::{Cell, CellError, Cells, Event, Fence, Stored},
    codec::{Codec, CodecError, Payload},
    core::coordination::once::Done,
    engine::{Key, Space},
    time::{Backoff, Clock},
};
use futures_util::StreamExt as _;
use std::{convert::Infallible, fmt, future::Future, marker::PhantomData, time::Duration};

/// How long the result is asked for, and stored, while the store is away.
const PATIENCE: Duration = Duration::from_secs(30);
/// Delays between these attempts.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// Something that is done once, whose result is stored at the key `once.NAME`, for ever.
///
/// One of all callers runs it; the others wait for its result. When the one that runs it dies or fails, the next one runs
/// it. It may have been begun more than once, but one result is stored and everybody gets that one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Once, engine::Engine};
/// use std::time::Duration;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let once = Once::<String>::new(&space, "migration 7", Duration::from_secs(30))?;
/// assert_eq!(once.call(|| async { "moved 12 rows".to_owned() }).await?, "moved 12 rows");
/// assert_eq!(once.call(|| async { unreachable!() }).await?, "moved 12 rows");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Once<T> {
    object: String,
    value: Cell<Done>,
    running: Holding,
    of: PhantomData<fn() -> T>,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnceError<E> {
    /// What ran it returned this; it is not done, and the next caller runs it.
    #[error("what is done once failed")]
    Failed(#[source] E),
    /// It could not be found out whether it is done, or stored that it is.
    #[error(transparent)]
    Coordination(#[from] CoordinationError),
}

impl<T> Clone for Once<T> {
    fn clone(&self) -> Self {
        let Self { object, value, running, of } = self;
        Self { object: object.clone(), value: value.clone(), running: running.clone(), of: *of }
    }
}

impl<T> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("object", &self.object).finish_non_exhaustive()
    }
}

impl<T: Payload> Once<T> {
    /// Takes what is done once under this name; nothing is stored yet. `lease` is how long the one that runs it may be silent before
    /// another does, 1 second to 24 hours.
    ///
    /// # Errors
    ///
    /// As [`Lock::new`](super::Lock::new).
    pub fn new(space: &Space, name: &str, lease: Duration) -> Result<Self, CoordinationError> {
        let object = format!("once {name}");
        let running = Holding::new(space, "once-runner", name, 1, lease)?;
        let prefix = Key::new("once")?;
        let value = Cells::below(space, &prefix, codec()).cell(name);
        let value = value.map_err(|error| CoordinationError::at(&object)(error.into()))?;
        Ok(Self { object, value, running, of: PhantomData })
    }

    /// Returns the result, if it is done.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when it cannot be read, or is of another type.
    pub async fn get(&self) -> Result<Option<T>, CoordinationError> {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let until = self.clock().instant() + PATIENCE;
        loop {
            match self.value.read().await {
                Ok(stored) => return stored.map(|stored| self.read(&stored)).transpose(),
                Err(CellError::Unavailable(_)) if self.clock().instant() < until => {
                    self.clock().sleep(backoff.next_delay()).await;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Does it, unless it is done, and returns its result. See [`try_call`](Self::try_call).
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Lost`] when this one ran it, and was cut off for so long that another may run it: call again.
    /// Otherwise as [`Lock::acquire`](super::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// Whoever is dropped leaves it undone, and lets the next one run it.
    pub async fn call<F, Fut>(&self, body: F) -> Result<T, CoordinationError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = T>,
    {
        match self.try_call(|| async { Ok::<T, Infallible>(body().await) }).await {
            Ok(value) => Ok(value),
            Err(OnceError::Coordination(error)) => Err(error),
            Err(OnceError::Failed(never)) => match never {},
        }
    }

    /// Does it, unless it is done, and returns its result; a failure leaves it undone.
    ///
    /// # Errors
    ///
    /// [`OnceError::Failed`] with the error of `body`, when this was the one to run it; otherwise as [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// As [`call`](Self::call).
    pub async fn try_call<E, F, Fut>(&self, body: F) -> Result<T, OnceError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if let Some(value) = self.get().await? {
            return Ok(value);
        }
        let want = Want { units: 1, ..Want::default() };
        let guard = tokio::select! {
            biased;
            done = self.done() => return Ok(done?),
            guard = self.running.acquire(&want, None) => guard?,
        };
        // Whoever held it before may have done it.
        if let Some(value) = self.get().await? {
            guard.release().await.or_else(lost_is_fine)?;
            return Ok(value);
        }
        let value = tokio::select! {
            biased;
            () = guard.lost() => return Err(lost()),
            value = body() => value,
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                // Whether that comes through or not, it is undone, and its error is what there is to say.
                if let Err(error) = guard.release().await {
                    tracing::warn!(object = self.object, %error, "others can do it once a lease is over");
                }
                return Err(OnceError::Failed(error));
            }
        };
        let bytes = value.encode().map_err(|error| self.failed(CellError::Encode(error)))?;
        // Fenced by what this runner believes, and by what is stored already.
        Fence::token(&guard).map_err(CoordinationError::from)?;
        let stored = self.store(Done(bytes)).await?;
        guard.release().await.or_else(lost_is_fine)?;
        Ok(stored)
    }

    /// Stores the result, unless one is there: a runner that was paused, and is not one any more, replaces nothing. Returns the one
    /// that is stored.
    async fn store(&self, done: Done) -> Result<T, CoordinationError> {
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let until = self.clock().instant() + PATIENCE;
        loop {
            let own = done.clone();
            let edit = self.value.edit(move |draft| {
                if draft.get().is_none() {
                    draft.set(own.clone());
                }
                draft.get().cloned()
            });
            match edit.await {
                Ok(edited) => {
                    let Done(bytes) = edited.result.unwrap_or_else(|| done.clone());
                    return T::decode(&bytes).map_err(|error| self.failed(CellError::Encode(error)));
                }
                // Repeating it finds it, or stores it.
                Err(CellError::Unknown(_)) if self.clock().instant() < until => {
                    self.clock().sleep(backoff.next_delay()).await;
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    /// Waits until it is done, if it can be watched: otherwise there is the queue, which serves everybody in the end.
    async fn done(&self) -> Result<T, CoordinationError> {
        if let Ok(mut events) = self.value.watch().await {
            while let Some(event) = events.next().await {
                match event {
                    Event::Initial(stored) | Event::Put(stored) => return self.read(&stored),
                    Event::Unreadable(error) => return Err(self.failed(error)),
                    _ => {}
                }
            }
        }
        std::future::pending().await
    }

    fn clock(&self) -> &Clock {
        self.value.clock()
    }

    fn read(&self, stored: &Stored<Done>) -> Result<T, CoordinationError> {
        T::decode(&stored.value.0)
            .map_err(|source| self.failed(CellError::Corrupt { key: stored.key.clone(), revision: stored.revision, source }))
    }

    fn failed(&self, error: CellError) -> CoordinationError {
        CoordinationError::at(&self.object)(error)
    }
}

fn lost<E>() -> OnceError<E> {
    OnceError::Coordination(crate::core::coordination::Lost.into())
}

/// What is done is done, whoever thinks to run it by now.
fn lost_is_fine(error: CoordinationError) -> Result<(), CoordinationError> {
    if matches!(error, CoordinationError::Lost(_)) { Ok(()) } else { Err(error) }
}

fn codec() -> Codec<Done> {
    Codec::new("once", |done| Ok(done.encode()), |bytes| Done::decode(bytes).map_err(CodecError::new::<Done>))
}
