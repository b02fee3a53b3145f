//! What clients do to an object, recorded with the time as it happens, and judged.

use anabranch::{
    testing::check::{Call, History, Model, Violation, linearizable},
    time::Clock,
};
use std::sync::Arc;
use tokio::time::Instant;

/// A history and what it is compared with; clones record into the same one.
pub(crate) struct Recorder<M: Model> {
    model: Arc<M>,
    history: History<M::Op, M::Ret>,
    began: Instant,
}

impl<M: Model> Clone for Recorder<M> {
    fn clone(&self) -> Self {
        Self { model: Arc::clone(&self.model), history: self.history.clone(), began: self.began }
    }
}

impl<M: Model> Recorder<M> {
    pub(crate) fn new(model: M) -> Self {
        Self { model: Arc::new(model), history: History::new(), began: Clock::system().instant() }
    }

    fn now(&self) -> u64 {
        u64::try_from((Clock::system().instant() - self.began).as_micros()).unwrap()
    }

    /// Unless it ends, its outcome is unknown.
    pub(crate) fn begins(&self, who: impl ToString, op: M::Op) -> Call {
        self.history.invoke(who, op, self.now())
    }

    pub(crate) fn ends(&self, call: Call, ret: M::Ret) {
        self.history.returned(call, ret, self.now());
    }

    pub(crate) fn judge(&self) -> Result<(), Violation> {
        linearizable(&*self.model, &self.history)
    }
}
