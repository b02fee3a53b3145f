//! Routers: an event of a stream or a queue becomes any number of jobs, exactly once.
//!
//! A router is a worker whose one handler turns an event into jobs. The jobs leave in one commit with a mark that says that the
//! event was routed, and only then is the event acknowledged; one that comes again finds its mark. What fails, and how often it is
//! tried, what becomes of an event that cannot be routed, and how a router leaves, is as with every [`Worker`]. It does not know who
//! works on the jobs.

mod marks;
mod route;

pub use route::{Route, RouteError, RoutedJob};

use self::{
    marks::{Marks, Sent},
    route::{Queues, plan},
};
use super::{Events, Job, JobsError, Source, Topic, TopicOptions, What, Worker, WorkerBuilder};
use crate::{
    codec::Codec,
    engine::{Name, Queue, Space},
    topology::{NodeError, NodeResult},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    num::NonZeroUsize,
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long an event is known to have been routed where nothing else is said: as long as a stream keeps it by default.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// An event without a topic, as other clients send them.
impl<E> From<Codec<E>> for Topic<E> {
    fn from(codec: Codec<E>) -> Self {
        Self::new("", codec)
    }
}

/// Turns events into jobs, until it is drained or dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{Codec, engine::{Engine, Message, StreamOptions}};
/// use anabranch::jobs::{Job, JobResult, Jobs, Route, Router, Topic, TopicOptions, Worker};
///
/// const WELCOME: Topic<String> = Topic::new("welcome", Codec::json());
/// const BADGE: Topic<String> = Topic::new("badge", Codec::json());
///
/// let engine = Engine::open("memory:").await?;
/// let (space, joined) = (engine.space("club").await?, engine.stream("joined", StreamOptions::default()).await?);
/// let router = Router::builder(&space, joined.queue(), Codec::json(), async |event: Job<String>| -> JobResult<Route> {
///     Ok(Route::to(&WELCOME, &event.payload).and(&BADGE, &event.payload))
/// });
/// let router = router.topic(&WELCOME, "letters").topic(&BADGE, "prints").spawn().await?;
///
/// joined.queue().publish(Message::new("\"ann\"").id("e-1")).await?;
/// let print = async |job: Job<String>| Ok(format!("a badge for {}", job.payload));
/// let printer = Worker::builder(&space, "prints").topic_with(BADGE, TopicOptions::default().keep_results(), print).spawn().await?;
/// assert_eq!(Jobs::open(&space, "prints").await?.outcome::<String>("e-1/1").await?, "a badge for ann");
/// router.drain().await;
/// printer.drain().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Router {
    worker: Worker,
}

impl Router {
    /// Prepares a router of the events of a queue: one of the space, or of a [`Stream`](crate::engine::Stream). `event` is how
    /// an event is written: a codec, or a topic where events are jobs themselves.
    ///
    /// `code` says what an event becomes. It may run several times for one event, and what it does beside that is done as often; the
    /// jobs that it names are there once. An error through `?` is tried again, one that is terminal makes the event a dead
    /// letter, and so does what cannot be decoded, and a [`RouteError`].
    ///
    /// Marks, records and letters are in the space under the source's name: give a stream another name than the queues of the space.
    pub fn builder<E, F, Fut>(space: &Space, source: impl Into<Source>, event: impl Into<Topic<E>>, code: F) -> RouterBuilder
    where
        E: Send + 'static,
        F: Fn(Job<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Route>> + Send + 'static,
    {
        Self::builder_with(space, source, event, TopicOptions::default(), code)
    }

    /// Prepares a router as [`builder`](Self::builder) does, with how often a failed event is tried and how long it may take.
    pub fn builder_with<E, F, Fut>(
        space: &Space,
        source: impl Into<Source>,
        event: impl Into<Topic<E>>,
        options: TopicOptions<E>,
        code: F,
    ) -> RouterBuilder
    where
        E: Send + 'static,
        F: Fn(Job<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Route>> + Send + 'static,
    {
        let (table, code) = (Arc::<OnceLock<Table>>::default(), Arc::new(code));
        let routes = Arc::clone(&table);
        let handler = move |event: Job<E>| {
            let (table, code) = (Arc::clone(&routes), Arc::clone(&code));
            async move {
                match table.get() {
                    Some(table) => table.route(event, &*code).await,
                    // It is set before anything is taken.
                    None => Err(NodeError::retryable("the router has not begun")),
                }
            }
        };
        let worker = Worker::builder(space, source).topic_with(event.into(), options, handler);
        RouterBuilder { space: space.clone(), worker, table, queues: BTreeMap::new(), life: WEEK }
    }

    /// Listens to what happens to events here, from now on: [`What::Routed`] tells what an event became.
    #[must_use]
    pub fn events(&self) -> Events {
        self.worker.events()
    }

    /// Returns how many events are in hand.
    #[must_use]
    pub fn in_hand(&self) -> usize {
        self.worker.in_hand()
    }

    /// Takes no more events, hands back what has not begun, and waits until the others are routed; see [`Worker::drain`].
    ///
    /// # Cancel safety
    ///
    /// A drain that is dropped has stopped the router; what runs goes on.
    pub async fn drain(self) {
        self.worker.drain().await;
    }

    /// Gives up the router and returns its worker, such as for [`Worker::drain_all`].
    #[must_use]
    pub fn into_worker(self) -> Worker {
        self.worker
    }
}

/// Prepares a [`Router`].
#[must_use = "call `spawn` to start it"]
pub struct RouterBuilder {
    space: Space,
    worker: WorkerBuilder,
    table: Arc<OnceLock<Table>>,
    queues: BTreeMap<String, Source>,
    life: Duration,
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder").field("worker", &self.worker).field("queues", &self.queues).finish_non_exhaustive()
    }
}

impl RouterBuilder {
    /// Sends the jobs of a topic to a queue of the space.
    pub fn topic<T>(self, topic: &Topic<T>, queue: impl Into<Source>) -> Self {
        self.topic_named(topic.name(), queue)
    }

    /// Sends the jobs of a topic to a queue of the space; by the topic's name.
    pub fn topic_named(mut self, topic: impl Into<String>, queue: impl Into<Source>) -> Self {
        self.queues.insert(topic.into(), queue.into());
        self
    }

    /// Sends the jobs of a topic to a queue unless another one was named for them.
    pub(super) fn topic_unless_known(mut self, topic: &str, queue: &str) -> Self {
        self.queues.entry(topic.to_owned()).or_insert_with(|| queue.into());
        self
    }

    /// Sets how many events are routed at once; default 16.
    pub fn concurrency(mut self, events: NonZeroUsize) -> Self {
        self.worker = self.worker.concurrency(events);
        self
    }

    /// Sets how long an event is known to have been routed, at least one second; default one week. An event that comes again later
    /// than that is routed again.
    pub fn remember_for(mut self, life: Duration) -> Self {
        self.life = life;
        self
    }

    /// Sets what else a worker can be told: how it drains, and how many events a listener may be behind.
    pub fn worker(mut self, configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        self.worker = configure(self.worker);
        self
    }

    /// Listens to the router from its start; see [`Router::events`].
    pub fn events(&mut self) -> Events {
        self.worker.events()
    }

    /// Opens the queue of the events, and starts to route them.
    ///
    /// # Errors
    ///
    /// [`JobsError::Invalid`] for an option out of its range and for a stream that jobs are to go to, which no commit reaches;
    /// otherwise as [`WorkerBuilder::spawn`].
    pub async fn spawn(self) -> Result<Router, JobsError> {
        let Self { space, worker, table, queues, life } = self;
        if life < Duration::from_secs(1) {
            return Err(JobsError::Invalid("a router remembers events for at least one second"));
        }
        let publishes = !space.store().capabilities().atomic_commit;
        let (mut names, mut open) = (Queues::new(), HashMap::<Name, Arc<dyn Queue>>::new());
        for (topic, queue) in queues {
            let name = match queue {
                Source::Open(queue) if !queue.is_in_a_space() => {
                    return Err(JobsError::Invalid("jobs go to queues of the space: no commit reaches a stream"));
                }
                Source::Named(name, options) if publishes => {
                    let queue = space.queue(name, options).await?;
                    open.entry(queue.name().clone()).or_insert(queue).name().clone()
                }
                // A commit reaches a queue that nobody has opened yet, whatever its options will be.
                Source::Named(name, _) => Name::new(name)?,
                Source::Open(queue) => open.entry(queue.name().clone()).or_insert(queue).name().clone(),
            };
            names.insert(topic, name);
        }
        let begun = table.set(Table { queues: names, marks: Marks::new(&space, life, open) });
        debug_assert!(begun.is_ok(), "a builder spawns once");
        Ok(Router { worker: worker.spawn().await? })
    }
}

/// What all events of a router share.
#[derive(Debug)]
struct Table {
    queues: Queues,
    marks: Marks,
}

impl Table {
    /// Routes one delivery of an event.
    async fn route<E, F, Fut>(&self, event: Job<E>, code: &F) -> NodeResult<()>
    where
        F: Fn(Job<E>) -> Fut + Sync,
        Fut: Future<Output = NodeResult<Route>> + Send,
    {
        let (held, bus) = (Arc::clone(&event.held), Arc::clone(&event.bus));
        let (source, id) = (held.queue().as_str(), held.id());
        // A first delivery has no mark, unless the event was published twice: then its commit is refused.
        let again = held.delivered.number > 1 || held.delivered.generation > 0;
        if again && self.marks.is_routed(source, id).await.map_err(NodeError::terminal)? {
            return Ok(());
        }
        let route = code(event).await?;
        if route.is_empty() {
            // Nothing to mark: an event that comes again may lead somewhere else, once.
            bus.tell(&held, || What::Routed { jobs: Vec::new() });
            return Ok(());
        }
        let planned = plan(id, route, &self.queues, self.marks.limit()).map_err(NodeError::terminal)?;
        let (jobs, outgoing) = planned.into_iter().unzip();
        // What the store rejects now (too large a payload, say), it rejects each time.
        match self.marks.send(source, id, outgoing).await.map_err(NodeError::terminal)? {
            Sent::Now => bus.tell(&held, || What::Routed { jobs }),
            Sent::Before => {}
        }
        Ok(())
    }
}
