//! One key as a typed value that any number of tasks and processes change at once.

use super::{
    cells::Settings,
    desk::{Joined, Place},
    draft::Draft,
    error::{CellError, UpdateError},
    event::{Event, Past, Stored, events},
    fence::Fence,
    shelf::Shelf,
    work::{Answer, Edited, Job},
};
use crate::{
    engine::{Expect, Key, Revision, StoreError},
    time::Clock,
};
use futures_util::Stream;
use std::{fmt, sync::Arc};
use tokio::sync::oneshot;

/// A typed value at a key.
///
/// Updates are closures. All that wait in this process are combined into one compare-and-set, which is tried first on what the
/// process knows, so a contended key costs a write for many updates and an uncontended one a single round trip. A closure may run
/// many times, and has to be pure; it may run in another task, so it owns what it captures.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{Codec, cell::Cells, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let hits = Cells::<u64>::new(&space, Codec::json()).cell("hits")?;
/// let together = (0..64).map(|_| hits.update(|n| *n += 1));
/// for done in futures_util::future::join_all(together).await {
///     done?;
/// }
/// assert_eq!(hits.read().await?.unwrap().value, 64);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Cell<T> {
    pub(super) shelf: Arc<Shelf<T>>,
    key: Key,
    pub(super) settings: Settings,
}

impl<T> Clone for Cell<T> {
    fn clone(&self) -> Self {
        Self { shelf: Arc::clone(&self.shelf), key: self.key.clone(), settings: self.settings }
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> Cell<T> {
    pub(super) fn new(shelf: Arc<Shelf<T>>, key: Key, settings: Settings) -> Self {
        Self { shelf, key, settings }
    }

    /// Returns its key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the clock of its engine.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shelf.clock
    }

    /// Changes the value, or removes it, or only looks at it, by a closure that others of this process share a write with.
    ///
    /// A closure that touches nothing causes no write; what it saw is the truth all the same, confirmed by a read or by the write
    /// of those that it was combined with.
    ///
    /// # Errors
    ///
    /// [`CellError`], each kind of which says what is known of the stored value. [`CellError::Unknown`] means that the change may
    /// have happened, and that neither the engine nor the trail of the value could tell.
    ///
    /// # Panics
    ///
    /// Panics when the closure does; nothing of what it did is kept, and nobody else notices.
    ///
    /// # Cancel safety
    ///
    /// Safe for the value: a change whose future is dropped happens once, or not at all.
    pub async fn edit<R, F>(&self, change: F) -> Result<Edited<R>, CellError>
    where
        R: Send + 'static,
        F: FnMut(&mut Draft<T>) -> R + Send + 'static,
    {
        let deadline = self.clock().instant() + self.settings.deadline;
        let desk = self.shelf.desk(&self.key, self.settings.line);
        let room = match Arc::clone(&desk.room).try_acquire_owned() {
            Ok(room) => room,
            Err(_) => match self.clock().timeout(self.settings.deadline, Arc::clone(&desk.room).acquire_owned()).await {
                Some(room) => room.expect("the semaphore is never closed"),
                None => return Err(CellError::Busy(self.key.clone())),
            },
        };
        let (answer, reply) = oneshot::channel();
        let job = Job { change, result: None, answer, ttl: self.settings.ttl, deadline, _room: room };
        match self.shelf.join(desk, Place::Edit(Box::new(job))) {
            // Boxed, since every caller's future would be as large.
            (desk, Joined::Leads(work, number)) => Box::pin(self.shelf.lead(&desk, work, number)).await,
            (desk, Joined::Unserved) => self.shelf.serve(desk),
            (_, Joined::Served) => {}
        }
        match reply.await {
            Ok(Answer::Settled(outcome)) => outcome,
            Ok(Answer::Panicked(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(CellError::Unknown("the runtime stopped before the store answered".into())),
        }
    }

    /// Changes the value, which is the default where the key is absent, and returns what the closure returns. The value is
    /// written also when the closure leaves it as it is.
    ///
    /// # Errors
    ///
    /// As [`edit`](Self::edit).
    ///
    /// # Panics
    ///
    /// As [`edit`](Self::edit).
    ///
    /// # Cancel safety
    ///
    /// As [`edit`](Self::edit).
    pub async fn update<R, F>(&self, mut change: F) -> Result<R, CellError>
    where
        T: Default,
        R: Send + 'static,
        F: FnMut(&mut T) -> R + Send + 'static,
    {
        Ok(self.edit(move |draft| change(draft.or_default())).await?.result)
    }

    /// Changes the value as [`update`](Self::update) does, or keeps nothing of what the closure did when it returns an error.
    ///
    /// # Errors
    ///
    /// [`UpdateError::Aborted`] with what the closure returned, otherwise as [`edit`](Self::edit).
    ///
    /// # Panics
    ///
    /// As [`edit`](Self::edit).
    ///
    /// # Cancel safety
    ///
    /// As [`edit`](Self::edit).
    pub async fn try_update<R, E, F>(&self, mut change: F) -> Result<R, UpdateError<E>>
    where
        T: Default,
        R: Send + 'static,
        E: Send + 'static,
        F: FnMut(&mut T) -> Result<R, E> + Send + 'static,
    {
        let edited = self.edit(move |draft| draft.attempt(&mut change)).await?;
        edited.result.map_err(UpdateError::Aborted)
    }

    /// Changes the value as [`update`](Self::update) does, unless a later holder of `fence` has written the key.
    ///
    /// The key remembers the greatest token that it was written with for as long as it exists and no foreign client writes it.
    ///
    /// # Errors
    ///
    /// [`CellError::Lost`] when the holder does not believe in itself any more, [`CellError::Fenced`] when a later one has
    /// written; otherwise as [`edit`](Self::edit).
    ///
    /// # Panics
    ///
    /// As [`edit`](Self::edit).
    ///
    /// # Cancel safety
    ///
    /// As [`edit`](Self::edit).
    pub async fn update_fenced<R, F>(&self, fence: &(impl Fence + Sync), mut change: F) -> Result<R, CellError>
    where
        T: Default,
        R: Send + 'static,
        F: FnMut(&mut T) -> R + Send + 'static,
    {
        let ours = fence.token()?;
        let edited = self.edit(move |draft| draft.pass(ours).map(|()| change(draft.or_default()))).await?;
        edited.result.map_err(|newest| CellError::Fenced { ours, newest })
    }

    /// Reads the value from the leader; `None` when the key is absent.
    ///
    /// # Errors
    ///
    /// [`CellError::Unavailable`], [`CellError::Rejected`] or [`CellError::Corrupt`]: an error is never an absent key.
    pub async fn read(&self) -> Result<Option<Stored<T>>, CellError> {
        let entry = self.shelf.store.get(&self.key).await.map_err(CellError::of_read)?;
        entry.map(|entry| Stored::read(self.shelf.codec, entry)).transpose()
    }

    /// Reads from the leader what the key has held, oldest first, as far back as its bucket keeps it. A space keeps the newest only; a
    /// bucket as many as [`BucketOptions::history`](crate::engine::BucketOptions::history) says.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read); one version that cannot be read is an error of the whole.
    pub async fn history(&self) -> Result<Vec<Past<T>>, CellError> {
        let versions = self.shelf.store.history(&self.key).await.map_err(CellError::of_read)?;
        versions.into_iter().map(|version| Past::read(self.shelf.codec, &self.key, version)).collect()
    }

    /// Returns what this process knows of the value without asking, and reads it where it knows nothing. It may be old by as
    /// long as nobody here has used the key, at most some ten seconds.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_stale(&self) -> Result<Option<T>, CellError> {
        let known = self.shelf.existing(&self.key).and_then(|desk| desk.glance());
        Ok(match known {
            Some(known) => known.value,
            None => self.read().await?.map(|stored| stored.value),
        })
    }

    /// Sets the value to its default.
    ///
    /// # Errors
    ///
    /// As [`edit`](Self::edit).
    pub async fn reset(&self) -> Result<(), CellError>
    where
        T: Default,
    {
        self.edit(|draft| draft.set(T::default())).await.map(drop)
    }

    /// Removes the key; one that is absent is fine. Also one whose value cannot be read is removed only by
    /// [`delete_at`](Self::delete_at).
    ///
    /// # Errors
    ///
    /// As [`edit`](Self::edit).
    pub async fn delete(&self) -> Result<(), CellError> {
        self.edit(Draft::remove).await.map(drop)
    }

    /// Removes the key if it holds exactly this revision, whatever its value.
    ///
    /// # Errors
    ///
    /// [`CellError::Conflict`] when it does not, and nothing is removed; [`CellError::Unknown`] when the answer was lost.
    pub async fn delete_at(&self, revision: Revision) -> Result<(), CellError> {
        match self.shelf.store.delete(&self.key, Expect::At(revision)).await {
            Ok(_) => Ok(()),
            Err(StoreError::Conflict) => Err(CellError::Conflict(self.key.clone())),
            Err(StoreError::Unknown(source)) => Err(CellError::Unknown(source)),
            Err(error) => Err(CellError::of_read(error)),
        }
    }

    /// Watches the key: what is there, [`Event::Synced`], and then every change.
    ///
    /// # Errors
    ///
    /// [`CellError::Unavailable`] or [`CellError::Rejected`] when the watch cannot begin; one that began heals itself.
    pub async fn watch(&self) -> Result<impl Stream<Item = Event<T>> + Send + Unpin + use<T>, CellError> {
        let changes = self.shelf.store.watch(&self.key.alone()).await.map_err(CellError::of_read)?;
        Ok(events(self.shelf.codec, changes))
    }
}
