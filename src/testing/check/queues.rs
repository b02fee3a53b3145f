//! Nothing that was accepted is lost, and nothing has two ends.
//!
//! It holds queues and jobs to what `docs/semantics.md` says of them: at least once, one settlement, and, where that is promised,
//! exactly one effect. That a message is handled more than once is no violation.

use super::{
    Until,
    violation::{Row, Violation},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What happens to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// It was accepted: the queue has acknowledged it.
    Published {
        /// What the message is called; of two publications with one id one is a duplicate.
        id: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// It may have been accepted, which nobody knows.
    Attempted {
        /// What the message is called.
        id: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// Somebody begins to handle it.
    Handled {
        /// What the message is called.
        id: Box<str>,
        /// Who handles it.
        worker: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// It has an end, which is known to be stored.
    Settled {
        /// What the message is called.
        id: Box<str>,
        /// Which end.
        verdict: Verdict,
        /// Who settled it.
        worker: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
    /// What it is about has happened, where that is promised to happen once: see [`exactly_once`].
    Effect {
        /// What the message is called.
        id: Box<str>,
        /// When, in microseconds.
        at: u64,
    },
}

/// How a message ends. To be tried again is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// It was handled.
    Done,
    /// It was given up, and is where dead letters are.
    Dead,
    /// It was cancelled, or is not wanted.
    Dropped,
}

impl Event {
    fn id(&self) -> &str {
        let (Self::Published { id, .. }
        | Self::Attempted { id, .. }
        | Self::Handled { id, .. }
        | Self::Settled { id, .. }
        | Self::Effect { id, .. }) = self;
        id
    }

    fn row(&self) -> Row {
        match self {
            Self::Published { at, .. } => Row::at(*at, "", "published"),
            Self::Attempted { at, .. } => Row::at(*at, "", "published, perhaps"),
            Self::Handled { at, worker, .. } => Row::at(*at, &**worker, "handles it"),
            Self::Settled { at, worker, verdict, .. } => Row::at(*at, &**worker, format!("settles it: {verdict:?}")),
            Self::Effect { at, .. } => Row::at(*at, "", "has its effect"),
        }
    }
}

/// Checks that each message has one kind of end, was handled before it was done, and comes from somewhere; and, when everything has come
/// to rest, that each that was accepted has an end.
///
/// # Errors
///
/// That a message has two different ends (rule `queues.two_ends`), was done and never handled (`queues.unhandled`), was never published
/// (`queues.invented`), or has no end (`queues.lost`); with all that happened to it.
///
/// ```
/// use anabranch::testing::check::{Until, queues::{Event, Verdict, check}};
///
/// let mut events = vec![
///     Event::Published { id: "m".into(), at: 0 },
///     Event::Handled { id: "m".into(), worker: "w1".into(), at: 10 },
/// ];
/// check(&events, Until::Cut)?;
/// assert_eq!(check(&events, Until::Quiet).unwrap_err().rule(), "queues.lost");
/// events.push(Event::Settled { id: "m".into(), verdict: Verdict::Done, worker: "w1".into(), at: 20 });
/// check(&events, Until::Quiet)?;
/// events.push(Event::Settled { id: "m".into(), verdict: Verdict::Dead, worker: "w2".into(), at: 30 });
/// assert_eq!(check(&events, Until::Quiet).unwrap_err().rule(), "queues.two_ends");
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub fn check(events: &[Event], until: Until) -> Result<(), Violation> {
    messages(events).into_iter().try_for_each(|message| message.check(until))
}

/// Checks that each message had its effect once at most, and, when everything has come to rest, that each that was done had it: what is
/// promised of jobs that a router commits, of operations with ids and of messages with ids in a window.
///
/// # Errors
///
/// That there is an effect too many (rule `queues.twice`), one of what was never published (`queues.invented`), or one too few
/// (`queues.without_effect`).
pub fn exactly_once(events: &[Event], until: Until) -> Result<(), Violation> {
    messages(events).into_iter().try_for_each(|message| message.exactly_once(until))
}

struct Message<'e> {
    id: &'e str,
    events: Vec<(usize, &'e Event)>,
}

fn messages(events: &[Event]) -> Vec<Message<'_>> {
    let mut messages: BTreeMap<&str, Vec<(usize, &Event)>> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        messages.entry(event.id()).or_default().push((at, event));
    }
    messages.into_iter().map(|(id, events)| Message { id, events }).collect()
}

impl Message<'_> {
    fn check(&self, until: Until) -> Result<(), Violation> {
        let mut ends: Vec<Verdict> = self.each(|event| match event {
            Event::Settled { verdict, .. } => Some(*verdict),
            _ => None,
        });
        ends.sort_unstable();
        ends.dedup();
        self.comes_from_somewhere()?;
        if ends.len() > 1 {
            return Err(self.tell("queues.two_ends", format!("has the ends {ends:?}")));
        }
        // It begins to be handled at the latest when it is done.
        let handled: Vec<u64> = self.each(|event| match event {
            Event::Handled { at, .. } => Some(*at),
            _ => None,
        });
        let done: Vec<u64> = self.each(|event| match event {
            Event::Settled { verdict: Verdict::Done, at, .. } => Some(*at),
            _ => None,
        });
        if let Some(done) = done.iter().min()
            && handled.iter().all(|handled| handled > done)
        {
            return Err(self.tell("queues.unhandled", "is done, and nobody had handled it".into()));
        }
        if until == Until::Quiet && ends.is_empty() && self.is(|event| matches!(event, Event::Published { .. })) {
            return Err(self.tell("queues.lost", "was accepted, and has no end".into()));
        }
        Ok(())
    }

    fn exactly_once(&self, until: Until) -> Result<(), Violation> {
        let effects = self.events.iter().filter(|(_, event)| matches!(event, Event::Effect { .. })).count();
        if effects > 0 {
            self.comes_from_somewhere()?;
        }
        if effects > 1 {
            return Err(self.tell("queues.twice", format!("has its effect {effects} times")));
        }
        let done = self.is(|event| matches!(event, Event::Settled { verdict: Verdict::Done, .. }));
        if until == Until::Quiet && effects == 0 && done {
            return Err(self.tell("queues.without_effect", "is done, and has no effect".into()));
        }
        Ok(())
    }

    fn comes_from_somewhere(&self) -> Result<(), Violation> {
        if self.is(|event| matches!(event, Event::Published { .. } | Event::Attempted { .. })) {
            return Ok(());
        }
        Err(self.tell("queues.invented", "was never published".into()))
    }

    fn each<T>(&self, what: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        self.events.iter().filter_map(|(_, event)| what(event)).collect()
    }

    fn is(&self, what: impl Fn(&Event) -> bool) -> bool {
        self.events.iter().any(|(_, event)| what(event))
    }

    fn tell(&self, rule: &'static str, what: String) -> Violation {
        let violation = Violation::new(rule, format!("{} {what}", self.id));
        self.events.iter().fold(violation, |violation, (at, event)| violation.with(*at, event.row()))
    }
}
