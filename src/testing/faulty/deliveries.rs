//! Which messages were delivered of each queue, so that they can be delivered once more.
//!
//! A delivery that comes again counts as an attempt: what the engine delivers of the message later is counted from there, in
//! every process that stands in front of the same engine. The engine knows nothing of it.

use super::locked;
use crate::engine::Delivery;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// The most deliveries of a queue of which one can come again.
const RECENT: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Deliveries(Mutex<BTreeMap<Box<str>, Arc<Given>>>);

/// What was delivered of one queue.
#[derive(Debug, Default)]
pub(super) struct Given(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    recent: VecDeque<Arc<Letter>>,
    /// Of messages that came again: how many attempts the engine does not know of, and which one is the newest.
    more: BTreeMap<u64, (u32, u32)>,
}

/// A delivery of the engine, which several of ours stand for.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) delivery: Delivery,
    /// Whether the engine was told how it ended.
    ended: AtomicBool,
}

impl Letter {
    /// Tells whether the engine is to be told of an end, which it is once.
    pub(super) fn end(&self) -> bool {
        !self.ended.swap(true, Ordering::SeqCst)
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

impl Deliveries {
    pub(super) fn of(&self, queue: &str) -> Arc<Given> {
        Arc::clone(locked(&self.0).entry(queue.into()).or_default())
    }
}

impl Given {
    /// Takes note of a delivery of the engine; returns it with the number of its attempt.
    pub(super) fn note(&self, delivery: Delivery) -> (Arc<Letter>, u32) {
        let mut known = locked(&self.0);
        let mut attempt = delivery.attempt();
        if let Some((more, newest)) = known.more.get_mut(&delivery.sequence()) {
            attempt = attempt.saturating_add(*more);
            *newest = attempt.max(*newest);
        }
        let letter = Arc::new(Letter { delivery, ended: AtomicBool::new(false) });
        known.recent.push_back(Arc::clone(&letter));
        if known.recent.len() > RECENT {
            known.recent.pop_front();
        }
        (letter, attempt)
    }

    /// Delivers one of the recent ones once more, the one that `choose` names among so many.
    pub(super) fn again(&self, choose: impl FnOnce(usize) -> usize) -> Option<(Arc<Letter>, u32)> {
        let mut known = locked(&self.0);
        let letter = Arc::clone(known.recent.get(choose(known.recent.len()))?);
        let sequence = letter.delivery.sequence();
        // A later delivery of the same message is forgotten later.
        let same = known.recent.iter().filter(|other| other.delivery.sequence() == sequence);
        let first = same.map(|other| other.delivery.attempt()).max().unwrap_or_default();
        let (more, newest) = known.more.entry(sequence).or_insert((0, first));
        *more += 1;
        *newest += 1;
        let attempt = *newest;
        Some((letter, attempt))
    }

    /// Tells whether an attempt is the newest of its message, as far as the engine would not know better.
    pub(super) fn is_newest(&self, sequence: u64, attempt: u32) -> bool {
        locked(&self.0).more.get(&sequence).is_none_or(|(_, newest)| *newest == attempt)
    }
}
