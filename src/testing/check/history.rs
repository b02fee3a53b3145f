//! What clients did to an object, when they asked and when they were answered.
//!
//! It promises to lose nothing, whichever threads record, and to keep what is known of the order in which things happened. It does not
//! know what the operations mean.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A point in time: microseconds, and what tells those apart that have the same.
pub(super) type Moment = (u64, u64);

/// How a call ended, as far as it is known.
#[derive(Debug, Clone)]
pub(super) enum End<R> {
    /// Not at all, or nobody knows how.
    Unknown,
    Returned(Moment, R),
    /// Without any effect.
    Refused,
}

#[derive(Debug, Clone)]
pub(super) struct Entry<O, R> {
    pub(super) client: Box<str>,
    pub(super) op: O,
    pub(super) invoked: Moment,
    pub(super) end: End<R>,
}

struct Log<O, R> {
    entries: Vec<Entry<O, R>>,
    /// How many moments were recorded.
    moments: u64,
}

/// What happened to an object, recorded as it happens or put together from [`Record`]s of several processes.
///
/// An operation happened at some point between its invocation and its return. One came before another if it returned before the other
/// was invoked: at an earlier time `at`, or at the same time and recorded earlier. (So a call is to be recorded before it is made, and its
/// return after it was made.) Clones record into the same history, from any thread. Nothing is asked of clients: one may invoke again
/// while an earlier call of it is open.
///
/// ```
/// use anabranch::testing::check::{Counter, CounterOp, History, linearizable};
///
/// let history = History::new();
/// let one = history.invoke("a", CounterOp::Add(1), 10);
/// let other = history.invoke("b", CounterOp::Add(1), 11);
/// history.returned(other, 1, 20);
/// history.unknown(one);
/// let read = history.invoke("b", CounterOp::Read, 30);
/// history.returned(read, 2, 31);
/// linearizable(&Counter, &history)?;
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub struct History<O, R> {
    log: Arc<Mutex<Log<O, R>>>,
}

/// A call that was invoked, until it is known what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Call(usize);

/// One operation of a history, finished or never to be: what processes write down, one as a line of JSON.
///
/// ```
/// use anabranch::testing::check::{CounterOp, History, Record};
///
/// let line = r#"{"client":"a","op":{"Add":1},"invoked":10,"returned":[20,1]}"#;
/// let record: Record<CounterOp, i64> = serde_json::from_str(line)?;
/// assert_eq!(record.returned, Some((20, 1)));
/// assert_eq!(History::from_iter([record]).len(), 1);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<O, R> {
    /// Who asked.
    pub client: Box<str>,
    /// What was asked.
    pub op: O,
    /// When it was asked, in microseconds.
    pub invoked: u64,
    /// When it was answered, in microseconds, and what; nothing when that is not known: it may then have happened at any time after it was
    /// asked, or never. What was certainly refused has no record.
    pub returned: Option<(u64, R)>,
}

impl<O, R> History<O, R> {
    /// Makes a history in which nothing happened.
    #[must_use]
    pub fn new() -> Self {
        Self { log: Arc::new(Mutex::new(Log { entries: Vec::new(), moments: 0 })) }
    }

    /// Records that a client asks for an operation, at a time in microseconds.
    ///
    /// Unless its end is recorded, its outcome counts as unknown.
    pub fn invoke(&self, client: impl ToString, op: O, at: u64) -> Call {
        let mut log = self.log();
        let invoked = log.moment(at);
        log.entries.push(Entry { client: client.to_string().into(), op, invoked, end: End::Unknown });
        Call(log.entries.len() - 1)
    }

    /// Records that a call was answered, at a time in microseconds.
    ///
    /// # Panics
    ///
    /// When the time is before that of the invocation (the clock is none that a history could be ordered by), when the call has ended
    /// already, or is one of another history.
    pub fn returned(&self, call: Call, ret: R, at: u64) {
        let mut log = self.log();
        let moment = log.moment(at);
        log.open_by(call, at, "returned").end = End::Returned(moment, ret);
    }

    /// Records that it is not known what became of a call: it takes effect at any time after its invocation, or never.
    ///
    /// # Panics
    ///
    /// When the call has ended already, or is one of another history.
    pub fn unknown(&self, call: Call) {
        self.log().open(call);
    }

    /// Records that a call had certainly no effect and will have none: the history is then as if it had never been made.
    ///
    /// The time says nothing to a checker; it is taken so that an end is recorded alike whatever it is.
    ///
    /// # Panics
    ///
    /// As [`returned`](Self::returned).
    pub fn refused(&self, call: Call, at: u64) {
        self.log().open_by(call, at, "was refused").end = End::Refused;
    }

    /// Returns how many operations there are that may have had an effect.
    #[must_use]
    pub fn len(&self) -> usize {
        self.log().entries.iter().filter(|entry| !matches!(entry.end, End::Refused)).count()
    }

    /// Returns whether nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many operations there are whose outcome is not known: a history of little else says little.
    #[must_use]
    pub fn open(&self) -> usize {
        self.log().entries.iter().filter(|entry| matches!(entry.end, End::Unknown)).count()
    }

    fn log(&self) -> MutexGuard<'_, Log<O, R>> {
        // Whoever panicked with it in hand left it whole: each change is one push or one assignment.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn entries(&self) -> Vec<Entry<O, R>>
    where
        O: Clone,
        R: Clone,
    {
        self.log().entries.iter().filter(|entry| !matches!(entry.end, End::Refused)).cloned().collect()
    }

    /// Returns the operations as records, in the order of their recording. The order of what has equal times is not in them.
    #[must_use]
    pub fn records(&self) -> Vec<Record<O, R>>
    where
        O: Clone,
        R: Clone,
    {
        let record = |entry: Entry<O, R>| Record {
            client: entry.client,
            op: entry.op,
            invoked: entry.invoked.0,
            returned: match entry.end {
                End::Returned((at, _), ret) => Some((at, ret)),
                End::Unknown | End::Refused => None,
            },
        };
        self.entries().into_iter().map(record).collect()
    }
}

impl<O, R> Log<O, R> {
    fn moment(&mut self, at: u64) -> Moment {
        self.moments += 1;
        (at, self.moments)
    }

    fn open(&mut self, call: Call) -> &mut Entry<O, R> {
        let entry = self.entries.get_mut(call.0).expect("a call is ended in the history that it was recorded in");
        assert!(matches!(entry.end, End::Unknown), "a call ends once, and that of {} has ended", entry.client);
        entry
    }

    /// Returns the entry of a call that ends at a time, which is not before it was made.
    fn open_by(&mut self, call: Call, at: u64, how: &str) -> &mut Entry<O, R> {
        let entry = self.open(call);
        let Entry { client, invoked, .. } = &*entry;
        assert!(invoked.0 <= at, "the call of {client} at {} {how} at {at}, before it was made", invoked.0);
        entry
    }
}

/// Records of processes. Nothing tells which of two came first that have the same time: they are taken to overlap.
///
/// # Panics
///
/// When a record returns before it was invoked: its clock is none that a history could be ordered by.
impl<O, R> FromIterator<Record<O, R>> for History<O, R> {
    fn from_iter<I: IntoIterator<Item = Record<O, R>>>(records: I) -> Self {
        let mut history = Self::new();
        history.extend(records);
        history
    }
}

impl<O, R> Extend<Record<O, R>> for History<O, R> {
    fn extend<I: IntoIterator<Item = Record<O, R>>>(&mut self, records: I) {
        let entry = |record: Record<O, R>| {
            let Record { client, op, invoked, returned } = record;
            let end = returned.map_or(End::Unknown, |(at, ret)| {
                assert!(invoked <= at, "a record of {client} from {invoked} returns at {at}, before it was made");
                End::Returned((at, u64::MAX), ret)
            });
            Entry { client, op, invoked: (invoked, 0), end }
        };
        self.log().entries.extend(records.into_iter().map(entry));
    }
}

impl<O, R> Clone for History<O, R> {
    fn clone(&self) -> Self {
        Self { log: Arc::clone(&self.log) }
    }
}

impl<O, R> Default for History<O, R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O, R> fmt::Debug for History<O, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("operations", &self.len()).finish_non_exhaustive()
    }
}
