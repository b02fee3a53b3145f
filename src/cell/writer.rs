//! The only read-modify-write loop of the library: serves the line of one key.
//!
//! It takes everyone in line, runs their closures on what it knows of the key, and writes the outcome with one compare-and-set.
//! A conflict means that another process was first: the key is read again, and the closures run again. What is known is trusted
//! where that was right lately, and read first elsewhere. An answer that was lost is looked for by the trail of the value, so
//! that a write is neither repeated when it happened nor given up when it did not.
//!
//! A crash on any line here leaves closures that were not answered: each happened once, or not at all.

use super::{
    desk::{Desk, Known, Next, Turn},
    draft::Draft,
    error::{CellError, Shared},
    shelf::{Shelf, count},
    trail::{Base, Fate, Mark, Trail},
    work::Work,
};
use crate::{
    engine::{Revision, StoreError},
    error::BoxError,
    telemetry,
    time::{Backoff, Clock, Instant, nonce},
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tracing::Instrument as _;

/// Delays after conflicts: the first ones are about a round trip, so that whoever lost comes second.
pub(super) const CONFLICT: (Duration, Duration) = (Duration::from_micros(500), Duration::from_millis(500));
/// Delays while the store is away.
pub(super) const AWAY: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

type Batch<T> = Vec<Box<dyn Work<T>>>;

impl<T: Clone + Send + Sync + 'static> Shelf<T> {
    /// Serves somebody who found nobody at the desk, in his own task. When he stops to wait, or never looks again, those who come after
    /// him leave him behind.
    pub(super) async fn lead(self: &Arc<Self>, desk: &Desk<T>, work: Box<dyn Work<T>>, number: u64) {
        let mut lead = Lead { known: desk.take_known(), done: false, desk, clock: &self.clock, number };
        let span = telemetry::cell_span(&desk.key, 1);
        let round = Round { shelf: self, desk, known: &mut lead.known, fresh: false, attempts: 0 };
        round.run(vec![work]).instrument(span).await;
        lead.done = true;
        drop(lead);
        self.finished(desk);
    }

    /// Has a line served, by a task of its own: whoever waits for his closure may stop to wait, or never look again, and holds up
    /// nobody.
    pub(super) fn serve(self: &Arc<Self>, desk: Arc<Desk<T>>) {
        let own = Arc::clone(self);
        let serving = Serving { desk, done: false };
        let served = async move {
            // As a whole: of a capture by fields the drop would see a copy.
            let mut serving = serving;
            let desk = &serving.desk;
            desk.without_leader(&own.clock).await;
            let mut known = desk.take_known();
            loop {
                // Whoever is about to come shares the write.
                desk.gather().await;
                match desk.next(&mut known, own.clock.instant()) {
                    Next::Edits(batch) => {
                        let span = telemetry::cell_span(&desk.key, batch.len());
                        let round = Round { shelf: &own, desk, known: &mut known, fresh: false, attempts: 0 };
                        round.run(batch).instrument(span).await;
                    }
                    Next::Alone(turn) => {
                        let (desk, known) = (Arc::clone(desk), known.take());
                        serving.done = true;
                        // Whoever does not want it any more gives it back at once.
                        return drop(turn.send(Turn::new(known, move |known| {
                            if desk.give_back(known) {
                                own.serve(desk);
                            }
                        })));
                    }
                    Next::Nobody => {
                        own.finished(desk);
                        serving.done = true;
                        return;
                    }
                }
            }
        };
        self.spawn(served);
    }
}

/// A task that serves a line.
struct Serving<T> {
    desk: Arc<Desk<T>>,
    done: bool,
}

impl<T> Drop for Serving<T> {
    /// Lets those go who will not be served, where the runtime ends first.
    fn drop(&mut self) {
        if !self.done {
            self.desk.abandon();
        }
    }
}

/// Somebody who leads; dropping it lets others lead.
struct Lead<'a, T> {
    known: Option<Known<T>>,
    /// Whether it came to its end: before, what is known is in pieces.
    done: bool,
    desk: &'a Desk<T>,
    clock: &'a Clock,
    number: u64,
}

impl<T> Drop for Lead<'_, T> {
    fn drop(&mut self) {
        let known = self.known.take().filter(|_| self.done);
        self.desk.end_lead(self.number, known, self.clock.instant());
    }
}

/// One batch on its way into the store.
struct Round<'a, T> {
    shelf: &'a Shelf<T>,
    desk: &'a Desk<T>,
    known: &'a mut Option<Known<T>>,
    /// Whether what is known was read after the closures came.
    fresh: bool,
    attempts: u32,
}

/// How an attempt to write ended.
enum Written {
    Done(Option<Revision>),
    Conflict,
    Away(BoxError),
    Lost(BoxError),
    Rejected(CellError),
}

impl<T: Clone + Send + Sync + 'static> Round<'_, T> {
    async fn run(mut self, mut batch: Batch<T>) {
        let clock = &self.shelf.clock;
        let mut conflicts = Backoff::new(CONFLICT.0, CONFLICT.1);
        let mut outages = Backoff::new(AWAY.0, AWAY.1);
        let guess = self.known.as_ref().map(|known| known.base.revision);
        if !self.shelf.is_lucky(self.desk) {
            *self.known = None;
        }
        while !batch.is_empty() {
            let Some(known) = self.known.as_mut() else {
                match self.read().await {
                    Ok(known) => {
                        if let Some(guess) = guess.filter(|_| self.attempts == 0) {
                            self.shelf.note(self.desk, guess == known.base.revision);
                        }
                        (*self.known, self.fresh) = (Some(known), true);
                    }
                    Err(error @ CellError::Unavailable(_)) => {
                        if self.expire(&mut batch, error) {
                            clock.sleep(outages.next_delay()).await;
                        }
                    }
                    Err(error) => return fail_all(batch, error),
                }
                continue;
            };
            let base = known.base;
            let mut draft = known.draft();
            if let Some(panicked) = batch.iter_mut().position(|work| !work.run(&mut draft)) {
                // It spoilt the value: the others start over without it.
                batch.remove(panicked).done(None);
                *self.known = None;
                continue;
            }
            if !draft.is_touched() {
                known.value = draft.into_value();
                if self.fresh || self.confirm(base).await {
                    return self.succeed(batch, None);
                }
                continue;
            }
            self.attempts += 1;
            let guessed = self.attempts == 1 && !self.fresh;
            let until = batch.iter().map(|work| work.deadline()).max().unwrap_or_else(|| clock.instant());
            let written = match Sent::new(self.shelf, draft, base) {
                Ok(mut sent) => self.write(&mut sent, until).await,
                Err(error) => Written::Rejected(error),
            };
            match written {
                Written::Done(revision) => {
                    if guessed {
                        self.shelf.note(self.desk, true);
                    }
                    return self.succeed(batch, revision);
                }
                Written::Conflict => {
                    count(&self.shelf.counters.conflicts, 1);
                    if guessed {
                        self.shelf.note(self.desk, false);
                    }
                    let key = self.desk.key.clone();
                    let contended = CellError::Contended { key, attempts: self.attempts, last: base.revision };
                    // A guess that was out of date is no contention, and neither is what happens once to somebody who is alone here.
                    let chance = !self.fresh || (batch.len() == 1 && self.attempts <= 2);
                    if self.expire(&mut batch, contended) && !chance {
                        clock.sleep(conflicts.next_delay()).await;
                    }
                }
                Written::Away(source) => {
                    if self.expire(&mut batch, CellError::Unavailable(source)) {
                        clock.sleep(outages.next_delay()).await;
                    }
                }
                Written::Lost(source) => {
                    fail_all(batch, CellError::Unknown(source));
                    batch = Vec::new();
                }
                Written::Rejected(error) if batch.len() > 1 => {
                    // On account of one of them, or of all of them together.
                    tracing::debug!(%error, closures = batch.len(), "a shared write was rejected");
                    let rest = batch.split_off(batch.len() / 2);
                    self.desk.put_back(rest);
                }
                Written::Rejected(error) => {
                    fail_all(batch, error);
                    batch = Vec::new();
                }
            }
            (*self.known, self.fresh) = (None, false);
        }
    }

    /// Answers everyone with what his closure returned in its last run.
    fn succeed(&self, batch: Batch<T>, revision: Option<Revision>) {
        count(&self.shelf.counters.edits, batch.len() as u64);
        for work in batch {
            work.done(revision);
        }
    }

    /// Gives those up whose time is over, and tells whether anybody is left.
    fn expire(&self, batch: &mut Batch<T>, error: CellError) -> bool {
        let now = self.shelf.clock.instant();
        if batch.iter().any(|work| work.deadline() <= now) {
            let (over, left) = std::mem::take(batch).into_iter().partition(|work| work.deadline() <= now);
            *batch = left;
            fail_all(over, error);
        }
        !batch.is_empty()
    }

    async fn read(&self) -> Result<Known<T>, CellError> {
        count(&self.shelf.counters.reads, 1);
        self.shelf.load(&self.desk.key).await
    }

    /// Tells whether a guess is true, and replaces one that is not.
    async fn confirm(&mut self, base: Base) -> bool {
        // What cannot be read now is tried again with everything else.
        let now = self.read().await.ok();
        let confirmed = now.as_ref().is_some_and(|now| now.base.revision == base.revision);
        if !confirmed {
            self.fresh = now.is_some();
            *self.known = now;
        }
        self.shelf.note(self.desk, confirmed);
        confirmed
    }

    /// Writes what is sent over its base, and takes it over as what is known. What is not known by `until` is lost.
    async fn write(&mut self, sent: &mut Sent<T>, until: Instant) -> Written {
        match self.put(sent).await {
            Ok(revision) => self.wrote(sent, revision),
            Err(StoreError::Conflict) => Written::Conflict,
            Err(StoreError::Unavailable(source)) => Written::Away(source),
            Err(StoreError::Rejected(rejection)) => Written::Rejected(rejection.into()),
            // Boxed, since every caller's future would be as large.
            Err(StoreError::Unknown(source)) => Box::pin(self.pursue(sent, source, until)).await,
        }
    }

    async fn put(&self, sent: &Sent<T>) -> Result<Revision, StoreError> {
        count(&self.shelf.counters.attempts, 1);
        let (store, key, expect) = (&self.shelf.store, &self.desk.key, sent.base.expect());
        let written = match &sent.bytes {
            Some(bytes) => store.put(key, bytes.clone(), expect, self.shelf.options(sent.ttl, sent.trail)).await,
            None => store.delete(key, expect).await,
        };
        if let Err(StoreError::Unknown(_)) = written {
            count(&self.shelf.counters.unknowns, 1);
        }
        written
    }

    fn wrote(&mut self, sent: &mut Sent<T>, revision: Revision) -> Written {
        *self.known = Some(sent.known(revision));
        Written::Done(Some(revision))
    }

    /// Finds out what became of a write whose answer was lost, and sends it again for as long as it has not happened.
    async fn pursue(&mut self, sent: &mut Sent<T>, mut lost: BoxError, until: Instant) -> Written {
        let clock = &self.shelf.clock;
        let mut outages = Backoff::new(AWAY.0, AWAY.1);
        loop {
            let mut fate = self.resolve(sent).await;
            while fate == Fate::Unseen && clock.instant() < until {
                clock.sleep(outages.next_delay()).await;
                fate = self.resolve(sent).await;
            }
            match fate {
                Fate::Applied(revision) => {
                    *self.known = None;
                    return Written::Done(revision);
                }
                Fate::Refused => return Written::Conflict,
                Fate::Open if clock.instant() < until => clock.sleep(outages.next_delay()).await,
                Fate::Open | Fate::Unseen | Fate::Absent | Fate::Unclear => return Written::Lost(lost),
            }
            match self.put(sent).await {
                Ok(revision) => return self.wrote(sent, revision),
                Err(StoreError::Unknown(source)) => lost = source,
                // Perhaps on account of this very write, which arrived after all; or it is still on its way.
                Err(_) => {}
            }
        }
    }

    /// Finds out what became of a write whose answer was lost.
    async fn resolve(&self, sent: &Sent<T>) -> Fate {
        match self.read().await {
            Ok(now) => sent.base.fate(sent.mark, sent.bytes.is_none(), now.base),
            Err(CellError::Unavailable(_)) => Fate::unseen([sent.base].into_iter()),
            Err(_) => Fate::Unclear,
        }
    }
}

/// A draft on its way into the store.
struct Sent<T> {
    value: Option<T>,
    /// `None` removes the key.
    bytes: Option<Bytes>,
    base: Base,
    mark: Mark,
    trail: Trail,
    ttl: Option<Duration>,
}

impl<T: Send + Sync + 'static> Sent<T> {
    /// Boxed, since every caller's future would be as large.
    fn new(shelf: &Shelf<T>, draft: Draft<T>, base: Base) -> Result<Box<Self>, CellError> {
        let mark = Mark::new(nonce());
        let trail = base.trail.follow(mark, draft.fence);
        let ttl = draft.ttl();
        let value = draft.into_value();
        let bytes = value.as_ref().map(|value| shelf.codec.encode(value)).transpose().map_err(CellError::Encode)?;
        Ok(Box::new(Self { value, bytes, base, mark, trail, ttl }))
    }

    /// What is known of the key once this is stored, which takes the value along.
    fn known(&mut self, revision: Revision) -> Known<T> {
        match self.value.take() {
            Some(value) => Known { value: Some(value), base: Base { revision: Some(revision), trail: self.trail } },
            None => Known::absent(),
        }
    }
}

fn fail_all<T>(batch: Batch<T>, error: CellError) {
    let shared = Shared::new(error);
    for work in batch {
        work.fail(shared.tell());
    }
}
