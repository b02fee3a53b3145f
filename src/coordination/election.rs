//! An election: one leader among candidates, with terms that grow, and everybody can see who leads.

use super::{
    CoordinationError,
    holding::{Guard, Holding, Want, holders},
};
use crate::{
    cell::{Event, Fence},
    core::coordination::{FencingToken, Lost, lease::Sightings, permits::Permits},
    engine::Space,
    time::{Clock, Instant},
};
use futures_util::{Stream, StreamExt as _, stream};
use std::{future::Future, time::Duration};

/// Candidates of whom one leads, at the key `election.NAME`.
///
/// The first that campaigns leads, until it resigns or is silent for its lease; the others follow in the order in which they
/// came. A leader stops to believe that it leads before another can start.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::Election, engine::Engine};
/// use futures_util::StreamExt as _;
/// use std::time::Duration;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let election = Election::new(&space, "scheduler", Duration::from_secs(30))?.candidate("ann");
/// let leadership = election.campaign().await?;
/// let leader = election.observe().await?.next().await.flatten().unwrap();
/// assert_eq!((leader.candidate.as_str(), leader.term), ("ann", leadership.term()));
/// leadership.resign().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Election {
    holding: Holding,
    want: Want,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leader {
    /// What the leader calls itself.
    pub candidate: String,
    /// Its term: greater than those of all leaders before.
    pub term: FencingToken,
}

impl Election {
    /// Takes the election of this name; nothing is stored yet. `lease` as for [`Lock::new`](super::Lock::new).
    ///
    /// # Errors
    ///
    /// As [`Lock::new`](super::Lock::new).
    pub fn new(space: &Space, name: &str, lease: Duration) -> Result<Self, CoordinationError> {
        let want = Want { units: 1, ..Want::default() };
        Ok(Self { holding: Holding::new(space, "election", name, 1, lease)?, want })
    }

    /// Says what this candidate is called, at most 256 bytes. Names need not be unique; terms are.
    #[must_use]
    pub fn candidate(mut self, name: impl Into<String>) -> Self {
        self.want.info = name.into();
        self
    }

    /// Waits to become the leader.
    ///
    /// # Errors
    ///
    /// As [`Lock::acquire`](super::Lock::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`Lock::acquire`](super::Lock::acquire): whoever is dropped is no candidate any more.
    pub async fn campaign(&self) -> Result<Leadership, CoordinationError> {
        self.holding.acquire(&self.want, None).await.map(Leadership)
    }

    /// Returns who leads, as it is stored.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when it cannot be read.
    pub async fn leader(&self) -> Result<Option<Leader>, CoordinationError> {
        let holder = self.holding.holders().await?.pop();
        Ok(holder.map(|holder| Leader { candidate: holder.info, term: holder.token }))
    }

    /// Tells who leads: now, and at every change; `None` while nobody does, also when the leader has been silent for its lease.
    /// A slow reader sees the newest leader and not each.
    ///
    /// The stream ends only when the state cannot be read any more.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the watch cannot begin; one that began heals itself.
    pub async fn observe(&self) -> Result<impl Stream<Item = Option<Leader>> + Send + Unpin + use<>, CoordinationError> {
        let events = self.holding.watch().await?;
        let clock = self.holding.clock().clone();
        let origin = clock.instant();
        let seen = Sightings::default();
        let observer = Observer { events, clock, origin, seen, stored: None, synced: false, told: None, silent: true };
        Ok(Box::pin(stream::unfold(observer, |mut observer| async move {
            let leader = observer.next().await?;
            Some((leader, observer))
        })))
    }
}

/// Who watches an election.
struct Observer<S> {
    events: S,
    clock: Clock,
    origin: Instant,
    seen: Sightings,
    stored: Option<(Leader, String)>,
    /// Whether everything that was there was told.
    synced: bool,
    told: Option<Leader>,
    /// Whether nothing was told yet.
    silent: bool,
}

impl<S: Stream<Item = Event<Permits>> + Unpin> Observer<S> {
    /// Returns the next leader that differs from the one before; `None` when the watch is over.
    async fn next(&mut self) -> Option<Option<Leader>> {
        loop {
            let now = self.clock.instant().saturating_duration_since(self.origin);
            let silent = self.seen.silent(now, "");
            let lives = |id: &String| !silent.iter().any(|member| member.id == *id);
            let leader = self.stored.as_ref().filter(|(_, id)| lives(id)).map(|(leader, _)| leader.clone());
            if self.synced && (self.silent || self.told != leader) {
                (self.told, self.silent) = (leader.clone(), false);
                return Some(leader);
            }
            // Somebody who is known to be silent changes nothing any more.
            let due = self.stored.as_ref().filter(|(_, id)| lives(id)).and_then(|_| self.seen.next_due(""));
            let event = match due {
                Some(due) => match self.clock.timeout(due.saturating_sub(now), self.events.next()).await {
                    Some(event) => event?,
                    None => continue,
                },
                None => self.events.next().await?,
            };
            match event {
                Event::Initial(stored) | Event::Put(stored) => {
                    let now = self.clock.instant().saturating_duration_since(self.origin);
                    // Only who leads is of interest.
                    let leader = holders(&stored).pop();
                    let members = stored.value.members().filter(|(id, ..)| leader.as_ref().is_some_and(|l| l.id == *id));
                    self.seen.note(now, members);
                    self.stored = leader.map(|l| (Leader { candidate: l.info, term: l.token }, l.id));
                    self.synced = true;
                }
                Event::Deleted(..) | Event::Expired(..) => self.stored = None,
                // What was there is only gone if it is not told again.
                Event::Resynced => (self.synced, self.stored) = (false, None),
                Event::Synced => self.synced = true,
                Event::Unreadable(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "an election cannot be observed");
                    return None;
                }
            }
        }
    }
}

/// Being the leader. Dropping it resigns in the background, as for a [`Guard`].
#[derive(Debug)]
#[must_use = "what is dropped is given up"]
pub struct Leadership(Guard);

impl Leadership {
    /// Returns the term, which is a fencing token: greater than those of all leaders before.
    #[must_use]
    pub fn term(&self) -> FencingToken {
        self.0.token()
    }

    /// Tells whether it still leads; see [`Guard::is_held`].
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.0.is_held()
    }

    /// Returns until when it leads, if no renewal comes through from now on.
    #[must_use]
    pub fn valid_until(&self) -> Instant {
        self.0.valid_until()
    }

    /// Waits until it does not lead any more, which comes before another can start; see [`Guard::lost`].
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing changes.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.lost()
    }

    /// Gives up to lead, and returns when others can.
    ///
    /// # Errors
    ///
    /// As [`Guard::release`].
    ///
    /// # Cancel safety
    ///
    /// As [`Guard::release`].
    pub async fn resign(self) -> Result<(), CoordinationError> {
        self.0.release().await
    }
}

impl Fence for Leadership {
    fn token(&self) -> Result<FencingToken, Lost> {
        Fence::token(&self.0)
    }
}
