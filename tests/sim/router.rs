//! Routers and the workers behind them, apart or as a pipeline, on a queue or a stream, while all of them and the server die, stand still and
//! are cut off: each event becomes all jobs of one run of the routing function, and each of them is stored once.
//!
//! The routing function names other jobs each time that it runs, so jobs of two runs of one event, or some of one run, would be seen. Handlers
//! may run more than once for a job; what tells a second message from a second delivery of the first is when it was published.

use crate::{
    stage::{self, Closing, Log, MILLISECOND, SECOND, Skew, close, idle, micros, space},
    try_seeds,
};
use anabranch::{
    Codec, RetryPolicy,
    engine::{Message, Queue, QueueOptions, Space, StreamOptions},
    error::BoxError,
    jobs::{Job, JobError, JobResult, Jobs, Pipeline, Route, Router, RouterBuilder, Topic, TopicOptions, Worker},
    testing::{
        check::{
            Until,
            queues::{Event, Verdict, check, exactly_once},
        },
        sim::{Host, SERVER, Simulation},
    },
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
    time::Duration,
};

const MAIL: Topic<Part> = Topic::new("mail", Codec::json());
const PRINT: Topic<Part> = Topic::new("print", Codec::json());
const SOURCE: &str = "joined";
const PIPELINE: &str = "club";
const QUEUES: [&str; 2] = ["club-mail", "club-print"];
const ROUTERS: [&str; 2] = ["a", "b"];
const WORKERS: [&str; 2] = ["c", "d"];
const CLIENT: &str = "client";
const ALL: [&str; 5] = ["a", "b", "c", "d", CLIENT];
const EVENTS: u64 = 12;
const ACK_WAIT: Duration = SECOND;

/// Somebody joined; every fourth event leads nowhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Joined {
    number: u64,
}

impl Joined {
    fn leads_nowhere(&self) -> bool {
        self.number % 4 == 3
    }

    fn id(&self) -> String {
        format!("e-{}", self.number)
    }
}

/// A job: one of so many that a run of the routing function made of an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Part {
    event: String,
    run: u64,
    number: u64,
    of: u64,
    topic: String,
}

/// What the hosts are, the same in all of them.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// The events are in a stream.
    stream: bool,
    /// Each host has a pipeline, with a router and workers.
    pipeline: bool,
}

/// A message of a job, as its handler saw it.
type Stored = (String, Timestamp, Part);

#[derive(Debug, Clone, Default)]
struct Records {
    /// What happens to events and jobs.
    events: Log<Event>,
    stored: Log<Stored>,
    /// The jobs whose handler came to its end.
    done: Log<String>,
    closing: Closing,
}

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    let plan = Plan { stream: dice.roll(2) == 0, pipeline: dice.roll(3) == 0 };
    for (place, name) in ROUTERS.into_iter().chain(WORKERS).enumerate() {
        let records = records.clone();
        let does_route = place < ROUTERS.len();
        sim.host(name, move |host| serve(host, plan, does_route, records.clone()));
        Skew::draw(&mut dice, 600 * SECOND, 10_000).set(sim, name);
    }
    let told = records.clone();
    sim.host(CLIENT, move |host| publish(host, plan, told.clone()));
    Skew::draw(&mut dice, 600 * SECOND, 10_000).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &ALL, 3 * SECOND);
    // What becomes of a commit is often unknown.
    for name in ROUTERS {
        sim.loss(name, u16::try_from(dice.roll(120)).unwrap());
    }
    sim.run_for(8 * SECOND);
    stage::calm(sim, &ALL);
    let ended = sim.run_until(300 * SECOND, |sim| !sim.is_up(CLIENT) && unfinished(&records).is_empty());
    assert!(ended, "{plan:?}: {:?} have not become all of their jobs", unfinished(&records));
    // What was with somebody who died has come again by then.
    sim.run_for(60 * SECOND);
    close(sim, &records.closing, &["a", "b", "c", "d"], 60 * SECOND);
    let left = sim.ask(move |host| async move { left(&host, plan).await });
    assert!(left.is_empty(), "{plan:?}: {left:?} are left, or given up");
    judge(&records);
}

/// The events that lead somewhere and have no run of which all jobs are done.
fn unfinished(records: &Records) -> Vec<String> {
    let done: BTreeSet<String> = records.done.look(|done| done.iter().cloned().collect());
    let parts = parts(records);
    let is_finished = |event: &Joined| {
        let first = parts.iter().find(|(_, part)| part.event == event.id());
        first.is_some_and(|(_, part)| (0..part.of).all(|number| done.contains(&format!("{}/{number}", event.id()))))
    };
    let events = (0..EVENTS).map(|number| Joined { number });
    events.filter(|event| !event.leads_nowhere() && !is_finished(event)).map(|event| event.id()).collect()
}

/// The jobs that were seen, each under its id.
fn parts(records: &Records) -> BTreeSet<(String, Part)> {
    records.stored.look(|stored| stored.iter().map(|(id, _, part)| (id.clone(), part.clone())).collect())
}

fn judge(records: &Records) {
    let (mut events, at) = (records.events.look(<[Event]>::to_vec), u64::MAX);
    let settled = |id: String| Event::Settled { id: id.into(), verdict: Verdict::Done, worker: "".into(), at };
    let effect = |id: &str| Event::Effect { id: id.into(), at };
    let parts = parts(records);
    for event in (0..EVENTS).map(|number| Joined { number }) {
        let ours: Vec<_> = parts.iter().filter(|(_, part)| part.event == event.id()).map(|(_, part)| part).collect();
        // Nothing is left in its queue: it is settled. What it is about is one run.
        events.push(settled(event.id()));
        let runs: BTreeSet<u64> = ours.iter().map(|part| part.run).collect();
        let runs = if event.leads_nowhere() { runs.len() + 1 } else { runs.len() };
        events.extend((0..runs).map(|_| effect(&event.id())));
        for number in 0..ours.first().map_or(0, |part| part.of) {
            events.push(Event::Published { id: format!("{}/{number}", event.id()).into(), at: 0 });
        }
        for part in ours {
            assert!(part.number < part.of, "{part:?} is none of {} jobs", part.of);
        }
    }
    let done: BTreeSet<String> = records.done.look(|done| done.iter().cloned().collect());
    events.extend(done.into_iter().map(settled));
    let messages: BTreeMap<(String, Timestamp), Part> =
        records.stored.look(|stored| stored.iter().map(|(id, at, part)| ((id.clone(), *at), part.clone())).collect());
    for ((id, _), part) in &messages {
        assert_eq!(*id, format!("{}/{}", part.event, part.number), "a job has the id of its event and its number");
        events.push(effect(id));
    }
    if let Err(violation) = check(&events, Until::Quiet).and_then(|()| exactly_once(&events, Until::Quiet)) {
        panic!("{violation}\nthe messages of jobs were {messages:?}");
    }
}

fn options() -> QueueOptions {
    QueueOptions::default().ack_wait(ACK_WAIT)
}

/// Those of a queue that forgets ids at once, so that nothing but a mark keeps a job from being there twice. Of a pipeline they are the usual.
fn forgetful(plan: Plan) -> QueueOptions {
    if plan.pipeline { QueueOptions::default() } else { options().dedupe_window(MILLISECOND) }
}

async fn source(host: &Host, space: &Space, plan: Plan) -> Result<Arc<dyn Queue>, BoxError> {
    Ok(if plan.stream {
        host.engine().stream(SOURCE, StreamOptions::default().ack_wait(ACK_WAIT)).await?.into()
    } else {
        space.queue(SOURCE, options()).await?
    })
}

/// Publishes the events, each until it is known to be there, and some once more.
async fn publish(host: Host, plan: Plan, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let queue = loop {
        match source(&host, &space, plan).await {
            Ok(queue) => break queue,
            Err(_) => idle(&host, SECOND).await,
        }
    };
    let all = (0..EVENTS).map(|number| {
        let (host, records, queue, event) = (&host, &records, &queue, Joined { number });
        async move {
            idle(host, 6 * SECOND).await;
            let message = Message::new(serde_json::to_vec(&event)?).id(event.id());
            loop {
                records.events.push(Event::Attempted { id: event.id().into(), at: micros(host) });
                if queue.publish(message.clone()).await.is_ok() {
                    records.events.push(Event::Published { id: event.id().into(), at: micros(host) });
                    if host.roll(4) > 0 {
                        return Ok::<_, BoxError>(());
                    }
                }
                idle(host, SECOND / 2).await;
            }
        }
    });
    futures_util::future::try_join_all(all).await?;
    Ok(())
}

/// Routes events or works on jobs, or both in a pipeline, until it is told to end.
async fn serve(host: Host, plan: Plan, does_route: bool, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let running = loop {
        match begin(&host, &space, plan, does_route, &records).await {
            Ok(running) => break running,
            Err(error) => host.say(format!("could not start: {error}")),
        }
        idle(&host, SECOND).await;
    };
    while !records.closing.is_closed() {
        host.clock().sleep(SECOND / 10).await;
    }
    match running {
        Running::Pipeline(pipeline) => pipeline.drain().await,
        Running::Router(router) => router.drain().await,
        Running::Worker(worker) => worker.drain().await,
    }
    Ok(())
}

enum Running {
    Pipeline(Pipeline),
    Router(Router),
    Worker(Worker),
}

/// What comes back soon, and is not given up.
fn patient<T>() -> TopicOptions<T> {
    TopicOptions::default().retry(RetryPolicy::default().max_attempts(1000).max_crashes(1000).fixed(SECOND / 5))
}

async fn begin(host: &Host, space: &Space, plan: Plan, does_route: bool, records: &Records) -> Result<Running, BoxError> {
    let mail = (host.clone(), records.clone());
    let print = mail.clone();
    let on_mail = move |job| handle(mail.0.clone(), mail.1.clone(), job);
    let on_print = move |job| handle(print.0.clone(), print.1.clone(), job);
    if plan.pipeline {
        let pipeline = Pipeline::builder(space, PIPELINE)
            .router(router(host, space, plan, records).await?)
            .dequeue_with(MAIL, patient().keep_results(), |worker| worker, on_mail)
            .dequeue_with(PRINT, patient(), |worker| worker, on_print);
        return Ok(Running::Pipeline(pipeline.spawn().await?));
    }
    if does_route {
        let prepared = router(host, space, plan, records).await?.topic(&MAIL, QUEUES[0]).topic(&PRINT, QUEUES[1]);
        return Ok(Running::Router(prepared.spawn().await?));
    }
    let worker = Worker::builder(space, (QUEUES[0], forgetful(plan)))
        .lane((QUEUES[1], forgetful(plan)), NonZeroU32::MIN)
        .topic_with(MAIL, patient(), on_mail)
        .topic_with(PRINT, patient(), on_print);
    Ok(Running::Worker(worker.spawn().await?))
}

async fn router(host: &Host, space: &Space, plan: Plan, records: &Records) -> Result<RouterBuilder, BoxError> {
    let (events, ours) = (source(host, space, plan).await?, (host.clone(), records.clone()));
    let code = move |event| route(ours.0.clone(), ours.1.clone(), event);
    let most = NonZeroUsize::new(4).expect("it is not zero");
    Ok(Router::builder_with(space, events, Codec::json(), patient(), code).concurrency(most))
}

/// Names one to three jobs, other ones each time; fails now and then.
async fn route(host: Host, records: Records, event: Job<Joined>) -> JobResult<Route> {
    let (id, worker, at) = (event.id().into(), host.name().into(), micros(&host));
    records.events.push(Event::Handled { id, worker, at });
    idle(&host, SECOND / 5).await;
    if host.roll(6) == 0 {
        return Err(JobError::retryable("the directory is away"));
    }
    let of = if event.payload.leads_nowhere() { 0 } else { 1 + host.roll(3) };
    let run = host.roll(u64::MAX);
    Ok((0..of).fold(Route::none(), |route, number| {
        let topic = if host.roll(2) == 0 { MAIL } else { PRINT };
        let part = Part { event: event.id().to_owned(), run, number, of, topic: topic.name().to_owned() };
        route.and(&topic, &part)
    }))
}

async fn handle(host: Host, records: Records, job: Job<Part>) -> JobResult<()> {
    let (id, worker, at) = (job.id().into(), host.name().into(), micros(&host));
    records.events.push(Event::Handled { id, worker, at });
    records.stored.push((job.id().to_owned(), job.published_at(), job.payload.clone()));
    if job.topic() != job.payload.topic || !job.queue().ends_with(job.topic()) {
        return Err(JobError::terminal("it is in the queue of another topic"));
    }
    idle(&host, SECOND / 4).await;
    records.done.push(job.id().to_owned());
    Ok(())
}

/// Returns what is still in the queues, and what was given up.
async fn left(host: &Host, plan: Plan) -> Result<Vec<String>, BoxError> {
    let space = space(host).await;
    let mut left = Vec::new();
    let mut queues = vec![source(host, &space, plan).await?];
    for name in QUEUES {
        queues.push(space.queue(name, forgetful(plan)).await?);
    }
    for queue in queues {
        let wait = 2 * queue.options().ack_wait;
        let mut pull = queue.pull().await?;
        while let Some(more) = host.clock().timeout(wait, pull.next(NonZeroUsize::MIN)).await {
            for delivery in more? {
                left.push(format!("{:?} in {}", delivery.message().id, queue.name()));
                delivery.ack().await?;
            }
        }
        pull.close().await;
        let letters = Jobs::open(&space, &queue).await?.dead_letters().await?.list(100).await?;
        left.extend(letters.into_iter().map(|letter| format!("the letter of {}: {}", letter.id, letter.reason)));
    }
    Ok(left)
}

#[test]
fn each_event_becomes_its_jobs_once_whoever_dies_and_whatever_is_lost() {
    try_seeds(40, run);
}
