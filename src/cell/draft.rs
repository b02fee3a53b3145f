//! What a closure works on: the value of a key as the closures before it left it.
//!
//! A draft remembers whether somebody touched it, since what was only looked at is not written. It does not know how it is
//! written, or how often.

use crate::{core::coordination::FencingToken, engine::Revision};
use std::time::Duration;

/// The value of a key on its way to being written.
#[derive(Debug, Clone)]
pub struct Draft<T> {
    value: Option<T>,
    revision: Option<Revision>,
    touched: bool,
    ttl: Option<Duration>,
    /// The greatest fencing token that the key was written with.
    pub(super) fence: u64,
}

/// What a draft was like before a closure's turn.
#[derive(Debug)]
pub(super) struct Turn {
    touched: bool,
    ttl: Option<Duration>,
}

impl<T> Draft<T> {
    pub(super) fn new(value: Option<T>, revision: Option<Revision>, fence: u64) -> Self {
        Self { value, revision, touched: false, ttl: None, fence }
    }

    /// Returns the value; `None` when the key is absent.
    #[must_use]
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Returns the value to change it; `None` when the key is absent.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        if self.value.is_some() {
            self.touch();
        }
        self.value.as_mut()
    }

    /// Returns the value to change it, which is the default where the key is absent.
    pub fn or_default(&mut self) -> &mut T
    where
        T: Default,
    {
        self.touch();
        self.value.get_or_insert_default()
    }

    /// Replaces the value.
    pub fn set(&mut self, value: T) {
        self.touch();
        self.value = Some(value);
    }

    /// Removes the key; one that is absent stays so, and nothing is written for it.
    pub fn remove(&mut self) {
        if self.value.take().is_some() {
            self.touch();
        }
    }

    /// Returns the revision of exactly what [`get`](Self::get) shows: `None` when the key is absent, and when a closure that
    /// shares the write has touched it.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.revision
    }

    /// Lets this write expire after `ttl`, at least one second, instead of after what its cell says. It is garbage collection;
    /// an engine without expiry ignores it.
    pub fn expire_after(&mut self, ttl: Duration) {
        self.ttl = Some(ttl);
    }

    /// Runs `change` on the value; when it fails, the draft is as it was before.
    pub(super) fn attempt<R, E>(&mut self, change: impl FnOnce(&mut T) -> Result<R, E>) -> Result<R, E>
    where
        T: Clone + Default,
    {
        let before = (self.value.clone(), self.revision, self.touched);
        let outcome = change(self.or_default());
        if outcome.is_err() {
            (self.value, self.revision, self.touched) = before;
        }
        outcome
    }

    /// Lets a holder past, unless a later one was here: then that one's token.
    pub(super) fn pass(&mut self, token: FencingToken) -> Result<(), FencingToken> {
        if self.fence > token.get() {
            return Err(FencingToken::new(self.fence));
        }
        self.fence = token.get();
        Ok(())
    }

    fn touch(&mut self) {
        self.touched = true;
        self.revision = None;
    }

    /// Begins the turn of a closure whose cell lets values expire after `ttl`.
    pub(super) fn begin(&mut self, ttl: Option<Duration>) -> Turn {
        Turn { touched: std::mem::take(&mut self.touched), ttl: std::mem::replace(&mut self.ttl, ttl) }
    }

    /// Ends a turn: one that touched nothing says nothing about expiry.
    pub(super) fn end(&mut self, turn: Turn) {
        if !self.touched {
            (self.touched, self.ttl) = (turn.touched, turn.ttl);
        }
    }

    pub(super) fn is_touched(&self) -> bool {
        self.touched
    }

    pub(super) fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    pub(super) fn into_value(self) -> Option<T> {
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_looked_at_is_not_touched() {
        let mut draft = Draft::new(Some(1), Some(Revision::new(7)), 0);
        assert_eq!((draft.get(), draft.revision(), draft.is_touched()), (Some(&1), Some(Revision::new(7)), false));
        *draft.or_default() += 1;
        assert_eq!((draft.get(), draft.revision(), draft.is_touched()), (Some(&2), None, true));
        let mut absent = Draft::<u8>::new(None, None, 0);
        absent.remove();
        assert!(absent.get_mut().is_none() && !absent.is_touched());
    }

    #[test]
    fn an_attempt_that_fails_leaves_nothing() {
        let mut draft = Draft::new(Some(vec![1]), None, 0);
        let failed: Result<(), &str> = draft.attempt(|list| {
            list.push(2);
            Err("no")
        });
        assert_eq!((failed, draft.get(), draft.is_touched()), (Err("no"), Some(&vec![1]), false));
    }
}
