//! A counter that any number of tasks and processes add to, and that counts a redelivered message once.
//!
//! It promises that no addition is lost and that none with an operation id counts twice within the window. It does not know which
//! engine is below; a counter that the server keeps itself is faster, and knows no operation ids.

use super::{
    CoordinationError,
    certain::certain,
    checked_id,
    follow::{Follow, Seen},
};
use crate::{
    cell::{Cell, Cells},
    codec::{Codec, CodecError},
    core::coordination::{
        Mark, OutOfRange,
        counter::{self as algebra, MAX_WINDOW, WINDOW},
    },
    engine::{Key, Space},
};
pub use algebra::Counted;
use futures_util::{Stream, stream};

/// A number that is shared, at the key `counter.NAME`.
///
/// Where nothing comes twice, the engine's own counters are faster under contention: [`Space::tally`] adds without a revision, and
/// never conflicts. They know no operation ids, cannot be reset, and nobody can watch them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Counter, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let hits = Counter::new(&space, "hits")?;
/// assert_eq!(hits.add(2).await?, 2);
/// // A message that comes twice counts once, and is answered alike.
/// assert_eq!(hits.add_once("order-17", 1).await?.value, 3);
/// hits.increment().await?;
/// assert_eq!(hits.add_once("order-17", 1).await?.value, 3);
/// assert_eq!(hits.value().await?, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Counter {
    cell: Cell<algebra::Counter>,
    window: u32,
}

impl Counter {
    /// Names a counter of a space; it is zero until somebody adds to it. The name is any text.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the name is empty or too long for a key.
    pub fn new(space: &Space, name: &str) -> Result<Self, CoordinationError> {
        let prefix = Key::new("counter")?;
        let cell = Cells::below(space, &prefix, codec()).cell(name)?;
        Ok(Self { cell, window: WINDOW })
    }

    /// Sets how many of the newest operation ids are remembered, 1 to 16,384; 256 unless it is set.
    ///
    /// Each costs 17 to 26 bytes of every write, depending on the value: at most 6.5 KiB for 256. The counter keeps the largest number that any handle asked it for.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] outside of that range.
    pub fn remembering(mut self, operations: u32) -> Result<Self, CoordinationError> {
        if operations == 0 || operations > MAX_WINDOW {
            return Err(CoordinationError::Invalid("a counter remembers 1 to 16384 operations"));
        }
        self.window = operations;
        Ok(self)
    }

    /// Adds `n`, which may be below zero, and returns the new value.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::OutOfRange`] when the sum needs more than 64 bits, and nothing has changed.
    /// [`CoordinationError::Cell`] otherwise: with [`CellError::Unknown`](crate::cell::CellError::Unknown) it may have been added,
    /// and repeating it may add it twice. Use [`add_once`](Self::add_once) where that matters.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is added or not.
    pub async fn add(&self, n: i64) -> Result<i64, CoordinationError> {
        let edited = self.cell.edit(move |draft| {
            let mut counter = draft.get().cloned().unwrap_or_default();
            let value = counter.add(n)?;
            draft.set(counter);
            Ok(value)
        });
        self.settled(edited.await.map_err(CoordinationError::at(self.name()))?.result)
    }

    /// Adds one; as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn increment(&self) -> Result<i64, CoordinationError> {
        self.add(1).await
    }

    /// Takes one away; as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn decrement(&self) -> Result<i64, CoordinationError> {
        self.add(-1).await
    }

    /// Adds `n` unless an operation of this id was counted already, whichever process did it and whatever it added. Either way the
    /// answer is the value right after it was counted.
    ///
    /// An answer that was lost is looked for under the same id, so the operation counts once. It is remembered until so many
    /// newer ones were counted as the window says; [`reset`](Self::reset) does not forget it.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] when the id is empty or longer than 512 bytes. [`CoordinationError::OutOfRange`] when the
    /// sum needs more than 64 bits: nothing has changed, and it was not counted. [`CoordinationError::Cell`] otherwise; it may be
    /// repeated with the same id.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is counted or not; repeat it with the same id.
    pub async fn add_once(&self, operation_id: &str, n: i64) -> Result<Counted, CoordinationError> {
        let (operation, window) = (Mark::of(checked_id(operation_id)?), self.window);
        let outcome = certain(&self.cell, move |draft| {
            let mut counter = draft.get().cloned().unwrap_or_default();
            let answer = counter.add_once(operation, n, window)?;
            if !answer.repeated {
                draft.set(counter);
            }
            Ok(answer)
        });
        self.settled(outcome.await.map_err(CoordinationError::at(self.name()))?)
    }

    /// Reads the value from the leader; zero when nobody ever added.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]: an error is never a zero.
    pub async fn value(&self) -> Result<i64, CoordinationError> {
        let stored = self.cell.read().await.map_err(CoordinationError::at(self.name()))?;
        Ok(stored.map_or(0, |s| s.value.value()))
    }

    /// Sets the value to zero and returns what it was. Operations that were counted stay known.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn reset(&self) -> Result<i64, CoordinationError> {
        let edited = self.cell.edit(|draft| draft.get_mut().map_or(0, algebra::Counter::reset));
        Ok(edited.await.map_err(CoordinationError::at(self.name()))?.result)
    }

    /// Removes the counter, with the operations that it knows.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`].
    pub async fn delete(&self) -> Result<(), CoordinationError> {
        self.cell.delete().await.map_err(CoordinationError::at(self.name()))
    }

    /// Watches the value: as it is now, and after every change; a slow reader sees the newest. What cannot be read is an error, and
    /// the stream goes on.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the watch cannot begin; one that began heals itself.
    pub async fn watch(
        &self,
    ) -> Result<impl Stream<Item = Result<i64, CoordinationError>> + Send + Unpin + use<>, CoordinationError> {
        let follow = Follow::of(&self.cell).await.map_err(CoordinationError::at(self.name()))?;
        let name = self.name().to_owned();
        Ok(Box::pin(stream::unfold((follow, name), async |(mut follow, name)| {
            let value = match follow.next().await {
                Ok(Seen::Value(stored)) => Ok(stored.value.value()),
                Ok(_) => Ok(0),
                Err(error) => Err(CoordinationError::at(&*name)(error)),
            };
            Some((value, (follow, name)))
        })))
    }

    fn name(&self) -> &str {
        self.cell.key().as_str()
    }

    fn settled<R>(&self, outcome: Result<R, OutOfRange>) -> Result<R, CoordinationError> {
        outcome.map_err(|source| CoordinationError::OutOfRange { object: self.name().to_owned(), source })
    }
}

fn codec() -> Codec<algebra::Counter> {
    Codec::new(
        "anabranch.v1.Counter",
        |counter| Ok(counter.encode()),
        |bytes| algebra::Counter::decode(bytes).map_err(CodecError::new::<algebra::Counter>),
    )
}
