//! Branches: the arms that can be taken, and the choice between them.
//!
//! A branch has no output of its own: each arm carries a value of its own type to the nodes behind it. That the arm which is taken
//! belongs to the branch that takes it is checked when it happens, because an arm is `Copy` and can be carried anywhere.

use super::{
    definition::Outcome,
    handle::{Arm, Source},
    node_error::{NodeError, NodeResult},
};
use crate::{
    codec::{CodecError, Payload},
    core::graph::Upstream,
};
use bytes::Bytes;
use std::{borrow::Cow, fmt, marker::PhantomData};

/// Declares an arm called `name`; what it carries is inferred from what the branch's code puts in it.
///
/// An arm that is never taken needs to be told: `arm::<()>("no")`.
#[must_use]
pub fn arm<T>(name: impl Into<Cow<'static, str>>) -> ArmSpec<T> {
    ArmSpec { name: name.into(), _value: PhantomData }
}

/// The declaration of an arm.
pub struct ArmSpec<T> {
    name: Cow<'static, str>,
    _value: PhantomData<fn() -> T>,
}

impl<T> fmt::Debug for ArmSpec<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ArmSpec").field(&self.name).finish()
    }
}

/// The arms of a branch: a tuple of up to eight [`arm`]s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not declare the arms of a branch",
    label = "expected a tuple of arms",
    note = "pass a tuple of up to eight arms: `(arm(\"yes\"), arm(\"no\"))`"
)]
pub trait Arms {
    /// A handle for each arm.
    type Handles: Copy + Send + Sync + 'static;

    #[doc(hidden)]
    fn names(&self) -> Vec<String>;

    #[doc(hidden)]
    fn handles(branch: Source) -> Self::Handles;
}

macro_rules! tuple_arms {
    ($($name:ident $index:tt),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($name: Payload),+> Arms for ($(ArmSpec<$name>,)+) {
            type Handles = ($(Arm<$name>,)+);

            fn names(&self) -> Vec<String> {
                vec![$(self.$index.name.clone().into_owned()),+]
            }

            fn handles(branch: Source) -> Self::Handles {
                ($(Arm::<$name>::of(branch, $index),)+)
            }
        }
    };
}

tuple_arms!(A 0);
tuple_arms!(A 0, B 1);
tuple_arms!(A 0, B 1, C 2);
tuple_arms!(A 0, B 1, C 2, D 3);
tuple_arms!(A 0, B 1, C 2, D 3, E 4);
tuple_arms!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple_arms!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple_arms!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// What a branch decided: one of its arms, or none.
#[must_use = "a choice has an effect only when the branch returns it"]
#[derive(Debug)]
pub struct Choice {
    taken: Option<Taken>,
    reason: Option<Cow<'static, str>>,
}

#[derive(Debug)]
struct Taken {
    arm: Source,
    value: Result<Bytes, CodecError>,
}

impl Choice {
    /// Takes no arm: every node that needs one is skipped.
    pub fn none() -> Self {
        Self { taken: None, reason: None }
    }

    /// Records why, next to the choice.
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// Checks that the choice is one of `branch`'s own.
    pub(super) fn outcome_of(self, branch: Source) -> NodeResult<Outcome> {
        let taken = match self.taken {
            None => None,
            Some(Taken { arm, value }) => match arm.upstream {
                Upstream::Arm(id, arm_id) if Source::node(arm.brand, id) == branch => {
                    Some((arm_id, value.map_err(NodeError::terminal)?))
                }
                _ => return Err(NodeError::terminal("the branch took an arm of another branch")),
            },
        };
        Ok(Outcome::Branch { taken, reason: self.reason.map(Cow::into_owned) })
    }
}

impl<T: Payload> Arm<T> {
    /// Takes this arm, and hands `value` to the nodes behind it.
    pub fn take(self, value: T) -> Choice {
        Choice { taken: Some(Taken { arm: self.source, value: value.encode() }), reason: None }
    }
}
