//! What the processes were told, so that the engine can be held to it.

use crate::engine::Revision;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What somebody was told of what they asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Done,
    /// It did not happen.
    Refused,
    /// It may have happened, and may be under way.
    Unclear,
}

/// An addition to registers, under an id that nobody else has.
#[derive(Debug)]
pub(super) struct Append {
    /// The registers, with their place.
    pub(super) registers: Vec<(usize, &'static str)>,
    pub(super) told: Told,
    /// What the answer said, where there was one.
    pub(super) revisions: Vec<Revision>,
    /// Whether a message left with it, whose payload is the id.
    pub(super) sends: bool,
}

/// A message, under a payload that no other one has.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) lane: usize,
    pub(super) told: Told,
    /// Whether it may be there more than once, as what a timer sends.
    pub(super) repeats: bool,
    /// Each place in the queue that it was delivered from, with the attempts.
    pub(super) attempts: BTreeMap<u64, BTreeSet<u32>>,
    /// Whether the queue was told that it is done; unclear is perhaps.
    pub(super) end: Option<Told>,
}

/// Everything that was told.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) appends: BTreeMap<String, Append>,
    pub(super) mails: BTreeMap<String, Mail>,
    pub(super) counted: i128,
    pub(super) perhaps_counted: i128,
    /// Who believes to hold what only one may hold.
    pub(super) holder: Option<usize>,
    /// Whoever held it under such a name does not any more, or never will.
    pub(super) over: BTreeSet<String>,
    /// What was ever put with a TTL.
    pub(super) mortals: BTreeSet<String>,
    next: u64,
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) seed: u64,
    pages: Mutex<Pages>,
}

impl Book {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, pages: Mutex::default() }
    }

    pub(super) fn open(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a name that nobody had before.
    pub(super) fn name(&self, process: usize) -> String {
        let mut pages = self.open();
        pages.next += 1;
        format!("{process}.{}", pages.next)
    }

    /// Notes a message before it is sent: it may be delivered before its sender hears of it.
    pub(super) fn sends(&self, payload: &str, lane: usize, repeats: bool) {
        let mail = Mail { lane, told: Told::Unclear, repeats, attempts: BTreeMap::new(), end: None };
        self.open().mails.insert(payload.to_owned(), mail);
    }

    pub(super) fn sent(&self, payload: &str, told: Told) {
        self.mail(payload, |mail| mail.told = told);
    }

    /// Notes a delivery, of which there is one for each attempt.
    pub(super) fn delivered(&self, payload: &str, lane: usize, sequence: u64, attempt: u32) {
        let seed = self.seed;
        self.mail(payload, |mail| {
            assert_eq!(mail.lane, lane, "seed {seed}: {payload} is in another queue");
            let first = mail.attempts.entry(sequence).or_default().insert(attempt);
            assert!(first, "seed {seed}: {payload} was delivered twice as attempt {attempt} of message {sequence}");
            let one = mail.repeats || mail.attempts.len() == 1;
            assert!(one, "seed {seed}: {payload} was published once and is there as {:?}", mail.attempts);
        });
    }

    /// Notes that a message was settled for good.
    pub(super) fn ended(&self, payload: &str, told: Told) {
        self.mail(payload, |mail| {
            if mail.end != Some(Told::Done) && told != Told::Refused {
                mail.end = Some(told);
            }
        });
    }

    pub(super) fn mail<T>(&self, payload: &str, look: impl FnOnce(&mut Mail) -> T) -> T {
        let mut pages = self.open();
        let Some(mail) = pages.mails.get_mut(payload) else { panic!("seed {}: nobody sent {payload}", self.seed) };
        look(mail)
    }
}
