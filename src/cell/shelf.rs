//! The keys of one space and type that are in use, once a process: where a key's line is found, and where it goes when idle.
//!
//! A key that nobody has used for a while is forgotten, and so is one beyond what is worth remembering; the task that sees to it
//! ends with the last key. This file does not know how a key is written.

use super::{
    desk::{Desk, Joined, Known, Place},
    error::CellError,
    trail::Trail,
};
use crate::{
    codec::Codec,
    engine::{Entry, Key, PutOptions, Space, Store},
    time::Clock,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// How long what is known of a key is kept after its last use.
const IDLE: Duration = Duration::from_secs(5);
/// The most keys that are remembered while nobody uses them.
const MOST: usize = 8192;

/// What happened on a shelf since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CellCounts {
    /// Closures that were answered with a result.
    pub edits: u64,
    /// Writes that were tried; many closures may share one.
    pub attempts: u64,
    /// Writes that were refused, since another process was first.
    pub conflicts: u64,
    /// Writes whose answer was lost, also from the engine.
    pub unknowns: u64,
    /// Reads of a key before, or instead of, a write.
    pub reads: u64,
}

/// Counts while they grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) edits: AtomicU64,
    pub(super) attempts: AtomicU64,
    pub(super) conflicts: AtomicU64,
    pub(super) unknowns: AtomicU64,
    pub(super) reads: AtomicU64,
}

/// Adds to a count.
pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// The keys in use.
pub(super) struct Shelf<T> {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Clock,
    pub(super) codec: Codec<T>,
    pub(super) counters: Counters,
    /// Whoever serves a line.
    pub(super) tasks: TaskTracker,
    /// What is true of most keys: whether what this process knows of them is so, lately.
    luck: AtomicI64,
    kept: Mutex<Kept<T>>,
}

struct Kept<T> {
    desks: HashMap<Key, Arc<Desk<T>>>,
    /// Whether somebody clears up.
    swept: bool,
}

impl<T> fmt::Debug for Shelf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// The bounds of a shelf's luck.
const LUCK: i64 = 64;

impl<T: Send + Sync + 'static> Shelf<T> {
    /// Returns the shelf of a space, a type and an encoding.
    pub(super) fn of(space: &Space, codec: Codec<T>) -> Arc<Self> {
        space.beside(codec.name(), || Self {
            store: Arc::clone(space.store()),
            clock: space.clock().clone(),
            codec,
            counters: Counters::default(),
            tasks: TaskTracker::new(),
            luck: AtomicI64::new(0),
            kept: Mutex::new(Kept { desks: HashMap::new(), swept: false }),
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the desk of a key, which may be closed before it is used.
    pub(super) fn desk(self: &Arc<Self>, key: &Key, limit: usize) -> Arc<Desk<T>> {
        let mut kept = self.kept();
        if let Some(desk) = kept.desks.get(key) {
            return Arc::clone(desk);
        }
        let desk = Arc::new(Desk::new(key.clone(), limit, self.clock.instant()));
        kept.desks.insert(key.clone(), Arc::clone(&desk));
        if !std::mem::replace(&mut kept.swept, true) {
            self.spawn(sweep(Arc::downgrade(self), self.clock.clone()));
        }
        desk
    }

    /// Has something done by a task on the runtime of whoever asks; where there is none it is dropped.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Ok(runtime) = Handle::try_current() {
            self.tasks.spawn_on(task, &runtime);
        }
    }

    /// Returns the desk of a key if there is one.
    pub(super) fn existing(&self, key: &Key) -> Option<Arc<Desk<T>>> {
        self.kept().desks.get(key).cloned()
    }

    /// Brings somebody to the desk of a key, and says which one that was.
    pub(super) fn join(self: &Arc<Self>, mut desk: Arc<Desk<T>>, mut place: Place<T>) -> (Arc<Desk<T>>, Joined<T>) {
        loop {
            match desk.join(place) {
                Ok(joined) => return (desk, joined),
                Err(back) => place = back,
            }
            desk = self.desk(&desk.key, desk.limit());
        }
    }

    /// Notes whether what was known of a key was true. What was false weighs twice: a guess that fails takes a round trip more, as one
    /// that is true takes one less, and a turn of everybody else's besides.
    pub(super) fn note(&self, desk: &Desk<T>, true_to_life: bool) {
        desk.note(true_to_life);
        let step = if true_to_life { 1 } else { -2 };
        let next = (self.luck.load(Ordering::Relaxed) + step).clamp(-LUCK, LUCK);
        self.luck.store(next, Ordering::Relaxed);
    }

    /// Tells whether it pays to trust what is known of a key: an attempt that fails costs two round trips more, a read before it
    /// one. Where the key itself does not tell, the others do.
    pub(super) fn is_lucky(&self, desk: &Desk<T>) -> bool {
        match desk.luck() {
            // A few guesses that were true say little where most are false, and the other way round.
            -2..=2 => self.luck.load(Ordering::Relaxed) >= 0,
            luck => luck > 0,
        }
    }

    /// Forgets a key at once when there are more than are worth remembering.
    pub(super) fn finished(&self, desk: &Desk<T>) {
        let mut kept = self.kept();
        if kept.desks.len() > MOST && desk.close_if_idle(self.clock.instant()) {
            kept.desks.remove(&desk.key);
        }
    }

    /// Forgets the keys that are idle; true while there are others.
    fn clear_up(&self) -> bool {
        let Some(since) = self.clock.instant().checked_sub(IDLE) else { return true };
        let mut kept = self.kept();
        kept.desks.retain(|_, desk| !desk.close_if_idle(since));
        kept.swept = !kept.desks.is_empty();
        if !kept.swept {
            kept.desks = HashMap::new();
        }
        kept.swept
    }

    /// Reads what is stored at a key, from the leader.
    pub(super) async fn load(&self, key: &Key) -> Result<Known<T>, CellError> {
        let Some(entry) = self.store.get(key).await.map_err(CellError::of_read)? else { return Ok(Known::absent()) };
        Ok(Known::of(&entry, decode(self.codec, &entry)?))
    }

    /// How a value is written: expiring where it is asked for, and the engine can.
    pub(super) fn options(&self, ttl: Option<Duration>, trail: Trail) -> PutOptions {
        let capabilities = self.store.capabilities();
        ttl.map_or_else(PutOptions::default, |ttl| capabilities.expiring(ttl)).label(trail.label())
    }

    pub(super) fn counts(&self) -> CellCounts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters { edits, attempts, conflicts, unknowns, reads } = &self.counters;
        CellCounts {
            edits: of(edits),
            attempts: of(attempts),
            conflicts: of(conflicts),
            unknowns: of(unknowns),
            reads: of(reads),
        }
    }
}

/// Reads the value of an entry.
pub(super) fn decode<T>(codec: Codec<T>, entry: &Entry) -> Result<T, CellError> {
    codec.decode(&entry.value).map_err(|source| CellError::Corrupt { key: entry.key.clone(), revision: entry.revision, source })
}

/// Forgets idle keys for as long as there are any.
async fn sweep<T: Send + Sync + 'static>(shelf: std::sync::Weak<Shelf<T>>, clock: Clock) {
    loop {
        clock.sleep(IDLE).await;
        if !shelf.upgrade().is_some_and(|shelf| shelf.clear_up()) {
            return;
        }
    }
}
