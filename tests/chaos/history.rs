//! What workers did and saw, and when: lines of JSON in a file of each life of a worker.
//!
//! A line is in the file when [`History::note`] returns, so a process that is killed has told everything but what it was about to.
//! Times are those of the machine's monotonic clock, which all its processes share. Nothing here judges.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A time of the machine's monotonic clock, in nanoseconds. `time::Clock` has none that two processes could compare.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    u64::try_from(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_nanos()).unwrap_or(0)
}

/// What is asked of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Act {
    Read,
    Add(u64),
    Set(u64),
    /// Sets it to the second if it is the first.
    Swap(u64, u64),
    /// Takes something that is held: a lock, a permit, a leadership.
    Acquire,
    /// Gives back what was taken with this token.
    Release(u64),
    /// Writes a token into what a lock guards.
    Fenced(u64),
    /// Asks a limiter for one call.
    Pass,
    Enter(String),
    Leave(String),
    Wait,
    /// Starts a run.
    Start(u64),
    /// Submits a job.
    Submit(u64),
}

/// How that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It was done.
    Done,
    /// It was done, and returned this.
    Value(u64),
    /// It was certainly not done.
    Not,
    /// It may have been done.
    Open,
    /// What was to be given back was lost before.
    Lost,
}

/// What a worker did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Fact {
    /// A life begins, with a clock that is ahead by so many milliseconds.
    Born { ahead: i64 },
    /// Something is about to be asked; `op` is unique in this life.
    Call { op: u64, object: String, act: Act },
    /// It has ended.
    Back { op: u64, answer: Answer },
    /// It believed to hold an object with this token at that time.
    Holds { object: String, token: u64 },
    /// The body of a node begins.
    Begins { run: String, node: String, attempt: u32 },
    /// The body of a node ends.
    Ends { run: String, node: String, attempt: u32 },
    /// The handler of a job begins.
    Works { job: u64, attempt: u32 },
    /// The worker of jobs says that a job is completed, with this result if it is the one to keep.
    Completed { job: u64 },
    /// A message of a schedule came, which has this place in its queue.
    Fired { firing: String, due: i64, place: u64 },
    /// How far a run was in the end, and how many attempts of each node were told to start.
    Ended { run: String, status: String, output: Option<u64>, epoch: u64, attempts: Vec<(String, u32)> },
    /// How far a job was in the end.
    Kept { job: u64, state: String },
    /// The schedule is about to be paused: until then it fires.
    Pauses,
    /// What must not be.
    Odd(String),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: u64,
    pub(crate) fact: Fact,
}

/// The file of one life.
#[derive(Debug, Clone)]
pub(crate) struct History {
    file: Arc<File>,
    ops: Arc<AtomicU64>,
}

impl History {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create_new(true).append(true).open(path)?;
        Ok(Self { file: Arc::new(file), ops: Arc::default() })
    }

    pub(crate) fn note(&self, fact: Fact) {
        self.note_at(now(), fact);
    }

    /// Notes what was so at that time, which may be a moment ago.
    pub(crate) fn note_at(&self, at: u64, fact: Fact) {
        let mut line = serde_json::to_vec(&Line { at, fact }).expect("facts are plain data");
        line.push(b'\n');
        // One write of an appended file: lines of several threads do not mix. A worker that cannot tell is of no use.
        (&*self.file).write_all(&line).expect("the history can be written");
    }

    /// Notes a call, and returns its number.
    pub(crate) fn call(&self, object: &str, act: Act) -> u64 {
        let op = self.ops.fetch_add(1, Ordering::Relaxed);
        self.note(Fact::Call { op, object: object.to_owned(), act });
        op
    }

    pub(crate) fn back(&self, op: u64, answer: Answer) {
        self.note(Fact::Back { op, answer });
    }
}

/// Reads the file of a life. Its last line may be cut off, as its writer was.
pub(crate) fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = fs::read_to_string(path)?;
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}
