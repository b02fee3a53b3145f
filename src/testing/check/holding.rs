//! What is held and led, as those believe who hold it: from when to when.
//!
//! A belief lasts from when its holder was told until it gives back, is told of its loss, dies, or until its lease is over by its own
//! reckoning, whatever comes first. Nothing is asked of what the store says meanwhile: what counts is who would act.

use super::violation::{Row, Violation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happens to a hold of a lock, of permits or of a leadership, for [`semaphore`](super::semaphore) and
/// [`election`](super::election).
///
/// Times are those of one clock; where processes have clocks of their own, they are those of the observer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holding {
    /// A client was told that it holds.
    Held {
        /// Who.
        client: Box<str>,
        /// Of which semaphore, lock or election.
        object: Box<str>,
        /// A name for this hold that no other one has.
        hold: Box<str>,
        /// How many units; one of a lock or an election.
        units: u32,
        /// The fencing token, or the term.
        token: u64,
        /// When it was told, in microseconds.
        at: u64,
        /// When its belief ends unless it is renewed, in microseconds; nothing if that is not known.
        until: Option<u64>,
    },
    /// A hold goes on.
    Renewed {
        /// Which.
        hold: Box<str>,
        /// When its holder knew, in microseconds.
        at: u64,
        /// When its belief ends now, in microseconds; nothing if that is not known.
        until: Option<u64>,
    },
    /// A holder begins to give back, or is told that it has lost it.
    Ended {
        /// Which.
        hold: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// A client is no more, and believes nothing. Under the same name it may come again.
    Died {
        /// Who.
        client: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
}

impl Holding {
    fn at(&self) -> u64 {
        match self {
            Self::Held { at, .. } | Self::Renewed { at, .. } | Self::Ended { at, .. } | Self::Died { at, .. } => *at,
        }
    }
}

/// Somebody believes to hold something.
#[derive(Debug)]
pub(super) struct Belief<'e> {
    pub(super) client: &'e str,
    pub(super) object: &'e str,
    pub(super) units: u32,
    pub(super) token: u64,
    pub(super) from: u64,
    /// When it ends, if it does.
    pub(super) to: Option<u64>,
    /// The events that it is made of; the first one begins it.
    events: Vec<usize>,
}

impl Belief<'_> {
    fn ends(&self) -> u64 {
        self.to.unwrap_or(u64::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends() <= self.from
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.from < other.ends() && other.from < self.ends() && !self.is_empty() && !other.is_empty()
    }

    pub(super) fn covers(&self, at: u64) -> bool {
        self.from <= at && at < self.ends()
    }

    /// Adds it to the table of a violation.
    pub(super) fn show(&self, violation: Violation) -> Violation {
        let units = if self.units == 1 { String::new() } else { format!("{} units, ", self.units) };
        let what = format!("believes to hold {} ({units}token {})", self.object, self.token);
        let row = Row { from: self.from, to: self.to, who: self.client.to_owned(), what };
        let violation = violation.with(self.events[0], row);
        self.events[1..].iter().fold(violation, |violation, event| violation.also(*event))
    }
}

/// Returns the beliefs by object, each in the order in which they begin.
///
/// # Errors
///
/// That a hold was renewed that had ended: a guard that was lost stays lost.
pub(super) fn beliefs<'e>(rule: &'static str, events: &'e [Holding]) -> Result<BTreeMap<&'e str, Vec<Belief<'e>>>, Violation> {
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|event| events[*event].at());
    let mut all: Vec<Belief<'e>> = Vec::new();
    // The newest belief of a hold, and how it ended otherwise than by its lease.
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    let mut ended: BTreeMap<&str, u64> = BTreeMap::new();
    for event in order {
        match &events[event] {
            Holding::Held { client, object, hold, units, token, at, until } => {
                known.insert(hold, all.len());
                ended.remove(&**hold);
                let (units, token) = (*units, *token);
                all.push(Belief { client, object, units, token, from: *at, to: *until, events: vec![event] });
            }
            Holding::Renewed { hold, at, until } => {
                let Some(belief) = known.get(&**hold).map(|belief| &mut all[*belief]) else { continue };
                belief.events.push(event);
                if let Some(end) = ended.get(&**hold) {
                    let what = format!("{} renews what it held until {end}", belief.client);
                    let violation = belief.show(Violation::new(rule, what));
                    return Err(violation.beside(Row::at(*at, belief.client, "renews it")));
                }
                // What its holder believes no more is not brought back by a word that comes late.
                if belief.ends() > *at {
                    belief.to = *until;
                }
            }
            Holding::Ended { hold, at } => {
                let Some(belief) = known.get(&**hold).map(|belief| &mut all[*belief]) else { continue };
                belief.to = Some(belief.ends().min(*at));
                belief.events.push(event);
                ended.entry(hold).or_insert(*at);
            }
            Holding::Died { client, at } => {
                for belief in all.iter_mut().filter(|belief| belief.client == &**client && belief.ends() > *at) {
                    belief.to = Some(*at);
                    belief.events.push(event);
                }
            }
        }
    }
    let mut objects: BTreeMap<&str, Vec<Belief<'e>>> = BTreeMap::new();
    for belief in all {
        objects.entry(belief.object).or_default().push(belief);
    }
    Ok(objects)
}
