//! Polls the tasks of one host, one at a time, and stops where it is told to.
//!
//! Each host has a tokio runtime of its own, on this thread and without a timer, so whatever the library or one of its dependencies
//! spawns belongs to the host, and goes with it: to drop the runtime in the middle is the crash. Tokio's runtime of one thread polls
//! its tasks in the order in which they were woken, and with an event interval of one it looks at the root after each; what the
//! root sees is counted here. This file does not know the time, or what the tasks do.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// A runtime that is moved by hand.
pub(super) struct Turns {
    runtime: Runtime,
    lookout: Arc<Lookout>,
    /// The lookout waits behind tasks that have not had their turn.
    posted: bool,
    /// Tasks that had their turn since the lookout was posted.
    before: u64,
    doom: Doom,
}

/// Set once a task wants its host to die, to how long the host is down then.
pub(super) type Doom = Arc<OnceLock<Duration>>;

/// A task that does nothing. When it has its turn, everyone who was ready when it was posted has had one.
#[derive(Default)]
struct Lookout {
    reached: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Lookout {
    fn post(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn watch(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        poll_fn(move |context| {
            *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            self.reached.store(true, Ordering::Relaxed);
            Poll::Pending
        })
    }
}

/// How a run of turns ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ran {
    /// Tasks that were polled.
    pub(super) polls: u64,
    /// Whether nobody is ready any more.
    pub(super) idle: bool,
}

impl Turns {
    pub(super) fn new() -> Self {
        // No timer and no I/O: whoever reaches for tokio's time panics, instead of waiting for real.
        let runtime =
            Builder::new_current_thread().event_interval(1).build().expect("a runtime without a driver needs nothing");
        let lookout = Arc::new(Lookout::default());
        runtime.spawn(Arc::clone(&lookout).watch());
        Self { runtime, lookout, posted: true, before: 0, doom: Doom::default() }
    }

    pub(super) fn doom(&self) -> &Doom {
        &self.doom
    }

    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Tells whether somebody was woken from outside since the last turn.
    pub(super) fn is_called(&self) -> bool {
        self.runtime.metrics().global_queue_depth() > 0
    }

    /// Returns how many tasks live, without the one that counts.
    pub(super) fn tasks(&self) -> usize {
        self.runtime.metrics().num_alive_tasks().saturating_sub(1)
    }

    /// Gives at most `most` tasks a turn.
    pub(super) fn run(&mut self, most: u64) -> Ran {
        let Self { runtime, lookout, posted, before, doom } = self;
        let metrics = runtime.metrics();
        let count = Count {
            lookout,
            posted,
            before,
            doom,
            ran: Ran { polls: 0, idle: false },
            most,
            begun: false,
            calls: || metrics.global_queue_depth() > 0,
        };
        runtime.block_on(count)
    }

    /// Drops every task where it is.
    pub(super) fn crash(self) {
        self.runtime.shutdown_background();
    }
}

/// The root of a runtime while it runs: it is polled between every two turns.
struct Count<'a, C> {
    lookout: &'a Lookout,
    posted: &'a mut bool,
    before: &'a mut u64,
    doom: &'a Doom,
    ran: Ran,
    most: u64,
    begun: bool,
    calls: C,
}

impl<C: Fn() -> bool + Unpin> Future for Count<'_, C> {
    type Output = Ran;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ran> {
        let this = &mut *self;
        if std::mem::replace(&mut this.begun, true) {
            if this.lookout.reached.swap(false, Ordering::Relaxed) {
                *this.posted = false;
                // Whoever was woken from outside stands in another line, which comes after this one.
                if std::mem::take(this.before) == 0 && !(this.calls)() {
                    this.ran.idle = true;
                    return Poll::Ready(this.ran);
                }
            } else {
                *this.before += 1;
                this.ran.polls += 1;
            }
        }
        if this.ran.polls == this.most || this.doom.get().is_some() {
            return Poll::Ready(this.ran);
        }
        if !std::mem::replace(this.posted, true) {
            this.lookout.post();
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn every_poll_is_counted_and_none_is_missed() {
        let mut turns = Turns::new();
        let polled = Arc::new(AtomicU64::new(0));
        for _ in 0..3 {
            let (polled, mut left) = (Arc::clone(&polled), 6);
            turns.runtime().spawn(poll_fn(move |context| {
                polled.fetch_add(1, Ordering::Relaxed);
                left -= 1;
                context.waker().wake_by_ref();
                if left == 0 { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
        for slice in 1..=4 {
            assert_eq!(turns.run(3), Ran { polls: 3, idle: false });
            assert_eq!(polled.load(Ordering::Relaxed), slice * 3);
        }
        assert_eq!(turns.run(u64::MAX), Ran { polls: 6, idle: true });
        assert_eq!((polled.load(Ordering::Relaxed), turns.tasks()), (18, 0));
        assert_eq!(turns.run(u64::MAX), Ran { polls: 0, idle: true });
    }

    #[test]
    fn who_is_woken_from_outside_has_a_turn() {
        let mut turns = Turns::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<u32>();
        let heard = turns.runtime().spawn(receiver);
        assert_eq!(turns.run(u64::MAX), Ran { polls: 1, idle: true });
        assert!(!turns.is_called());
        sender.send(7).expect("a receiver");
        assert!(turns.is_called());
        assert_eq!(turns.run(u64::MAX), Ran { polls: 1, idle: true });
        assert!(heard.is_finished());
    }

    #[test]
    fn a_crash_drops_what_is_under_way() {
        let mut turns = Turns::new();
        let held = Arc::new(());
        let mine = Arc::clone(&held);
        turns.runtime().spawn(async move {
            std::future::pending::<()>().await;
            drop(mine);
        });
        turns.run(u64::MAX);
        assert_eq!((Arc::strong_count(&held), turns.tasks()), (2, 1));
        turns.crash();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
