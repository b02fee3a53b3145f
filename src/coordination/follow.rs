//! The state at one key, each time that it may have changed: what waiters wait with.
//!
//! The watch begins before the state is looked at, so no change falls between the two; deletion, expiry and gaps are told like
//! every other change. It polls nothing, and what it holds goes with it.

use crate::cell::{Cell, CellError, Event, Stored};
use futures_util::stream::{BoxStream, StreamExt as _};

/// What is at the key.
#[derive(Debug)]
pub(super) enum Seen<T> {
    /// A value.
    Value(Stored<T>),
    /// Nothing, and nothing was seen before.
    Absent,
    /// Nothing: it was deleted.
    Deleted,
    /// Nothing: its time ran out.
    Expired,
    /// Nothing, where something was before a gap in the watch.
    Vanished,
}

/// Follows one key.
pub(super) struct Follow<T> {
    events: BoxStream<'static, Event<T>>,
    /// What was told since the last gap, until all of it has been.
    found: Option<Stored<T>>,
    synced: bool,
    had: bool,
}

impl<T: Clone + Send + Sync + 'static> Follow<T> {
    /// Begins to watch.
    pub(super) async fn of(cell: &Cell<T>) -> Result<Self, CellError> {
        let events = cell.watch().await?.boxed();
        Ok(Self { events, found: None, synced: false, had: false })
    }

    /// Waits for the next state; the first one is what is there now. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`CellError::Corrupt`] when what is there is no such value; what follows can be waited for all the same.
    pub(super) async fn next(&mut self) -> Result<Seen<T>, CellError> {
        loop {
            let Some(event) = self.events.next().await else {
                return Err(CellError::Unavailable("the watch has ended".into()));
            };
            match event {
                Event::Initial(stored) | Event::Put(stored) if self.synced => return Ok(self.value(stored)),
                Event::Initial(stored) | Event::Put(stored) => self.found = Some(stored),
                Event::Synced => {
                    self.synced = true;
                    match self.found.take() {
                        Some(stored) => return Ok(self.value(stored)),
                        None if std::mem::take(&mut self.had) => return Ok(Seen::Vanished),
                        None => return Ok(Seen::Absent),
                    }
                }
                Event::Deleted(..) if self.synced => return Ok(self.gone(Seen::Deleted)),
                Event::Expired(..) if self.synced => return Ok(self.gone(Seen::Expired)),
                Event::Deleted(..) | Event::Expired(..) => self.found = None,
                Event::Resynced => (self.synced, self.found) = (false, None),
                Event::Unreadable(error) => return Err(error),
            }
        }
    }

    fn value(&mut self, stored: Stored<T>) -> Seen<T> {
        self.had = true;
        Seen::Value(stored)
    }

    fn gone(&mut self, how: Seen<T>) -> Seen<T> {
        self.had = false;
        how
    }
}
