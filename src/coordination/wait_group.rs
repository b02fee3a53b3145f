//! A wait group across processes: jobs enter and leave, and whoever waits sees the end.
//!
//! It promises that a member that enters or leaves twice does so once, that the count is never below zero, and that a waiter
//! misses no end: it watches before it looks. A group is a key of its own, so none waits for another.

use super::{
    CoordinationError,
    certain::certain,
    checked_id,
    follow::{Follow, Seen},
};
use crate::{
    cell::{Cell, Cells, Draft},
    codec::{Codec, CodecError},
    core::coordination::group::{AddError, Group, MAX_WINDOW, State, WINDOW},
    engine::{Key, Space},
    time::{Timestamp, nonce},
};
use std::time::Duration;

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// How waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing is left to wait for.
    Zero,
    /// It was closed or deleted with something left.
    Closed,
    /// Its time ran out with something left.
    Expired,
}

/// Members and units that are waited for, at the key `group.NAME`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::{Ended, WaitGroup}, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let batch = WaitGroup::new(&space, "batch-7")?;
/// batch.enter("job-1").await?;
/// batch.enter("job-2").await?;
/// let (ended, one, other) = tokio::join!(batch.wait(), batch.leave("job-1"), batch.leave("job-2"));
/// assert_eq!(ended?, Ended::Zero);
/// # one?; other?;
/// // A redelivered message comes too late.
/// assert!(!batch.enter("job-1").await?);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct WaitGroup {
    cell: Cell<Group>,
    window: u32,
    expires_after: Duration,
}

impl WaitGroup {
    /// Names a group of a space; it is empty until something enters. The name is any text.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the name is empty or too long for a key.
    pub fn new(space: &Space, name: &str) -> Result<Self, CoordinationError> {
        let prefix = Key::new("group")?;
        let cell = Cells::below(space, &prefix, codec()).cell(name)?;
        Ok(Self { cell, window: WINDOW, expires_after: A_DAY })
    }

    /// Sets how many of the newest members that have left are remembered, 1 to 32,768; 4,096 unless it is set.
    ///
    /// One that is not remembered any more could enter again. Each costs 16 bytes of every write: 64 KiB for 4,096 that have left.
    /// The group keeps the largest number that any handle asked it for.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] outside of that range.
    pub fn remembering(mut self, members: u32) -> Result<Self, CoordinationError> {
        if members == 0 || members > MAX_WINDOW {
            return Err(CoordinationError::Invalid("a wait group remembers 1 to 32768 members"));
        }
        self.window = members;
        Ok(self)
    }

    /// Sets how long the group lives after a change that this handle makes, at least one second; 24 hours unless it is set.
    /// Whoever waits then sees [`Ended::Expired`], and the name is free again.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] below one second.
    pub fn expires_after(mut self, ttl: Duration) -> Result<Self, CoordinationError> {
        self.expires_after = super::checked_ttl(ttl)?;
        Ok(self)
    }

    /// Lets a member in and returns whether it is in now: `false` when it has left before, so that a message that is redelivered
    /// starts nothing anew. Entering twice is entering once.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for an id that is empty or longer than 512 bytes, [`CoordinationError::Closed`] when the
    /// group takes nobody, [`CoordinationError::Cell`] otherwise; it may be repeated.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the member is in or not; repeat it.
    pub async fn enter(&self, id: &str) -> Result<bool, CoordinationError> {
        let id: Box<str> = checked_id(id)?.into();
        let entered = self.change(move |group| group.enter(&id)).await?;
        entered.map_err(|_| CoordinationError::Closed(self.name().to_owned()))
    }

    /// Lets a member go and returns how much is left. Leaving twice is leaving once; who leaves before it enters stays out.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for an id that is empty or longer than 512 bytes, [`CoordinationError::Cell`] otherwise; it
    /// may be repeated.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the member is out or not; repeat it.
    pub async fn leave(&self, id: &str) -> Result<u64, CoordinationError> {
        let (id, window): (Box<str>, _) = (checked_id(id)?.into(), self.window);
        self.change(move |group| group.leave(&id, window)).await
    }

    /// Adds units without a name, or takes some away, and returns how much is left.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::OutOfRange`] when fewer than none would be left, [`CoordinationError::Closed`] when the group takes
    /// nothing; nothing has changed then. [`CoordinationError::Cell`] otherwise: with
    /// [`CellError::Unknown`](crate::cell::CellError::Unknown) it may have been added, and repeating it may add it twice. What is
    /// redelivered is a member, and no unit.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it is added or not.
    pub async fn add(&self, n: i64) -> Result<u64, CoordinationError> {
        let edit = edit(self.expires_after, move |group: &mut Group| group.add(n));
        let edited = self.cell.edit(edit).await.map_err(CoordinationError::at(self.name()))?;
        edited.result.map_err(|error| match error {
            AddError::Closed(_) => CoordinationError::Closed(self.name().to_owned()),
            AddError::Range(source) => CoordinationError::OutOfRange { object: self.name().to_owned(), source },
        })
    }

    /// Takes one unit away; as [`add`](Self::add).
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub async fn done(&self) -> Result<u64, CoordinationError> {
        self.add(-1).await
    }

    /// Reads from the leader how much is left.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]: an error is never a zero.
    pub async fn count(&self) -> Result<u64, CoordinationError> {
        Ok(self.read().await?.count())
    }

    /// Reads from the leader who is in, in ascending order.
    ///
    /// # Errors
    ///
    /// As [`count`](Self::count).
    pub async fn members(&self) -> Result<Vec<String>, CoordinationError> {
        Ok(self.read().await?.members().map(str::to_owned).collect())
    }

    /// Waits until nothing is left, or the group is closed, deleted or expired. A group that nobody entered has nothing left. A
    /// zero ends the wait also when the next member enters at once.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the watch cannot begin, or what is stored is no wait group.
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
                Seen::Value(stored) => {
                    let (born, began) = *first.get_or_insert((stored.value.born(), stored.value.zeros()));
                    if stored.value.born() != born {
                        // Ours is gone, and somebody has taken its name.
                        return Ok(vanished(expires, stored.written_at));
                    }
                    expires = Some(stored.written_at + self.expires_after);
                    match stored.value.seen_by(began) {
                        State::Open => {}
                        State::Zero => return Ok(Ended::Zero),
                        State::Closed => return Ok(Ended::Closed),
                    }
                }
                Seen::Absent => return Ok(Ended::Zero),
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
    /// [`CoordinationError::Deadline`] when something is left then; otherwise as [`wait`](Self::wait).
    ///
    /// # Cancel safety
    ///
    /// As [`wait`](Self::wait).
    pub async fn wait_within(&self, limit: Duration) -> Result<Ended, CoordinationError> {
        let ended = self.cell.clock().timeout(limit, self.wait()).await;
        ended.unwrap_or_else(|| Err(CoordinationError::Deadline(self.name().to_owned())))
    }

    /// Closes the group: nothing enters any more, and whoever waits sees [`Ended::Closed`], unless nothing is left.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]; it may be repeated.
    pub async fn close(&self) -> Result<(), CoordinationError> {
        self.change(Group::close).await
    }

    /// Removes the group, with all that it remembers. Whoever waits sees [`Ended::Closed`]; the name is free again.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]; it may be repeated.
    pub async fn delete(&self) -> Result<(), CoordinationError> {
        certain(&self.cell, Draft::remove).await.map_err(CoordinationError::at(self.name()))
    }

    /// Changes the group by something that may happen twice.
    async fn change<R, F>(&self, change: F) -> Result<R, CoordinationError>
    where
        R: Send + 'static,
        F: FnMut(&mut Group) -> R + Clone + Send + 'static,
    {
        certain(&self.cell, edit(self.expires_after, change)).await.map_err(CoordinationError::at(self.name()))
    }

    async fn read(&self) -> Result<Group, CoordinationError> {
        let stored = self.cell.read().await.map_err(CoordinationError::at(self.name()))?;
        Ok(stored.map(|s| s.value).unwrap_or_default())
    }

    fn name(&self) -> &str {
        self.cell.key().as_str()
    }
}

/// Says how something ended that was there before, and not when it was looked for again: its time had run out, or somebody
/// removed it.
pub(super) fn vanished(expires: Option<Timestamp>, now: Timestamp) -> Ended {
    if expires.is_some_and(|at| at <= now) { Ended::Expired } else { Ended::Closed }
}

/// Makes an edit of a change: what stays as it is is not written, and does not live longer for it.
fn edit<R, F>(ttl: Duration, mut change: F) -> impl FnMut(&mut Draft<Group>) -> R + Clone + Send + 'static
where
    R: Send + 'static,
    F: FnMut(&mut Group) -> R + Clone + Send + 'static,
{
    let born = nonce();
    move |draft| {
        let before = draft.get().cloned().unwrap_or_else(|| Group::new(born));
        let mut after = before.clone();
        let result = change(&mut after);
        if after != before {
            draft.set(after);
            draft.expire_after(ttl);
        }
        result
    }
}

fn codec() -> Codec<Group> {
    Codec::new("anabranch.v1.Group", |group| Ok(group.encode()), |bytes| Group::decode(bytes).map_err(CodecError::new::<Group>))
}
