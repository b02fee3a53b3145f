//! What is wrong with a topology when it is built, and with a value when it is read.
//!
//! Both are mistakes of the program or of a configuration, so neither is worth a retry. How a node's own work fails is in
//! `node_error`.

use crate::{codec::CodecError, core::graph::GraphError};

/// Why a topology cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The nodes make no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A handle comes from another builder, so its value belongs to other runs.
    #[error("`{node}` uses a handle of another topology: handles belong to the builder that made them")]
    ForeignHandle {
        /// The node that uses it, or `output`, or `options`.
        node: String,
    },
    /// Options are set for something that is not a node.
    #[error("options are set for `{0}`, which is not a node of this topology")]
    Options(String),
    /// The output names something without a value.
    #[error("the output `{0}` has no value: name a node that is no branch, or an arm as `branch/arm`")]
    Output(String),
    /// A configured node names a handler that nobody registered for nodes of its kind.
    #[error("`{node}` runs the handler `{handler}`, which is not registered for {kind} nodes")]
    Handler {
        /// The node.
        node: String,
        /// The handler that it names.
        handler: String,
        /// What the node is: `work` or `branch`.
        kind: &'static str,
    },
}

/// Why a dependency's value, or a run's output, cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// There is none: the node was skipped or left out. Depend on it with `.optional()` where that is expected.
    #[error("`{dependency}` has no value")]
    Missing {
        /// The node, `branch/arm`, or `$input`.
        dependency: String,
    },
    /// It was written by other code, or by an older version of it.
    #[error("the value of `{dependency}` cannot be read")]
    Codec {
        /// The node, `branch/arm`, or `$input`.
        dependency: String,
        /// What is wrong with it.
        source: CodecError,
    },
}
