//! The road without timers: of all schedulers one leads, knows what is due when, and does it.
//!
//! The index is in memory: each key with the time that its label says, kept current by a watch. So scheduling is one write, and
//! nothing has to be kept in step with it. A leader that is cut off may go on for a moment beside the next one; both move records by
//! compare-and-set, so that costs a conflict.

use super::{
    ScheduleError,
    clerk::{Clerk, Due},
    ledger::due_of,
    wake::Kind,
};
use crate::{
    coordination::{Election, Leadership},
    engine::{Change, Key},
    time::{Backoff, Timestamp},
};
use futures_util::{StreamExt as _, stream, stream::FuturesUnordered};
use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// The longest sleep: a wall clock that was set forward is noticed after this.
const LONGEST_NAP: Duration = Duration::from_secs(5);
/// How much is done together.
const BATCH: usize = 256;
/// How many of these are under way.
const BATCHES: usize = 8;
/// How long something that failed waits.
const LATER: Duration = Duration::from_secs(1);

/// What is due when.
#[derive(Debug, Default)]
struct Index {
    by_time: BTreeSet<(Timestamp, Kind, Key)>,
    due: HashMap<Key, Timestamp>,
}

impl Index {
    fn set(&mut self, kind: Kind, key: Key, due: Option<Timestamp>) {
        self.remove(kind, &key);
        if let Some(due) = due {
            self.due.insert(key.clone(), due);
            self.by_time.insert((due, kind, key));
        }
    }

    fn remove(&mut self, kind: Kind, key: &Key) {
        if let Some(due) = self.due.remove(key) {
            self.by_time.remove(&(due, kind, key.clone()));
        }
    }

    /// Sets when a key is due, unless something newer is known of it.
    fn set_if_unknown(&mut self, kind: Kind, key: Key, due: Timestamp) {
        if !self.due.contains_key(&key) {
            self.set(kind, key, Some(due));
        }
    }

    fn clear(&mut self, kind: Kind) {
        let old: Vec<_> = self.by_time.iter().filter(|(_, of, _)| *of == kind).cloned().collect();
        for (_, kind, key) in old {
            self.remove(kind, &key);
        }
    }

    fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(due, ..)| *due)
    }

    /// Takes out some keys of one kind that are due.
    fn take(&mut self, now: Timestamp) -> Option<(Kind, Vec<Due>)> {
        let (_, kind, _) = self.by_time.first().filter(|(due, ..)| *due <= now)?.clone();
        let some = self.by_time.iter().take_while(|(due, of, _)| *due <= now && *of == kind).take(BATCH);
        let keys: Vec<Key> = some.map(|(.., key)| key.clone()).collect();
        let mut dues = Vec::with_capacity(keys.len());
        for key in keys {
            self.remove(kind, &key);
            if let Some((_, name)) = Kind::of(&key) {
                dues.push(Due { key, name, armed: None });
            }
        }
        Some((kind, dues))
    }

    fn follow(&mut self, kind: Kind, change: Change) {
        match change {
            Change::Put(entry) => {
                let key = entry.key.clone();
                self.set(kind, key, due_of(kind, entry));
            }
            Change::Deleted(key, _) | Change::Expired(key, _) => self.remove(kind, &key),
            // The full state follows.
            Change::Resynced => self.clear(kind),
            Change::Synced => {}
        }
    }
}

/// Campaigns, and does what is due while it leads, until it is stopped.
pub(super) async fn run(clerk: Arc<Clerk>, election: Election, stop: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    while !stop.is_cancelled() {
        let Some(won) = stop.run_until_cancelled(election.campaign()).await else { return };
        let failed = match won {
            Ok(leadership) => {
                backoff.reset();
                lead(&clerk, leadership, &stop).await
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = failed {
            clerk.events.failed("", error);
            let delay = backoff.next_delay();
            stop.run_until_cancelled(clerk.clock.sleep(delay)).await;
        }
    }
}

async fn lead(clerk: &Clerk, leadership: Leadership, stop: &CancellationToken) -> Result<(), ScheduleError> {
    let store = clerk.ledger.store();
    let mut changes = stream::SelectAll::new();
    for kind in Kind::ALL {
        let watch = store.watch(&kind.prefix().below()).await?;
        changes.push(watch.map(move |change| (kind, change)).boxed());
    }
    let mut lost = pin!(leadership.lost());
    let mut index = Index::default();
    let mut work = FuturesUnordered::new();
    loop {
        while work.len() < BATCHES
            && let Some((kind, dues)) = index.take(clerk.clock.now())
        {
            work.push(async move {
                let outcomes = clerk.work(kind, &dues).await;
                (kind, dues.into_iter().zip(outcomes).collect::<Vec<_>>())
            });
        }
        let nap = match index.next() {
            Some(next) if work.len() < BATCHES => next.since(clerk.clock.now()).min(LONGEST_NAP),
            _ => LONGEST_NAP,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = &mut lost => break,
            change = changes.next() => match change {
                Some((kind, change)) => index.follow(kind, change),
                None => break,
            },
            Some((kind, done)) = work.next(), if !work.is_empty() => {
                for (due, outcome) in done {
                    let next = match outcome {
                        Ok(next) => next,
                        Err(error) => {
                            clerk.events.failed(&due.name, error);
                            Some(clerk.clock.now() + LATER)
                        }
                    };
                    if let Some(next) = next {
                        index.set_if_unknown(kind, due.key, next);
                    }
                }
            }
            () = clerk.clock.sleep(nap) => {}
        }
    }
    // What is under way ends; what it does not reach is still due for the next leader.
    while work.next().await.is_some() {}
    if leadership.is_leader() {
        leadership.resign().await?;
    }
    Ok(())
}
