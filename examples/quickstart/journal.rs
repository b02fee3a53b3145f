//! A file in which every node notes that its code began, whatever process runs it.
//!
//! It knows nothing of runs: it is the witness that the runtime did what it promises.

use anabranch::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// A node's code began.
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) process: u32,
    pub(crate) node: String,
    pub(crate) attempt: u32,
    pub(crate) remark: String,
}

/// An entry as a line of the file.
#[derive(Serialize, Deserialize)]
struct Line(i64, u32, String, u32, String);

/// A journal at a path, where several processes write.
pub(crate) struct Journal(PathBuf);

impl Journal {
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Adds an entry of this process: one write of one whole line at the end of the file, so that nothing can tear it apart.
    pub(crate) fn note(&self, at: Timestamp, node: &str, attempt: u32, remark: String) -> io::Result<()> {
        let line = Line(at.as_micros(), std::process::id(), node.to_owned(), attempt, remark);
        let mut file = OpenOptions::new().append(true).create(true).open(&self.0)?;
        file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())
    }

    /// Reads all entries, in the order in which they were written.
    pub(crate) fn read(&self) -> io::Result<Vec<Entry>> {
        let entry = |line: &str| {
            let Line(at, process, node, attempt, remark) = serde_json::from_str(line)?;
            Ok(Entry { at: Timestamp::from_micros(at), process, node, attempt, remark })
        };
        fs::read_to_string(&self.0)?.lines().map(entry).collect()
    }
}
