//! Builds topologies: nodes, how they depend on each other, and the code they run.
//!
//! A dependency is a handle that carries the type of its upstream's output, so what would be wired wrongly does not compile, and
//! a circle cannot be written down. [`Topology::dynamic`] builds the same thing from names and JSON values, for graphs that come
//! from configuration. This room does not run anything: it knows neither stores nor tasks, and hands the runtime a
//! `Definition` in which all types are erased.

mod branch;
mod builder;
mod code;
mod ctx;
pub(crate) mod definition;
mod deps;
pub mod dynamic;
mod error;
mod handle;
mod node_error;
mod options;
mod saved;
mod signal;

#[cfg(test)]
mod tests;

pub use crate::core::graph::{GraphError, TriggerRule};
pub use branch::{ArmSpec, Arms, Choice, arm};
pub use builder::TopologyBuilder;
pub use ctx::Ctx;
pub use deps::Deps;
pub use error::{BuildError, OutputError};
pub use handle::{Arm, Handle, Node, Optional};
pub use node_error::{Disposition, NodeError, NodeResult, NodeResultExt};
pub use options::NodeOptions;
pub use saved::Saved;
pub use signal::Signal;

use crate::{
    codec::{CodecError, Payload},
    core::graph::Graph,
};
use bytes::Bytes;
use code::Read;
use definition::{Definition, Inputs};
use std::{fmt, marker::PhantomData, sync::Arc};

/// A checked topology: its runs take an `I`, return an `O`, and share the application state `C`.
///
/// ```
/// use anabranch::{Choice, Ctx, NodeResult, NodeResultExt, Saved, Signal, Topology, arm};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// struct Order { cents: u64, items: Vec<String> }
/// #[derive(Serialize, Deserialize)]
/// struct Receipt { charge: String }
/// #[derive(Serialize, Deserialize)]
/// struct Approval { by: String }
///
/// const APPROVAL: Signal<Approval> = Signal::new("approval");
///
/// struct App;
/// impl App {
///     async fn charge(&self, key: &str, cents: u64) -> std::io::Result<String> { Ok(format!("{key}: {cents}")) }
/// }
///
/// // A node is an async function of the run's context and its dependencies' outputs.
/// async fn charge(ctx: Ctx<App>, order: Order) -> NodeResult<Receipt> {
///     if order.cents == 0 {
///         return Err("nothing to charge").terminal(); // any other error is retryable through `?`
///     }
///     let charge = ctx.app().charge(&ctx.idempotency_key(), order.cents).await?;
///     Ok(Receipt { charge })
/// }
///
/// async fn ship(_: Ctx<App>, (receipt, boxes, approval): (Receipt, usize, Option<Approval>)) -> NodeResult<String> {
///     Ok(format!("{boxes} boxes for {}, approved by {:?}", receipt.charge, approval.map(|a| a.by)))
/// }
///
/// let mut t = Topology::builder::<Order>("fulfilment").app::<App>();
/// let order = t.input();
///
/// let receipt = t.node("charge", order, charge);
/// t.options(receipt).timeout(Duration::from_secs(30)).max_attempts(5);
///
/// // A crash continues after the last saved item.
/// let boxes = t.resumable("pick", order, async |_, mut saved: Saved<usize>, order| {
///     let start = saved.last().copied().unwrap_or(0);
///     for done in start..order.items.len() {
///         saved.save(done + 1).await?;
///     }
///     Ok(1)
/// });
///
/// // Each arm carries a type of its own, inferred from what the handler puts in it.
/// let (large, small) = t.branch("size", order, (arm("large"), arm("small")), async |_, (large, small), order| {
///     Ok(match order.cents {
///         0 => Choice::none().because("free of charge"),
///         100_000.. => large.take(order).because("needs a signature"),
///         _ => small.take(()),
///     })
/// });
/// let approval = t.wait_for("approve", large, APPROVAL); // suspends until the signal arrives
/// t.node("tag", small, async |_, ()| Ok("small".to_string()));
///
/// let shipment = t.node("ship", (receipt, boxes, approval.optional()), ship); // a join behind a branch
/// let topology: Topology<Order, String, App> = t.build(shipment)?;
/// assert_eq!(topology.graph().len(), 6);
/// # Ok::<(), anabranch::BuildError>(())
/// ```
pub struct Topology<I = (), O = (), C = ()> {
    definition: Arc<Definition<C>>,
    output: Arc<dyn Read<O>>,
    _input: PhantomData<fn(I)>,
}

impl Topology {
    /// Starts a topology whose runs take an `I`.
    pub fn builder<I: Payload>(name: impl Into<String>) -> TopologyBuilder<I> {
        TopologyBuilder::new(name.into())
    }

    /// Starts a topology of named nodes and JSON values, whose handlers share the application state `C`.
    pub fn dynamic<C: Send + Sync + 'static>(name: impl Into<String>) -> dynamic::DynamicBuilder<C> {
        dynamic::DynamicBuilder::new(name.into())
    }
}

impl<I, O, C> Topology<I, O, C> {
    fn new(definition: Definition<C>, output: impl Read<O>) -> Self {
        Self { definition: Arc::new(definition), output: Arc::new(output), _input: PhantomData }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.definition.graph.name()
    }

    /// Returns its shape.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.definition.graph
    }

    pub(crate) fn definition(&self) -> &Arc<Definition<C>> {
        &self.definition
    }

    /// Returns the same topology with other code in its nodes, for tests that stand in front of it.
    #[cfg(feature = "testing")]
    pub(crate) fn with_code(&self, put: impl Fn(&str, &definition::Code<C>) -> definition::Code<C>) -> Self {
        let definition = Arc::new(self.definition.with_code(put));
        Self { definition, output: Arc::clone(&self.output), _input: PhantomData }
    }

    /// Reads the run's output from the values of `Definition::output`, in that order.
    pub(crate) fn decode_output(&self, values: Vec<Option<Bytes>>) -> Result<O, OutputError> {
        (self.output)(Inputs::new(values))
    }
}

impl<I: Payload, O, C> Topology<I, O, C> {
    #[expect(clippy::unused_self, reason = "the topology says what its input is")]
    pub(crate) fn encode_input(&self, input: &I) -> Result<Bytes, CodecError> {
        input.encode()
    }
}

impl<I, O, C> Clone for Topology<I, O, C> {
    fn clone(&self) -> Self {
        Self { definition: Arc::clone(&self.definition), output: Arc::clone(&self.output), _input: PhantomData }
    }
}

impl<I, O, C> fmt::Debug for Topology<I, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topology").field("graph", &self.definition.graph).finish_non_exhaustive()
    }
}
