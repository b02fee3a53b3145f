//! A barrier across processes: nobody goes on before everybody has arrived, again and again.
//!
//! It promises that a generation is complete exactly when so many parties are there at once, and that a party that is missing
//! holds nobody longer than they want to wait: whoever gives up is not there any more. It does not know what the parties do, and
//! one that dies after it arrived is there until it arrives again, or the barrier expires.

use super::{
    CoordinationError,
    certain::certain,
    checked_id, checked_ttl,
    follow::{Follow, Seen},
};
use crate::{
    cell::{Cell, Cells, Draft},
    codec::{Codec, CodecError},
    core::coordination::barrier::{self as algebra, MAX_PARTIES, State},
    engine::{Key, Space},
    time::nonce,
};
use std::time::Duration;

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// Where parties wait for each other, at the key `barrier.NAME`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Barrier, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let phase = Barrier::new(&space, "phase", 2)?;
/// let ann = phase.arrive("ann").await?;
/// let bob = phase.arrive("bob").await?;
/// assert_eq!((ann.generation(), bob.generation()), (0, 0));
/// ann.wait().await?;
/// bob.wait().await?;
/// assert_eq!(phase.arrive("ann").await?.generation(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Barrier {
    cell: Cell<algebra::Barrier>,
    parties: u32,
    expires_after: Duration,
}

impl Barrier {
    /// Names a barrier of a space, for so many parties, 1 to 4,096. The name is any text; the number is the same everywhere.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for a number out of range, [`CoordinationError::Cell`] when the name is empty or too long
    /// for a key.
    pub fn new(space: &Space, name: &str, parties: u32) -> Result<Self, CoordinationError> {
        if parties == 0 || parties > MAX_PARTIES {
            return Err(CoordinationError::Invalid("a barrier is for 1 to 4096 parties"));
        }
        let prefix = Key::new("barrier")?;
        let cell = Cells::below(space, &prefix, codec()).cell(name)?;
        Ok(Self { cell, parties, expires_after: A_DAY })
    }

    /// Sets how long the barrier lives after a change that this handle makes, at least one second; 24 hours unless it is set.
    /// Generations then start over.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] below one second.
    pub fn expires_after(mut self, ttl: Duration) -> Result<Self, CoordinationError> {
        self.expires_after = checked_ttl(ttl)?;
        Ok(self)
    }

    /// Arrives as `id`; the last party to arrive lets all of them go on. A party that arrives again before that is there once.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for an id that is empty or longer than 512 bytes, [`CoordinationError::Mismatch`] when the
    /// barrier is for another number of parties, [`CoordinationError::Cell`] otherwise.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the party is there or not; arrive again.
    pub async fn arrive(&self, id: &str) -> Result<Arrived, CoordinationError> {
        let id: Box<str> = checked_id(id)?.into();
        let (name, arrival, born) = (id.clone(), algebra::Arrival::new(nonce()), nonce());
        let (parties, ttl) = (self.parties, self.expires_after);
        // Every repetition is the same arrival: one whose answer was lost finds the generation that it was part of.
        let place = certain(&self.cell, move |draft| {
            let before = draft.get().cloned();
            let mut after = before.clone().unwrap_or_else(|| algebra::Barrier::new(parties, born));
            if after.parties() != parties {
                return Err(after.parties());
            }
            let generation = after.arrive(&name, arrival);
            let born = after.born();
            if before.as_ref() != Some(&after) {
                draft.set(after);
                draft.expire_after(ttl);
            }
            Ok((born, generation))
        });
        let place = place.await.map_err(CoordinationError::at(self.name()))?;
        let (born, generation) = place.map_err(|stored| self.mismatch(stored))?;
        Ok(Arrived { barrier: self.clone(), id, arrival, born, generation })
    }

    /// Reads from the leader who waits, in the order of arrival.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Mismatch`] when the barrier is for another number of parties, otherwise [`CoordinationError::Cell`].
    pub async fn waiting(&self) -> Result<Vec<String>, CoordinationError> {
        match self.cell.read().await.map_err(CoordinationError::at(self.name()))? {
            Some(stored) if stored.value.parties() != self.parties => Err(self.mismatch(stored.value.parties())),
            stored => Ok(stored.iter().flat_map(|s| s.value.waiting()).map(str::to_owned).collect()),
        }
    }

    /// Removes the barrier: whoever waits sees [`CoordinationError::Closed`], and generations start over.
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
            what: "parties",
            stored: stored.to_string(),
            wanted: self.parties.to_string(),
        }
    }

    fn name(&self) -> &str {
        self.cell.key().as_str()
    }
}

/// A party that has arrived. Dropping it changes nothing: the party is there until the generation is complete, or
/// [`withdraw`](Self::withdraw) takes it back.
#[derive(Debug)]
#[must_use = "the others go on when everybody has arrived: wait for them, or withdraw"]
pub struct Arrived {
    barrier: Barrier,
    id: Box<str>,
    arrival: algebra::Arrival,
    /// Of the barrier that it arrived at.
    born: u64,
    generation: u64,
}

impl Arrived {
    /// Returns the generation that this arrival is part of: zero, and one more each time that everybody was there.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Waits until everybody has arrived.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Closed`] when the barrier was removed or has expired, or this arrival was withdrawn;
    /// [`CoordinationError::Cell`] when the watch cannot begin, or what is stored is no barrier.
    ///
    /// # Cancel safety
    ///
    /// Safe: it can be waited for again.
    pub async fn wait(&self) -> Result<(), CoordinationError> {
        let failed = || CoordinationError::at(self.barrier.name());
        let mut follow = Follow::of(&self.barrier.cell).await.map_err(failed())?;
        loop {
            let Seen::Value(stored) = follow.next().await.map_err(failed())? else { return Err(self.closed()) };
            match stored.value.seen_by(&self.id, self.generation) {
                _ if stored.value.born() != self.born => return Err(self.closed()),
                State::Waiting => {}
                State::Passed => return Ok(()),
                State::Gone => return Err(self.closed()),
            }
        }
    }

    /// Waits as [`wait`](Self::wait) does, and no longer than `limit`: then the arrival is withdrawn, so that a party that is missing
    /// for good leaves nobody counted who has given up.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Deadline`] when the others were not there until then, and this party is not there any more; otherwise
    /// as [`wait`](Self::wait). A generation that is complete at the last moment is waited for with success.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the party stays where it is, or is withdrawn if the time had come.
    pub async fn wait_within(self, limit: Duration) -> Result<(), CoordinationError> {
        match self.barrier.cell.clock().timeout(limit, self.wait()).await {
            Some(ended) => ended,
            None if self.take_back().await? == State::Passed => Ok(()),
            None => Err(CoordinationError::Deadline(self.barrier.name().to_owned())),
        }
    }

    /// Takes the arrival back; returns `false` when everybody had arrived already, so that there was nothing to take back.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`]; the party may be there still.
    pub async fn withdraw(self) -> Result<bool, CoordinationError> {
        Ok(self.take_back().await? != State::Passed)
    }

    async fn take_back(&self) -> Result<State, CoordinationError> {
        let (id, arrival, born, generation) = (self.id.clone(), self.arrival, self.born, self.generation);
        let ttl = self.barrier.expires_after;
        let seen = certain(&self.barrier.cell, move |draft| {
            let Some(before) = draft.get().filter(|b| b.born() == born) else { return State::Gone };
            let mut after = before.clone();
            let state = after.withdraw(&id, arrival, generation);
            if after != *before {
                draft.set(after);
                draft.expire_after(ttl);
            }
            state
        });
        seen.await.map_err(CoordinationError::at(self.barrier.name()))
    }

    fn closed(&self) -> CoordinationError {
        CoordinationError::Closed(self.barrier.name().to_owned())
    }
}

fn codec() -> Codec<algebra::Barrier> {
    Codec::new(
        "anabranch.v1.Barrier",
        |barrier| Ok(barrier.encode()),
        |bytes| algebra::Barrier::decode(bytes).map_err(CodecError::new::<algebra::Barrier>),
    )
}
