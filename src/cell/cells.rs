//! Cells by label: which key a label means, and what all of them have in common.

use super::{
    error::CellError,
    event::{Event, events},
    handle::Cell,
    shelf::{CellCounts, Shelf},
};
use crate::{
    codec::Codec,
    engine::{Key, NameError, Scope, Space},
};
use futures_util::Stream;
use std::{fmt, num::NonZeroUsize, sync::Arc, time::Duration};

/// What a cell does, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) ttl: Option<Duration>,
    pub(super) deadline: Duration,
    pub(super) line: usize,
}

/// Typed values of a space, each at the key that its label means.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{Codec, cell::Cells, engine::{Engine, Key}};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let stock = Cells::<u64>::below(&space, &Key::new("stock")?, Codec::json());
/// let lamps = stock.cell("desk lamps")?;
/// assert_eq!(lamps.update(|n| { *n += 5; *n }).await?, 5);
/// assert_eq!(stock.label(lamps.key()).as_deref(), Some("desk lamps"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Cells<T> {
    shelf: Arc<Shelf<T>>,
    prefix: Option<Key>,
    settings: Settings,
}

impl<T> Clone for Cells<T> {
    fn clone(&self) -> Self {
        Self { shelf: Arc::clone(&self.shelf), prefix: self.prefix.clone(), settings: self.settings }
    }
}

impl<T> fmt::Debug for Cells<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cells").field("prefix", &self.prefix).field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> Cells<T> {
    /// Takes all keys of a space: a label is the key, and has to be a valid one.
    #[must_use]
    pub fn new(space: &Space, codec: Codec<T>) -> Self {
        let settings = Settings { ttl: None, deadline: Duration::from_secs(30), line: 65_536 };
        Self { shelf: Shelf::of(space, codec), prefix: None, settings }
    }

    /// Takes the keys below `prefix`: a label is any text but the empty one, and becomes one token.
    #[must_use]
    pub fn below(space: &Space, prefix: &Key, codec: Codec<T>) -> Self {
        Self { prefix: Some(prefix.clone()), ..Self::new(space, codec) }
    }

    /// Lets every write expire after `ttl`, at least one second, where the engine can; a write begins anew. This is garbage
    /// collection: nothing should depend on when it happens.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl = Some(ttl);
        self
    }

    /// Sets how long an operation tries while others are first or the store is away; 30 seconds unless it is set. It may take
    /// longer by one request of the engine.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// Sets how many operations of this process may wait for one key, 65,536 unless it is set; further ones wait for room. It
    /// counts for keys that are not in use yet.
    #[must_use]
    pub fn line(mut self, most: NonZeroUsize) -> Self {
        self.settings.line = most.get().min(tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Returns the cell that a label means.
    ///
    /// # Errors
    ///
    /// [`NameError`] when the label is empty, or makes no key: without a prefix, a label has to be one.
    pub fn cell(&self, label: &str) -> Result<Cell<T>, NameError> {
        let key = match &self.prefix {
            Some(_) if label.is_empty() => return Err(NameError::Empty(label.to_owned())),
            // Once more through the checks, since it has grown.
            Some(prefix) => Key::new(prefix.join(&Key::token(label)).as_str())?,
            None => Key::new(label)?,
        };
        Ok(Cell::new(Arc::clone(&self.shelf), key, self.settings))
    }

    /// Returns the label that means `key`; `None` when none does.
    #[must_use]
    pub fn label(&self, key: &Key) -> Option<String> {
        match &self.prefix {
            None => Some(key.as_str().to_owned()),
            Some(prefix) => {
                let token = key.as_str().strip_prefix(prefix.as_str())?.strip_prefix('.')?;
                Key::untoken(token)
            }
        }
    }

    /// Watches all of them: what is there, [`Event::Synced`], and then every change.
    ///
    /// # Errors
    ///
    /// [`CellError::Unavailable`] or [`CellError::Rejected`] when the watch cannot begin; one that began heals itself.
    pub async fn watch(&self) -> Result<impl Stream<Item = Event<T>> + Send + Unpin + use<T>, CellError> {
        let scope = self.prefix.as_ref().map_or(Scope::All, Key::below);
        let changes = self.shelf.store.watch(&scope).await.map_err(CellError::of_read)?;
        Ok(events(self.shelf.codec, changes))
    }

    /// Returns what has happened to the cells of this type and space in this process.
    #[must_use]
    pub fn counts(&self) -> CellCounts {
        self.shelf.counts()
    }
}
