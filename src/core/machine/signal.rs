//! Facts that anybody may write into a run's snapshot: a signal that arrived, a wish to cancel.
//!
//! Whoever does not own the run only notes them; its owner, or whoever adopts it, draws the conclusions. A signal's name is a
//! variable that is written once: it may come before its node waits, it resumes every node that waits for it, and a second one
//! is refused.

use crate::{
    core::{
        graph::Graph,
        snapshot::{Cancel, Received, RunStatus, Snapshot, Value},
    },
    time::Timestamp,
};

/// Why a signal or a cancellation was not noted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The run has ended.
    #[error("the run is {0}: it takes no signals")]
    Closed(RunStatus),
    /// No node of the topology waits for such a signal.
    #[error("no node of this topology waits for the signal `{0}`")]
    UnknownSignal(String),
    /// The signal arrived before.
    #[error("the signal `{0}` has already arrived")]
    AlreadySignalled(String),
    /// Somebody cancelled the run before.
    #[error("the run is already being cancelled")]
    AlreadyCancelled,
}

/// Notes a signal.
///
/// # Errors
///
/// [`NoteError`] when the run has ended, nothing waits for such a signal, or it arrived before; the snapshot is as it was.
pub fn note_signal(
    snapshot: &mut Snapshot,
    graph: &Graph,
    name: &str,
    payload: Value,
    now: Timestamp,
) -> Result<(), NoteError> {
    if snapshot.status.is_terminal() {
        return Err(NoteError::Closed(snapshot.status));
    }
    if !graph.has_signal(name) {
        return Err(NoteError::UnknownSignal(name.to_owned()));
    }
    if snapshot.signals.contains_key(name) {
        return Err(NoteError::AlreadySignalled(name.to_owned()));
    }
    snapshot.signals.insert(name.to_owned(), Received { payload, at: now });
    Ok(())
}

/// Notes that somebody wants the run to end.
///
/// # Errors
///
/// [`NoteError`] when the run has ended, or is being cancelled; the snapshot is as it was.
pub fn note_cancel(snapshot: &mut Snapshot, reason: String, now: Timestamp) -> Result<(), NoteError> {
    if snapshot.status.is_terminal() {
        return Err(NoteError::Closed(snapshot.status));
    }
    if snapshot.cancel.is_some() {
        return Err(NoteError::AlreadyCancelled);
    }
    snapshot.cancel = Some(Cancel { reason, at: now });
    Ok(())
}
