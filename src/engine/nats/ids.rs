//! Write ids: how a writer that lost its acknowledgement finds out what became of its write.
//!
//! Each write of a key carries its id and the chain of writes that it followed, newest first. A key keeps one message, so the
//! chain is the only evidence of a write that was overwritten: it either has the id, or reaches back to the revision that the
//! writer expected, or is too short to tell. A chain is contiguous, because a write joins it only by compare-and-set on its
//! head. Nothing here talks to a server.

use crate::time::nonce;
use lru::LruCache;
use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most predecessors that a write carries.
const CHAIN: usize = 8;
/// How many keys a store remembers the chain of; one that is forgotten starts anew.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(16_384).expect("it is not zero");

/// Identifies one write, or all writes of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteId(u64);

impl WriteId {
    pub(super) fn fresh() -> Self {
        Self(nonce())
    }

    fn parse(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The id of a key's newest write, and the writes before it; without any when another client wrote the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chain {
    own: Option<WriteId>,
    before: VecDeque<(u64, Option<WriteId>)>,
}

impl Chain {
    /// Starts a chain, for a write that does not know what it follows.
    pub(super) fn start(id: WriteId) -> Self {
        Self { own: Some(id), before: VecDeque::new() }
    }

    /// Continues the chain of revision `expected` with a compare-and-set on it.
    pub(super) fn follow(&self, expected: u64, id: WriteId) -> Self {
        let mut before = self.before.clone();
        before.push_front((expected, self.own));
        before.truncate(CHAIN);
        Self { own: Some(id), before }
    }

    /// Finds the revision of a write in the chain whose newest write has revision `head`.
    pub(super) fn find(&self, head: u64, id: WriteId) -> Option<u64> {
        if self.own == Some(id) {
            return Some(head);
        }
        self.before.iter().find(|(_, found)| *found == Some(id)).map(|(revision, _)| *revision)
    }

    /// Tells whether every write after `revision` is in the chain.
    pub(super) fn reaches(&self, revision: u64) -> bool {
        self.before.iter().any(|(found, _)| *found == revision)
    }

    /// Reads a header; one that cannot be read is a foreign write.
    pub(super) fn parse(text: &str) -> Self {
        let mut words = text.split(' ');
        let own = words.next().and_then(WriteId::parse);
        let before = words.map_while(|word| {
            let (revision, id) = word.split_once(':')?;
            Some((revision.parse().ok()?, WriteId::parse(id)))
        });
        Self { own, before: before.collect() }
    }
}

impl fmt::Display for Chain {
    /// Writes the header.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |f: &mut fmt::Formatter<'_>, id: Option<WriteId>| match id {
            Some(id) => write!(f, "{id}"),
            None => f.write_str("-"),
        };
        id(f, self.own)?;
        for (revision, before) in &self.before {
            write!(f, " {revision}:")?;
            id(f, *before)?;
        }
        Ok(())
    }
}

/// What this store last saw of each key.
#[derive(Debug)]
pub(super) struct Chains(Mutex<Known>);

#[derive(Debug)]
struct Known {
    heads: LruCache<Box<str>, (u64, Chain)>,
    /// The newest of them.
    newest: (String, u64),
}

impl Default for Chains {
    fn default() -> Self {
        Self(Mutex::new(Known { heads: LruCache::new(REMEMBERED), newest: (String::new(), 0) }))
    }
}

impl Chains {
    /// Remembers a write that was read or done; an older one than is known changes nothing.
    pub(super) fn remember(&self, subject: &str, revision: u64, chain: Chain) {
        let mut known = self.lock();
        if revision > known.newest.1 {
            // Into the memory of the one before: this is on the way of every write.
            known.newest.0.clear();
            known.newest.0.push_str(subject);
            known.newest.1 = revision;
        }
        match known.heads.get_mut(subject) {
            Some((newest, _)) if *newest > revision => {}
            Some(entry) => *entry = (revision, chain),
            None => drop(known.heads.put(subject.into(), (revision, chain))),
        }
    }

    /// Returns the newest revision that was seen of a key, or zero.
    pub(super) fn newest(&self, subject: &str) -> u64 {
        self.lock().heads.peek(subject).map_or(0, |(revision, _)| *revision)
    }

    /// Returns the newest revision that this store has read or written, or zero; a read that is older would go back in time.
    pub(super) fn seen(&self) -> u64 {
        self.lock().newest.1
    }

    /// Returns the newest change that was seen, of whatever key: its subject and its revision.
    pub(super) fn witness(&self) -> Option<(String, u64)> {
        Some(self.lock().newest.clone()).filter(|(_, revision)| *revision > 0)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the chain of a write that expects `expected` (`None`: anything).
    pub(super) fn next(&self, subject: &str, expected: Option<u64>, id: WriteId) -> Chain {
        let Some(expected) = expected else { return Chain::start(id) };
        match self.lock().heads.get(subject) {
            Some((revision, chain)) if *revision == expected => chain.follow(expected, id),
            _ => Chain::default().follow(expected, id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_what_became_of_a_write() {
        let ids: Vec<_> = (0..12).map(WriteId).collect();
        let mut chain = Chain::start(ids[0]);
        for (i, id) in ids.iter().enumerate().skip(1) {
            chain = chain.follow(i as u64 * 10, *id);
        }
        let chain = Chain::parse(&chain.to_string());
        assert_eq!(chain.find(120, ids[11]), Some(120));
        assert_eq!(chain.find(120, ids[10]), Some(110));
        assert_eq!(chain.find(120, ids[1]), None, "it is too long ago");
        assert!(chain.reaches(40) && !chain.reaches(20));
    }

    #[test]
    fn a_foreign_write_has_no_chain() {
        let chain = Chain::parse("hello world");
        assert_eq!(chain, Chain::default());
        let next = chain.follow(7, WriteId(1));
        assert!(Chain::parse(&next.to_string()).reaches(7));
        assert_eq!(Chain::parse(&next.to_string()), next);
    }

    #[test]
    fn an_older_write_does_not_hide_a_newer_one() {
        let chains = Chains::default();
        chains.remember("k", 5, Chain::start(WriteId(5)));
        chains.remember("k", 3, Chain::start(WriteId(3)));
        assert_eq!(chains.next("k", Some(5), WriteId(6)).find(9, WriteId(5)), Some(5));
    }
}
