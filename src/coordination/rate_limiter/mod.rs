//! A limiter that all processes share: so many calls in a time, whoever makes them.
//!
//! It never admits more than its quota: what may have been spent counts as spent, and when the store is away nobody passes unless
//! that was asked for. `core::coordination` has the rule and the bound, also for clocks that differ; this file knows which key
//! it is at, what to do about outages, and how to wait.

mod answer;
mod local;

pub use answer::{Decision, Outage, Reservation};

use self::local::Local;
use super::CoordinationError;
use crate::{
    cell::{Cell, CellError, Cells},
    codec::{Codec, CodecError},
    core::coordination::{Block, Limit, Quota, Reserved, Verdict},
    engine::{Key, Space},
    telemetry,
    time::{Clock, Instant, Timestamp},
};
use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How much longer a state is kept than it matters. Clocks that differ by more would let it be forgotten too early.
const MARGIN: Duration = Duration::from_secs(60);

/// Lets so many pass in a time, in all processes together.
///
/// A limiter is one key of a space, and [`key`](Self::key) gives it as many further ones as there are customers, hosts or
/// accounts, each with the same quota of its own. A key that is idle leaves nothing behind.
///
/// # What is promised
///
/// In any span of time of length `W`, at most `burst + amount * (W + S + D) / period` cells are admitted. `S` is the greatest
/// difference between the clocks of the processes that use the limiter; with equal clocks it is zero, and the bound is that of
/// a bucket of tokens. `D` is how late an answer comes: it is dated when the store is asked, so a process that is paused, or
/// whose write is answered late, uses its cells as much later. Clocks may differ by up to a minute; beyond that, a state may be
/// forgotten too early, which admits one burst more. An answer that was lost counts as spent.
///
/// # In this process
///
/// Calls that come at the same time share one write. With [`leased`](Self::leased) a process takes cells in blocks and hands
/// them out without asking, under the same bound.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::{Decision, RateLimiter}, core::coordination::Quota, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let mails = RateLimiter::new(&space, "smtp", Quota::per_minute(30)?.burst(2)?)?;
/// mails.until_ready().await?; // waits for its turn
///
/// let customer = mails.key("customer-7")?; // has a quota of its own
/// assert!(customer.check(2).await?.is_allowed());
/// let Decision::Denied { retry_in } = customer.check_one().await? else { panic!("two at once") };
/// assert!(retry_in.as_secs() <= 2);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct RateLimiter {
    limiter: Arc<str>,
    /// The limiter, and the key if it is at one.
    name: Arc<str>,
    quota: Quota,
    cell: Cell<Limit>,
    /// All limiters, and the keys of this one.
    cells: (Cells<Limit>, Cells<Limit>),
    outage: Outage,
    /// Whether the last answer was one of [`Outage::FailOpen`].
    open: Arc<AtomicBool>,
    local: Option<Arc<Local>>,
}

fn codec() -> Codec<Limit> {
    let encode = |limit: &Limit| Ok(limit.encode().into());
    Codec::new("anabranch.limit", encode, |bytes| Limit::decode(bytes).map_err(CodecError::new::<Limit>))
}

impl RateLimiter {
    /// Takes the limiter of a name, which is stored at the first call that it admits. Every process has to give the same quota.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the name is empty, or too long for a key.
    pub fn new(space: &Space, name: &str, quota: Quota) -> Result<Self, CoordinationError> {
        let fail = |error: crate::engine::NameError| CoordinationError::at(name)(error.into());
        let all = Key::new("limit").map_err(fail)?;
        let all = Cells::below(space, &all, codec());
        let cell = all.cell(name).map_err(fail)?;
        let cells = (all, Cells::below(space, cell.key(), codec()));
        let (limiter, outage) = (Arc::<str>::from(name), Outage::default());
        Ok(Self { name: Arc::clone(&limiter), limiter, quota, cell, cells, outage, open: Arc::default(), local: None })
    }

    /// Sets how long a call tries to reach the store, or to come first among other processes; 30 seconds unless it is set.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "a key that was made of a label is made of it again")]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        let (all, keys) = self.cells;
        self.cells = (all.deadline(deadline), keys.deadline(deadline));
        let key = self.cell.key();
        let cells = if *self.name == *self.limiter { &self.cells.0 } else { &self.cells.1 };
        let again = cells.label(key).and_then(|label| cells.cell(&label).ok());
        self.cell = again.expect("the key was made of a label");
        self
    }

    /// Sets what happens when the store does not answer until the [`deadline`](Self::deadline): an error, unless it is set.
    #[must_use]
    pub fn on_outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// Takes cells from the store in blocks of up to `block`, and hands them out without asking it. Admits nothing more than
    /// without. A block never takes what is not free at the moment, and each of its cells is given up when the bucket would
    /// have got it back; a process that dies loses the rest.
    ///
    /// Blocks belong to this object, its clones and its keys; another object of the same name has its own. Whoever finds a cell
    /// at hand may pass before somebody who waits elsewhere.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] when a block would be larger than the burst.
    pub fn leased(mut self, block: NonZeroU32) -> Result<Self, CoordinationError> {
        if block > self.quota.most_at_once() {
            return Err(CoordinationError::Invalid("a block of a limiter is no larger than its burst"));
        }
        self.local = Some(Local::new(self.quota, block, self.cell.clock().clone()));
        Ok(self)
    }

    /// Returns the limiter at one of its keys: any text. Keys of a key are keys of the limiter.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the text is empty, or too long for a key.
    pub fn key(&self, key: &str) -> Result<Self, CoordinationError> {
        let name: Arc<str> = format!("{}/{key}", self.limiter).into();
        let cell = self.cells.1.cell(key).map_err(|error| CoordinationError::at(&*name)(error.into()))?;
        Ok(Self { name, cell, ..self.clone() })
    }

    /// Returns the quota.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Returns of how many keys this process has cells at hand, or knows that there are none for now.
    #[must_use]
    pub fn keys_at_hand(&self) -> usize {
        self.local.as_ref().map_or(0, |local| local.len())
    }

    /// Asks for one cell, see [`check`](Self::check).
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_one(&self) -> Result<Decision, CoordinationError> {
        self.check(1).await
    }

    /// Asks for `n` cells, all of them or none, at once. A denial changes nothing.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for no cells, or more than the burst. [`CoordinationError::Mismatch`] when the stored quota
    /// is another; see [`change_quota`](Self::change_quota). [`CoordinationError::Cell`] when the store does not answer, does not
    /// know whether it was written, or has something at the key that is no limiter: do not pass.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have spent its cells.
    pub async fn check(&self, n: u32) -> Result<Decision, CoordinationError> {
        let n = self.cells(n)?;
        let verdict = match &self.local {
            Some(local) => self.check_leased(local, n).await,
            None => self.decide(move |limit, now| limit.check(n, now)).await,
        };
        match verdict {
            Ok(Verdict::Allowed { remaining }) => Ok(Decision::Allowed { remaining, failed_open: false }),
            Ok(Verdict::Denied { retry_in }) => Ok(Decision::Denied { retry_in }),
            Ok(Verdict::TooMany { .. }) => Err(TOO_MANY),
            Err(error) => self.fail(error).map(|()| Decision::Allowed { remaining: 0, failed_open: true }),
        }
    }

    /// Takes the next `n` cells, however long it takes until they are free, up to 366 days. Whoever reserves stands behind all
    /// who did before, in every process.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), and [`CoordinationError::Deadline`] when it would be more than 366 days.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have spent its cells.
    pub async fn reserve(&self, n: u32) -> Result<Reservation, CoordinationError> {
        self.reserve_until(n, None).await
    }

    /// Takes the next `n` cells if they are free within a time, from now on.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check), and [`CoordinationError::Deadline`] when they are not: then nothing is spent, unless the store
    /// took longer than that to answer.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have spent its cells.
    pub async fn reserve_within(&self, n: u32, within: Duration) -> Result<Reservation, CoordinationError> {
        let clock = self.cell.clock();
        let Some(until) = clock.instant().checked_add(within) else { return self.reserve(n).await };
        let reserved = clock.timeout(within, self.reserve_until(n, Some(until))).await;
        reserved.unwrap_or_else(|| Err(CoordinationError::Deadline(self.name.to_string())))
    }

    /// Waits for one cell, see [`until_ready_n`](Self::until_ready_n).
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    ///
    /// # Cancel safety
    ///
    /// As [`until_ready_n`](Self::until_ready_n).
    pub async fn until_ready(&self) -> Result<Reservation, CoordinationError> {
        self.until_ready_n(1).await
    }

    /// Waits for `n` cells: takes them at once, stands behind all who did before, and returns when they are free.
    ///
    /// # Errors
    ///
    /// As [`reserve`](Self::reserve).
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped while it waits has spent its cells: nobody else gets them.
    pub async fn until_ready_n(&self, n: u32) -> Result<Reservation, CoordinationError> {
        let reservation = self.reserve(n).await?;
        reservation.ready().await;
        Ok(reservation)
    }

    /// Waits for one cell for at most a time, see [`until_ready_n_within`](Self::until_ready_n_within).
    ///
    /// # Errors
    ///
    /// As [`reserve_within`](Self::reserve_within).
    ///
    /// # Cancel safety
    ///
    /// As [`until_ready_n`](Self::until_ready_n).
    pub async fn until_ready_within(&self, within: Duration) -> Result<Reservation, CoordinationError> {
        self.until_ready_n_within(1, within).await
    }

    /// Waits for `n` cells for at most a time. When they will not be free by then it says so at once, and spends nothing.
    ///
    /// # Errors
    ///
    /// As [`reserve_within`](Self::reserve_within).
    ///
    /// # Cancel safety
    ///
    /// As [`until_ready_n`](Self::until_ready_n).
    pub async fn until_ready_n_within(&self, n: u32, within: Duration) -> Result<Reservation, CoordinationError> {
        let reservation = self.reserve_within(n, within).await?;
        reservation.ready().await;
        Ok(reservation)
    }

    /// Stores the quota of this limiter in the place of another one, and returns that; `None` when the stored one is the same, or
    /// nothing is stored. What was spent stays spent, in cells. Processes that still give the other quota get
    /// [`CoordinationError::Mismatch`] from then on.
    ///
    /// It is about this key only: each key of a limiter has its own state.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the store does not answer, or does not know: ask again, which is harmless.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have changed it.
    pub async fn change_quota(&self) -> Result<Option<Quota>, CoordinationError> {
        let (quota, clock) = (self.quota, self.cell.clock().clone());
        let changed = self.cell.edit(move |draft| {
            let mut limit = *draft.get()?;
            let before = limit.quota();
            let changed = limit.change_quota(quota, clock.now());
            changed.then(|| {
                draft.set(limit);
                draft.expire_after(limit.matters_for() + MARGIN);
                before
            })
        });
        let changed = changed.await.map_err(CoordinationError::at(&*self.name))?;
        if let Some(local) = &self.local {
            local.forget(self.cell.key());
        }
        Ok(changed.result)
    }

    fn cells(&self, n: u32) -> Result<NonZeroU32, CoordinationError> {
        let n = NonZeroU32::new(n).ok_or(CoordinationError::Invalid("a limiter is asked for at least one cell"))?;
        if n > self.quota.most_at_once() { Err(TOO_MANY) } else { Ok(n) }
    }

    async fn check_leased(&self, local: &Arc<Local>, n: NonZeroU32) -> Result<Verdict, CoordinationError> {
        let slot = local.slot(self.cell.key());
        if let Some(verdict) = slot.answer(n, self.cell.clock().now()) {
            return Ok(verdict);
        }
        let fetching = slot.fetching.try_lock();
        let block = if fetching.is_ok() { local.block } else { n };
        let lease = move |limit: &mut Limit, now| (limit.lease(n, block, now), now);
        // A crash from here on loses the block, and spends it.
        let ((verdict, block), at) = self.decide(lease).await?;
        match verdict {
            Verdict::Denied { retry_in } => slot.deny(n, at + retry_in),
            _ => slot.fill(block),
        }
        Ok(verdict)
    }

    async fn reserve_until(&self, n: u32, until: Option<Instant>) -> Result<Reservation, CoordinationError> {
        let n = self.cells(n)?;
        let clock = self.cell.clock().clone();
        let at_hand = self.local.as_ref().map(|local| (local.slot(self.cell.key()), local.block));
        if at_hand.as_ref().is_some_and(|(slot, _)| slot.take(n, clock.now())) {
            return Ok(self.reservation(n, (clock.now(), clock.instant()), Duration::ZERO));
        }
        let fetching = at_hand.as_ref().and_then(|(slot, block)| Some((slot.fetching.try_lock().ok()?, *block)));
        let block = fetching.as_ref().map_or(n, |(_, block)| *block);
        let reserve = move |limit: &mut Limit, now| {
            let instant = clock.instant();
            let longest = until.map_or(Duration::MAX, |until| until.saturating_duration_since(instant));
            if longest.is_zero() {
                // Whoever asked has gone: nothing is spent for him.
                return (Reserved::Denied { wait: Duration::ZERO }, None, (now, instant));
            }
            let (reserved, leased) = match limit.lease(n, block, now) {
                (Verdict::Allowed { .. }, leased) => (Reserved::In { wait: Duration::ZERO }, Some(leased)),
                // What is not free at once is not leased: others wait for it too.
                _ => (limit.reserve(n, now, longest), None::<Block>),
            };
            (reserved, leased, (now, instant))
        };
        match self.decide(reserve).await {
            Ok((Reserved::In { wait }, leased, at)) => {
                if let (Some((slot, _)), Some(leased)) = (&at_hand, leased) {
                    slot.fill(leased);
                }
                Ok(self.reservation(n, at, wait))
            }
            Ok((Reserved::Denied { .. }, ..)) => Err(CoordinationError::Deadline(self.name.to_string())),
            Ok((Reserved::TooMany { .. }, ..)) => Err(TOO_MANY),
            Err(error) => {
                self.fail(error)?;
                let clock = self.cell.clock();
                let reservation = self.reservation(n, (clock.now(), clock.instant()), Duration::ZERO);
                Ok(Reservation { failed_open: true, ..reservation })
            }
        }
    }

    fn reservation(&self, n: NonZeroU32, (now, instant): (Timestamp, Instant), wait: Duration) -> Reservation {
        if !wait.is_zero() {
            telemetry::limiter_waits(&self.name, n.get(), wait);
        }
        let clock = self.cell.clock().clone();
        Reservation { clock, at: instant + wait, ready_at: now + wait, failed_open: false }
    }

    /// Decides on the stored state, and stores what has changed.
    ///
    /// The time is read when the decision is made and not when it was asked for: whoever stood in line during an outage would
    /// otherwise be admitted as of then, together with everyone who came later. A closure that runs again decides anew.
    async fn decide<R, F>(&self, decide: F) -> Result<R, CoordinationError>
    where
        R: Send + 'static,
        F: Fn(&mut Limit, Timestamp) -> R + Send + 'static,
    {
        let (quota, clock): (Quota, Clock) = (self.quota, self.cell.clock().clone());
        let edited = self.cell.edit(move |draft| {
            let now = clock.now();
            let stored = draft.get().copied();
            let mut limit = stored.unwrap_or_else(|| Limit::new(quota, now));
            if limit.quota() != quota {
                return Err(limit.quota());
            }
            let before = limit;
            let decision = decide(&mut limit, now);
            if limit != before {
                draft.set(limit);
                draft.expire_after(limit.matters_for() + MARGIN);
            }
            Ok(decision)
        });
        let edited = edited.await.map_err(CoordinationError::at(&*self.name))?;
        // A crash here has spent the cells, and nobody was let through.
        self.open.store(false, Ordering::Relaxed);
        edited.result.map_err(|stored| CoordinationError::Mismatch {
            object: self.name.to_string(),
            what: "quota",
            stored: stored.to_string(),
            wanted: quota.to_string(),
        })
    }

    /// Hands on an error, unless it is an outage in which everyone may pass.
    fn fail(&self, error: CoordinationError) -> Result<(), CoordinationError> {
        let outage =
            matches!(&error, CoordinationError::Cell { source: CellError::Unavailable(_) | CellError::Unknown(_), .. });
        if self.outage == Outage::FailClosed || !outage {
            return Err(error);
        }
        telemetry::limiter_fails_open(&self.name, &error, !self.open.swap(true, Ordering::Relaxed));
        Ok(())
    }
}

const TOO_MANY: CoordinationError = CoordinationError::Invalid("more cells were asked for at once than the burst has");
