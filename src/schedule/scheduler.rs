//! The process side: somebody who does what is due.

use super::{Event, Running, ScheduleError, clerk::Clerk, event::Events, ledger::Ledger, poller, wakes};
use crate::{coordination::Election, engine::Space, time::Clock};
use futures_util::Stream;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Prepares a [`Scheduler`].
#[derive(Debug)]
#[must_use = "call `spawn` to start it"]
pub struct SchedulerBuilder {
    space: Space,
    clock: Clock,
    lease: Duration,
    patience: Duration,
    running: HashMap<String, Arc<dyn Running>>,
}

impl SchedulerBuilder {
    /// Asks `running` about the firings that are sent to a queue, see [`Running`].
    pub fn running(mut self, queue: impl Into<String>, running: Arc<dyn Running>) -> Self {
        self.running.insert(queue.into(), running);
        self
    }

    /// Sets how long a leader may be silent before another one leads, where the engine has no timers; 10 seconds unless it is set, 1
    /// second to 24 hours. It is by how much firings are late when a leader dies.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets how long a drain waits for what is under way before it leaves that to others; 10 seconds unless it is set.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout;
        self
    }

    /// Decides by another clock than that of the space.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts to do what is due.
    ///
    /// # Errors
    ///
    /// [`ScheduleError::Store`] when the queue of the timers cannot be opened, [`ScheduleError::Election`] when the lease is out of its
    /// range.
    pub async fn spawn(self) -> Result<Scheduler, ScheduleError> {
        let Self { space, clock, lease, patience, running } = self;
        let ledger = Ledger::new(&space)?;
        let (timers, events) = (ledger.timers, Events::new());
        let clerk = Arc::new(Clerk { ledger, clock: clock.clone(), events: events.clone(), running });
        let (stop, gone, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        if timers {
            let queue = wakes::queue(&clerk).await?;
            let run = wakes::run(clerk, queue, stop.clone(), gone.clone(), tasks.clone());
            let gone = gone.clone();
            tasks.spawn(async move { gone.run_until_cancelled(run).await });
        } else {
            let election = Election::new(&space, "scheduler", lease);
            let election = election?.candidate(space.instance());
            let (run, gone) = (poller::run(clerk, election, stop.clone()), gone.clone());
            tasks.spawn(async move { gone.run_until_cancelled(run).await });
        }
        Ok(Scheduler { stop, gone: gone.drop_guard(), tasks, events, clock, patience })
    }
}

/// Does what is due in a space, together with any number of others: each firing and each delayed message is sent once.
///
/// Dropping it stops it where it is, like a crash: what it was about is done by others.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::{Engine, Message, Name, Outgoing, QueueOptions}, schedule::{Delayed, Scheduler}};
/// use std::{num::NonZeroUsize, time::Duration};
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let scheduler = Scheduler::builder(&space).spawn().await?;
/// let mail = Outgoing { queue: Name::new("mails")?, message: Message::new("hello") };
/// let _ = Delayed::new(&space)?.after("hello", Duration::from_millis(20), &mail).await?;
/// let mut mails = space.queue("mails", QueueOptions::default()).await?.pull().await?;
/// for mail in mails.next(NonZeroUsize::MIN).await? {
///     assert_eq!(mail.message().payload, "hello");
///     mail.ack().await?;
/// }
/// scheduler.drain().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
#[must_use = "a scheduler that is dropped stops"]
pub struct Scheduler {
    stop: CancellationToken,
    gone: DropGuard,
    tasks: TaskTracker,
    events: Events,
    clock: Clock,
    patience: Duration,
}

impl Scheduler {
    /// Prepares a scheduler for a space.
    pub fn builder(space: &Space) -> SchedulerBuilder {
        let (lease, patience) = (Duration::from_secs(10), Duration::from_secs(10));
        SchedulerBuilder { space: space.clone(), clock: space.clock().clone(), lease, patience, running: HashMap::new() }
    }

    /// Tells what this scheduler does from now on. A slow reader is told how much it has missed.
    pub fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        self.events.listen()
    }

    /// Takes nothing up any more, and returns when what is under way has ended, or after the drain's timeout, whatever the store and
    /// whoever was asked do. What was not done is done by others, or by the next one.
    pub async fn drain(self) {
        self.stop.cancel();
        self.tasks.close();
        let ended = self.clock.timeout(self.patience, self.tasks.wait()).await;
        // From here on it is as after a crash.
        drop(self.gone);
        if ended.is_none() {
            self.tasks.wait().await;
        }
    }
}
