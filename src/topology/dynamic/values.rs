//! The input of a named node: JSON values by the name of their dependency.
//!
//! A dependency that was skipped, or left out of the run, is simply not there; which of the two is not told.

use crate::{
    core::graph::Dependency,
    topology::{
        code::Read,
        definition::{INPUT, Inputs, label},
        deps::Reader,
        error::OutputError,
        node_error::{NodeError, NodeResult},
    },
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The values of a named node's dependencies, in the order in which they are declared.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Values(Vec<(String, Value)>);

impl Values {
    /// Returns the value of a dependency, by its name as in `fetch` or `size/large`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// Returns what the run was started with. Only a node without dependencies, or one that names `$input` among them, gets it.
    #[must_use]
    pub fn run_input(&self) -> Option<&Value> {
        self.get(INPUT)
    }

    /// Reads the value of a dependency as a type.
    ///
    /// # Errors
    ///
    /// A terminal [`NodeError`] when there is no value, or when it is not a `T`. Pass it on with `?`.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> NodeResult<T> {
        let missing = || NodeError::terminal(OutputError::Missing { dependency: name.to_owned() });
        T::deserialize(self.get(name).ok_or_else(missing)?).map_err(NodeError::terminal)
    }

    /// Lists names and values in the order in which the dependencies are declared.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Returns how many values there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is no value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads whatever values `edges` have.
    pub(super) fn reader(edges: &[Dependency]) -> impl Read<Self> + use<> {
        let labels: Vec<_> = edges.iter().map(|edge| label(&edge.on)).collect();
        move |inputs: Inputs| {
            let mut values = Reader::new(inputs, &labels);
            let named = labels.iter().map(|_| values.labelled::<Value>());
            let present = named.filter_map(|entry| match entry {
                Ok((name, value)) => value.map(|value| Ok((name.to_owned(), value))),
                Err(error) => Some(Err(error)),
            });
            present.collect::<Result<_, _>>().map(Self)
        }
    }

    pub(super) fn into_object(self) -> Value {
        Value::Object(self.0.into_iter().collect())
    }
}
