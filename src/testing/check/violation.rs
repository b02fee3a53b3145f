//! What a checker complains about, as a story that is short enough to be read.

use std::fmt;

/// More rows than this are not read by anybody.
const MOST_ROWS: usize = 40;

/// That a promise was not kept, with the events that show it; or that it could not be found out whether it was.
///
/// Its `Display` is the story: what is wrong, then a table of the events that matter. It is an error also when nothing was
/// [decided](Self::is_undecided): a test that could not find out has not passed.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    rule: &'static str,
    what: String,
    rows: Vec<Row>,
    notes: Vec<String>,
    evidence: Vec<usize>,
    undecided: bool,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) from: u64,
    /// Nothing when it has no end; the same as `from` for what happened at a moment.
    pub(super) to: Option<u64>,
    pub(super) who: String,
    pub(super) what: String,
}

impl Row {
    pub(super) fn at(at: u64, who: impl Into<String>, what: impl Into<String>) -> Self {
        Self { from: at, to: Some(at), who: who.into(), what: what.into() }
    }
}

impl Violation {
    /// Makes a violation of a rule of which `what` says in a sentence how it was broken.
    pub(super) fn new(rule: &'static str, what: String) -> Self {
        let (rows, notes, evidence) = (Vec::new(), Vec::new(), Vec::new());
        Self(Box::new(Inner { rule, what, rows, notes, evidence, undecided: false }))
    }

    pub(super) fn undecided(rule: &'static str, what: String) -> Self {
        let mut violation = Self::new(rule, what);
        violation.0.undecided = true;
        violation
    }

    /// Adds an event of the input with its line in the table.
    pub(super) fn with(mut self, index: usize, row: Row) -> Self {
        self.0.evidence.push(index);
        self.0.rows.push(row);
        self
    }

    /// Adds an event of the input that is in the table by another one's line.
    pub(super) fn also(mut self, index: usize) -> Self {
        self.0.evidence.push(index);
        self
    }

    /// Adds a line to the table that is only there to be read.
    pub(super) fn beside(mut self, row: Row) -> Self {
        self.0.rows.push(row);
        self
    }

    pub(super) fn note(mut self, note: String) -> Self {
        self.0.notes.push(note);
        self
    }

    /// Returns the name of the rule that was broken, such as `linearizable` or `runs.fencing`.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        self.0.rule
    }

    /// Returns whether it is not known if the rule was broken: the search was given up when it had taken as many steps as it may.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.0.undecided
    }

    /// Returns the events that show the violation, as indices into what was checked.
    ///
    /// For a history they are those of its [records](super::History::records).
    #[must_use]
    pub fn evidence(&self) -> &[usize] {
        &self.0.evidence
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { rule, what, rows, notes, .. } = &*self.0;
        write!(f, "{rule}: {what}")?;
        let base = rows.iter().map(|row| row.from).min().unwrap_or(0);
        if !rows.is_empty() {
            write!(f, "\n  seconds after {base} us")?;
        }
        let width = |cell: fn(&Row) -> &String| rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
        let who = width(|row| &row.who);
        let mut sorted: Vec<&Row> = rows.iter().collect();
        // Stable: what happened at the same time stays in the order in which it was given.
        sorted.sort_by_key(|row| row.from);
        let (first, last) = if sorted.len() > MOST_ROWS {
            (&sorted[..MOST_ROWS / 2], &sorted[sorted.len() - MOST_ROWS / 2..])
        } else {
            (&sorted[..], &sorted[..0])
        };
        for row in first {
            line(f, row, base, who)?;
        }
        if !last.is_empty() {
            write!(f, "\n  .. {} more ..", sorted.len() - MOST_ROWS)?;
        }
        for row in last {
            line(f, row, base, who)?;
        }
        for note in notes {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, row: &Row, base: u64, who: usize) -> fmt::Result {
    let until = match row.to {
        Some(to) if to == row.from => String::new(),
        Some(to) => format!("- {}", seconds(to.saturating_sub(base))),
        None => "- ...".into(),
    };
    let (from, name, what) = (seconds(row.from - base), &row.who, &row.what);
    write!(f, "\n  {from:>12} {until:<14} {name:<who$}  {what}")
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

impl fmt::Debug for Violation {
    /// The story, so that it is what a failed `unwrap` shows.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Violation {}
