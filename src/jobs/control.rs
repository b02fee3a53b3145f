//! What others ask of a queue's workers: to end a job, and to pause.
//!
//! Both are keys below `job-control.<queue>`, which every worker watches, so that a first delivery needs no read to know that
//! nobody asked for anything. A flag is a hint: what is decided is decided in the job's record.

use super::ledger::label;
use crate::{
    core::retry::StopReason,
    engine::{Change, Expect, Key, Name, PutOptions, Space, StoreError},
    jobs::{JobsError, held::Held},
    newest,
    time::Timestamp,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// How long a flag of a job that nobody delivers stays.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether a queue is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// It is not.
    No,
    /// Until somebody resumes it.
    UntilResumed,
    /// Until somebody resumes it, or this time.
    Until(Timestamp),
}

impl Pause {
    /// Returns how long it lasts from now on; `None` when it is over.
    pub(super) fn left(self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::UntilResumed => Some(Duration::MAX),
            Self::Until(at) => Some(at.since(now)).filter(|left| !left.is_zero()),
        }
    }

    pub(super) fn encode(self) -> Bytes {
        match self {
            Self::Until(at) => at.as_micros().to_string().into(),
            Self::No | Self::UntilResumed => Bytes::from_static(b"-"),
        }
    }

    /// Reads it; what cannot be read is a pause, since somebody wanted one.
    pub(super) fn decode(bytes: &[u8]) -> Self {
        let micros = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
        micros.map_or(Self::UntilResumed, |micros| Self::Until(Timestamp::from_micros(micros)))
    }
}

fn scope(queue: &Name) -> Result<Key, StoreError> {
    Ok(Key::new("job-control")?.join(&Key::token(queue.as_str())))
}

fn flag(queue: &Name, id: &str) -> Result<Key, StoreError> {
    Ok(Key::new(scope(queue)?.join("cancel").join(&Key::token(&label(id))).as_str())?)
}

fn pause_key(queue: &Name) -> Result<Key, StoreError> {
    Ok(scope(queue)?.join("pause"))
}

/// Tells the workers of a queue that somebody asked for the end of a job.
pub(super) async fn raise(space: &Space, queue: &Name, id: &str) -> Result<(), StoreError> {
    let options = space.store().capabilities().expiring(KEPT);
    space.store().put(&flag(queue, id)?, Bytes::from_static(b"-"), Expect::Anything, options).await.map(drop)
}

/// Takes a flag down whose job has ended.
pub(super) async fn lower(space: &Space, queue: &Name, id: &str) -> Result<(), StoreError> {
    space.store().delete(&flag(queue, id)?, Expect::Anything).await.map(drop)
}

/// Pauses a queue, or ends its pause.
pub(super) async fn set_pause(space: &Space, queue: &Name, pause: Pause) -> Result<(), StoreError> {
    let key = pause_key(queue)?;
    match pause {
        Pause::No => space.store().delete(&key, Expect::Anything).await.map(drop),
        pause => space.store().put(&key, pause.encode(), Expect::Anything, PutOptions::default()).await.map(drop),
    }
}

/// Reads whether a queue is paused.
pub(super) async fn pause_of(space: &Space, queue: &Name) -> Result<Pause, StoreError> {
    let found = space.store().get(&pause_key(queue)?).await?;
    Ok(found.map_or(Pause::No, |entry| Pause::decode(&entry.value)))
}

/// The deliveries that a worker has, so that one of them can be told something.
#[derive(Debug, Default)]
pub(super) struct Running {
    held: Mutex<HashMap<u64, Arc<Held>>>,
    next: AtomicU64,
}

impl Running {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, held: &Arc<Held>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.all().insert(number, Arc::clone(held));
        number
    }

    pub(super) fn leave(&self, number: u64) {
        self.all().remove(&number);
    }

    pub(super) fn ask_all(&self, reason: StopReason) {
        self.all().values().for_each(|held| held.stop.ask(reason));
    }

    fn ask(&self, queue: &Name, wanted: &str) {
        let all = self.all();
        let mine = all.values().filter(|held| held.queue() == queue && label(held.id()) == wanted);
        mine.for_each(|held| held.stop.ask(StopReason::Cancelled));
    }
}

/// What a worker knows of what others asked for one queue.
#[derive(Debug)]
pub(super) struct Control {
    queue: Name,
    cancelled: Mutex<HashSet<String>>,
    /// Whether there is any: asked for each job.
    any: AtomicBool,
    pause: newest::Sender<Pause>,
}

impl Control {
    /// Begins to watch, and returns when everything that was asked before is known. The future that comes with it watches on, for
    /// as long as it is polled.
    pub(super) async fn watch(
        space: &Space,
        queue: &Name,
        running: Arc<Running>,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>), JobsError> {
        let prefix = scope(queue)?;
        let mut changes = space.store().watch(&prefix.below()).await?;
        let control = Arc::new(Self {
            queue: queue.clone(),
            cancelled: Mutex::default(),
            any: AtomicBool::new(false),
            pause: newest::Sender::new(Pause::No),
        });
        while let Some(change) = changes.next().await {
            if matches!(change, Change::Synced) {
                break;
            }
            control.hear(change, &prefix, &running);
        }
        let hears = Arc::clone(&control);
        let on = async move {
            while let Some(change) = changes.next().await {
                hears.hear(change, &prefix, &running);
            }
        };
        Ok((control, on))
    }

    fn hear(&self, change: Change, prefix: &Key, running: &Running) {
        let named = |key: &Key| -> Option<(bool, String)> {
            let rest = key.as_str().strip_prefix(prefix.as_str())?.strip_prefix('.')?;
            match rest.split_once('.') {
                None if rest == "pause" => Some((true, String::new())),
                Some(("cancel", token)) => Some((false, Key::untoken(token)?)),
                _ => None,
            }
        };
        match change {
            Change::Put(entry) => match named(&entry.key) {
                Some((true, _)) => self.set_pause(Pause::decode(&entry.value)),
                Some((false, id)) => {
                    // Noted before the running ones are asked: a job that begins in between finds it.
                    self.flags(|flags| flags.insert(id.clone()));
                    running.ask(&self.queue, &id);
                }
                None => {}
            },
            Change::Deleted(key, _) | Change::Expired(key, _) => match named(&key) {
                Some((true, _)) => self.set_pause(Pause::No),
                Some((false, id)) => self.flags(|flags| flags.remove(&id)),
                None => {}
            },
            Change::Resynced => {
                self.flags(|flags| !std::mem::take(flags).is_empty());
                self.set_pause(Pause::No);
            }
            Change::Synced => {}
        }
    }

    fn flags(&self, change: impl FnOnce(&mut HashSet<String>) -> bool) {
        let mut flags = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut flags);
        self.any.store(!flags.is_empty(), Ordering::Release);
    }

    fn set_pause(&self, pause: Pause) {
        self.pause.send_if_modified(|old| std::mem::replace(old, pause) != pause);
    }

    /// Tells whether somebody asked for the end of a job.
    pub(super) fn is_cancelled(&self, id: impl FnOnce() -> String) -> bool {
        self.any.load(Ordering::Acquire) && {
            let flags = self.cancelled.lock().unwrap_or_else(PoisonError::into_inner);
            flags.contains(&id())
        }
    }

    pub(super) fn pause(&self) -> newest::Receiver<Pause> {
        self.pause.subscribe()
    }
}
