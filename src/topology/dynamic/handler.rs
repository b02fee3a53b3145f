//! Code for named nodes, and the registry in which a configuration finds it.
//!
//! A handler knows names and JSON values, no graph: one handler can serve many nodes of many topologies.

use super::values::Values;
use crate::topology::{
    branch::Choice,
    ctx::Ctx,
    handle::{Arm, Source},
    node_error::{NodeError, NodeResult},
    saved::Saved,
};
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::{collections::HashMap, fmt, future::Future, sync::Arc};

pub(super) type Work<C> = Arc<dyn Fn(Ctx<C>, Saved<Value>, Values) -> BoxFuture<'static, NodeResult<Value>> + Send + Sync>;
pub(super) type Decide<C> = Arc<dyn Fn(Ctx<C>, NamedArms, Values) -> BoxFuture<'static, NodeResult<Choice>> + Send + Sync>;

pub(super) fn work<C, F, Fut>(run: F) -> Work<C>
where
    F: Fn(Ctx<C>, Values) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<Value>> + Send + 'static,
{
    Arc::new(move |ctx, _, values| Box::pin(run(ctx, values)))
}

pub(super) fn resumable<C, F, Fut>(run: F) -> Work<C>
where
    F: Fn(Ctx<C>, Saved<Value>, Values) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<Value>> + Send + 'static,
{
    Arc::new(move |ctx, saved, values| Box::pin(run(ctx, saved, values)))
}

pub(super) fn decide<C, F, Fut>(decide: F) -> Decide<C>
where
    F: Fn(Ctx<C>, NamedArms, Values) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<Choice>> + Send + 'static,
{
    Arc::new(move |ctx, arms, values| Box::pin(decide(ctx, arms, values)))
}

/// The arms of a named branch, for its handler to take one.
#[derive(Debug, Clone)]
pub struct NamedArms {
    branch: Source,
    names: Arc<[String]>,
}

impl NamedArms {
    pub(super) fn new(branch: Source, names: &[String]) -> Self {
        Self { branch, names: names.into() }
    }

    /// Takes the arm `name`, and hands `value` to the nodes behind it.
    ///
    /// # Errors
    ///
    /// A terminal [`NodeError`] when the branch has no such arm. Pass it on with `?`.
    pub fn take(&self, name: &str, value: Value) -> NodeResult<Choice> {
        let unknown = || NodeError::terminal(format!("the branch has no arm `{name}`, only `{}`", self.names.join("`, `")));
        let at = self.names.iter().position(|n| n == name).ok_or_else(unknown)?;
        Ok(Arm::of(self.branch, at).take(value))
    }

    /// Lists the names of the arms.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }
}

/// Handlers by name, for topologies that are loaded from a configuration.
pub struct Registry<C = ()> {
    work: HashMap<String, Work<C>>,
    branch: HashMap<String, Decide<C>>,
}

impl<C> Registry<C> {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self { work: HashMap::new(), branch: HashMap::new() }
    }

    /// Registers the code of work nodes; replaces what had the name before.
    #[must_use]
    pub fn work<F, Fut>(mut self, name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Ctx<C>, Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Value>> + Send + 'static,
    {
        self.work.insert(name.into(), work(run));
        self
    }

    /// Registers the code of work nodes that save their progress; replaces what had the name before.
    #[must_use]
    pub fn resumable<F, Fut>(mut self, name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Ctx<C>, Saved<Value>, Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Value>> + Send + 'static,
    {
        self.work.insert(name.into(), resumable(run));
        self
    }

    /// Registers the code of branches; replaces what had the name before.
    #[must_use]
    pub fn branch<F, Fut>(mut self, name: impl Into<String>, run: F) -> Self
    where
        F: Fn(Ctx<C>, NamedArms, Values) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Choice>> + Send + 'static,
    {
        self.branch.insert(name.into(), decide(run));
        self
    }

    pub(super) fn find_work(&self, name: &str) -> Option<Work<C>> {
        self.work.get(name).map(Arc::clone)
    }

    pub(super) fn find_branch(&self, name: &str) -> Option<Decide<C>> {
        self.branch.get(name).map(Arc::clone)
    }
}

impl<C> Default for Registry<C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C> fmt::Debug for Registry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<_> = self.work.keys().chain(self.branch.keys()).collect();
        names.sort_unstable();
        f.debug_tuple("Registry").field(&names).finish()
    }
}
