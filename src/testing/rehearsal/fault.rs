//! What goes wrong in a node on purpose, in which of its attempts, and at what point of its body.
//!
//! A fault is a value: it does not know how it is brought about (`cast` does), nor what the runtime makes of it.

use std::{
    fmt,
    ops::{RangeFrom, RangeFull, RangeInclusive},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a process is down after a crash, unless the fault says otherwise.
const DOWN: Duration = Duration::from_secs(1);

/// Something that goes wrong in an attempt of a node.
///
/// It strikes before the node's body begins, unless it is told to strike [after the body](Self::after_body), whose effects are then
/// there and whose result is lost, or [after it has saved progress](Self::after_saves).
///
/// ```
/// use anabranch::testing::rehearsal::Fault;
/// use std::time::Duration;
///
/// let declined = Fault::terminal("the card is declined");
/// let died_before_its_result_was_stored = Fault::crash().after_body();
/// let died_halfway = Fault::crash().after_saves(2).down_for(Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(super) what: What,
    pub(super) point: Point,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Error(String),
    Terminal(String),
    RetryAfter(String, Duration),
    Throttle(Duration),
    Panic(String),
    Hang,
    Delay(Duration),
    Crash(Duration),
}

/// Where in its body an attempt is struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    Before,
    AfterSaves(u32),
    After,
}

impl Fault {
    fn new(what: What) -> Self {
        Self { what, point: Point::Before }
    }

    /// The attempt fails, and its policy says whether there is another: what `?` does with an error.
    pub fn error(message: impl Into<String>) -> Self {
        Self::new(What::Error(message.into()))
    }

    /// The node fails for good.
    pub fn terminal(message: impl Into<String>) -> Self {
        Self::new(What::Terminal(message.into()))
    }

    /// The attempt fails, and asks for the next one not before `delay` has passed.
    pub fn retry_after(message: impl Into<String>, delay: Duration) -> Self {
        Self::new(What::RetryAfter(message.into(), delay))
    }

    /// The attempt comes too early, and is repeated in `after` without being counted.
    #[must_use]
    pub fn throttled(after: Duration) -> Self {
        Self::new(What::Throttle(after))
    }

    /// The body panics.
    pub fn panic(message: impl Into<String>) -> Self {
        Self::new(What::Panic(message.into()))
    }

    /// The body never ends: its node's timeout ends it, if it has one.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(What::Hang)
    }

    /// The body takes longer by `delay`, and then does what it does.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self::new(What::Delay(delay))
    }

    /// The process dies, with everything that it has in hand, and is started again a second later.
    #[must_use]
    pub fn crash() -> Self {
        Self::new(What::Crash(DOWN))
    }

    /// Strikes when the body has ended, before anybody knows how.
    #[must_use]
    pub fn after_body(mut self) -> Self {
        self.point = Point::After;
        self
    }

    /// Strikes when this attempt has saved its progress `times` times, at least once: the progress is stored.
    #[must_use]
    pub fn after_saves(mut self, times: u32) -> Self {
        self.point = Point::AfterSaves(times.max(1));
        self
    }

    /// Sets how long the process is down; without effect on faults that are no [crash](Self::crash).
    #[must_use]
    pub fn down_for(mut self, down: Duration) -> Self {
        if let What::Crash(lasts) = &mut self.what {
            *lasts = down;
        }
        self
    }
}

/// Attempts of a node, counted from 1: `1`, `2..=3`, `2..`, `..`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    first: u32,
    last: u32,
}

impl Attempts {
    fn has(self, attempt: u32) -> bool {
        (self.first..=self.last).contains(&attempt)
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.first, self.last) {
            (first, last) if first == last => write!(f, "attempt {first}"),
            (first, u32::MAX) => write!(f, "attempts {first} and later"),
            (first, last) => write!(f, "attempts {first} to {last}"),
        }
    }
}

impl From<u32> for Attempts {
    fn from(attempt: u32) -> Self {
        Self { first: attempt, last: attempt }
    }
}

impl From<RangeInclusive<u32>> for Attempts {
    fn from(attempts: RangeInclusive<u32>) -> Self {
        Self { first: *attempts.start(), last: *attempts.end() }
    }
}

impl From<RangeFrom<u32>> for Attempts {
    fn from(attempts: RangeFrom<u32>) -> Self {
        Self { first: attempts.start, last: u32::MAX }
    }
}

impl From<RangeFull> for Attempts {
    fn from(_: RangeFull) -> Self {
        Self { first: 1, last: u32::MAX }
    }
}

/// The faults of a rehearsal.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<Injected>>);

#[derive(Debug)]
struct Injected {
    node: String,
    attempts: Attempts,
    fault: Fault,
    /// Whether an attempt has met it.
    struck: bool,
}

impl Faults {
    pub(super) fn inject(&self, node: &str, attempts: Attempts, fault: Fault) {
        let injected = Injected { node: node.to_owned(), attempts, fault, struck: false };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(injected);
    }

    /// Finds what an attempt is to meet: of several, what was injected last.
    pub(super) fn find(&self, node: &str, attempt: u32) -> Option<(usize, Fault)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().enumerate().rev().find(|(_, one)| one.node == node && one.attempts.has(attempt));
        found.map(|(place, one)| (place, one.fault.clone()))
    }

    /// Takes note that an attempt met what was found.
    pub(super) fn struck(&self, place: usize) {
        if let Some(one) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(place) {
            one.struck = true;
        }
    }

    /// Names one that nothing has met.
    pub(super) fn idle(&self) -> Option<String> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|one| !one.struck).map(|one| format!("{:?} in {} of `{}`", one.fault.what, one.attempts, one.node))
    }
}
