//! Preparing a worker: its queues, its handlers, and how it behaves.

use super::{
    Job, JobsError,
    attempt::{Floor, Lane},
    control::{Control, Running},
    events::{Bus, Events, What},
    handler::{Handle, Handler},
    intake::Intake,
    ledger::Ledger,
    letters,
    options::TopicOptions,
    slots::Slots,
    topic::Topic,
    worker::Worker,
};
use crate::{
    codec::Payload,
    core::jobs::Lanes,
    engine::{Queue, QueueOptions, Space, StoreError, Stream},
    topology::NodeResult,
};
use std::{
    collections::HashMap,
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where jobs come from: the name of a queue, with its options where they are not the default, or a queue that is open.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Source {
    /// A queue of the space, which is created when it is not there.
    Named(String, QueueOptions),
    /// A queue that is open.
    Open(Arc<dyn Queue>),
}

impl From<&str> for Source {
    fn from(name: &str) -> Self {
        Self::Named(name.to_owned(), QueueOptions::default())
    }
}

impl From<String> for Source {
    fn from(name: String) -> Self {
        Self::Named(name, QueueOptions::default())
    }
}

impl<N: Into<String>> From<(N, QueueOptions)> for Source {
    fn from((name, options): (N, QueueOptions)) -> Self {
        Self::Named(name.into(), options)
    }
}

impl From<Arc<dyn Queue>> for Source {
    fn from(queue: Arc<dyn Queue>) -> Self {
        Self::Open(queue)
    }
}

impl From<&Arc<dyn Queue>> for Source {
    fn from(queue: &Arc<dyn Queue>) -> Self {
        Self::Open(Arc::clone(queue))
    }
}

impl From<&Stream> for Source {
    fn from(stream: &Stream) -> Self {
        stream.queue().into()
    }
}

impl Source {
    pub(super) async fn open(self, space: &Space) -> Result<Arc<dyn Queue>, StoreError> {
        match self {
            Self::Named(name, options) => space.queue(name, options).await,
            Self::Open(queue) => Ok(queue),
        }
    }
}

/// Prepares a [`Worker`].
#[must_use = "call `spawn` to start it"]
pub struct WorkerBuilder {
    space: Space,
    lanes: Vec<(Source, u32)>,
    handlers: HashMap<String, Box<dyn Handle>>,
    taken: Option<String>,
    concurrency: NonZeroUsize,
    retention: Duration,
    drain_timeout: Duration,
    stop_grace: Duration,
    key_lease: Duration,
    room: usize,
    bus: Option<Arc<Bus>>,
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics = || self.handlers.keys().collect::<Vec<_>>();
        f.debug_struct("WorkerBuilder").field("lanes", &self.lanes).field("topics", &topics()).finish_non_exhaustive()
    }
}

impl WorkerBuilder {
    pub(super) fn new(space: &Space, source: Source) -> Self {
        Self {
            space: space.clone(),
            lanes: vec![(source, 1)],
            handlers: HashMap::new(),
            taken: None,
            concurrency: NonZeroUsize::new(16).expect("16 is not 0"),
            retention: Duration::from_secs(24 * 3600),
            drain_timeout: Duration::from_secs(30),
            stop_grace: Duration::from_secs(5),
            key_lease: Duration::from_secs(15),
            room: 1024,
            bus: None,
        }
    }

    /// Runs `handler` for each job of a topic, with default options.
    pub fn topic<T, R, F, Fut>(self, topic: Topic<T>, handler: F) -> Self
    where
        T: Send + 'static,
        R: Payload,
        F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<R>> + Send + 'static,
    {
        self.topic_with(topic, TopicOptions::default(), handler)
    }

    /// Runs `handler` for each job of a topic.
    ///
    /// An error through `?` is tried again as the topic's policy says. [`terminal`](super::JobError::terminal) is not,
    /// [`retry_after`](super::JobError::retry_after) says when, and [`throttled`](super::JobError::throttled) comes again without using an
    /// attempt up. A panic is a failed attempt.
    pub fn topic_with<T, R, F, Fut>(mut self, topic: Topic<T>, options: TopicOptions<T>, handler: F) -> Self
    where
        T: Send + 'static,
        R: Payload,
        F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<R>> + Send + 'static,
    {
        let name = topic.name().to_owned();
        if self.handlers.insert(name.clone(), Box::new(Handler::new(topic, options, handler))).is_some() {
            self.taken = Some(name);
        }
        self
    }

    /// Sets how many jobs are worked on at once; default 16. No more are taken from a single queue.
    pub fn concurrency(mut self, jobs: NonZeroUsize) -> Self {
        self.concurrency = jobs;
        self
    }

    /// Takes jobs from another queue as well. While there are jobs in several, each gets slots in proportion to its weight, and
    /// none is starved; the first one's weight is 1 unless [`weight`](Self::weight) sets it. To be able to choose, the worker holds
    /// as many jobs of each beyond those that run as its share of the slots is; they are kept alive, and handed back by a drain.
    pub fn lane(mut self, queue: impl Into<Source>, weight: NonZeroU32) -> Self {
        self.lanes.push((queue.into(), weight.get()));
        self
    }

    /// Sets the weight of the first queue.
    pub fn weight(mut self, weight: NonZeroU32) -> Self {
        self.lanes[0].1 = weight.get();
        self
    }

    /// Sets how long the record of a job that has ended is kept, where there is one: its result, its end, its errors; default one
    /// day, at least one second.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets how long a drain lets handlers go on before it tells them; default 30 seconds.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Sets how long a handler that listens has to end after it was told to; default 5 seconds. One that does not listen is
    /// dropped at its next await.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Sets how long the place that a job with a [`concurrency_key`](TopicOptions::concurrency_key) takes stays taken after its process
    /// died; default 15 seconds. Everybody has to say the same.
    pub fn key_lease(mut self, lease: Duration) -> Self {
        self.key_lease = lease;
        self
    }

    /// Sets how many events a listener may be behind before it loses the oldest; default 1024.
    pub fn event_room(mut self, events: NonZeroUsize) -> Self {
        self.room = events.get();
        self
    }

    /// Listens to the worker from its start; see [`Worker::events`].
    pub fn events(&mut self) -> Events {
        self.bus().listen()
    }

    fn bus(&mut self) -> Arc<Bus> {
        let (room, clock) = (self.room, self.space.clock());
        Arc::clone(self.bus.get_or_insert_with(|| Bus::new(room, clock.clone())))
    }

    /// Opens the queues, and those for their dead letters, and starts to take jobs.
    ///
    /// # Errors
    ///
    /// [`JobsError::TopicTaken`] for two handlers of a topic, [`JobsError::Invalid`] for no handler or an option out of its range,
    /// [`JobsError::Store`] when a queue cannot be opened, also because it is there with other options. Nothing runs then.
    pub async fn spawn(mut self) -> Result<Worker, JobsError> {
        let bus = self.bus();
        let Self { space, lanes, handlers, taken, concurrency, retention, drain_timeout, stop_grace, key_lease, .. } = self;
        if let Some(topic) = taken {
            return Err(JobsError::TopicTaken(topic));
        }
        if handlers.is_empty() {
            return Err(JobsError::Invalid("a worker needs a handler"));
        }
        if retention < Duration::from_secs(1) {
            return Err(JobsError::Invalid("a worker keeps records for at least one second"));
        }
        let slots = Slots::new(concurrency, Lanes::new(lanes.iter().map(|(_, weight)| *weight)));
        let (running, stop) = (Arc::new(Running::default()), CancellationToken::new());
        let floor = Arc::new(Floor {
            space: space.clone(),
            handlers,
            bus: Arc::clone(&bus),
            running: Arc::clone(&running),
            stop_grace,
            key_lease,
            stop: stop.clone(),
            gone: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        // Everything is open before anything runs, so that a failure leaves nothing behind.
        let mut ready = Vec::new();
        for (number, (source, _)) in lanes.into_iter().enumerate() {
            let queue = source.open(&space).await?;
            let dead = letters::open(&space, queue.name()).await?;
            let ledger = Arc::new(Ledger::new(&space, queue.name().clone(), dead, retention)?);
            let (control, watching) = Control::watch(&space, queue.name(), Arc::clone(&running)).await?;
            let pull = queue.pull().await?;
            ready.push((Arc::new(Lane { number, queue, ledger, control }), watching, pull));
        }
        let intakes = TaskTracker::new();
        let watches = TaskTracker::new();
        for (lane, watching, pull) in ready {
            let (gone, stop, tasks, taking) = (floor.gone.clone(), stop.clone(), floor.tasks.clone(), intakes.clone());
            watches.spawn(async move {
                let over = async {
                    stop.cancelled().await;
                    taking.wait().await;
                    tasks.close();
                    tasks.wait().await;
                };
                tokio::select! {
                    biased;
                    () = gone.cancelled() => {}
                    () = over => {}
                    () = watching => {}
                }
            });
            let intake = Intake { floor: Arc::clone(&floor), lane, slots: Arc::clone(&slots) };
            intakes.spawn(intake.run(pull));
        }
        intakes.close();
        bus.say(What::Started);
        watches.close();
        Ok(Worker::new(floor, (intakes, watches), drain_timeout))
    }
}
