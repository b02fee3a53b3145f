//! Looks at a file of the embedded engine without opening it as an engine, which would take back what is in flight.
//!
//! The file is opened for reading only, and nothing is created or repaired. It does not know whether what it finds is good.

use super::database::{FORMAT, META};
use redb::{DatabaseError, ReadOnlyDatabase, ReadableDatabase as _, StorageError, TableError};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What was seen of a file and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    pub(crate) path: PathBuf,
    /// `None` when its directory is missing.
    pub(crate) directory: Option<Directory>,
    pub(crate) content: Content,
    /// In bytes, when it is there.
    pub(crate) size: Option<u64>,
    /// Which layout this build reads and writes.
    pub(crate) layout: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) writable: bool,
}

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Missing,
    /// Nothing yet: a file of no bytes.
    Empty,
    /// One of this library's, of this layout.
    Layout(u64),
    /// A database of somebody else.
    Foreign,
    /// Another process has it open.
    InUse,
    /// The last process that had it open did not close it.
    Unclosed,
    /// A database of an older version of redb.
    Old(u8),
    Unreadable(String),
}

/// Looks at the file at `path`. It blocks.
pub(crate) fn inspect(path: &Path) -> FileFacts {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = std::fs::metadata(parent)
        .ok()
        .filter(std::fs::Metadata::is_dir)
        .map(|found| Directory { path: parent.to_owned(), writable: !found.permissions().readonly() });
    let size = std::fs::metadata(path).ok().map(|found| found.len());
    FileFacts { path: path.to_owned(), directory, content: content(path, size), size, layout: FORMAT }
}

fn content(path: &Path, size: Option<u64>) -> Content {
    if size == Some(0) {
        return Content::Empty;
    }
    let database = match ReadOnlyDatabase::open(path) {
        Ok(database) => database,
        Err(DatabaseError::DatabaseAlreadyOpen) => return Content::InUse,
        Err(DatabaseError::RepairAborted) => return Content::Unclosed,
        Err(DatabaseError::UpgradeRequired(version)) => return Content::Old(version),
        Err(DatabaseError::Storage(StorageError::Io(error))) => {
            return match error.kind() {
                ErrorKind::NotFound => Content::Missing,
                ErrorKind::WouldBlock => Content::InUse,
                _ => Content::Unreadable(error.to_string()),
            };
        }
        Err(error) => return Content::Unreadable(error.to_string()),
    };
    let layout = || -> Result<Option<u64>, redb::Error> {
        match database.begin_read()?.open_table(META) {
            Ok(meta) => Ok(meta.get("format")?.map(|version| version.value())),
            Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    match layout() {
        Ok(Some(version)) => Content::Layout(version),
        Ok(None) => Content::Foreign,
        Err(error) => Content::Unreadable(error.to_string()),
    }
}
