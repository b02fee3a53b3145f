//! A node's own progress, which survives a crash of its process.
//!
//! Progress belongs to one node of one run and is handed to each further attempt. It is not an output: nobody else sees it, and it
//! stays in the snapshot, to be looked at, when the node has completed.

use super::{
    definition::Host,
    node_error::{NodeError, NodeResult},
};
use crate::codec::Payload;
use bytes::Bytes;
use std::{fmt, sync::Arc};

/// What a node has saved of its progress.
pub struct Saved<S> {
    last: Option<S>,
    host: Arc<dyn Host>,
}

impl<S: Payload> Saved<S> {
    pub(super) fn read(saved: Option<&Bytes>, host: Arc<dyn Host>) -> NodeResult<Self> {
        // Other code wrote what does not decode; to begin anew without a word would repeat what was done.
        let last = saved.map(|bytes| S::decode(bytes)).transpose().map_err(NodeError::terminal)?;
        Ok(Self { last, host })
    }

    /// Returns what was saved last, by this attempt or by an earlier one.
    #[must_use]
    pub fn last(&self) -> Option<&S> {
        self.last.as_ref()
    }

    /// Saves `state`: once this returns, a crash continues from here.
    ///
    /// # Errors
    ///
    /// [`NodeError`] when the state cannot be written, or when this process no longer owns the run. Pass it on with `?`.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: when the future is dropped, the state may or may not have been saved, and [`last`](Self::last) still
    /// returns the one before.
    pub async fn save(&mut self, state: S) -> NodeResult<()> {
        let bytes = state.encode().map_err(NodeError::terminal)?;
        self.host.save(bytes).await?;
        self.last = Some(state);
        Ok(())
    }
}

impl<S: fmt::Debug> fmt::Debug for Saved<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saved").field("last", &self.last).finish_non_exhaustive()
    }
}
