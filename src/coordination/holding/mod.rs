//! What locks, read-write locks, semaphores, elections and onces have in common: one key with holders and a queue.
//!
//! `core::coordination::permits` decides who holds; this performs it: `queue` waits for a turn, `guard` keeps what was acquired
//! and gives it back. It promises that a change whose answer was lost is asked for again with the same id, so that nobody holds
//! twice. It does not know what is held.

mod guard;
mod member;
mod queue;

pub use guard::Guard;

use super::CoordinationError;
use crate::{
    cell::{Cell, CellError, Cells, Event, Stored},
    codec::{Codec, CodecError},
    core::coordination::{
        FencingToken, Lease,
        lease::Sightings,
        permits::{self, Ask, Permits, Refusal, Standing},
    },
    engine::{Key, Revision, Space},
    time::{Clock, Instant, Timestamp, unique},
};
use futures_util::Stream;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::task::TaskTracker;

/// The longest text that a holder says of itself, and the longest name of a permit, in bytes: the state is one small value.
const MOST_TEXT: usize = 256;
/// How long one of many attempts takes.
const BRIEF: Duration = Duration::from_secs(5);

/// Somebody who holds something, as it is stored: it may have stopped to believe in itself since.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Unique to the call that acquired it.
    pub id: String,
    /// What it said of itself.
    pub info: String,
    /// The name of a named permit, otherwise empty.
    pub name: String,
    /// How many units it holds.
    pub units: u32,
    /// Its fencing token.
    pub token: FencingToken,
    /// When it became a holder, by its own wall clock.
    pub since: Timestamp,
}

/// A key with holders and a queue; a handle, cheap to clone.
#[derive(Clone)]
pub(super) struct Holding(Arc<Inner>);

struct Inner {
    object: String,
    cell: Cell<Permits>,
    /// The same with a short deadline, for whoever tries again by himself and has to say in the end why it did not work.
    brief: Cell<Permits>,
    capacity: u32,
    lease: Lease,
    /// Where this handle's monotonic time begins.
    origin: Instant,
    /// What this handle has seen of the members: also of those that an attempt which does not wait has met.
    seen: Mutex<Sightings>,
    /// Renewals, and departures of those who were dropped.
    tasks: TaskTracker,
}

/// What somebody wants.
#[derive(Debug, Clone, Default)]
pub(super) struct Want {
    pub(super) units: u32,
    pub(super) info: String,
    pub(super) name: String,
}

/// What came of asking.
#[derive(Debug)]
enum Answer {
    Holds(FencingToken),
    /// It waits, since the write of this revision, unless another one has replaced that.
    Waits(Option<Revision>),
    Absent,
    Replaced,
    /// It may hold, and its token is not known: asking again tells.
    Unclear,
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").field("object", &self.0.object).field("lease", &self.0.lease).finish_non_exhaustive()
    }
}

impl Holding {
    /// Takes the key that `name` has below `kind`, such as `lock`.
    pub(super) fn new(
        space: &Space,
        kind: &'static str,
        name: &str,
        capacity: u32,
        lease: Duration,
    ) -> Result<Self, CoordinationError> {
        let lease = Lease::new(lease).ok_or(CoordinationError::Invalid("a lease is 1 second to 24 hours"))?;
        let object = format!("{kind} {name}");
        let prefix = Key::new(kind).expect("a word is a key");
        let cells = Cells::below(space, &prefix, codec());
        let cell = cells.cell(name).map_err(|error| CoordinationError::at(&object)(error.into()))?;
        let brief = cells.deadline(BRIEF).cell(name).map_err(|error| CoordinationError::at(&object)(error.into()))?;
        let (origin, seen, tasks) = (space.clock().instant(), Mutex::default(), TaskTracker::new());
        Ok(Self(Arc::new(Inner { object, cell, brief, capacity, lease, origin, seen, tasks })))
    }

    pub(super) fn clock(&self) -> &Clock {
        self.0.cell.clock()
    }

    /// This handle's monotonic time.
    fn now(&self) -> Duration {
        self.clock().instant().saturating_duration_since(self.0.origin)
    }

    /// Returns those who hold, in the order in which they got it.
    pub(super) async fn holders(&self) -> Result<Vec<Holder>, CoordinationError> {
        Ok(self.read().await?.map_or_else(Vec::new, |stored| holders(&stored)))
    }

    /// Returns how many units nobody holds.
    pub(super) async fn available(&self) -> Result<u32, CoordinationError> {
        Ok(self.read().await?.map_or(self.0.capacity, |stored| stored.value.available()))
    }

    async fn read(&self) -> Result<Option<Stored<Permits>>, CoordinationError> {
        let stored = self.0.cell.read().await.map_err(CoordinationError::at(&self.0.object))?;
        if let Some(stored) = &stored {
            Permits::from(Some(&stored.value), None, self.0.capacity).map_err(|refusal| self.refused(refusal))?;
        }
        Ok(stored)
    }

    /// Watches the key.
    pub(super) async fn watch(&self) -> Result<impl Stream<Item = Event<Permits>> + Send + Unpin + use<>, CoordinationError> {
        self.0.cell.watch().await.map_err(CoordinationError::at(&self.0.object))
    }

    /// Makes a request of a new id.
    fn ask(&self, want: &Want) -> Result<Ask, CoordinationError> {
        if want.info.len() > MOST_TEXT || want.name.len() > MOST_TEXT {
            return Err(CoordinationError::Invalid("what a holder says of itself, and a permit's name, are at most 256 bytes"));
        }
        let Want { units, info, name } = want.clone();
        let (id, now) = (unique(self.clock()), self.clock().now());
        Ok(Ask { id, beat: 0, units, lease: self.0.lease, info, name, now })
    }

    /// Changes the state, takes note of who is seen in it, and lets every write expire long after it was needed.
    async fn change<R: Send + 'static>(
        &self,
        change: impl FnMut(&mut Permits) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<(R, Option<Revision>), CoordinationError> {
        self.change_in(&self.0.cell, change).await
    }

    async fn change_in<R: Send + 'static>(
        &self,
        cell: &Cell<Permits>,
        mut change: impl FnMut(&mut Permits) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<(R, Option<Revision>), CoordinationError> {
        let capacity = self.0.capacity;
        let edit = cell.edit(move |draft| {
            let before = Permits::from(draft.get(), draft.revision().map(Revision::get), capacity)?;
            let mut after = before.clone();
            let result = change(&mut after)?;
            if after.is_free() {
                draft.remove();
            } else if after != before {
                draft.set(after.clone());
                // G15: a TTL belongs to one write, so each says it again.
                draft.expire_after(after.kept());
            }
            Ok((result, after))
        });
        let edited = edit.await.map_err(CoordinationError::at(&self.0.object))?;
        let (result, permits) = edited.result.map_err(|refusal| self.refused(refusal))?;
        self.note(&permits);
        Ok((result, edited.revision))
    }

    /// Asks to become a holder in one of the ways of [`Permits`], after removing those who are known to be dead.
    async fn request(
        &self,
        ask: &mut Ask,
        how: fn(&mut Permits, &Ask) -> Result<Standing, Refusal>,
    ) -> Result<Answer, CoordinationError> {
        let silent = self.seen().silent(self.now(), &ask.id);
        let own = ask.clone();
        // Also when it is not known whether it came: no beat of a member is ever there twice.
        ask.beat += 1;
        let change = self.change(move |permits| {
            for member in &silent {
                permits.evict(member);
            }
            how(permits, &own)
        });
        let (standing, revision) = match change.await {
            // The same request again: its id tells whether it was granted.
            Err(CoordinationError::Cell { source: CellError::Unknown(error), .. }) => {
                tracing::debug!(object = self.0.object, %error, "a request is repeated");
                return Ok(Answer::Unclear);
            }
            changed => changed?,
        };
        Ok(match standing {
            Standing::Holds(Some(token)) => Answer::Holds(token),
            // The write that granted it; without a revision another one has replaced that since, and has the token in it.
            Standing::Holds(None) => revision.map_or(Answer::Unclear, |r| Answer::Holds(FencingToken::new(r.get()))),
            Standing::Waits { .. } => Answer::Waits(revision),
            Standing::Absent => Answer::Absent,
            Standing::Replaced => Answer::Replaced,
        })
    }

    /// Takes note of who is in a state that was just read.
    fn note(&self, permits: &Permits) {
        let now = self.now();
        self.seen().note(now, permits.members());
    }

    fn seen(&self) -> MutexGuard<'_, Sightings> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, refusal: Refusal) -> CoordinationError {
        let mismatch = |what, stored: u32, wanted: u32| CoordinationError::Mismatch {
            object: self.0.object.clone(),
            what,
            stored: stored.to_string(),
            wanted: wanted.to_string(),
        };
        match refusal {
            Refusal::Capacity { stored, wanted } => mismatch("the capacity", stored, wanted),
            Refusal::Units { stored, wanted } => mismatch("under this name units of", stored, wanted),
            Refusal::Never { .. } => CoordinationError::Invalid("no permits, or more than there are, can never be had"),
        }
    }
}

/// Returns the holders in an entry.
pub(super) fn holders(stored: &Stored<Permits>) -> Vec<Holder> {
    let own = FencingToken::new(stored.revision.get());
    let holders = stored.value.holders().iter().map(|holder| {
        let permits::Holder { id, units, token, info, since, name, .. } = holder.clone();
        Holder { id, info, name, units, token: token.unwrap_or(own), since }
    });
    holders.collect()
}

fn codec() -> Codec<Permits> {
    Codec::new("permits", |permits| Ok(permits.encode()), |bytes| Permits::decode(bytes).map_err(CodecError::new::<Permits>))
}
