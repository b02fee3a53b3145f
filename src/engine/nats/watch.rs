//! Watching keys: one feed a scope and process, shared by every subscriber, that heals itself.
//!
//! A hub holds the current values of its scope, so a new subscriber starts from memory, and ends when its last subscriber
//! is dropped. When the feed ends, the hub continues after the last sequence that it has. Where that could miss something
//! (the stream was made anew, lost its end, or was purged; or the hub was away so long that tombstones may have gone) it
//! reads everything again, and says [`Change::Resynced`].

use super::{
    core::Core,
    errors::refused,
    feed::{Feed, Start, Step},
    found::{Found, Gone},
    reader::Reader,
    whole::{SILENT, Whole, newest},
};
use crate::{
    engine::{Change, Entry, Key, Revision, Scope, StoreError, locked},
    time::{Backoff, Instant, Timestamp},
};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::task::JoinHandle;

/// How long a watch waits before it asks again whether something has come of age.
const LOOK: Duration = Duration::from_millis(250);

/// The hubs of a store.
#[derive(Debug, Default)]
pub(super) struct Hubs(Mutex<HashMap<Scope, Weak<Hub>>>);

/// What is known of one scope.
#[derive(Debug)]
struct Hub {
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whether there was a first full state.
    synced: bool,
    live: HashMap<Key, Entry>,
    last: u64,
    readers: Vec<Weak<Reader>>,
    /// After which age a value goes without a marker.
    silent_age: Option<Duration>,
    /// When what is live comes of that age, in the order of revisions.
    ages: VecDeque<(Key, u64, Timestamp)>,
}

impl Hubs {
    /// Subscribes to a scope.
    pub(super) fn watch(&self, core: &Arc<Core>, scope: &Scope) -> Result<BoxStream<'static, Change>, StoreError> {
        let filter = core.names.keys(scope)?;
        let mut hubs = locked(&self.0);
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let hub = hubs.get(scope).and_then(Weak::upgrade).unwrap_or_else(|| {
            let state = State { silent_age: core.keeping.silent_age, ..State::default() };
            let state = Arc::new(Mutex::new(state));
            let task = follow(Arc::clone(core), filter, Arc::clone(&state));
            let hub = Arc::new(Hub { task: tokio::runtime::Handle::current().spawn(task), state });
            hubs.insert(scope.clone(), Arc::downgrade(&hub));
            hub
        });
        drop(hubs);
        let reader = Arc::new(Reader::default());
        locked(&hub.state).join(&reader);
        // The stream keeps the hub, the hub only looks at the reader.
        Ok(stream::unfold((hub, reader), |(hub, reader)| async move {
            let change = reader.next().await;
            Some((change, (hub, reader)))
        })
        .boxed())
    }
}

impl State {
    fn join(&mut self, reader: &Arc<Reader>) {
        if self.synced {
            reader.restart(self.changes(), self.last, false);
        }
        self.readers.push(Arc::downgrade(reader));
    }

    fn changes(&self) -> impl Iterator<Item = (Key, u64, Change)> {
        self.live.values().map(|e| (e.key.clone(), e.revision.get(), Change::Put(e.clone())))
    }

    /// Takes over a full state.
    fn restart(&mut self, live: HashMap<Key, Entry>, last: u64) {
        let resynced = self.synced;
        (self.synced, self.live, self.last) = (true, live, last);
        if let Some(age) = self.silent_age {
            let mut ages: Vec<_> = self.live.values().map(|e| (e.key.clone(), e.revision.get(), e.written_at + age)).collect();
            ages.sort_unstable_by_key(|(_, revision, _)| *revision);
            self.ages = ages.into();
        }
        self.readers.retain(|r| r.strong_count() > 0);
        for reader in self.readers.iter().filter_map(Weak::upgrade) {
            reader.restart(self.changes(), last, resynced);
        }
    }

    /// Takes over one change.
    fn apply(&mut self, key: Key, found: Found) {
        let (revision, gone) = (found.revision(), found.gone());
        if revision.get() <= self.last {
            return;
        }
        self.last = revision.get();
        let change = match (gone, found.into_entry(key.clone())) {
            (_, Some(entry)) => {
                if let Some(age) = self.silent_age {
                    self.ages.push_back((key.clone(), revision.get(), entry.written_at + age));
                }
                self.live.insert(key.clone(), entry.clone());
                Change::Put(entry)
            }
            (gone, None) => {
                self.live.remove(&key);
                if gone == Some(Gone::Expired) {
                    Change::Expired(key.clone(), revision)
                } else {
                    Change::Deleted(key.clone(), revision)
                }
            }
        };
        self.tell(&key, revision.get(), &change);
    }

    fn tell(&mut self, key: &Key, revision: u64, change: &Change) {
        self.readers.retain(|r| r.strong_count() > 0);
        for reader in self.readers.iter().filter_map(Weak::upgrade) {
            reader.push(key.clone(), revision, change.clone());
        }
    }

    /// Tells when the oldest value comes of age, by the server's clock.
    fn due(&mut self) -> Option<Timestamp> {
        let Self { live, ages, .. } = self;
        while ages.front().is_some_and(|(key, at, _)| live.get(key).is_none_or(|e| e.revision.get() != *at)) {
            ages.pop_front();
        }
        ages.front().map(|(_, _, due)| *due)
    }

    /// Drops what is older than the stream's first message. An expiry by age has no revision of its own; that of its value stands
    /// for it.
    fn expire_before(&mut self, first: u64) {
        while self.due().is_some() && self.ages.front().is_some_and(|(_, revision, _)| *revision < first) {
            let Some((key, revision, _)) = self.ages.pop_front() else { return };
            self.live.remove(&key);
            self.tell(&key, revision, &Change::Expired(key.clone(), Revision::new(revision)));
        }
    }
}

/// Where a hub got to, and in which stream.
#[derive(Debug)]
struct Place {
    created: String,
    heard: Instant,
}

/// Keeps a hub's state current for as long as the hub is there.
async fn follow(core: Arc<Core>, filter: String, state: Arc<Mutex<State>>) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    let mut place = None;
    loop {
        match follow_once(&core, &filter, &state, &mut place, &mut backoff).await {
            Ok(reason) => tracing::debug!(filter, reason, "a watch continues"),
            Err(error) => tracing::debug!(filter, %error, "a watch waits"),
        }
        core.feed.clock.sleep(backoff.next_delay()).await;
    }
}

/// Reads one feed to its end, and returns why it ended.
async fn follow_once(
    core: &Arc<Core>,
    filter: &str,
    state: &Mutex<State>,
    place: &mut Option<Place>,
    backoff: &mut Backoff,
) -> Result<&'static str, StoreError> {
    let verb = format!("STREAM.INFO.{}", core.names.stream());
    let info = core.feed.api(&verb, &serde_json::Value::Null, &mut core.feed.patience()).await?.map_err(refused)?;
    let created = info["created"].as_str().unwrap_or_default().to_owned();
    let (first_of_stream, last_of_stream) = ends(&info);
    let last = locked(state).last;
    let clock = &core.feed.clock;
    let continues = place.as_ref().is_some_and(|p| {
        let away = clock.instant().saturating_duration_since(p.heard);
        p.created == created && last_of_stream >= last && away < core.keeping.trace() / 2
    });
    if !continues {
        *place = None;
    }
    // Asked before the feed is opened: a replica that is behind its leader would begin with what was so before, and whoever waits for
    // what was stored a moment ago would take it for missing.
    let wanted = if continues || core.replicas < 2 { 0 } else { newest(core, filter).await? };
    let mut feed = Feed::open(core, &[filter], if continues { Start::At(last + 1) } else { Start::State }, false).await?;
    let mut full = if continues { None } else { Some((HashMap::new(), Whole::new(core, filter.to_owned()))) };
    let (mut pending, mut catching_up, mut looked, mut silent) = (feed.pending, true, clock.instant(), false);
    loop {
        let all = match &mut full {
            Some((_, whole)) if pending == 0 && whole.up_to() < wanted => return Ok("the replica is behind"),
            Some((_, whole)) if pending == 0 || silent || whole.is_in_doubt() => whole.is().await?,
            Some(_) => false,
            None => pending == 0,
        };
        if all {
            if let Some((live, whole)) = full.take() {
                locked(state).restart(live, whole.up_to());
                *place = Some(Place { created: created.clone(), heard: clock.instant() });
            } else if catching_up && core.keeping.silent_age.is_some() {
                locked(state).expire_before(first_of_stream);
            } else if catching_up && locked(state).live.values().any(|e| e.revision.get() < first_of_stream) {
                // What the stream no longer has and nobody reported as gone was purged.
                *place = None;
                return Ok("the stream was purged");
            }
            catching_up = false;
            backoff.reset();
        }
        let wait = match &full {
            Some(_) => Some(SILENT),
            None => locked(state).due().map(|due| {
                let pause = LOOK.saturating_sub(clock.instant().saturating_duration_since(looked));
                due.since(clock.now()).max(pause)
            }),
        };
        let step = match wait {
            None => Some(feed.next().await),
            Some(wait) => clock.timeout(wait, feed.next()).await,
        };
        silent = step.is_none();
        let Some(step) = step else {
            if let Some((_, whole)) = &mut full {
                if !whole.ask_anew() {
                    return Ok("the server does not show everything that it has");
                }
                continue;
            }
            // The server's clock decides, and what it has dropped is below its first message.
            looked = clock.instant();
            let info = core.feed.api(&verb, &serde_json::Value::Null, &mut core.feed.patience()).await?.map_err(refused)?;
            locked(state).expire_before(ends(&info).0);
            continue;
        };
        let found = match step {
            Step::Message(found, left) => {
                pending = left;
                found
            }
            Step::Ended(reason) => {
                if let Some(place) = place {
                    place.heard = feed.heard;
                }
                return Ok(reason);
            }
        };
        core.saw(&found);
        // Also what is no key of ours: it is among what the stream has.
        if let Some((_, whole)) = &mut full {
            whole.saw(&found.subject, found.sequence);
        }
        let Some(key) = core.names.key_of(&found.subject) else { continue };
        match &mut full {
            Some((live, _)) => match found.into_entry(key.clone()) {
                Some(entry) => drop(live.insert(key, entry)),
                None => drop(live.remove(&key)),
            },
            None => locked(state).apply(key, found),
        }
    }
}

/// The sequences of the first and of the last message of a stream.
fn ends(info: &serde_json::Value) -> (u64, u64) {
    let number = |name: &str| info["state"][name].as_u64().unwrap_or(0);
    (number("first_seq"), number("last_seq"))
}
