//! The contract of a tally: numbers that the engine itself adds up.
//!
//! Adding needs no revision and never conflicts, so any number of processes add to one number at the full speed of the engine.
//! There is nothing else that it can do: whoever has to decide by a number before changing it needs a
//! [`Store`](super::Store). This file does not know how an engine keeps one.

use super::{Key, StoreError};
use async_trait::async_trait;
use std::fmt;

/// Counters of one space, apart from the keys of its store.
///
/// A value is an [`i128`] and what is added an [`i64`], so that no sum that is made here overflows: it would take 2^64 of the
/// largest steps. A counter is there from the first time that something is added, be it zero, and stays for ever.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::engine::{Engine, Key};
///
/// let tally = Engine::open("memory:").await?.space("shop").await?.tally().await?;
/// let visits = Key::new("visits.home")?;
/// assert_eq!(tally.value(&visits).await?, None);
/// assert_eq!(tally.add(&visits, 5).await?, 5);
/// assert_eq!(tally.add(&visits, -2).await?, 3);
/// assert_eq!(tally.value(&visits).await?, Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Tally: fmt::Debug + Send + Sync + 'static {
    /// Adds to a counter, and returns its value with that.
    ///
    /// Where the engine's first answer was lost and the addition was found to have been made, the value may have later additions in
    /// it, too.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`] when it may have been added: adding again may count twice. With all others nothing was added.
    ///
    /// # Cancel safety
    ///
    /// Dropping it does not undo it: it may be added or not.
    async fn add(&self, key: &Key, delta: i64) -> Result<i128, StoreError>;

    /// Reads a counter; `None` when nothing was ever added to it.
    ///
    /// # Errors
    ///
    /// [`Rejection::Corrupt`](super::Rejection::Corrupt) for what another client left there that is no number, or one beyond an
    /// [`i128`]; otherwise what the engine says.
    async fn value(&self, key: &Key) -> Result<Option<i128>, StoreError>;
}
