//! Who holds units of something scarce, and who waits for some: the state of locks, read-write locks, semaphores and elections.
//!
//! A lock is 1 unit of capacity 1, a semaphore some of `n`; of a read-write lock a reader takes 1 and a writer all. Every function
//! is safe to repeat: a member is known by its id, which is unique to the call that acquires, so whoever lost an answer
//! asks again. It promises that never more is held than the capacity, and that the queue is fair: nobody is granted what a member
//! before him waits for, so writers do not starve, and readers that stand side by side are granted together. It does not know
//! who is dead: somebody who saw it ([`Sightings`](super::lease::Sightings)) says so, and is believed only
//! while the member is still at the beat that was seen.
//!
//! A fencing token is the revision of the write that made somebody a holder. That write cannot know its own revision, so a new
//! holder has none, which reads: the one of the entry that first has me. Whoever changes the state next fills it in.

mod pb;
mod queue;
mod wire;

use super::{FencingToken, Lease, lease::Silent};
use crate::time::Timestamp;
use std::time::Duration;

/// Some units, those who hold them and those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permits {
    capacity: u32,
    holders: Vec<Holder>,
    waiters: Vec<Waiter>,
}

/// Somebody who holds units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Unique to the call that acquired.
    pub id: String,
    /// How many it holds, at least 1.
    pub units: u32,
    /// Its fencing token; `None` as long as only the revision of the entry that has it tells.
    pub token: Option<FencingToken>,
    /// What it said of itself, for people.
    pub info: String,
    /// When it became a holder, by its own wall clock; for people.
    pub since: Timestamp,
    /// The name of a named permit, otherwise empty.
    pub name: String,
    beat: u64,
    lease: Lease,
}

/// Somebody who waits for units.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiter {
    id: String,
    units: u32,
    name: String,
    beat: u64,
    lease: Lease,
}

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Unique to the call: the same id is the same request, however often it comes.
    pub id: String,
    /// How often the call has asked before. A member that was taken out and comes again begins at this beat, which is beyond every one
    /// that anybody can have seen of it: somebody may still remember one of them.
    pub beat: u64,
    /// How many units.
    pub units: u32,
    /// How long the member may be silent.
    pub lease: Lease,
    /// What it says of itself, for people.
    pub info: String,
    /// The name of a named permit, otherwise empty.
    pub name: String,
    /// The asking process's wall clock, for people.
    pub now: Timestamp,
}

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It holds what it asked for; without a token that is the revision of the write that this is part of.
    Holds(Option<FencingToken>),
    /// It waits.
    Waits {
        /// How many wait before it.
        ahead: usize,
    },
    /// It is no member.
    Absent,
    /// It is no member, since another call has come in its name.
    Replaced,
}

/// Why a request does not fit what is stored; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The state was made with another capacity.
    #[error("the capacity is {stored}, and {wanted} was asked for")]
    Capacity {
        /// What is stored.
        stored: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// The name holds or waits for another number of units.
    #[error("the name has {stored} units, and {wanted} were asked for")]
    Units {
        /// What is stored.
        stored: u32,
        /// What was asked for.
        wanted: u32,
    },
    /// Nobody can ever hold so many, or none.
    #[error("{wanted} units of {capacity} cannot be held")]
    Never {
        /// What was asked for.
        wanted: u32,
        /// How many there are.
        capacity: u32,
    },
}

impl Permits {
    /// The least time that a state is kept after a write: longer than an outage lasts.
    ///
    /// A server stores the marker of an expiry without looking at what was written meanwhile, so a write at the moment when the one before
    /// it expires is gone, and with it whoever holds by it.
    pub const LEAST_KEPT: Duration = Duration::from_secs(3600);

    /// Makes units that nobody holds or waits for.
    #[must_use]
    pub fn free(capacity: u32) -> Self {
        Self { capacity, holders: Vec::new(), waiters: Vec::new() }
    }

    /// Goes on from what is stored in an entry of `revision`, or from nothing. Fills in the tokens that only the revision tells;
    /// without one they stay open, since they belong to the write that is being made.
    ///
    /// # Errors
    ///
    /// [`Refusal::Capacity`] when something else is stored than is asked for.
    pub fn from(stored: Option<&Self>, revision: Option<u64>, capacity: u32) -> Result<Self, Refusal> {
        let Some(stored) = stored else { return Ok(Self::free(capacity)) };
        if stored.capacity != capacity {
            return Err(Refusal::Capacity { stored: stored.capacity, wanted: capacity });
        }
        let mut permits = stored.clone();
        if let Some(revision) = revision {
            for holder in &mut permits.holders {
                holder.token.get_or_insert(FencingToken::new(revision));
            }
        }
        Ok(permits)
    }

    /// Returns how many units there are.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Returns those who hold some, in the order in which they got them.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }

    /// Returns how many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Returns how many units nobody holds.
    #[must_use]
    pub fn available(&self) -> u32 {
        u32::try_from(u64::from(self.capacity).saturating_sub(self.held())).unwrap_or(0)
    }

    /// Tells whether nobody holds or waits, so that there is nothing to be stored.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }

    /// Returns every member's id, beat and lease: what an observer takes note of.
    pub fn members(&self) -> impl Iterator<Item = (&str, u64, Lease)> {
        let holders = self.holders.iter().map(|h| (h.id.as_str(), h.beat, h.lease));
        holders.chain(self.waiters.iter().map(|w| (w.id.as_str(), w.beat, w.lease)))
    }

    /// Returns how long a write of this state is to be kept: well beyond the longest lease, so that no member that lives can be
    /// collected, and what the dead leave does not stay for ever. It is garbage collection and makes nothing safe.
    #[must_use]
    pub fn kept(&self) -> Duration {
        let longest = self.members().map(|(.., lease)| lease.length()).max().unwrap_or_default();
        (longest * 3).max(Self::LEAST_KEPT)
    }

    /// Returns where a member stands.
    #[must_use]
    pub fn standing(&self, id: &str) -> Standing {
        if let Some(holder) = self.holders.iter().find(|h| h.id == id) {
            return Standing::Holds(holder.token);
        }
        self.place(id).map_or(Standing::Absent, |ahead| Standing::Waits { ahead })
    }

    /// Counts up a holder's beat: it lives, and holds on for another lease.
    pub fn renew(&mut self, id: &str) -> Standing {
        let Some(holder) = self.holders.iter_mut().find(|h| h.id == id) else { return Standing::Absent };
        holder.beat += 1;
        Standing::Holds(holder.token)
    }

    /// Takes a member out, whether it holds or waits; tells whether it was there.
    pub fn release(&mut self, id: &str) -> bool {
        let before = self.holders.len() + self.waiters.len();
        self.holders.retain(|h| h.id != id);
        self.waiters.retain(|w| w.id != id);
        self.holders.len() + self.waiters.len() < before
    }

    /// Takes a member out that was seen to be silent, unless it has beaten since; tells whether it did.
    pub fn evict(&mut self, silent: &Silent) -> bool {
        let same = self.members().any(|(id, beat, _)| id == silent.id && beat == silent.beat);
        same && self.release(&silent.id)
    }

    fn held(&self) -> u64 {
        self.holders.iter().map(|h| u64::from(h.units)).sum()
    }
}
