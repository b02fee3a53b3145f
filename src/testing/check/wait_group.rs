//! Whoever waits for a group is woken at zero, and not before.
//!
//! It holds `docs/semantics.md`, "Wait groups, latches and barriers", to its word that everybody who waits is woken at zero, whenever it
//! comes and however short it is, and when the group is over. What a count was between a call and its return is not known, so it
//! complains only of what is wrong whenever each change happened.

use super::{
    Until,
    violation::{Row, Violation},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happens to a wait group. A latch is one that begins with its count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The count changes, at an unknown time from a call to its return.
    Changed {
        /// Who changes it.
        client: Box<str>,
        /// Of which group.
        group: Box<str>,
        /// By how much: above zero for whoever enters, below zero for whoever is done.
        by: i64,
        /// When it was asked for, in microseconds.
        called: u64,
        /// When it was known to be done, in microseconds; nothing if that is not known: it may have happened at any time, or never.
        returned: Option<u64>,
    },
    /// Somebody waits for zero.
    Waited {
        /// Who.
        client: Box<str>,
        /// For which group.
        group: Box<str>,
        /// When it asked, in microseconds.
        called: u64,
        /// From when on it surely waits, in microseconds, when that is known: it must not miss a zero that is over at once.
        waiting: Option<u64>,
        /// When it was woken because of a zero, in microseconds; nothing if it was not. One that gave up, died, or was told that the group
        /// is over has no event.
        woken: Option<u64>,
    },
    /// The group is closed, deleted or has expired; nobody goes on waiting.
    Over {
        /// Which group.
        group: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
}

/// Checks that who was woken was woken at a zero, and, when everything has come to rest, that nobody waits who should have been woken.
///
/// What happened within the same microsecond may have happened in either order. Where much does, as in virtual time, number the events and
/// give the numbers for times.
///
/// # Errors
///
/// That somebody was woken though the count was above zero all the time (rule `wait_group.early`), or waits though it was zero, or the group
/// over (`wait_group.lost`); with the changes of the group.
///
/// ```
/// use anabranch::testing::check::{Until, wait_group::{Event, check}};
///
/// let changed = |by, called, returned| Event::Changed { client: "a".into(), group: "g".into(), by, called, returned: Some(returned) };
/// let waited = |woken| Event::Waited { client: "b".into(), group: "g".into(), called: 20, waiting: None, woken };
/// check(&[changed(1, 0, 10), waited(Some(60)), changed(-1, 30, 40)], Until::Quiet)?;
/// let early = check(&[changed(1, 0, 10), waited(Some(25)), changed(-1, 30, 40)], Until::Quiet).unwrap_err();
/// assert_eq!(early.rule(), "wait_group.early");
/// let lost = check(&[changed(1, 0, 10), waited(None), changed(-1, 30, 40)], Until::Quiet).unwrap_err();
/// assert_eq!(lost.rule(), "wait_group.lost");
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub fn check(events: &[Event], until: Until) -> Result<(), Violation> {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        let (Event::Changed { group, .. } | Event::Waited { group, .. } | Event::Over { group, .. }) = event;
        groups.entry(group).or_insert_with(|| Group { name: group, events, members: Vec::new() }).members.push(at);
    }
    groups.values().try_for_each(|group| group.check(until))
}

struct Group<'e> {
    name: &'e str,
    events: &'e [Event],
    members: Vec<usize>,
}

impl Group<'_> {
    fn check(&self, until: Until) -> Result<(), Violation> {
        for at in &self.members {
            match &self.events[*at] {
                Event::Waited { client, called, woken: Some(woken), .. } if !self.may_be_zero(*called, *woken) => {
                    let what = format!("{client} was woken, and {} was not zero since it waits", self.name);
                    return Err(self.tell("wait_group.early", what, *at, *woken));
                }
                Event::Waited { client, called, waiting, woken: None, .. } if until == Until::Quiet => {
                    let over = self.members.iter().find_map(|at| match &self.events[*at] {
                        Event::Over { at, .. } => Some(format!("is over since {at}")),
                        _ => None,
                    });
                    let zero = || self.is_surely_zero((*waiting).map(|waiting| waiting.max(*called)));
                    if let Some(why) = over.or_else(zero) {
                        let what = format!("{client} still waits for {}, which {why}", self.name);
                        return Err(self.tell("wait_group.lost", what, *at, u64::MAX));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn changes(&self) -> impl Iterator<Item = (i128, u64, Option<u64>)> + Clone {
        self.members.iter().filter_map(|at| match &self.events[*at] {
            Event::Changed { by, called, returned, .. } => Some((i128::from(*by), *called, *returned)),
            _ => None,
        })
    }

    /// Returns whether there is a moment in a span at which the count can have been zero.
    fn may_be_zero(&self, from: u64, to: u64) -> bool {
        // As small as it can be: who enters has entered when it must have, who is done is so as soon as it can.
        let least = |at: u64| -> i128 {
            let counts = |(by, called, returned): &(i128, u64, Option<u64>)| {
                if *by > 0 { returned.is_some_and(|returned| returned < at) } else { *called <= at }
            };
            self.changes().filter(counts).map(|(by, ..)| by).sum()
        };
        // It becomes smaller only where somebody begins to be done.
        let moments = self.changes().map(|(_, called, _)| called).filter(|at| (from..=to).contains(at));
        std::iter::once(from).chain(moments).any(|at| least(at) <= 0)
    }

    /// Returns since when the count is zero for certain: at the end, or at any time after somebody surely waits.
    fn is_surely_zero(&self, waiting: Option<u64>) -> Option<String> {
        // As great as it can be, just after a moment.
        let most = |at: u64| -> i128 {
            let counts = |(by, called, returned): &(i128, u64, Option<u64>)| {
                if *by > 0 { *called <= at } else { returned.is_some_and(|returned| returned <= at) }
            };
            self.changes().filter(counts).map(|(by, ..)| by).sum()
        };
        if most(u64::MAX) <= 0 {
            return Some("is zero".into());
        }
        let mut moments = self.changes().filter_map(|(_, _, returned)| returned).filter(|at| waiting.is_some_and(|w| w < *at));
        moments.find(|at| most(*at) <= 0).map(|at| format!("was zero at {at}"))
    }

    fn tell(&self, rule: &'static str, what: String, waits: usize, until: u64) -> Violation {
        self.members.iter().fold(Violation::new(rule, what), |violation, at| match &self.events[*at] {
            Event::Changed { client, by, called, returned, .. } if *called <= until => {
                let what = if returned.is_some() { format!("{by:+}") } else { format!("{by:+}, perhaps") };
                violation.with(*at, Row { from: *called, to: *returned, who: client.to_string(), what })
            }
            Event::Waited { client, called, woken, .. } if *at == waits => {
                let what = if woken.is_some() { "waits, and is woken" } else { "waits" };
                violation.with(*at, Row { from: *called, to: *woken, who: client.to_string(), what: what.into() })
            }
            Event::Over { at: time, .. } if *time <= until => violation.with(*at, Row::at(*time, "", "the group is over")),
            _ => violation,
        })
    }
}
