//! What whoever started the program reads while it runs and when it is over.

use anabranch::time::{Clock, Instant};
use std::{
    collections::HashMap,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::LazyLock,
};

static STARTED: LazyLock<Instant> = LazyLock::new(|| Clock::system().instant());

/// Says a line, with the seconds since the start.
pub(crate) fn say(text: &str) {
    let seconds = (Clock::system().instant() - *STARTED).as_secs_f64();
    println!("{seconds:7.1}s  {text}");
}

/// Counts what histories say while they grow.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    read: HashMap<PathBuf, u64>,
    pub(crate) answers: u64,
    /// Those that nobody knows the outcome of.
    pub(crate) open: u64,
    pub(crate) executions: u64,
}

impl Counts {
    /// Reads on where it ended.
    pub(crate) fn look(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()? {
            let path = entry.path();
            if path.extension().is_none_or(|end| end != "jsonl") {
                continue;
            }
            let mut file = fs::File::open(&path)?;
            let from = self.read.entry(path).or_default();
            file.seek(SeekFrom::Start(*from))?;
            let mut more = String::new();
            file.read_to_string(&mut more)?;
            let whole = more.rfind('\n').map_or("", |end| &more[..=end]);
            *from += whole.len() as u64;
            for line in whole.lines() {
                self.answers += u64::from(line.contains("\"Back\""));
                self.open += u64::from(line.contains("\"answer\":\"Open\""));
                self.executions += u64::from(line.contains("\"Begins\"") || line.contains("\"Works\""));
            }
        }
        Ok(())
    }
}

/// The last lines of a text.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
