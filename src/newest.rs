//! The newest value of something, and whoever waits for another one.
//!
//! It is what tokio's `watch` is, but for one thing: those who wait are woken in the order in which they came. Tokio's draws that
//! order from dice of its own (`sync::watch::big_notify`), so that threads do not meet at one lock, and no seed reaches them. It does
//! not know what the values mean.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// The one who says what is new. When the last of its clones is gone, nothing will be.
#[derive(Debug)]
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// One who hears of it.
#[derive(Debug)]
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The version that it has seen.
    seen: u64,
}

/// Nobody is left to say anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

#[derive(Debug)]
struct Shared<T> {
    newest: Mutex<Newest<T>>,
    changed: Notify,
    senders: AtomicUsize,
}

#[derive(Debug)]
struct Newest<T> {
    value: T,
    version: u64,
}

/// A look at the value. Nobody changes it meanwhile, so it is not kept for long.
#[derive(Debug)]
pub(crate) struct Look<'a, T>(MutexGuard<'a, Newest<T>>);

impl<T> std::ops::Deref for Look<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> Shared<T> {
    fn look(&self) -> Look<'_, T> {
        Look(self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_over(&self) -> bool {
        self.senders.load(Ordering::Acquire) == 0
    }
}

/// Makes a sender, and a receiver that has seen `value`.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let sender = Sender::new(value);
    let receiver = sender.subscribe();
    (sender, receiver)
}

impl<T> Sender<T> {
    pub(crate) fn new(value: T) -> Self {
        let newest = Mutex::new(Newest { value, version: 0 });
        Self(Arc::new(Shared { newest, changed: Notify::new(), senders: AtomicUsize::new(1) }))
    }

    /// Returns a receiver that has seen what is there now.
    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver { shared: Arc::clone(&self.0), seen: self.0.look().0.version }
    }

    pub(crate) fn borrow(&self) -> Look<'_, T> {
        self.0.look()
    }

    /// Changes the value, and tells everyone.
    pub(crate) fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Tells everyone when `change` says that it changed something.
    pub(crate) fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) {
        let mut look = self.0.look();
        if !change(&mut look.0.value) {
            return;
        }
        look.0.version += 1;
        drop(look);
        self.0.changed.notify_waiters();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.senders.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Receiver<T> {
    pub(crate) fn borrow(&self) -> Look<'_, T> {
        self.shared.look()
    }

    /// Looks at the value, which is no news from now on.
    pub(crate) fn borrow_and_update(&mut self) -> Look<'_, T> {
        let look = self.shared.look();
        self.seen = look.0.version;
        look
    }

    /// Tells whether nothing new will come.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.is_over()
    }

    /// Waits until there is something that it has not seen, which it has from then on. [`Gone`] when nothing will come.
    ///
    /// Cancel safe: a call that is dropped has seen nothing.
    pub(crate) async fn changed(&mut self) -> Result<(), Gone> {
        loop {
            // Before the look, so that no change falls between the two.
            let changed = self.shared.changed.notified();
            let version = self.shared.look().0.version;
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.is_over() {
                return Err(Gone);
            }
            changed.await;
        }
    }

    /// Waits until the value is as `wanted`, and returns a look at it. [`Gone`] when it will never be.
    ///
    /// Cancel safe: a call that is dropped has seen nothing.
    pub(crate) async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<Look<'_, T>, Gone> {
        loop {
            let changed = self.shared.changed.notified();
            {
                let look = self.shared.look();
                if wanted(&look) {
                    self.seen = look.0.version;
                    break;
                }
            }
            if self.shared.is_over() {
                return Err(Gone);
            }
            changed.await;
        }
        Ok(self.shared.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn what_is_new_is_told_once_and_the_end_is_told_for_ever() {
        let (sender, mut receiver) = channel(1);
        assert!(receiver.changed().now_or_never().is_none());
        sender.send_modify(|value| *value = 2);
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(())));
        assert_eq!(*receiver.borrow(), 2);
        assert!(receiver.changed().now_or_never().is_none());
        sender.send_if_modified(|_| false);
        assert!(receiver.changed().now_or_never().is_none() && !receiver.is_over());
        // What was said before the end is heard first.
        sender.send_modify(|value| *value = 3);
        drop(sender);
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(())));
        assert_eq!(receiver.changed().now_or_never(), Some(Err(Gone)));
        assert!(receiver.wait_for(|value| *value == 3).now_or_never().is_some_and(|found| found.is_ok()));
        assert!(receiver.wait_for(|value| *value == 4).now_or_never().is_some_and(|found| found.is_err()));
    }

    #[tokio::test]
    async fn those_who_wait_are_woken_in_the_order_in_which_they_came() {
        // Often enough that another order would show.
        for _ in 0..20 {
            let (sender, receiver) = channel(0);
            let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
            let tasks: Vec<_> = (0..10)
                .map(|n| {
                    let (mut receiver, told) = (receiver.clone(), told.clone());
                    let wait = async move {
                        assert!(receiver.wait_for(|value| *value == 1).await.is_ok());
                        told.send(n).expect("a reader");
                    };
                    tokio::runtime::Handle::current().spawn(wait)
                })
                .collect();
            tokio::task::yield_now().await;
            sender.send_modify(|value| *value = 1);
            for task in tasks {
                task.await.expect("no panic");
            }
            let heard: Vec<_> = std::iter::from_fn(|| order.try_recv().ok()).collect();
            assert_eq!(heard, (0..10).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_change_between_two_looks_is_not_missed() {
        let (sender, mut receiver) = channel(0_u32);
        let hear = tokio::runtime::Handle::current().spawn(async move {
            let mut last = 0;
            while receiver.changed().await.is_ok() {
                last = *receiver.borrow_and_update();
            }
            last
        });
        for n in 1..=1000 {
            sender.send_modify(|value| *value = n);
            if n % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(sender);
        assert_eq!(hear.await.expect("no panic"), 1000);
    }
}
