//! One key's line of closures, and what this process knows of the key.
//!
//! Whoever finds nobody here leads: he serves himself, which spares a task of its own. Whoever comes meanwhile joins the line, and the
//! first of them makes a task serve it. The task waits for the leader, and not for long: a leader may be a future that nobody looks at
//! any more, and then it is left behind. The one who serves has the knowledge in hand. This file does not know how a key is written.

use super::{draft::Draft, trail::Base, work::Work};
use crate::{
    engine::{Entry, Key},
    gather::gather,
    time::{Clock, Instant},
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, Semaphore, oneshot};

/// The most closures that share one write: beyond this a write takes longer, and there is no round trip left to save.
const MOST: usize = 1024;

/// What is stored at a key, as far as is known.
#[derive(Debug, Clone)]
pub(super) struct Known<T> {
    /// `None` when the key is absent.
    pub(super) value: Option<T>,
    pub(super) base: Base,
}

impl<T> Known<T> {
    pub(super) fn absent() -> Self {
        Self { value: None, base: Base::of(None) }
    }

    /// What an entry says, whose value was decoded.
    pub(super) fn of(entry: &Entry, value: T) -> Self {
        Self { value: Some(value), base: Base::of(Some(entry)) }
    }

    /// Begins a draft, which takes the value along.
    pub(super) fn draft(&mut self) -> Draft<T> {
        Draft::new(self.value.take(), self.base.revision, self.base.trail.fence)
    }
}

/// How a turn ends.
type Back<T> = Box<dyn FnOnce(Option<Known<T>>) + Send>;

/// A key for somebody alone, until it is dropped; he has what is known.
pub(super) struct Turn<T> {
    pub(super) known: Option<Known<T>>,
    back: Option<Back<T>>,
}

impl<T> Turn<T> {
    pub(super) fn new(known: Option<Known<T>>, back: impl FnOnce(Option<Known<T>>) + Send + 'static) -> Self {
        Self { known, back: Some(Box::new(back)) }
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            back(self.known.take());
        }
    }
}

/// Somebody in line.
pub(super) enum Place<T> {
    /// A closure, which shares a write with its neighbours.
    Edit(Box<dyn Work<T>>),
    /// Somebody who wants the key to himself for a while.
    Alone(oneshot::Sender<Turn<T>>),
}

/// Who is served next.
pub(super) enum Next<T> {
    Edits(Vec<Box<dyn Work<T>>>),
    Alone(oneshot::Sender<Turn<T>>),
    Nobody,
}

/// A key's line.
pub(super) struct Desk<T> {
    pub(super) key: Key,
    /// Bounds the line.
    pub(super) room: Arc<Semaphore>,
    limit: usize,
    /// Told when a leader has done.
    led: Notify,
    inner: Mutex<Inner<T>>,
}

struct Inner<T> {
    line: VecDeque<Place<T>>,
    /// Whether a task serves the line; it has what is known.
    served: bool,
    /// The number of the leader, if there is one; he has what is known.
    leader: Option<u64>,
    /// How many leaders there were.
    leaders: u64,
    known: Option<Known<T>>,
    /// How often what was known turned out to be true, lately: positive when mostly, zero where that is not known yet.
    luck: i8,
    used: Instant,
    /// How many shared the last write: where they were several it pays to let others come before the next one.
    crowd: usize,
    /// Whether it was cleared away; whoever still finds it takes another one.
    closed: bool,
}

impl<T> fmt::Debug for Desk<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a desk says to somebody who comes.
pub(super) enum Joined<T> {
    /// He is in the line, and somebody serves it.
    Served,
    /// He is in the line, and has to see to it that it is served.
    Unserved,
    /// Nobody is here: he leads, with this number.
    Leads(Box<dyn Work<T>>, u64),
}

/// The bounds of luck.
const LUCK: i8 = 4;
/// How long a task waits for a leader: about as long as a round trip takes where it takes long. It decides about one needless conflict,
/// and about nothing else.
const LEAD: Duration = Duration::from_millis(25);

impl<T> Desk<T> {
    pub(super) fn new(key: Key, limit: usize, now: Instant) -> Self {
        let inner = Inner {
            line: VecDeque::new(),
            served: false,
            leader: None,
            leaders: 0,
            known: None,
            luck: 0,
            used: now,
            crowd: 0,
            closed: false,
        };
        Self { key, room: Arc::new(Semaphore::new(limit)), limit, led: Notify::new(), inner: Mutex::new(inner) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most closures in its line.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Takes somebody in; when the desk is closed he is given back.
    pub(super) fn join(&self, place: Place<T>) -> Result<Joined<T>, Place<T>> {
        let mut inner = self.inner();
        if inner.closed {
            return Err(place);
        }
        let place = match place {
            // In a crowd a task is better: it lets others come before it writes.
            Place::Edit(work) if !inner.served && inner.leader.is_none() && inner.crowd < 2 => {
                inner.leaders += 1;
                inner.leader = Some(inner.leaders);
                return Ok(Joined::Leads(work, inner.leaders));
            }
            place => place,
        };
        inner.line.push_back(place);
        Ok(if std::mem::replace(&mut inner.served, true) { Joined::Served } else { Joined::Unserved })
    }

    /// Takes over what is known; for the one who serves, or leads.
    pub(super) fn take_known(&self) -> Option<Known<T>> {
        self.inner().known.take()
    }

    /// Ends the lead of a number, with what is known now. One that was left behind has nothing to say.
    pub(super) fn end_lead(&self, number: u64, known: Option<Known<T>>, now: Instant) {
        let mut inner = self.inner();
        if inner.leader == Some(number) {
            (inner.leader, inner.known, inner.used) = (None, known, now);
            drop(inner);
            self.led.notify_one();
        }
    }

    /// Waits until there is no leader, and leaves one behind that takes too long.
    pub(super) async fn without_leader(&self, clock: &Clock) {
        let Some(number) = self.inner().leader else { return };
        let over = async {
            while self.inner().leader == Some(number) {
                self.led.notified().await;
            }
        };
        if clock.timeout(LEAD, over).await.is_none() {
            let mut inner = self.inner();
            if inner.leader == Some(number) {
                inner.leader = None;
            }
        }
    }

    /// Lets those come who are likely to: as many as shared the last write, who may want the next one.
    pub(super) async fn gather(&self) {
        let (there, crowd) = self.line();
        // Where nobody is likely to come nothing is waited for, since that would cost more than a write.
        if crowd >= 2 {
            gather(crowd, || Some(self.line().0).filter(|now| *now < there + crowd)).await;
        }
    }

    /// Tells how many are in line, and how many shared the last write.
    fn line(&self) -> (usize, usize) {
        let inner = self.inner();
        (inner.line.len(), inner.crowd)
    }

    /// Takes whoever is next; with nobody in line what is known is put back, and the line is not served any more.
    pub(super) fn next(&self, known: &mut Option<Known<T>>, now: Instant) -> Next<T> {
        let mut inner = self.inner();
        inner.used = now;
        let mut edits = Vec::new();
        while edits.len() < MOST {
            match inner.line.pop_front() {
                Some(Place::Edit(work)) => edits.push(work),
                Some(Place::Alone(turn)) if edits.is_empty() => return Next::Alone(turn),
                Some(alone) => {
                    inner.line.push_front(alone);
                    break;
                }
                None => break,
            }
        }
        if !edits.is_empty() {
            inner.crowd = edits.len();
            return Next::Edits(edits);
        }
        inner.known = known.take();
        inner.served = false;
        Next::Nobody
    }

    /// Lets everyone go who is in line, unanswered, since nobody will serve them.
    pub(super) fn abandon(&self) {
        let mut inner = self.inner();
        inner.served = false;
        let line = std::mem::take(&mut inner.line);
        drop(inner);
        // Whoever waits is told by what it waits with.
        drop(line);
    }

    /// Ends somebody's turn alone; true when the line has to be served.
    pub(super) fn give_back(&self, known: Option<Known<T>>) -> bool {
        let mut inner = self.inner();
        inner.known = known;
        inner.served = !inner.line.is_empty();
        inner.served
    }

    /// Puts closures back to the front of the line.
    pub(super) fn put_back(&self, works: Vec<Box<dyn Work<T>>>) {
        let mut inner = self.inner();
        for work in works.into_iter().rev() {
            inner.line.push_front(Place::Edit(work));
        }
    }

    /// Notes whether what was known was true.
    pub(super) fn note(&self, true_to_life: bool) {
        let mut inner = self.inner();
        inner.luck = if true_to_life { inner.luck.saturating_add(1).min(LUCK) } else { (inner.luck - 2).max(-LUCK) };
    }

    /// Tells how often what was known turned out to be true, lately: positive when mostly, zero where that is not known.
    pub(super) fn luck(&self) -> i8 {
        self.inner().luck
    }

    /// Returns what is known, when nobody serves the line.
    pub(super) fn glance(&self) -> Option<Known<T>>
    where
        T: Clone,
    {
        self.inner().known.clone()
    }

    /// Closes the desk when nobody has used it since `since`; true when it is closed.
    pub(super) fn close_if_idle(&self, since: Instant) -> bool {
        let mut inner = self.inner();
        if !inner.served && inner.leader.is_none() && inner.line.is_empty() && inner.used <= since {
            inner.closed = true;
        }
        inner.closed
    }
}
