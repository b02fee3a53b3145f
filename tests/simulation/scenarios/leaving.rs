//! Hosts whose program ends, since they are deployed anew or were taken down, and that are to be started again.

use anabranch::testing::sim::{Host, Simulation};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Who has left.
#[derive(Debug, Clone, Default)]
pub(crate) struct Leaving(Arc<Mutex<BTreeSet<String>>>);

impl Leaving {
    /// A host's program is about to return.
    pub(crate) fn leave(&self, host: &Host) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.name().to_owned());
    }

    /// Starts those again who have left since this was called last.
    pub(crate) fn restart(&self, sim: &mut Simulation) {
        let left = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for name in left {
            sim.start(&name);
        }
    }
}
