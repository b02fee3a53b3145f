//! A topology as JSON describes it.
//!
//! What is written is checked as it is read: an unknown field, or one that does not belong to the kind of its node, is refused
//! with its place in the text. Names are resolved when the topology is built.

use super::{Body, Dep, DynamicBuilder, Registry};
use crate::{
    core::graph::TriggerRule,
    topology::{error::BuildError, options::NodeOptions},
};
use serde::Deserialize;
use std::time::Duration;

/// A configured topology.
///
/// ```
/// use anabranch::topology::{Topology, dynamic::{GraphConfig, Registry}};
/// use serde_json::json;
///
/// let config: GraphConfig = serde_json::from_str(r#"{
///     "name": "import",
///     "nodes": [
///         {"name": "load", "deps": ["approve"], "handler": "copy"},
///         {"name": "fetch", "handler": "copy", "max_attempts": 9, "timeout_ms": 30000},
///         {"name": "size", "deps": ["fetch"], "kind": "branch", "arms": ["large", "small"]},
///         {"name": "approve", "deps": ["size/large"], "kind": "wait", "signal": "approval"}
///     ]
/// }"#)?;
/// let registry = Registry::<()>::new()
///     .work("copy", async |_, values| Ok(values.iter().map(|(_, value)| value.clone()).collect()))
///     .branch("size", async |_, arms, _| arms.take("large", json!(null)));
/// let topology = Topology::from_config(config, &registry)?;
/// assert_eq!(topology.graph().len(), 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GraphConfig {
    /// The name of the topology.
    pub name: String,
    /// Its nodes, in any order.
    pub nodes: Vec<NodeConfig>,
    /// What a run returns; without it, an object of all nodes that nobody depends on.
    #[serde(default)]
    pub output: Option<Dep>,
}

/// A configured node.
///
/// In JSON it has a `name`, and may have `deps`, a `kind` (`work` unless it is written, `branch` or `wait`), a `handler`, the `arms`
/// of a branch, the `signal` that a node waits for, `timeout_ms`, `max_attempts`, and a `trigger`: `all_success`,
/// `none_failed_one_success`, `all_done` or `one_success`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// What it depends on; without any it gets the run's input.
    pub deps: Vec<Dep>,
    /// What it is.
    pub kind: KindConfig,
    /// How it is run.
    pub options: NodeOptions,
}

/// What a configured node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KindConfig {
    /// Runs a handler that returns an output.
    Work {
        /// Its name in the registry; the node's own unless it is written.
        handler: String,
    },
    /// Runs a handler that takes one of the arms.
    Branch {
        /// Its name in the registry; the node's own unless it is written.
        handler: String,
        /// The arms.
        arms: Vec<String>,
    },
    /// Waits for a signal.
    Wait {
        /// Its name; the node's own unless it is written.
        signal: String,
    },
}

impl GraphConfig {
    pub(super) fn into_builder<C: Send + Sync + 'static>(
        self,
        registry: &Registry<C>,
    ) -> Result<DynamicBuilder<C>, BuildError> {
        let mut builder = DynamicBuilder::new(self.name);
        builder.output = self.output;
        for NodeConfig { name, deps, kind, options } in self.nodes {
            let unknown = |handler, kind| BuildError::Handler { node: name.clone(), handler, kind };
            let body = match kind {
                KindConfig::Work { handler } => {
                    Body::Work(registry.find_work(&handler).ok_or_else(|| unknown(handler, "work"))?)
                }
                KindConfig::Branch { handler, arms } => {
                    Body::Branch { arms, decide: registry.find_branch(&handler).ok_or_else(|| unknown(handler, "branch"))? }
                }
                KindConfig::Wait { signal } => Body::Wait { signal },
            };
            builder.options.insert(name.clone(), options);
            builder = builder.push(name, deps, body);
        }
        Ok(builder)
    }
}

/// A node as it is written, with the fields of all kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default)]
    deps: Vec<Dep>,
    #[serde(default)]
    kind: Kind,
    handler: Option<String>,
    arms: Option<Vec<String>>,
    signal: Option<String>,
    timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    #[serde(default, with = "Trigger")]
    trigger: TriggerRule,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Work,
    #[serde(alias = "branching")]
    Branch,
    #[serde(alias = "suspension")]
    Wait,
}

#[derive(Deserialize)]
#[serde(remote = "TriggerRule", rename_all = "snake_case")]
enum Trigger {
    AllSuccess,
    NoneFailedOneSuccess,
    AllDone,
    OneSuccess,
}

impl TryFrom<Written> for NodeConfig {
    type Error = String;

    fn try_from(node: Written) -> Result<Self, String> {
        let Written { name, deps, kind, handler, arms, signal, timeout_ms, max_attempts, trigger } = node;
        let own = || name.clone();
        let kind = match (kind, handler, arms, signal) {
            (Kind::Work, handler, None, None) => KindConfig::Work { handler: handler.unwrap_or_else(own) },
            (Kind::Branch, handler, Some(arms), None) => KindConfig::Branch { handler: handler.unwrap_or_else(own), arms },
            (Kind::Wait, None, None, signal) => KindConfig::Wait { signal: signal.unwrap_or_else(own) },
            (Kind::Work, ..) => {
                return Err(format!("`{name}` is a work node: it takes a `handler`, no `arms` and no `signal`"));
            }
            (Kind::Branch, ..) => return Err(format!("`{name}` is a branch: it takes `arms` and a `handler`, no `signal`")),
            (Kind::Wait, ..) => return Err(format!("`{name}` waits: it takes a `signal`, no `handler` and no `arms`")),
        };
        let mut options = NodeOptions::default();
        options.trigger(trigger);
        if let Some(ms) = timeout_ms {
            options.timeout(Duration::from_millis(ms));
        }
        if let Some(attempts) = max_attempts {
            options.max_attempts(attempts);
        }
        Ok(Self { name, deps, kind, options })
    }
}
