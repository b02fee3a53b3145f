//! What a process may answer without asking the store: the cells of its blocks, and that there are none for a while.
//!
//! Of a key that is idle nothing is kept: one task of the limiter, while there is anything, forgets what has run out. It ends
//! with the last key, or with the limiter.

use crate::{
    core::coordination::{Block, Quota, Verdict},
    engine::Key,
    time::{Clock, Timestamp},
};
use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// How often the task looks at most and at least, while there is something.
const LOOKS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The blocks of a limiter in this process, by key.
#[derive(Debug)]
pub(super) struct Local {
    quota: Quota,
    pub(super) block: NonZeroU32,
    clock: Clock,
    kept: Mutex<Kept>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stops: DropGuard,
}

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<Key, Arc<Slot>>,
    /// Whether the task is there.
    swept: bool,
}

/// What is known of one key.
#[derive(Debug)]
pub(super) struct Slot {
    known: Mutex<Known>,
    /// Whoever has it fetches the next block; who comes meanwhile asks for itself, and shares the write.
    pub(super) fetching: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    block: Block,
    /// So many cells are not there before then.
    denied: Option<(NonZeroU32, Timestamp)>,
}

impl Known {
    fn is_over(&self, now: Timestamp) -> bool {
        self.block.ends().is_none_or(|end| end <= now) && self.denied.is_none_or(|(_, until)| until <= now)
    }
}

impl Local {
    pub(super) fn new(quota: Quota, block: NonZeroU32, clock: Clock) -> Arc<Self> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        Arc::new(Self { quota, block, clock, kept: Mutex::default(), tasks: TaskTracker::new(), stop, _stops: guard })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what is known of a key. It is forgotten once nothing is known and nobody has it.
    pub(super) fn slot(self: &Arc<Self>, key: &Key) -> Arc<Slot> {
        let mut kept = self.kept();
        if let Some(slot) = kept.slots.get(key) {
            return Arc::clone(slot);
        }
        let known = Known { block: Block::empty(self.quota), denied: None };
        let slot = Arc::new(Slot { known: Mutex::new(known), fetching: tokio::sync::Mutex::default() });
        kept.slots.insert(key.clone(), Arc::clone(&slot));
        if !std::mem::replace(&mut kept.swept, true) {
            self.tasks.spawn(sweep(Arc::downgrade(self), self.clock.clone(), self.stop.clone()));
        }
        slot
    }

    /// Forgets a key.
    pub(super) fn forget(&self, key: &Key) {
        let slot = self.kept().slots.get(key).cloned();
        if let Some(slot) = slot {
            *slot.known() = Known { block: Block::empty(self.quota), denied: None };
        }
    }

    /// Returns of how many keys something is known.
    pub(super) fn len(&self) -> usize {
        self.kept().slots.len()
    }

    /// Forgets what has run out, and returns how long the rest will be there; `None` when there is none.
    fn clear_up(&self) -> Option<Duration> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let mut next = LOOKS.1;
        kept.slots.retain(|_, slot| {
            // Nobody gets hold of it while this holds the map.
            let known = slot.known();
            let over = known.is_over(now) && Arc::strong_count(slot) == 1;
            let end = known.block.ends().max(known.denied.map(|(_, until)| until));
            next = next.min(end.map_or(Duration::ZERO, |end| end.since(now)));
            !over
        });
        kept.swept = !kept.slots.is_empty();
        if !kept.swept {
            kept.slots = HashMap::new();
        }
        kept.swept.then_some(next.max(LOOKS.0))
    }
}

impl Slot {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers without the store, if it can. A denial is only known to somebody who does not wait.
    pub(super) fn answer(&self, n: NonZeroU32, now: Timestamp) -> Option<Verdict> {
        let mut known = self.known();
        if let Some(remaining) = known.block.take(n, now) {
            return Some(Verdict::Allowed { remaining });
        }
        let (_, until) = known.denied.filter(|(denied, until)| n == *denied && now < *until)?;
        Some(Verdict::Denied { retry_in: until.since(now) })
    }

    /// Takes cells that are there, if they are.
    pub(super) fn take(&self, n: NonZeroU32, now: Timestamp) -> bool {
        self.known().block.take(n, now).is_some()
    }

    /// Takes over a block.
    pub(super) fn fill(&self, block: Block) {
        self.known().block.join(block);
    }

    /// Takes over that so many cells are not there before then: the schedule never goes back.
    pub(super) fn deny(&self, n: NonZeroU32, until: Timestamp) {
        self.known().denied = Some((n, until));
    }
}

async fn sweep(local: Weak<Local>, clock: Clock, stop: CancellationToken) {
    let mut next = LOOKS.0;
    while clock.timeout(next, stop.cancelled()).await.is_none() {
        match local.upgrade().and_then(|local| local.clear_up()) {
            Some(then) => next = then,
            None => return,
        }
    }
}
