//! Pipelines: events of streams become jobs, each topic has a queue and a worker, and what happens is told in one place.
//!
//! A pipeline is a [`Router`] for each source and a [`Worker`] for each topic, with one name and one drain; it does nothing that
//! they do not do. The jobs of the topic `welcome` of the pipeline `club` are in the queue `club-welcome`, so a slow topic holds no other
//! one up, and another process may work on some topics only.

mod events;

pub use events::{Kind, PipelineEvent, PipelineEvents, Stage};

use self::events::Role;
use super::{
    Job, Jobs, JobsError, Route, Router, RouterBuilder, Source, Submitted, Topic, TopicOptions, Worker, WorkerBuilder,
};
use crate::{
    codec::Payload,
    engine::{Name, Outgoing, Space},
    topology::NodeResult,
};
use std::{collections::BTreeMap, fmt};

/// A topic of which nobody has told the pipeline.
const NO_SUCH_TOPIC: JobsError = JobsError::Invalid("the pipeline has no such topic: say so before it is started");

/// Routers and workers that belong together, until they are drained or dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{Codec, engine::{Engine, Message, StreamOptions}};
/// use anabranch::jobs::{Job, JobResult, Kind, Pipeline, PipelineEvent, Route, Topic};
///
/// const WELCOME: Topic<String> = Topic::new("welcome", Codec::json());
/// const BADGE: Topic<String> = Topic::new("badge", Codec::json());
///
/// let engine = Engine::open("memory:").await?;
/// let (space, joined) = (engine.space("club").await?, engine.stream("joined", StreamOptions::default()).await?);
/// let mut pipeline = Pipeline::builder(&space, "club")
///     .pipe(joined.queue(), Codec::json(), async |event: Job<String>| -> JobResult<Route> {
///         Ok(Route::to(&WELCOME, &event.payload).and(&BADGE, &event.payload))
///     })
///     .dequeue(WELCOME, async |job: Job<String>| Ok(format!("dear {}", job.payload)))
///     .dequeue(BADGE, async |_: Job<String>| Ok(()));
/// let mut badges = pipeline.events().of(Kind::JobCompleted).about("badge");
/// let pipeline = pipeline.spawn().await?;
///
/// joined.queue().publish(Message::new("\"ann\"").id("e-1")).await?;
/// let Some(PipelineEvent::JobCompleted { job, .. }) = badges.next().await else { panic!("it goes on") };
/// assert_eq!((job.id.as_str(), job.queue.as_str()), ("e-1/1", "club-badge"));
/// assert_eq!(pipeline.jobs("welcome").unwrap().outcome::<String>("e-1/0").await?, "dear ann");
/// pipeline.drain().await;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct Pipeline {
    jobs: BTreeMap<String, Jobs>,
    routers: Vec<Router>,
    workers: Vec<Worker>,
}

impl Pipeline {
    /// Prepares a pipeline whose queues are in a space and begin with `name`.
    pub fn builder(space: &Space, name: impl Into<String>) -> PipelineBuilder {
        PipelineBuilder {
            space: space.clone(),
            name: name.into(),
            routers: Vec::new(),
            workers: Vec::new(),
            queues: BTreeMap::new(),
            taken: None,
        }
    }

    /// Listens to what happens here, from now on.
    pub fn events(&self) -> PipelineEvents {
        let routers = self.routers.iter().map(|router| (Role::Router, router.events()));
        PipelineEvents::join(routers.chain(self.workers.iter().map(|worker| (Role::Worker, worker.events()))))
    }

    /// Returns the jobs of a topic: their progress, results and dead letters; `None` for a topic that the pipeline does not have.
    #[must_use]
    pub fn jobs(&self, topic: &str) -> Option<&Jobs> {
        self.jobs.get(topic)
    }

    /// Submits a job to the queue of its topic, beside those that events become.
    ///
    /// # Errors
    ///
    /// [`JobsError::Invalid`] for a topic that the pipeline does not have; otherwise as [`Jobs::submit`].
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have submitted it.
    pub async fn enqueue<T>(&self, topic: &Topic<T>, payload: &T) -> Result<Submitted, JobsError> {
        self.of(topic)?.submit(topic, payload).await
    }

    /// Submits a job with an id, unless one of that id was submitted within the queue's window.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue).
    ///
    /// # Cancel safety
    ///
    /// As [`enqueue`](Self::enqueue).
    pub async fn enqueue_as<T>(&self, id: impl Into<String>, topic: &Topic<T>, payload: &T) -> Result<Submitted, JobsError> {
        self.of(topic)?.submit_as(id, topic, payload).await
    }

    /// Makes a job for whatever else sends it to the queue of its topic: a schedule, a delayed message, a commit.
    ///
    /// A [`Schedule`](crate::schedule::Schedule) that sends it enqueues a job at each of its times, under the id of the firing. The job
    /// knows its [`schedule`](Job::schedule), and [`PipelineEvent::Cron`] tells of it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use anabranch::{Codec, engine::Engine, schedule::{Schedule, Scheduler, Schedules}};
    /// use anabranch::jobs::{Job, Kind, Pipeline, PipelineEvent, Topic};
    ///
    /// const REPORT: Topic<String> = Topic::new("report", Codec::json());
    ///
    /// let space = Engine::open("memory:").await?.space("club").await?;
    /// let pipeline = Pipeline::builder(&space, "club").dequeue(REPORT, async |job: Job<String>| {
    ///     Ok(job.schedule().map(|(name, _)| format!("{} {}", name, job.payload)))
    /// });
    /// let pipeline = pipeline.spawn().await?;
    /// let mut crons = pipeline.events().of(Kind::Cron).about("report");
    ///
    /// let schedules = Schedules::new(&space)?;
    /// let nightly = Schedule::new("nightly", "0 2 * * *".parse()?, pipeline.outgoing(&REPORT, &"members".to_owned())?);
    /// schedules.create(&nightly).await?;
    /// let scheduler = Scheduler::builder(&space).spawn().await?;
    ///
    /// // It fires at two o'clock, and now, since somebody cannot wait.
    /// let firing = schedules.trigger("nightly").await?;
    /// let Some(PipelineEvent::Cron { job, schedule, due, .. }) = crons.next().await else { panic!("it goes on") };
    /// assert_eq!((job.id.as_str(), schedule.as_str(), due), (firing.id.as_str(), "nightly", firing.at));
    /// let done = pipeline.jobs("report").unwrap().outcome::<Option<String>>(&firing.id).await?;
    /// assert_eq!(done.unwrap(), "nightly members");
    /// scheduler.drain().await;
    /// pipeline.drain().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`JobsError::Invalid`] for a topic that the pipeline does not have, [`JobsError::Codec`] for a payload that cannot be written.
    pub fn outgoing<T>(&self, topic: &Topic<T>, payload: &T) -> Result<Outgoing, JobsError> {
        let queue = self.of(topic)?.queue().name().clone();
        Ok(Outgoing { queue, message: topic.message(payload)? })
    }

    fn of<T>(&self, topic: &Topic<T>) -> Result<&Jobs, JobsError> {
        self.jobs(topic.name()).ok_or(NO_SUCH_TOPIC)
    }

    /// Stops the routers first, then the workers, as a process does that ends: what has not begun is handed back, and what runs
    /// has its time; see [`Worker::drain_all`]. Always returns.
    ///
    /// # Cancel safety
    ///
    /// A drain that is dropped has stopped what it came to; the rest stops with it, and what runs goes on.
    pub async fn drain(self) {
        let Self { routers, workers, .. } = self;
        Worker::drain_all(routers.into_iter().map(Router::into_worker)).await;
        Worker::drain_all(workers).await;
    }
}

/// Prepares a [`Pipeline`].
#[must_use = "call `spawn` to start it"]
pub struct PipelineBuilder {
    space: Space,
    name: String,
    routers: Vec<RouterBuilder>,
    workers: Vec<WorkerBuilder>,
    queues: BTreeMap<String, String>,
    taken: Option<String>,
}

impl fmt::Debug for PipelineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, routers, workers, queues, .. } = self;
        let mut pipeline = f.debug_struct("PipelineBuilder");
        pipeline.field("name", name).field("routers", routers).field("workers", workers).field("queues", queues);
        pipeline.finish_non_exhaustive()
    }
}

impl PipelineBuilder {
    /// Routes the events of a queue or a stream; see [`Router::builder`]. The jobs may be of any topic of this pipeline.
    pub fn pipe<E, F, Fut>(self, source: impl Into<Source>, event: impl Into<Topic<E>>, code: F) -> Self
    where
        E: Send + 'static,
        F: Fn(Job<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<Route>> + Send + 'static,
    {
        let router = Router::builder(&self.space, source, event, code);
        self.router(router)
    }

    /// Adds a router that was prepared elsewhere, with options of its own. Topics that it has queues for keep them.
    pub fn router(mut self, router: RouterBuilder) -> Self {
        self.routers.push(router);
        self
    }

    /// Works on the jobs of a topic and keeps what `handler` returns; a worker of its own.
    pub fn dequeue<T, R, F, Fut>(self, topic: Topic<T>, handler: F) -> Self
    where
        T: Send + 'static,
        R: Payload,
        F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<R>> + Send + 'static,
    {
        self.dequeue_with(topic, TopicOptions::default().keep_results(), |worker| worker, handler)
    }

    /// Works on the jobs of a topic, with how they are run and how their worker behaves.
    pub fn dequeue_with<T, R, F, Fut>(
        mut self,
        topic: Topic<T>,
        options: TopicOptions<T>,
        configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
        handler: F,
    ) -> Self
    where
        T: Send + 'static,
        R: Payload,
        F: Fn(Job<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = NodeResult<R>> + Send + 'static,
    {
        let name = topic.name().to_owned();
        let queue = self.queue_of(&name);
        if self.queues.insert(name.clone(), queue.clone()).is_some() {
            self.taken = Some(name);
        }
        self.workers.push(configure(Worker::builder(&self.space, queue).topic_with(topic, options, handler)));
        self
    }

    /// Has a topic whose jobs another process works on.
    pub fn topic<T>(mut self, topic: &Topic<T>) -> Self {
        let queue = self.queue_of(topic.name());
        self.queues.entry(topic.name().to_owned()).or_insert(queue);
        self
    }

    /// Returns the name of the queue that the jobs of a topic are in, for whoever works on them or sends there from elsewhere.
    #[must_use]
    pub fn queue_of(&self, topic: &str) -> String {
        format!("{}-{topic}", self.name)
    }

    /// Makes a job for whatever else sends it to the queue of its topic, also in a process that does not start the pipeline; see
    /// [`Pipeline::outgoing`].
    ///
    /// # Errors
    ///
    /// As [`Pipeline::outgoing`], for a topic that was not given to [`dequeue`](Self::dequeue) or [`topic`](Self::topic) before; and
    /// [`JobsError::Store`] when the queue's name, `<pipeline>-<topic>`, is none.
    pub fn outgoing<T>(&self, topic: &Topic<T>, payload: &T) -> Result<Outgoing, JobsError> {
        let queue = self.queues.get(topic.name()).ok_or(NO_SUCH_TOPIC)?;
        Ok(Outgoing { queue: Name::new(queue.as_str())?, message: topic.message(payload)? })
    }

    /// Listens to the pipeline from its start; see [`Pipeline::events`].
    pub fn events(&mut self) -> PipelineEvents {
        let routers = self.routers.iter_mut().map(|router| (Role::Router, router.events()));
        PipelineEvents::join(routers.chain(self.workers.iter_mut().map(|worker| (Role::Worker, worker.events()))))
    }

    /// Opens all queues, starts the workers, and then the routers.
    ///
    /// # Errors
    ///
    /// [`JobsError::TopicTaken`] for two handlers of a topic; [`JobsError::Store`] when a queue cannot be opened, also because its name,
    /// `<pipeline>-<topic>`, is none. What was started by then is stopped.
    pub async fn spawn(self) -> Result<Pipeline, JobsError> {
        let Self { space, routers, workers, queues, taken, .. } = self;
        if let Some(topic) = taken {
            return Err(JobsError::TopicTaken(topic));
        }
        // Before anything runs, so that a bad name leaves nothing behind.
        let named = queues.values().try_for_each(|queue| Name::new(queue.as_str()).map(drop));
        named?;
        let mut jobs = BTreeMap::new();
        for (topic, queue) in &queues {
            jobs.insert(topic.clone(), Jobs::open(&space, queue.as_str()).await?);
        }
        let mut running = Pipeline { jobs, routers: Vec::new(), workers: Vec::new() };
        for worker in workers {
            running.workers.push(worker.spawn().await?);
        }
        for router in routers {
            let router = queues.iter().fold(router, |router, (topic, queue)| router.topic_unless_known(topic, queue));
            running.routers.push(router.spawn().await?);
        }
        Ok(running)
    }
}
