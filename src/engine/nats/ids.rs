//! Write ids: how a writer that lost its acknowledgement finds out what became of its write.
//!
//! A key keeps one message, so what that message says is the only evidence of a write that was overwritten. Each write carries its
//! id and a ring: the last write of each writer before it, and the revision from which on nothing is missing. A writer, which is
//! one store handle, leaves its own older writes out when it writes again, but those whose outcome it does not know yet; so an id
//! that is not in a ring that reaches back far enough was never applied. A ring is contiguous, because a write joins it only by
//! compare-and-set on the message that has it. Nothing here talks to a server.

use crate::{
    engine::locked,
    time::{Timestamp, nonce},
};
use lru::LruCache;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

/// The most writes that a ring lists; the oldest goes first.
pub(super) const RING: usize = 64;
/// How many keys a store remembers the ring of; one that is forgotten starts anew.
const REMEMBERED: usize = 16_384;
/// The length of a tick, by which the writes of processes that are long gone leave a ring.
const TICK_SECONDS: i64 = 600;
/// How many ticks a write stays in a ring, so more than an hour: nobody looks for one for as long.
const STAYS: u16 = 7;
/// Ticks are counted modulo this.
const TICKS: u16 = 4096;
/// How many bytes of a header one write takes, more or less.
const LISTED_BYTES: usize = 16;
/// What is between a ring, whose words have no such character, and a label.
const LABELLED: &str = " ~";
/// How many of its bits a writer's number has: eight digits of the header.
const WRITER_BITS: u32 = 48;

/// Identifies one write, or all writes of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteId {
    writer: u64,
    count: u64,
}

/// A text that nobody else has, for what is no write.
pub(super) fn unique_text() -> String {
    format!("{:016x}", nonce())
}

/// A moment in ticks, for [`Rings::next`]. Clocks that differ make a ring forget early, and never claim something false.
pub(super) fn tick(now: Timestamp) -> u16 {
    let ticks = now.as_micros() / 1_000_000 / TICK_SECONDS;
    u16::try_from(ticks.rem_euclid(i64::from(TICKS))).unwrap_or(0)
}

/// One write of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listed {
    revision: u64,
    id: WriteId,
    tick: u16,
}

/// The id of a key's newest write, and the ring before it; without any when another client wrote the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ring {
    own: Option<WriteId>,
    /// When it was written.
    tick: u16,
    /// From this revision on every write is listed, or superseded; zero where the key was created from nothing, and `None` where
    /// nothing is known.
    since: Option<u64>,
    /// The same is true of the time in which there was nothing.
    from_nothing: bool,
    /// Oldest first.
    before: Vec<Listed>,
}

impl Ring {
    /// Starts a ring, for a write that does not know what it follows.
    fn start(id: WriteId, tick: u16) -> Self {
        Self { own: Some(id), tick, ..Self::default() }
    }

    /// Continues the ring of revision `expected` with a compare-and-set on it. What `is_settled` names of the same writer goes.
    fn follow(&self, expected: u64, id: WriteId, is_settled: impl Fn(WriteId) -> bool, tick: u16) -> Self {
        if self.is_made_up(expected) {
            return Self::default().follow(expected, id, is_settled, tick);
        }
        let last = self.own.map(|own| Listed { revision: expected, id: own, tick: self.tick });
        let superseded = |listed: &Listed| listed.id.writer == id.writer && is_settled(listed.id);
        let mut before = Vec::with_capacity(self.before.len() + 1);
        before.extend(self.before.iter().copied().chain(last).filter(|listed| !superseded(listed)));
        let old = before.iter().take_while(|listed| age(tick, listed.tick) >= STAYS).count();
        let beyond = old.max(before.len().saturating_sub(RING));
        let dropped = before.drain(..beyond).next_back();
        // What is followed without knowing its ring is not listed.
        let mut since = self.since.filter(|since| *since > 0).unwrap_or(expected + u64::from(self.own.is_none()));
        if let Some(dropped) = dropped {
            // Of what came after it nothing is missing.
            since = since.max(dropped.revision + 1);
        }
        if expected == 0 {
            since = 0;
        }
        let from_nothing = expected == 0 || (self.from_nothing && dropped.is_none());
        Self { own: Some(id), tick, since: Some(since), from_nothing, before }
    }

    /// Tells whether it lists, below a write of revision `head`, what came later: we never write such a ring, so it says nothing.
    fn is_made_up(&self, head: u64) -> bool {
        self.before.last().is_some_and(|newest| newest.revision >= head) || self.since.is_some_and(|since| since > head)
    }

    /// Finds the revision of a write in the ring whose newest write has revision `head`.
    pub(super) fn find(&self, head: u64, id: WriteId) -> Option<u64> {
        if self.own == Some(id) {
            return Some(head);
        }
        self.before.iter().rev().find(|listed| listed.id == id).map(|listed| listed.revision)
    }

    /// Tells whether no write after `revision` is missing, so that what is not found was not applied.
    pub(super) fn reaches(&self, revision: u64) -> bool {
        match revision {
            0 => self.from_nothing,
            _ => self.since.is_some_and(|since| since > 0 && since <= revision + 1),
        }
    }

    /// Makes the header: `=ID TICK SINCE[!]`, then ` DELTA:ID[:AGE]` of each write before it, oldest first; `DELTA` is the distance to
    /// the revision before it. A label follows in the same header, since each header costs the client and the server as much as
    /// all of this.
    pub(super) fn header(&self, label: Option<&str>) -> String {
        // In one piece, and without the machinery of formatting: this is on the way of every write.
        let room = label.map_or(0, |label| LABELLED.len() + label.len());
        let mut text = String::with_capacity((self.before.len() + 2) * LISTED_BYTES + room);
        self.push_to(&mut text);
        if let Some(label) = label {
            text.push_str(LABELLED);
            text.push_str(label);
        }
        text
    }

    fn push_to(&self, text: &mut String) {
        let Some(own) = self.own else { return };
        text.push('=');
        own.push_to(text);
        text.push(' ');
        push_digits(text, u64::from(self.tick), 2);
        if let Some(since) = self.since {
            push_digits(text, since, 1);
        }
        if self.from_nothing {
            text.push('!');
        }
        let mut at = self.since.unwrap_or(0).saturating_sub(1);
        for listed in &self.before {
            text.push(' ');
            push_digits(text, listed.revision.saturating_sub(at), 1);
            at = listed.revision;
            text.push(':');
            listed.id.push_to(text);
            let age = age(self.tick, listed.tick);
            if age > 0 {
                text.push(':');
                push_digits(text, u64::from(age), 1);
            }
        }
    }

    /// Reads a header; one that cannot be read is a foreign write.
    pub(super) fn parse(text: &str) -> Self {
        let text = text.split_once(LABELLED).map_or(text, |(ring, _)| ring);
        match text.strip_prefix('=') {
            Some(text) => parse(text).unwrap_or_default(),
            None => parse_chain(text),
        }
    }
}

/// Returns the label that a header has beside the ring.
pub(super) fn label(header: &str) -> Option<&str> {
    header.split_once(LABELLED).map(|(_, label)| label)
}

/// How many ticks ago something was; nothing that seems to be in the future is old.
fn age(now: u16, then: u16) -> u16 {
    let age = now.wrapping_sub(then) % TICKS;
    if age < TICKS / 2 { age } else { 0 }
}

impl WriteId {
    fn push_to(self, text: &mut String) {
        push_digits(text, self.writer, (WRITER_BITS / 6) as usize);
        push_digits(text, self.count, 1);
    }
}

fn parse(text: &str) -> Option<Ring> {
    let mut text = Text(text.as_bytes());
    let own = text.id()?;
    text.skip(b' ')?;
    let tick = u16::try_from(text.digits(2)?).ok()?;
    let since = text.number();
    let from_nothing = text.skip(b'!').is_some();
    let mut at = since.unwrap_or(0).saturating_sub(1);
    let mut before = Vec::new();
    while text.skip(b' ').is_some() {
        at = at.checked_add(text.number()?)?;
        text.skip(b':')?;
        let id = text.id()?;
        let age = if text.skip(b':').is_some() { text.number()? } else { 0 };
        let then = (u64::from(tick) + u64::from(TICKS) - age % u64::from(TICKS)) % u64::from(TICKS);
        before.push(Listed { revision: at, id, tick: u16::try_from(then).ok()? });
    }
    text.0.is_empty().then_some(Ring { own: Some(own), tick, since, from_nothing, before })
}

/// What is left to read of a header, byte by byte: this is on the way of every read.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn skip(&mut self, byte: u8) -> Option<()> {
        self.0 = self.0.strip_prefix(&[byte])?;
        Some(())
    }

    /// Reads so many digits.
    fn digits(&mut self, count: usize) -> Option<u64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let number = digits.iter().try_fold(0, |number, byte| push_digit(number, *byte))?;
        self.0 = rest;
        Some(number)
    }

    /// Reads all digits that come; `None` when there are none, or more than fit, and then they are left.
    fn number(&mut self) -> Option<u64> {
        let count = self.0.iter().take_while(|byte| digit(**byte).is_some()).count();
        if count == 0 { None } else { self.digits(count) }
    }

    fn id(&mut self) -> Option<WriteId> {
        Some(WriteId { writer: self.digits((WRITER_BITS / 6) as usize)?, count: self.number()? })
    }
}

/// Reads what versions before 0.2 wrote: `ID`, then ` REVISION:ID` of up to eight writes before it, newest first. Nobody who looks
/// for one of their ids reads it here; how far they reach back counts.
fn parse_chain(text: &str) -> Ring {
    let mut words = text.split(' ');
    if words.next().is_none_or(|id| u64::from_str_radix(id, 16).is_err()) {
        return Ring::default();
    }
    let revisions: Vec<u64> = words.map_while(|word| word.split_once(':')?.0.parse().ok()).collect();
    let from_nothing = revisions.last() == Some(&0);
    // The oldest one may be another client's, whose id is not known.
    let since = if from_nothing {
        revisions.iter().rev().nth(1).or(revisions.last()).copied()
    } else {
        revisions.last().map(|r| r + 1)
    };
    Ring { since, from_nothing, ..Ring::default() }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Writes a number to the base of 64, in at least so many digits.
fn push_digits(text: &mut String, number: u64, least: usize) {
    let needed = (64 - number.leading_zeros()).div_ceil(6) as usize;
    for place in (0..needed.max(least)).rev() {
        let digit = u8::try_from((number >> (6 * place)) & 63).unwrap_or(0);
        text.push(char::from(DIGITS[usize::from(digit)]));
    }
}

fn push_digit(number: u64, byte: u8) -> Option<u64> {
    Some(number.checked_mul(64)? | u64::from(digit(byte)?))
}

/// What each byte is as a digit, and 64 or more where it is none: read where every write is.
const VALUES: [u8; 256] = {
    let (mut values, mut digit) = ([u8::MAX; 256], 0_u8);
    while (digit as usize) < DIGITS.len() {
        values[DIGITS[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};

fn digit(byte: u8) -> Option<u8> {
    let value = VALUES[usize::from(byte)];
    (value < 64).then_some(value)
}

/// What this store, which is one writer, last saw of each key, and which of its writes are under way.
#[derive(Debug)]
pub(super) struct Rings {
    writer: u64,
    known: Mutex<Known>,
    flying: Arc<Mutex<Flying>>,
    /// Told when there is something to forget one day, and nobody sees to it.
    pub(super) begun: Notify,
}

/// What was last seen of a key.
#[derive(Debug)]
struct Head {
    revision: u64,
    ring: Ring,
    /// When it ends by itself, with a marker.
    ends: Option<Timestamp>,
    /// The age in which it was seen.
    age: u64,
}

#[derive(Debug)]
struct Known {
    heads: LruCache<Box<str>, Head>,
    /// The newest of them.
    newest: (String, u64),
    /// How often it was looked for keys that nobody uses.
    age: u64,
    /// Whether somebody does.
    is_kept: bool,
}

#[derive(Debug, Default)]
struct Flying {
    last: u64,
    counts: BTreeSet<u64>,
}

/// A write whose outcome somebody waits for: until it is dropped, its id stays in the rings of this writer's later writes.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) id: WriteId,
    flying: Arc<Mutex<Flying>>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        locked(&self.flying).counts.remove(&self.id.count);
    }
}

impl Default for Rings {
    fn default() -> Self {
        // Bounded by hand: a table that has room for all of them from the start is slow to look into while there are few.
        let known = Known { heads: LruCache::unbounded(), newest: (String::new(), 0), age: 0, is_kept: false };
        let writer = nonce() & ((1 << WRITER_BITS) - 1);
        Self { writer, known: Mutex::new(known), flying: Arc::default(), begun: Notify::new() }
    }
}

impl Rings {
    /// Gives a write its id.
    pub(super) fn take_off(&self) -> Flight {
        let mut flying = locked(&self.flying);
        flying.last += 1;
        let count = flying.last;
        flying.counts.insert(count);
        Flight { id: WriteId { writer: self.writer, count }, flying: Arc::clone(&self.flying) }
    }

    /// Remembers a write that was read or done, and when it ends by itself; an older one than is known changes nothing.
    pub(super) fn remember(&self, subject: &str, revision: u64, ring: Ring, ends: Option<Timestamp>) {
        let mut known = locked(&self.known);
        if revision > known.newest.1 {
            // Into the memory of the one before: this is on the way of every write.
            known.newest.0.clear();
            known.newest.0.push_str(subject);
            known.newest.1 = revision;
        }
        let age = known.age;
        match known.heads.get_mut(subject) {
            Some(head) if head.revision > revision => head.age = age,
            Some(head) => *head = Head { revision, ring, ends, age },
            None => {
                known.heads.put(subject.into(), Head { revision, ring, ends, age });
                if known.heads.len() > REMEMBERED {
                    known.heads.pop_lru();
                }
                if !std::mem::replace(&mut known.is_kept, true) {
                    self.begun.notify_one();
                }
            }
        }
    }

    /// Forgets the keys that were not seen since the time before the last, and tells whether there are others.
    pub(super) fn forget(&self) -> bool {
        let mut known = locked(&self.known);
        known.age += 1;
        let age = known.age;
        while known.heads.peek_lru().is_some_and(|(_, head)| head.age + 1 < age) {
            known.heads.pop_lru();
        }
        known.is_kept = !known.heads.is_empty();
        if !known.is_kept {
            // With its room.
            known.heads = LruCache::unbounded();
        }
        known.is_kept
    }

    /// Returns the newest revision that was seen of a key, or zero.
    pub(super) fn newest(&self, subject: &str) -> u64 {
        locked(&self.known).heads.peek(subject).map_or(0, |head| head.revision)
    }

    /// Returns the newest revision that this store has read or written, or zero; a read that is older would go back in time.
    pub(super) fn seen(&self) -> u64 {
        locked(&self.known).newest.1
    }

    /// Returns the newest change that was seen, of whatever key: its subject and its revision.
    pub(super) fn witness(&self) -> Option<(String, u64)> {
        Some(locked(&self.known).newest.clone()).filter(|(_, revision)| *revision > 0)
    }

    /// Returns the ring of a write that expects `expected` (`None`: anything), and when that ends by itself.
    pub(super) fn next(&self, subject: &str, expected: Option<u64>, id: WriteId, tick: u16) -> (Ring, Option<Timestamp>) {
        let Some(expected) = expected else { return (Ring::start(id, tick), None) };
        let flying = locked(&self.flying);
        let is_settled = |id: WriteId| !flying.counts.contains(&id.count);
        // What is written now is remembered when it is done, and need not be put in front twice.
        match locked(&self.known).heads.peek(subject) {
            Some(head) if head.revision == expected => (head.ring.follow(expected, id, is_settled, tick), head.ends),
            _ => (Ring::default().follow(expected, id, is_settled, tick), None),
        }
    }
}

#[cfg(test)]
#[path = "ids_tests.rs"]
mod tests;
