//! A dependency as a configuration writes it: by name.

use crate::{
    core::graph::{Dependency, On},
    topology::definition::INPUT,
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// A dependency of a named node.
///
/// A text names a node (`fetch`), an arm of a branch (`size/large`), or the run's input (`$input`). In JSON it is that text, or
/// `{"on": "fetch", "optional": true}`.
///
/// ```
/// use anabranch::topology::dynamic::Dep;
/// assert_eq!(serde_json::from_str::<Dep>(r#"{"on": "fetch", "optional": true}"#)?, Dep::on("fetch").optional());
/// assert_eq!(serde_json::from_str::<Dep>(r#""size/large""#)?, Dep::from("size/large"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Dep {
    on: Target,
    optional: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Input,
    /// A node, or an arm when there is no node of the whole name.
    Named(String),
    Arm {
        branch: String,
        arm: String,
    },
}

impl Dep {
    /// Depends on a node, or on an arm that is written `branch/arm`.
    #[must_use]
    pub fn on(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { on: if name == INPUT { Target::Input } else { Target::Named(name) }, optional: false }
    }

    /// Depends on an arm, whatever is in its name.
    #[must_use]
    pub fn arm(branch: impl Into<String>, arm: impl Into<String>) -> Self {
        Self { on: Target::Arm { branch: branch.into(), arm: arm.into() }, optional: false }
    }

    /// Depends on what the run is started with.
    #[must_use]
    pub fn input() -> Self {
        Self { on: Target::Input, optional: false }
    }

    /// Lets the node do without the value.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// Decides what the text means among the nodes that are `declared`.
    pub(super) fn resolve(self, declared: &BTreeSet<String>) -> Dependency {
        let on = match self.on {
            Target::Input => On::Input,
            Target::Arm { branch, arm } => On::Arm { branch, arm },
            Target::Named(name) => match name.split_once('/') {
                Some((branch, arm)) if !declared.contains(&name) && declared.contains(branch) => {
                    On::Arm { branch: branch.to_owned(), arm: arm.to_owned() }
                }
                _ => On::Node(name),
            },
        };
        Dependency { on, optional: self.optional }
    }
}

impl<T: Into<String>> From<T> for Dep {
    fn from(name: T) -> Self {
        Self::on(name)
    }
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields, expecting = "a dependency is a name, or `{\"on\": name, \"optional\": bool}`")]
enum Written {
    Name(String),
    Full {
        on: String,
        #[serde(default)]
        optional: bool,
    },
}

impl From<Written> for Dep {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(name) => Self::on(name),
            Written::Full { on, optional } => Self { optional, ..Self::on(on) },
        }
    }
}

/// What a named node depends on: `()`, a name, a [`Dep`], or an array or `Vec` of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name dependencies",
    label = "expected `()`, a name, a `Dep`, or an array of these",
    note = "no dependencies are written `()`"
)]
pub trait IntoDeps {
    #[doc(hidden)]
    fn into_deps(self) -> Vec<Dep>;
}

impl IntoDeps for () {
    fn into_deps(self) -> Vec<Dep> {
        Vec::new()
    }
}

impl IntoDeps for Dep {
    fn into_deps(self) -> Vec<Dep> {
        vec![self]
    }
}

impl IntoDeps for &str {
    fn into_deps(self) -> Vec<Dep> {
        vec![self.into()]
    }
}

impl IntoDeps for String {
    fn into_deps(self) -> Vec<Dep> {
        vec![self.into()]
    }
}

impl<D: Into<Dep>, const N: usize> IntoDeps for [D; N] {
    fn into_deps(self) -> Vec<Dep> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<D: Into<Dep>> IntoDeps for Vec<D> {
    fn into_deps(self) -> Vec<Dep> {
        self.into_iter().map(Into::into).collect()
    }
}
