//! Signals: what a suspended run waits for, with the type of its payload.
//!
//! A signal is a name and a type, nothing that is sent: the sender and the topology agree by using the same constant.

use std::{borrow::Cow, fmt, marker::PhantomData};

/// A named, typed value that a run can wait for. Declare it once as a `const` and share it.
///
/// ```
/// use anabranch::Signal;
/// const APPROVAL: Signal<bool> = Signal::new("approval");
/// assert_eq!(APPROVAL.name(), "approval");
/// ```
pub struct Signal<T> {
    name: Cow<'static, str>,
    _payload: PhantomData<fn() -> T>,
}

impl<T> Signal<T> {
    /// Makes the signal `name`.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name: Cow::Borrowed(name), _payload: PhantomData }
    }

    /// Makes a signal whose name is known only when the program runs, such as that of a configured topology.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Cow::Owned(name.into()), _payload: PhantomData }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), _payload: PhantomData }
    }
}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signal").field(&self.name).finish()
    }
}
