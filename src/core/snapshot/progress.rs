//! How far a run is, in numbers.

use super::{NodeStatus, Snapshot};

/// How many nodes of a run have each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// They have not started, or wait for their next attempt.
    pub pending: usize,
    /// Their newest attempt runs.
    pub running: usize,
    /// They wait for a signal.
    pub suspended: usize,
    /// They have their output.
    pub completed: usize,
    /// Their trigger rule will never be met.
    pub skipped: usize,
    /// Their attempts failed for good.
    pub errored: usize,
    /// The run was started without them.
    pub excluded: usize,
}

impl Progress {
    /// Returns how many nodes the run includes.
    #[must_use]
    pub fn total(&self) -> usize {
        self.pending + self.running + self.suspended + self.completed + self.skipped + self.errored
    }

    /// Returns how many of them will not move again by themselves.
    #[must_use]
    pub fn done(&self) -> usize {
        self.completed + self.skipped + self.errored
    }
}

impl Snapshot {
    /// Counts its nodes by their status.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for node in &self.nodes {
            *match node.status {
                NodeStatus::Pending => &mut progress.pending,
                NodeStatus::Running => &mut progress.running,
                NodeStatus::Suspended => &mut progress.suspended,
                NodeStatus::Completed => &mut progress.completed,
                NodeStatus::Skipped => &mut progress.skipped,
                NodeStatus::Errored => &mut progress.errored,
                NodeStatus::Excluded => &mut progress.excluded,
            } += 1;
        }
        progress
    }
}
