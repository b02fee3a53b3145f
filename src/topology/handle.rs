//! Handles: what a node will produce, before it has produced it.
//!
//! A handle exists only once its node does, so dependencies point backwards and make no circle. A handle of another builder is
//! noticed when the topology is built, not by the compiler. Handles know positions and types, never values.

use crate::core::graph::{ArmId, NodeId, Upstream};
use std::{
    fmt,
    marker::PhantomData,
    sync::atomic::{AtomicU64, Ordering},
};

/// Tells the builders of one process apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Brand(u64);

impl Brand {
    pub(super) fn fresh() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where a value comes from, and whose handle said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    pub(super) brand: Brand,
    pub(super) upstream: Upstream,
}

/// What stands for a node: its output, or one of its arms.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not stand for a node",
    label = "expected a handle",
    note = "handles are `Node<T>`, `Arm<T>` and `Optional<T>`; they are `Copy`, so pass them by value"
)]
pub trait Handle: Copy {
    #[doc(hidden)]
    fn source(self) -> Source;
}

macro_rules! handle {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        pub struct $name<T> {
            pub(super) source: Source,
            _value: PhantomData<fn() -> T>,
        }

        impl<T> $name<T> {
            pub(super) fn new(source: Source) -> Self {
                Self { source, _value: PhantomData }
            }
        }

        impl<T> Handle for $name<T> {
            fn source(self) -> Source {
                self.source
            }
        }

        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> fmt::Debug for $name<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.source.upstream).finish()
            }
        }
    };
}

handle! {
    /// The output of a node, or the run's input.
    Node
}

handle! {
    /// One outcome of a branch, which carries a `T` when it is taken.
    Arm
}

handle! {
    /// A dependency that a node can do without: its code gets an `Option<T>`.
    Optional
}

impl<T> Node<T> {
    /// Depends on the node, and takes `None` when it is skipped.
    #[must_use]
    pub fn optional(self) -> Optional<T> {
        Optional::new(self.source)
    }
}

impl<T> Arm<T> {
    /// Depends on the arm, and takes `None` when the branch takes another one.
    #[must_use]
    pub fn optional(self) -> Optional<T> {
        Optional::new(self.source)
    }

    pub(super) fn of(branch: Source, arm: usize) -> Self {
        let upstream = match branch.upstream {
            Upstream::Node(id) | Upstream::Arm(id, _) => Upstream::Arm(id, ArmId::at(arm)),
            Upstream::Input => Upstream::Input,
        };
        Self::new(Source { upstream, ..branch })
    }
}

impl Source {
    pub(super) fn node(brand: Brand, id: NodeId) -> Self {
        Self { brand, upstream: Upstream::Node(id) }
    }
}
