//! A latch across processes: everybody waits until so many have counted down, and then nobody does any more.
//!
//! It promises that whoever counts down twice counts once, and that it stays open as long as it exists. It does not know what
//! was counted.

use super::{
    CoordinationError, Ended,
    certain::certain,
    checked_id, checked_ttl,
    follow::{Follow, Seen},
    wait_group::vanished,
};
use crate::{
    cell::{Cell, Cells, Draft},
    codec::{Codec, CodecError},
    core::coordination::{
        Mark,
        latch::{self as algebra, MAX_COUNT},
    },
    engine::{Key, Space},
    time::nonce,
};
use std::time::Duration;

/// Something that opens once, at the key `latch.NAME`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::{Ended, Latch}, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let ready = Latch::new(&space, "caches-are-warm", 2)?;
/// assert_eq!(ready.count_down_as("cache-a").await?, 1);
/// assert_eq!(ready.count_down_as("cache-a").await?, 1);
/// assert_eq!(ready.count_down_as("cache-b").await?, 0);
/// assert_eq!(ready.wait().await?, Ended::Zero);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Latch {
    cell: Cell<algebra::Latch>,
    count: u32,
    expires_after: Option<Duration>,
}

impl Latch {
    /// Names a latch of a space, which opens after `count` have counted down, 1 to 16,384. The name is any text; the count is the
    /// same everywhere.
    ///
    /// Each that has counted down costs 16 bytes of every further write, until it is open.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for a count out of range, [`CoordinationError::Cell`] when the name is empty or too long for
    /// a key.
    pub fn new(space: &Space, name: &str, count: u32) -> Result<Self, CoordinationError> {
        if count == 0 || count > MAX_COUNT {
            return Err(CoordinationError::Invalid("a latch counts down from 1 to 16384"));
        }
        let prefix = Key::new("latch")?;
        let cell = Cells::below(space, &prefix, codec()).cell(name)?;
        Ok(Self { cell, count, expires_after: None })
    }

    /// Lets the latch go away so long after a change that this handle makes, at least one second; it stays for ever unless this is
    /// set. One that went away is closed again.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] below one second.
    pub fn expires_after(mut self, ttl: Duration) -> Result<Self, CoordinationError> {
        self.expires_after = Some(checked_ttl(ttl)?);
        Ok(self)
    }

    /// Counts down as `id`, once however often it is called, and returns how many are still to.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for an id that is empty or longer than 512 bytes, [`CoordinationError::Mismatch`] when the
    /// latch has another count, [`CoordinationError::Cell`] otherwise; it may be repeated.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is counted or not; repeat it.
    pub async fn count_down_as(&self, id: &str) -> Result<u32, CoordinationError> {
        let (id, count, ttl, born) = (Mark::of(checked_id(id)?), self.count, self.expires_after, nonce());
        let counted = certain(&self.cell, move |draft| {
            let before = draft.get().cloned();
            let mut after = before.clone().unwrap_or_else(|| algebra::Latch::new(count, born));
            if after.count() != count {
                return Err(after.count());
            }
            let remaining = after.count_down(id);
            if before.as_ref() != Some(&after) {
                draft.set(after);
                if let Some(ttl) = ttl {
                    draft.expire_after(ttl);
                }
            }
            Ok(remaining)
        });
        counted.await.map_err(CoordinationError::at(self.name()))?.map_err(|stored| self.mismatch(stored))
    }

    /// Reads from the leader how many are still to count down.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Mismatch`] when the latch has another count, otherwise [`CoordinationError::Cell`].
    pub async fn remaining(&self) -> Result<u32, CoordinationError> {
        match self.cell.read().await.map_err(CoordinationError::at(self.name()))? {
            None => Ok(self.count),
            Some(stored) if stored.value.count() == self.count => Ok(stored.value.remaining()),
            Some(stored) => Err(self.mismatch(stored.value.count())),
        }
    }

    /// Waits until it is open: [`Ended::Zero`]. One that nobody counted down yet is waited for; one that is removed or expires
    /// ends the wait.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Mismatch`] when the latch has another count, [`CoordinationError::Cell`] when the watch cannot begin,
    /// or what is stored is no latch.
    ///
    /// # Cancel safety
    ///
    /// Safe: it changes nothing, and what it holds is let go with it.
    pub async fn wait(&self) -> Result<Ended, CoordinationError> {
        let failed = || CoordinationError::at(self.name());
        let mut follow = Follow::of(&self.cell).await.map_err(failed())?;
        let (mut first, mut expires) = (None, None);
        loop {
            match follow.next().await.map_err(failed())? {
                Seen::Value(stored) if stored.value.count() != self.count => return Err(self.mismatch(stored.value.count())),
                Seen::Value(stored) if stored.value.born() != *first.get_or_insert(stored.value.born()) => {
                    // Ours is gone, and somebody has taken its name.
                    return Ok(vanished(expires, stored.written_at));
                }
                Seen::Value(stored) if stored.value.is_open() => return Ok(Ended::Zero),
                Seen::Value(stored) => expires = self.expires_after.map(|ttl| stored.written_at + ttl),
                Seen::Absent => {}
                Seen::Deleted => return Ok(Ended::Closed),
                Seen::Expired => return Ok(Ended::Expired),
                Seen::Vanished => return Ok(vanished(expires, self.cell.clock().now())),
            }
        }
    }

    /// Waits as [`wait`](Self::wait) does, and no longer than `limit`.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Deadline`] when it is not open then; otherwise as [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_within(&self, limit: Duration) -> Result<Ended, CoordinationError> {
        let ended = self.cell.clock().timeout(limit, self.wait()).await;
        ended.unwrap_or_else(|| Err(CoordinationError::Deadline(self.name().to_owned())))
    }

    /// Removes the latch: whoever waits sees [`Ended::Closed`], and it counts from the beginning again.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]; it may be repeated.
    pub async fn delete(&self) -> Result<(), CoordinationError> {
        certain(&self.cell, Draft::remove).await.map_err(CoordinationError::at(self.name()))
    }

    fn mismatch(&self, stored: u32) -> CoordinationError {
        CoordinationError::Mismatch {
            object: self.name().to_owned(),
            what: "count",
            stored: stored.to_string(),
            wanted: self.count.to_string(),
        }
    }

    fn name(&self) -> &str {
        self.cell.key().as_str()
    }
}

fn codec() -> Codec<algebra::Latch> {
    Codec::new(
        "anabranch.v1.Latch",
        |latch| Ok(latch.encode()),
        |bytes| algebra::Latch::decode(bytes).map_err(CodecError::new::<algebra::Latch>),
    )
}
