//! Which keys have a TTL, so that they can expire at the worst time, and which removals were an expiry.
//!
//! A key expires by being removed underneath, at the revision that was put with the TTL: everybody sees it go at a revision of its
//! own, as on a server. Whoever watches through here is told that it expired; whoever watches past here, that it was deleted. A
//! key that was put with its TTL past here is not known to have one.

use super::locked;
use crate::engine::{Key, Revision};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

type Place = (Box<str>, Key);

#[derive(Debug, Default)]
pub(super) struct Mortals(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The newest write of each key that has a TTL.
    alive: BTreeMap<Place, Revision>,
    /// Those that are being removed: who watches may hear of it before we have the answer.
    dying: BTreeSet<Place>,
    /// The newest expiry of each key.
    expired: BTreeMap<Place, Revision>,
}

impl Mortals {
    /// Hears of a put.
    pub(super) fn put(&self, place: &str, key: &Key, revision: Revision, ttl: bool) {
        let (at, mut known) = ((Box::from(place), key.clone()), locked(&self.0));
        if ttl {
            known.alive.insert(at, revision);
        } else {
            known.alive.remove(&at);
        }
    }

    /// Takes a key that is to expire, with the revision of the write that has the TTL. [`gone`](Self::gone) follows.
    pub(super) fn take(&self, place: &str, key: &Key) -> Option<Revision> {
        let (at, mut known) = ((Box::from(place), key.clone()), locked(&self.0));
        let revision = known.alive.remove(&at)?;
        known.dying.insert(at);
        Some(revision)
    }

    /// Hears whether the key was removed by that.
    pub(super) fn gone(&self, place: &str, key: &Key, removal: Option<Revision>) {
        let (at, mut known) = ((Box::from(place), key.clone()), locked(&self.0));
        known.dying.remove(&at);
        if let Some(removal) = removal {
            known.expired.insert(at, removal);
        }
    }

    /// Tells whether a removal was an expiry.
    pub(super) fn expired(&self, place: &str, key: &Key, removal: Revision) -> bool {
        let (at, known) = ((Box::from(place), key.clone()), locked(&self.0));
        known.dying.contains(&at) || known.expired.get(&at) == Some(&removal)
    }
}
