//! A disk that keeps what was synced, and of the rest what chance leaves, when its power fails.
//!
//! A kill of the process loses nothing that was written; a loss of power takes some of the writes since the last sync, tears some, and
//! keeps some. It does not know what is written.

use crate::{engine::embedded::StorageBackend, testing::Dice};
use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A disk in memory, which outlives whoever writes to it.
#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    live: Vec<u8>,
    /// Writes since the last sync: where, what was there, what came.
    unsynced: Vec<Step>,
    /// Syncs are answered and not done, as a server does that syncs by a timer.
    lazy: bool,
    /// Counts owners, so that one who had the disk before writes into nothing.
    owner: u64,
}

#[derive(Debug)]
struct Step {
    at: usize,
    before: Vec<u8>,
    after: Vec<u8>,
    /// The length before and after.
    lengths: (usize, usize),
}

impl Disk {
    /// Returns an empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers syncs from now on without doing them, until [`sync`](Self::sync) is called: what a server without
    /// `sync_interval: always` does.
    pub fn be_lazy(&self, lazy: bool) {
        self.platter().lazy = lazy;
    }

    /// Syncs what was written.
    pub fn sync(&self) {
        self.platter().unsynced.clear();
    }

    /// Returns how many bytes it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.platter().live.len()
    }

    /// Returns how many writes were not synced.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.platter().unsynced.len()
    }

    /// Loses power: of what was not synced some stays, some stays in part, and some is gone. With `all` everything is gone that was
    /// not synced, in order, which is what a journal makes of it.
    pub fn lose_power(&self, dice: &mut Dice, all: bool) {
        let mut platter = self.platter();
        platter.owner += 1;
        let steps = std::mem::take(&mut platter.unsynced);
        for step in steps.iter().rev() {
            platter.live.resize(step.lengths.0.max(step.at + step.before.len()), 0);
            platter.live[step.at..step.at + step.before.len()].copy_from_slice(&step.before);
            platter.live.truncate(step.lengths.0);
        }
        for step in steps.iter().filter(|_| !all) {
            let kept = match dice.roll(4) {
                0 | 1 => step.after.len(),
                2 => usize::try_from(dice.roll(step.after.len() as u64 + 1)).unwrap_or(0),
                _ => continue,
            };
            if step.after.is_empty() {
                platter.live.resize(step.lengths.1, 0);
                continue;
            }
            let end = step.at + kept;
            let length = platter.live.len().max(end);
            platter.live.resize(length, 0);
            platter.live[step.at..end].copy_from_slice(&step.after[..kept]);
        }
    }

    /// Parts from whoever has it open, as a process that is killed: what was written stays, and nothing more comes.
    pub fn detach(&self) {
        self.platter().owner += 1;
    }

    /// Returns it as a storage for one opening, which fails from the next owner on.
    pub(super) fn storage(&self) -> Storage {
        let owner = self.platter().owner;
        Storage { disk: self.clone(), owner }
    }
}

/// One opening of a disk.
#[derive(Debug)]
pub(super) struct Storage {
    disk: Disk,
    owner: u64,
}

impl Storage {
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.disk.platter();
        if platter.owner == self.owner { Ok(platter) } else { Err(io::Error::other("the disk has another owner")) }
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof.into())
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter()?.live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = place(offset)?;
        out.copy_from_slice(self.platter()?.live.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let (mut platter, length) = (self.platter()?, place(length)?);
        let now = platter.live.len();
        let before = platter.live.get(length..).map(<[u8]>::to_vec).unwrap_or_default();
        platter.unsynced.push(Step { at: length.min(now), before, after: Vec::new(), lengths: (now, length) });
        platter.live.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter()?;
        if !platter.lazy {
            platter.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut platter, at) = (self.platter()?, place(offset)?);
        let (now, end) = (platter.live.len(), at + data.len());
        platter.live.resize(now.max(end), 0);
        let before = platter.live[at..end].to_vec();
        platter.live[at..end].copy_from_slice(data);
        platter.unsynced.push(Step { at, before, after: data.to_vec(), lengths: (now, now.max(end)) });
        Ok(())
    }
}
