//! Wraps typed functions into code that takes and returns bytes.
//!
//! Everything that the function's author can get wrong happens inside the returned future, so a panic is never the caller's.
//! Values that are missing or do not decode, and outputs that do not encode, are terminal: another attempt would see the same.

use super::{
    branch::Choice,
    ctx::Ctx,
    definition::{Call, Code, Inputs, Outcome, label},
    deps::{Deps, Reader},
    error::OutputError,
    handle::Source,
    node_error::{NodeError, NodeResult},
    saved::Saved,
};
use crate::{codec::Payload, core::graph::Dependency};
use std::{future::Future, sync::Arc};

/// Reads what a node, or a run's output, is made of.
pub(super) trait Read<T>: Fn(Inputs) -> Result<T, OutputError> + Send + Sync + 'static {}

impl<T, F: Fn(Inputs) -> Result<T, OutputError> + Send + Sync + 'static> Read<T> for F {}

/// Reads the values of `edges` as what `deps` makes of them.
pub(super) fn typed<D: Deps>(deps: D, edges: &[Dependency]) -> impl Read<D::Input> + use<D> {
    let labels: Vec<_> = edges.iter().map(|edge| label(&edge.on)).collect();
    move |inputs: Inputs| deps.read(&mut Reader::new(inputs, &labels))
}

pub(super) fn work<C, X, O, F, Fut>(read: impl Read<X>, run: F) -> Code<C>
where
    C: Send + Sync + 'static,
    X: Send + 'static,
    O: Payload,
    F: Fn(Ctx<C>, X) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<O>> + Send + 'static,
{
    let body = Arc::new((read, run));
    Arc::new(move |Call { ctx, inputs, .. }| {
        let body = Arc::clone(&body);
        Box::pin(async move {
            let (read, run) = &*body;
            let input = read(inputs).map_err(NodeError::terminal)?;
            let output = run(ctx, input).await?;
            Ok(Outcome::Value(output.encode().map_err(NodeError::terminal)?))
        })
    })
}

pub(super) fn resumable<C, S, X, O, F, Fut>(read: impl Read<X>, run: F) -> Code<C>
where
    C: Send + Sync + 'static,
    S: Payload,
    X: Send + 'static,
    O: Payload,
    F: Fn(Ctx<C>, Saved<S>, X) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<O>> + Send + 'static,
{
    let body = Arc::new((read, run));
    Arc::new(move |Call { ctx, inputs, saved }| {
        let body = Arc::clone(&body);
        Box::pin(async move {
            let (read, run) = &*body;
            let input = read(inputs).map_err(NodeError::terminal)?;
            let saved = Saved::read(saved.as_ref(), Arc::clone(ctx.host()))?;
            let output = run(ctx, saved, input).await?;
            Ok(Outcome::Value(output.encode().map_err(NodeError::terminal)?))
        })
    })
}

pub(super) fn branch<C, X, F, Fut>(branch: Source, read: impl Read<X>, decide: F) -> Code<C>
where
    C: Send + Sync + 'static,
    X: Send + 'static,
    F: Fn(Ctx<C>, X) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<Choice>> + Send + 'static,
{
    let body = Arc::new((read, decide));
    Arc::new(move |Call { ctx, inputs, .. }| {
        let body = Arc::clone(&body);
        Box::pin(async move {
            let (read, decide) = &*body;
            let input = read(inputs).map_err(NodeError::terminal)?;
            decide(ctx, input).await?.outcome_of(branch)
        })
    })
}

/// Lets code that knows no application state run where there is one.
pub(super) fn without_app<C: 'static>(code: Code<()>) -> Code<C> {
    Arc::new(move |Call { ctx, inputs, saved }: Call<C>| code(Call { ctx: ctx.without_app(), inputs, saved }))
}
