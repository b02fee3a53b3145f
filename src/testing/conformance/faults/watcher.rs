//! A watch as somebody follows it: what it told has to come to what is there, and never goes back.

use super::{
    super::PATIENCE,
    book::Book,
    process::{Places, Process},
};
use crate::engine::{Change, Key, Revision, Scope};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    mem,
};
use tokio_util::sync::CancellationToken;

type State = BTreeMap<Key, (Revision, Bytes)>;

/// What is known from a watch.
pub(super) struct Watched {
    changes: BoxStream<'static, Change>,
    seed: u64,
    state: State,
    /// Whether a whole state is being told.
    whole: bool,
    /// The newest revision of each key that was told.
    newest: BTreeMap<Key, Revision>,
}

impl Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("state", &self.state).field("whole", &self.whole).finish_non_exhaustive()
    }
}

impl Process<'_> {
    /// Watches the space until there is nothing more to come, and returns what it knows by then.
    pub(super) async fn watch_until(&self, finished: &CancellationToken) -> Watched {
        let changes = self.until_done(async || self.places.space().store().watch(&Scope::All).await).await;
        let (state, newest) = (State::new(), BTreeMap::new());
        let mut watched = Watched { changes, seed: self.book.seed, state, whole: true, newest };
        let watch = async {
            while let Some(change) = watched.changes.next().await {
                watched.hear(change);
            }
            panic!("seed {}: a watch never ends", self.book.seed);
        };
        tokio::select! {
            biased;
            () = finished.cancelled() => {}
            () = watch => {}
        }
        watched
    }
}

impl Watched {
    fn hear(&mut self, change: Change) {
        match change {
            Change::Put(entry) => {
                self.goes_on(&entry.key, entry.revision);
                self.state.insert(entry.key, (entry.revision, entry.value));
            }
            Change::Deleted(key, revision) | Change::Expired(key, revision) => {
                self.goes_on(&key, revision);
                self.state.remove(&key);
            }
            Change::Synced => {
                assert!(mem::take(&mut self.whole), "seed {}: nothing was to be synced", self.seed);
            }
            Change::Resynced => {
                // Keys that the state lacks are gone.
                self.whole = true;
                self.state.clear();
            }
        }
    }

    /// Revisions of a key grow; a whole state may tell again what was told.
    fn goes_on(&mut self, key: &Key, revision: Revision) {
        let before = self.newest.insert(key.clone(), revision);
        let right = before.is_none_or(|before| before < revision || (self.whole && before == revision));
        assert!(right, "seed {}: {key} goes back from {before:?} to {revision}", self.seed);
    }
}

/// Reads on until a watch has told what is there.
pub(super) async fn check(truth: &Places, book: &Book, mut watched: Watched) {
    loop {
        let there = state(truth).await;
        if !watched.whole && watched.state == there {
            return;
        }
        let next = watched.changes.next();
        match truth.clock().timeout(PATIENCE, next).await {
            Some(Some(change)) => watched.hear(change),
            Some(None) => panic!("seed {}: a watch never ends", book.seed),
            None => panic!("seed {}: there is {there:?}, and the watch told {watched:?}", book.seed),
        }
    }
}

async fn state(truth: &Places) -> State {
    let store = truth.space().store();
    let mut state = State::new();
    let mut listed = store.keys(&Scope::All).await.unwrap();
    while let Some(info) = listed.next().await {
        let key = info.unwrap().key;
        if let Some(entry) = store.get(&key).await.unwrap() {
            state.insert(key, (entry.revision, entry.value));
        }
    }
    state
}
