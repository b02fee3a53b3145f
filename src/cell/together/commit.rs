//! A change of several keys on its way into the store.
//!
//! It takes its place in the line of each key, in the order of the keys, so that nobody of this process comes in between and no two
//! wait for each other. What is written is one commit, whose every part expects what was read. Between processes it competes like
//! any other write, and comes again until its deadline.
//!
//! A crash on any line leaves the lines to be served by others: a turn that ends, however it ends, gives its key back.

use super::{
    Together,
    parts::{Host, Part},
};
use crate::{
    cell::{
        error::CellError,
        trail::{Base, Fate, Mark},
        writer::{AWAY, CONFLICT},
    },
    engine::{Commit, Key, Rejection, StoreError},
    error::BoxError,
    time::{Backoff, Instant, nonce},
};
use std::{mem, sync::Arc};

/// Takes all the turns, and then reads, decides and commits until it is done. `work` decides, and tells whether there is something
/// to commit.
pub(super) async fn commit<G: Together>(
    members: &mut G::Members,
    host: &Host,
    mut work: impl FnMut(&mut G::Members) -> bool + Send,
) -> Result<(), CellError> {
    let until = host.clock.instant() + host.deadline;
    enter(G::parts(members), host).await?;
    let keys: Vec<Key> = G::parts(members).iter().map(|part| part.key().clone()).collect();
    let mut guess = G::parts(members).iter().all(|part| part.is_known());
    let mut conflicts = Backoff::new(CONFLICT.0, CONFLICT.1);
    let mut attempts = 0;
    loop {
        if !guess {
            read(G::parts(members), host, &keys, until).await?;
        }
        G::parts(members).into_iter().for_each(Part::begin);
        if !work(members) {
            // What is given up has to have seen the truth.
            if !mem::take(&mut guess) {
                return Ok(());
            }
            continue;
        }
        attempts += 1;
        let mut parts = G::parts(members);
        let base = parts[0].base();
        if write(&mut parts, host, until).await? {
            return Ok(());
        }
        if host.clock.instant() >= until {
            return Err(CellError::Contended { key: keys[0].clone(), attempts, last: base.revision });
        }
        // A guess that was out of date is no contention.
        if !mem::take(&mut guess) {
            host.clock.sleep(conflicts.next_delay()).await;
        }
    }
}

/// Takes the turn of each key.
async fn enter(mut parts: Vec<&mut dyn Part>, host: &Host) -> Result<(), CellError> {
    if parts.iter().any(|part| !Arc::ptr_eq(&part.host().store, &host.store)) {
        return Err(Rejection::InvalidOption("cells that change as one are of one space").into());
    }
    parts.sort_by(|a, b| a.key().cmp(b.key()));
    if parts.windows(2).any(|pair| pair[0].key() == pair[1].key()) {
        return Err(Rejection::InvalidOption("cells that change as one are each named once").into());
    }
    for part in parts {
        part.enter().await?;
    }
    Ok(())
}

/// Reads all keys as of one moment.
async fn read(parts: Vec<&mut dyn Part>, host: &Host, keys: &[Key], until: Instant) -> Result<(), CellError> {
    let mut outages = Backoff::new(AWAY.0, AWAY.1);
    let entries = loop {
        match host.store.get_many(keys).await.map_err(CellError::of_read) {
            Err(CellError::Unavailable(_)) if host.clock.instant() < until => host.clock.sleep(outages.next_delay()).await,
            read => break read?,
        }
    };
    for (part, entry) in parts.into_iter().zip(entries) {
        part.load(entry)?;
    }
    Ok(())
}

/// Commits once; false when another process was first.
async fn write(parts: &mut [&mut dyn Part], host: &Host, until: Instant) -> Result<bool, CellError> {
    let mark = Mark::new(nonce());
    let mut commit = Commit::new();
    for part in parts.iter() {
        commit.writes.push(part.write(mark)?);
    }
    let mut outages = Backoff::new(AWAY.0, AWAY.1);
    let mut lost: Option<BoxError> = None;
    loop {
        match (host.store.commit(commit.clone()).await, &lost) {
            (Ok(committed), _) => {
                for (part, revision) in parts.iter_mut().zip(committed.revisions) {
                    part.written(mark, revision);
                }
                return Ok(true);
            }
            (Err(StoreError::Conflict), None) => return Ok(false),
            (Err(StoreError::Rejected(rejection)), None) => return Err(rejection.into()),
            (Err(StoreError::Unavailable(source)), None) => {
                if host.clock.instant() >= until {
                    return Err(CellError::Unavailable(source));
                }
                host.clock.sleep(outages.next_delay()).await;
                continue;
            }
            (Err(StoreError::Unknown(source)), _) => lost = Some(source),
            // Perhaps on account of this very commit, which arrived after all; or it is still on its way.
            (Err(_), Some(_)) => {}
        }
        let (keys, bases): (Vec<Key>, Vec<Base>) = parts.iter().map(|part| (part.key().clone(), part.base())).unzip();
        let mut fate = resolve(host, &keys, &bases, mark).await;
        while fate == Fate::Unseen && host.clock.instant() < until {
            host.clock.sleep(outages.next_delay()).await;
            fate = resolve(host, &keys, &bases, mark).await;
        }
        match fate {
            Fate::Applied(_) => {
                for part in parts.iter_mut() {
                    part.forget();
                }
                return Ok(true);
            }
            Fate::Refused => return Ok(false),
            Fate::Open if host.clock.instant() < until => host.clock.sleep(outages.next_delay()).await,
            Fate::Open | Fate::Unseen | Fate::Absent | Fate::Unclear => {
                return Err(CellError::Unknown(lost.unwrap_or_else(|| "the evidence of a commit is gone".into())));
            }
        }
    }
}

/// Finds out what became of a commit over these keys and `bases` whose answer was lost.
async fn resolve(host: &Host, keys: &[Key], bases: &[Base], mark: Mark) -> Fate {
    match host.store.get_many(keys).await.map_err(CellError::of_read) {
        Ok(found) => {
            let fates = bases.iter().zip(found).map(|(base, entry)| base.fate(mark, false, Base::of(entry.as_ref())));
            Fate::of_all(&fates.collect::<Vec<_>>())
        }
        Err(CellError::Unavailable(_)) => Fate::unseen(bases.iter().copied()),
        Err(_) => Fate::Unclear,
    }
}
