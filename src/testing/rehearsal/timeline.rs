//! What happened to a run, as a list that can be printed, compared and asked.
//!
//! It is made of the states that were stored, each compared with the one before: what a process believed and could not store did not
//! happen. Times are those that the states tell, since the run was created, so they are exact in virtual time.

use crate::core::snapshot::{FailureKind, RunStatus};
use std::{fmt, time::Duration};

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// How long after the run was created.
    pub at: Duration,
    /// The node that it happened to; `None` for what happened to the run as a whole.
    pub node: Option<String>,
    /// The attempt, counted from 1; 0 where there was none.
    pub attempt: u32,
    /// What happened.
    pub what: What,
}

/// What happens to runs and their nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The run was created.
    Created,
    /// The attempt began.
    Started,
    /// The attempt saved its progress: the value as text, or its size where it is none.
    Saved(String),
    /// The attempt failed.
    Failed {
        /// In what way.
        kind: FailureKind,
        /// The error and its causes.
        reason: String,
    },
    /// The attempt ended without counting: it was throttled, or its process let go of the run in good order.
    PutBack,
    /// The node has its output.
    Completed,
    /// The branch has decided for an arm, or for none.
    Took(Option<String>),
    /// The node will never run.
    Skipped,
    /// The node failed for good.
    GaveUp,
    /// The node waits for its signal.
    Suspended,
    /// A signal of this name arrived.
    Signalled(String),
    /// Somebody asked to cancel the run, for this reason.
    CancelRequested(String),
    /// Another process took the run over from one that had it.
    TakenOver,
    /// The run was moved again after it had ended.
    Resumed,
    /// The run came to rest: it ended, or waits for signals only.
    Rests(RunStatus),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Started => f.write_str("started"),
            Self::Saved(progress) => write!(f, "saved {progress}"),
            Self::Failed { kind, reason } => write!(f, "failed ({}): {reason}", kind.name()),
            Self::PutBack => f.write_str("put back"),
            Self::Completed => f.write_str("completed"),
            Self::Took(Some(arm)) => write!(f, "took `{arm}`"),
            Self::Took(None) => f.write_str("took no arm"),
            Self::Skipped => f.write_str("skipped"),
            Self::GaveUp => f.write_str("gave up"),
            Self::Suspended => f.write_str("suspended"),
            Self::Signalled(name) => write!(f, "got the signal `{name}`"),
            Self::CancelRequested(reason) => write!(f, "is to be cancelled: {reason}"),
            Self::TakenOver => f.write_str("taken over by another process"),
            Self::Resumed => f.write_str("resumed"),
            Self::Rests(status) => write!(f, "{status}"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = self.node.as_deref().unwrap_or("(run)");
        write!(f, "{:>18}  {node:<16}  ", Since(self.at).to_string())?;
        if self.attempt > 0 && self.node.is_some() {
            write!(f, "attempt {} ", self.attempt)?;
        }
        self.what.fmt(f)
    }
}

/// A time since the beginning, for people: `+3d 00:00:01.500`.
struct Since(Duration);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        let days = if days == 0 { String::new() } else { format!("{days}d ") };
        write!(f, "+{days}{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
    }
}

/// Everything that happened to one run, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    pub(super) run: String,
    pub(super) entries: Vec<Entry>,
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "timeline of run `{}`:", self.run)?;
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

#[expect(clippy::must_use_candidate, reason = "expectations are for their panics")]
impl Timeline {
    /// Returns the id of the run.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Lists what happened.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns how the run came to rest last; `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<RunStatus> {
        let last = self.entries.iter().rev().find_map(|entry| match entry.what {
            What::Rests(status) => Some(Some(status)),
            What::Resumed | What::Started => Some(None),
            _ => None,
        });
        last.flatten()
    }

    /// Returns how long the run took so far: from its creation to the newest entry.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.entries.iter().map(|entry| entry.at).max().unwrap_or_default()
    }

    /// Returns how often another process took the run over from one that had it.
    #[must_use]
    pub fn takeovers(&self) -> usize {
        self.entries.iter().filter(|entry| entry.what == What::TakenOver).count()
    }

    /// Returns what happened to one node. A node that nothing happened to, as one with another name, has no entries.
    #[must_use]
    pub fn node(&self, name: &str) -> NodeTimeline<'_> {
        NodeTimeline { timeline: self, name: name.to_owned() }
    }

    /// Lists the nodes that completed, in the order in which they did.
    #[must_use]
    pub fn completed(&self) -> Vec<&str> {
        let completed = self.entries.iter().filter(|entry| matches!(entry.what, What::Completed | What::Took(_)));
        completed.filter_map(|entry| entry.node.as_deref()).collect()
    }

    /// Expects that these nodes completed, each after the one before; others may have completed in between.
    ///
    /// # Panics
    ///
    /// With the whole timeline, when it was otherwise.
    #[track_caller]
    pub fn expect_order<const N: usize>(&self, nodes: [&str; N]) -> &Self {
        let mut completed = self.completed().into_iter();
        if let Some(missing) = nodes.iter().find(|node| !completed.any(|done| done == **node)) {
            panic!("expected the nodes {nodes:?} to complete in this order, and `{missing}` did not\n{self}");
        }
        self
    }

    /// Expects that the run came to rest as `status` says, and has not moved since.
    ///
    /// # Panics
    ///
    /// With the whole timeline, when it was otherwise.
    #[track_caller]
    pub fn expect_status(&self, status: RunStatus) -> &Self {
        match self.status() {
            Some(found) if found == status => self,
            Some(found) => panic!("expected the run to be {status}, and it is {found}\n{self}"),
            None => panic!("expected the run to be {status}, and it still runs\n{self}"),
        }
    }
}

/// What happened to one node of a run.
#[derive(Debug, Clone)]
pub struct NodeTimeline<'t> {
    timeline: &'t Timeline,
    name: String,
}

#[expect(clippy::must_use_candidate, reason = "expectations are for their panics")]
impl<'t> NodeTimeline<'t> {
    /// Lists what happened to it.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &'t Entry> + use<'t, '_> {
        self.timeline.entries.iter().filter(|entry| entry.node.as_ref() == Some(&self.name))
    }

    /// Returns how many attempts began.
    #[must_use]
    pub fn attempts(&self) -> usize {
        self.entries().filter(|entry| entry.what == What::Started).count()
    }

    /// Lists why attempts failed, in order.
    #[must_use]
    pub fn failures(&self) -> Vec<&'t str> {
        let reason = |entry: &'t Entry| match &entry.what {
            What::Failed { reason, .. } => Some(&**reason),
            _ => None,
        };
        self.entries().filter_map(reason).collect()
    }

    /// Lists how long it was, after each failed attempt that was followed by another, until that one began.
    #[must_use]
    pub fn waits(&self) -> Vec<Duration> {
        let mut failed: Option<Duration> = None;
        let mut waits = Vec::new();
        for entry in self.entries() {
            match entry.what {
                What::Failed { .. } => failed = Some(entry.at),
                What::Started => waits.extend(failed.take().map(|at| entry.at.saturating_sub(at))),
                _ => {}
            }
        }
        waits
    }

    /// Lists the progress that it saved, in order.
    #[must_use]
    pub fn saved(&self) -> Vec<&'t str> {
        let saved = |entry: &'t Entry| match &entry.what {
            What::Saved(progress) => Some(&**progress),
            _ => None,
        };
        self.entries().filter_map(saved).collect()
    }

    /// Returns when it completed.
    #[must_use]
    pub fn completed_at(&self) -> Option<Duration> {
        self.entries().rev().find(|entry| matches!(entry.what, What::Completed | What::Took(_))).map(|entry| entry.at)
    }

    /// Expects that so many attempts began.
    ///
    /// # Panics
    ///
    /// With the whole timeline, when it was otherwise; as all that expects something.
    #[track_caller]
    pub fn expect_attempts(&self, attempts: usize) -> &Self {
        let found = self.attempts();
        self.expect(found == attempts, || format!("{attempts} attempts, and there were {found}"))
    }

    /// Expects that attempts failed with these texts in their reasons, in order, and no others.
    #[track_caller]
    pub fn expect_failures<const N: usize>(&self, reasons: [&str; N]) -> &Self {
        let found = self.failures();
        let alike = found.len() == N && found.iter().zip(reasons).all(|(found, reason)| found.contains(reason));
        self.expect(alike, || format!("the failures {reasons:?}, and they were {found:?}"))
    }

    /// Expects that the waits between failures and next attempts were these.
    #[track_caller]
    pub fn expect_waits<const N: usize>(&self, waits: [Duration; N]) -> &Self {
        let found = self.waits();
        self.expect(found == waits, || format!("the waits {waits:?}, and they were {found:?}"))
    }

    /// Expects that it completed.
    #[track_caller]
    pub fn expect_completed(&self) -> &Self {
        self.expect(self.completed_at().is_some(), || "that it completed, and it did not".to_owned())
    }

    /// Expects that it was skipped: that it will never run.
    #[track_caller]
    pub fn expect_skipped(&self) -> &Self {
        self.expect(self.entries().any(|entry| entry.what == What::Skipped), || {
            "that it was skipped, and it was not".to_owned()
        })
    }

    /// Expects that it failed for good.
    #[track_caller]
    pub fn expect_gave_up(&self) -> &Self {
        self.expect(self.entries().any(|entry| entry.what == What::GaveUp), || "that it gave up, and it did not".to_owned())
    }

    #[track_caller]
    fn expect(&self, holds: bool, what: impl FnOnce() -> String) -> &Self {
        assert!(holds, "expected of `{}` {}\n{}", self.name, what(), self.timeline);
        self
    }
}
