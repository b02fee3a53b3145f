//! How handles, and tuples of handles, become the input of a node.
//!
//! Edges are listed in the order in which values are read back, whatever the nesting; that order is the whole contract between a
//! topology and whoever runs it. A value that is missing or does not decode is an error that names its dependency.

use super::{
    definition::Inputs,
    error::OutputError,
    handle::{Arm, Node, Optional, Source},
};
use crate::codec::Payload;
use bytes::Bytes;
use std::vec;

/// What a node depends on: `()`, a handle, a tuple of up to twelve of these, or a `Vec` of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dependency",
    label = "expected a handle, or a tuple of handles",
    note = "dependencies are `()`, `Node<T>`, `Arm<T>`, `Optional<T>`, and tuples or a `Vec` of them",
    note = "handles are `Copy`: pass them by value, not by reference"
)]
pub trait Deps: Send + Sync + 'static {
    /// What the node's code receives.
    type Input: Send + 'static;

    #[doc(hidden)]
    fn edges(&self, edges: &mut Edges);

    #[doc(hidden)]
    fn read(&self, values: &mut Reader<'_>) -> Result<Self::Input, OutputError>;
}

/// The dependencies of a node, in the order its values are read.
#[derive(Debug, Default)]
pub struct Edges(Vec<(Source, bool)>);

impl Edges {
    pub(super) fn of(deps: &impl Deps) -> Vec<(Source, bool)> {
        let mut edges = Self::default();
        deps.edges(&mut edges);
        edges.0
    }

    fn required(&mut self, source: Source) {
        self.0.push((source, false));
    }

    fn optional(&mut self, source: Source) {
        self.0.push((source, true));
    }
}

/// Reads values in edge order, and knows what each is called.
#[derive(Debug)]
pub struct Reader<'a> {
    values: vec::IntoIter<Option<Bytes>>,
    labels: std::slice::Iter<'a, String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(inputs: Inputs, labels: &'a [String]) -> Self {
        Self { values: inputs.into_values().into_iter(), labels: labels.iter() }
    }

    /// Reads the next value, or `None` when there is none, with the name of its dependency.
    pub(super) fn labelled<T: Payload>(&mut self) -> Result<(&'a str, Option<T>), OutputError> {
        let label = self.labels.next().map_or("?", String::as_str);
        let value = self.values.next().flatten().map(|bytes| T::decode(&bytes)).transpose();
        value.map(|value| (label, value)).map_err(|source| OutputError::Codec { dependency: label.to_owned(), source })
    }

    fn optional<T: Payload>(&mut self) -> Result<Option<T>, OutputError> {
        self.labelled().map(|(_, value)| value)
    }

    fn required<T: Payload>(&mut self) -> Result<T, OutputError> {
        let (label, value) = self.labelled()?;
        value.ok_or_else(|| OutputError::Missing { dependency: label.to_owned() })
    }
}

impl<T: Payload> Deps for Node<T> {
    type Input = T;

    fn edges(&self, edges: &mut Edges) {
        edges.required(self.source);
    }

    fn read(&self, values: &mut Reader<'_>) -> Result<T, OutputError> {
        values.required()
    }
}

impl<T: Payload> Deps for Arm<T> {
    type Input = T;

    fn edges(&self, edges: &mut Edges) {
        edges.required(self.source);
    }

    fn read(&self, values: &mut Reader<'_>) -> Result<T, OutputError> {
        values.required()
    }
}

impl<T: Payload> Deps for Optional<T> {
    type Input = Option<T>;

    fn edges(&self, edges: &mut Edges) {
        edges.optional(self.source);
    }

    fn read(&self, values: &mut Reader<'_>) -> Result<Option<T>, OutputError> {
        values.optional()
    }
}

impl<D: Deps> Deps for Vec<D> {
    type Input = Vec<D::Input>;

    fn edges(&self, edges: &mut Edges) {
        for dep in self {
            dep.edges(edges);
        }
    }

    fn read(&self, values: &mut Reader<'_>) -> Result<Self::Input, OutputError> {
        self.iter().map(|dep| dep.read(values)).collect()
    }
}

impl Deps for () {
    type Input = ();

    fn edges(&self, _: &mut Edges) {}

    fn read(&self, _: &mut Reader<'_>) -> Result<(), OutputError> {
        Ok(())
    }
}

macro_rules! tuple_deps {
    ($($name:ident)+) => {
        #[diagnostic::do_not_recommend]
        #[expect(non_snake_case, reason = "each part is called as its type is")]
        impl<$($name: Deps),+> Deps for ($($name,)+) {
            type Input = ($($name::Input,)+);

            fn edges(&self, edges: &mut Edges) {
                let ($($name,)+) = self;
                $($name.edges(edges);)+
            }

            fn read(&self, values: &mut Reader<'_>) -> Result<Self::Input, OutputError> {
                let ($($name,)+) = self;
                Ok(($($name.read(values)?,)+))
            }
        }
    };
}

tuple_deps!(A);
tuple_deps!(A B);
tuple_deps!(A B C);
tuple_deps!(A B C D);
tuple_deps!(A B C D E);
tuple_deps!(A B C D E F);
tuple_deps!(A B C D E F G);
tuple_deps!(A B C D E F G H);
tuple_deps!(A B C D E F G H I);
tuple_deps!(A B C D E F G H I J);
tuple_deps!(A B C D E F G H I J K);
tuple_deps!(A B C D E F G H I J K L);
