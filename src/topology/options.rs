//! How one node is run: everything that may change without changing the shape's meaning, and when the node is triggered.
//!
//! Options are plain values; the graph checks that a trigger rule fits its node's dependencies.

use crate::core::{
    graph::TriggerRule,
    retry::{NodePolicy, RetryPolicy},
};
use std::time::Duration;

/// How a node is run. Without options an attempt has no time limit and [`RetryPolicy::default`] says how often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeOptions {
    pub(super) policy: NodePolicy,
    pub(super) rule: TriggerRule,
}

impl NodeOptions {
    /// Limits how long one attempt may take; a longer one is asked to stop and counts as failed.
    pub fn timeout(&mut self, timeout: Duration) -> &mut Self {
        self.policy.timeout = Some(timeout);
        self
    }

    /// Limits how many attempts may fail, at least 1, and keeps the rest of the retry policy.
    pub fn max_attempts(&mut self, attempts: u32) -> &mut Self {
        self.policy.retry = std::mem::take(&mut self.policy.retry).max_attempts(attempts);
        self
    }

    /// Says when a failed attempt is repeated; replaces an earlier [`max_attempts`](Self::max_attempts).
    pub fn retry(&mut self, policy: RetryPolicy) -> &mut Self {
        self.policy.retry = policy;
        self
    }

    /// Says when the node runs, given what became of its dependencies. Every rule but [`TriggerRule::AllSuccess`] asks that all of
    /// them are optional.
    pub fn trigger(&mut self, rule: TriggerRule) -> &mut Self {
        self.rule = rule;
        self
    }
}
