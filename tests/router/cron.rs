//! Schedules that send jobs to the topics of a pipeline: what becomes of a firing, and what is told of it.

use super::kit::*;
use anabranch::{
    Codec, CodecError, RetryPolicy,
    jobs::{Job, JobError, JobResult, JobsError, Kind, Pipeline, PipelineEvent, PipelineEvents, Topic, TopicOptions},
    schedule::{Schedule, Scheduler, Schedules},
    time::Timestamp,
};
use std::future::{Ready, ready};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What a handler saw: the id, the payload, the attempt, and the schedule with its time.
type Seen = (String, String, u32, Option<(String, Timestamp)>);

/// A handler that tells what it sees, and ends as `ends` says.
fn telling(
    told: UnboundedSender<Seen>,
    ends: fn(u32) -> JobResult<()>,
) -> impl Fn(Job<String>) -> Ready<JobResult<()>> + Send + Sync + 'static {
    move |job| {
        let schedule = job.schedule().map(|(name, due)| (name.to_owned(), due));
        told.send((job.id().to_owned(), job.payload.clone(), job.attempt(), schedule)).unwrap();
        ready(ends(job.attempt()))
    }
}

fn all(mut seen: UnboundedReceiver<Seen>) -> Vec<Seen> {
    std::iter::from_fn(|| seen.try_recv().ok()).collect()
}

/// Everything that was told until a pipeline had ended.
async fn rest(mut events: PipelineEvents) -> Vec<PipelineEvent> {
    let mut told = Vec::new();
    while let Some(event) = in_time("the end", events.next()).await {
        told.push(event);
    }
    told
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn name(text: &str) -> String {
    text.to_owned()
}

/// Virtual time begins at 22:13:20; two schedulers see to two schedules.
#[tokio::test(start_paused = true)]
async fn each_firing_of_a_pipelines_schedule_is_one_job_of_its_topic_and_is_told() {
    let space = space(&engine().await).await;
    let ((welcome, greetings), (badge, sweeps)) = (unbounded_channel(), unbounded_channel());
    let pipeline = Pipeline::builder(&space, "club")
        .dequeue(WELCOME, telling(welcome, |_| Ok(())))
        .dequeue(BADGE, telling(badge, |_| Ok(())));
    let sweep = Schedule::new("sweep", "*/10 * * * *".parse().unwrap(), pipeline.outgoing(&BADGE, &name("old")).unwrap());
    let pipeline = pipeline.spawn().await.unwrap();
    let (told, crons) = (pipeline.events(), pipeline.events().of(Kind::Cron));
    let (of_welcome, of_badge) = (pipeline.events().about("welcome"), pipeline.events().of(Kind::Cron).about("badge"));
    let greet = Schedule::new("greet", "*/5 * * * *".parse().unwrap(), pipeline.outgoing(&WELCOME, &name("all")).unwrap());

    let schedules = Schedules::new(&space).unwrap();
    schedules.create(&greet).await.unwrap();
    schedules.create(&sweep).await.unwrap();
    let both = (Scheduler::builder(&space).spawn().await.unwrap(), Scheduler::builder(&space).spawn().await.unwrap());
    time_passes(space.clock(), 13 * 60 * SECOND).await;
    tokio::join!(both.0.drain(), both.1.drain());
    pipeline.drain().await;

    let times = ["2023-11-14T22:15:00Z", "2023-11-14T22:20:00Z", "2023-11-14T22:25:00Z"];
    let greeted = times.map(|at| (format!("greet@{at}"), name("all"), 1, Some((name("greet"), time(at)))));
    assert_eq!(all(greetings), greeted);
    let swept = (format!("sweep@{}", times[1]), name("old"), 1, Some((name("sweep"), time(times[1]))));
    assert_eq!(all(sweeps), std::slice::from_ref(&swept));

    let mut fired: Vec<_> = rest(crons).await.into_iter().map(cron).collect();
    fired.sort();
    let expected = greeted.iter().map(|seen| ("club-welcome", seen)).chain([("club-badge", &swept)]);
    let expected: Vec<_> = expected.map(|(queue, (id, _, _, by))| (id.clone(), name(queue), by.clone().unwrap())).collect();
    assert_eq!(fired, expected);
    let narrowed: Vec<_> = rest(of_badge).await.into_iter().map(cron).collect();
    assert_eq!(narrowed, expected[3..], "a topic's own");
    let kinds: Vec<_> = rest(of_welcome).await.iter().map(PipelineEvent::kind).filter(|kind| *kind != Kind::Other).collect();
    assert_eq!(kinds, [Kind::Cron, Kind::JobStarted, Kind::JobCompleted].repeat(3));
    let told = rest(told).await;
    assert_eq!(told.iter().filter(|event| event.kind() == Kind::Cron).count(), 4, "and among everything else");
}

fn cron(event: PipelineEvent) -> (String, String, (String, Timestamp)) {
    let PipelineEvent::Cron { at, job, schedule, due, .. } = event else { panic!("{event:?} was not asked for") };
    assert!(at >= due && at < due + SECOND, "{at} for {due}");
    (job.id, job.queue, (schedule, due))
}

#[tokio::test(start_paused = true)]
async fn a_job_that_nobody_scheduled_has_no_schedule_and_is_no_cron() {
    let space = space(&engine().await).await;
    let (told, seen) = unbounded_channel();
    let pipeline = Pipeline::builder(&space, "club")
        .pipe("joined", Codec::protobuf(), by_number)
        .dequeue(WELCOME, telling(told, |_| Ok(())));
    let pipeline = pipeline.spawn().await.unwrap();
    let (crons, mut completed) = (pipeline.events().of(Kind::Cron), pipeline.events().of(Kind::JobCompleted));
    pipeline.enqueue_as("by-hand", &WELCOME, &name("ann")).await.unwrap();
    in_time("a job", completed.next()).await.unwrap();
    queue(&space, "joined").await.publish(joined("bob", 1)).await.unwrap();
    in_time("a job", completed.next()).await.unwrap();
    // A time that is none makes no schedule either.
    let odd = pipeline.outgoing(&WELCOME, &name("eve")).unwrap().message;
    let odd = odd.id("odd").header("Schedule-Name", "greet").header("Schedule-Time", "soon");
    queue(&space, "club-welcome").await.publish(odd).await.unwrap();
    in_time("a job", completed.next()).await.unwrap();
    pipeline.drain().await;
    let expected = [("by-hand", "ann"), ("e-bob/0", "bob"), ("odd", "eve")];
    assert_eq!(all(seen), expected.map(|(id, whom)| (name(id), name(whom), 1, None)));
    assert!(rest(crons).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_firing_is_told_once_and_before_its_job_though_that_is_tried_again() {
    let space = space(&engine().await).await;
    let (told, seen) = unbounded_channel();
    let at_first = |attempt| if attempt == 1 { Err(JobError::retryable("no stamps")) } else { Ok(()) };
    let options = TopicOptions::default().retry(RetryPolicy::default().fixed(SECOND)).keep_results();
    let pipeline = Pipeline::builder(&space, "club").dequeue_with(WELCOME, options, |worker| worker, telling(told, at_first));
    let pipeline = pipeline.spawn().await.unwrap();
    let events = pipeline.events();
    let schedules = Schedules::new(&space).unwrap();
    let sends = pipeline.outgoing(&WELCOME, &name("all")).unwrap();
    schedules.create(&Schedule::new("greet", "0 2 * * *".parse().unwrap(), sends)).await.unwrap();
    let firing = schedules.trigger("greet").await.unwrap();
    in_time("a result", pipeline.jobs("welcome").unwrap().outcome::<()>(&firing.id)).await.unwrap();
    pipeline.drain().await;
    let kinds: Vec<_> = rest(events).await.iter().map(PipelineEvent::kind).filter(|kind| *kind != Kind::Other).collect();
    assert_eq!(kinds, [Kind::Cron, Kind::JobStarted, Kind::JobFailed, Kind::JobStarted, Kind::JobCompleted]);
    let by = Some((name("greet"), firing.at));
    assert_eq!(all(seen), [1, 2].map(|attempt| (firing.id.clone(), name("all"), attempt, by.clone())));
}

#[tokio::test(start_paused = true)]
async fn a_firing_that_was_given_up_and_is_put_back_says_whose_it_is_and_is_told_again() {
    let space = space(&engine().await).await;
    let (told, seen) = unbounded_channel();
    let never = TopicOptions::default().retry(RetryPolicy::never());
    let handler = telling(told, |_| Err(JobError::retryable("no stamps")));
    let pipeline = Pipeline::builder(&space, "club").dequeue_with(WELCOME, never, |worker| worker, handler);
    let pipeline = pipeline.spawn().await.unwrap();
    let (crons, mut given_up) = (pipeline.events().of(Kind::Cron), pipeline.events().errors());
    let schedules = Schedules::new(&space).unwrap();
    let sends = pipeline.outgoing(&WELCOME, &name("all")).unwrap();
    schedules.create(&Schedule::new("greet", "0 2 * * *".parse().unwrap(), sends)).await.unwrap();
    let firing = schedules.trigger("greet").await.unwrap();
    in_time("the end of the job", given_up.next()).await.unwrap();
    let dead = pipeline.jobs("welcome").unwrap().dead_letters().await.unwrap();
    assert!(dead.redrive(&firing.id).await.unwrap());
    in_time("its second end", given_up.next()).await.unwrap();
    pipeline.drain().await;
    let by = (name("greet"), firing.at);
    assert_eq!(all(seen), [1, 1].map(|attempt| (firing.id.clone(), name("all"), attempt, Some(by.clone()))));
    let told: Vec<_> = rest(crons).await.into_iter().map(cron).collect();
    assert_eq!(told, [(); 2].map(|()| (firing.id.clone(), name("club-welcome"), by.clone())));
}

#[tokio::test(start_paused = true)]
async fn a_firing_whose_first_attempt_was_not_used_up_is_told_again_with_it() {
    let space = space(&engine().await).await;
    let (told, seen) = unbounded_channel();
    let later = telling(told, |_| Err(JobError::throttled(600 * SECOND)));
    let pipeline = Pipeline::builder(&space, "club").dequeue(WELCOME, later).spawn().await.unwrap();
    let crons = pipeline.events().of(Kind::Cron);
    let schedules = Schedules::new(&space).unwrap();
    let sends = pipeline.outgoing(&WELCOME, &name("all")).unwrap();
    schedules.create(&Schedule::new("greet", "0 2 * * *".parse().unwrap(), sends)).await.unwrap();
    schedules.trigger("greet").await.unwrap();
    time_passes(space.clock(), 900 * SECOND).await;
    pipeline.drain().await;
    assert_eq!(all(seen).iter().map(|(_, _, attempt, _)| *attempt).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(rest(crons).await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_for_a_topic_that_the_pipeline_does_not_have_is_not_made() {
    let space = space(&engine().await).await;
    let odd: Topic<f64> = Topic::new("odd", Codec::new("odd", |_| Err(CodecError::new::<f64>("odd")), |_| Ok(0.0)));
    let long: Topic<String> = Topic::named("x".repeat(64), Codec::json());
    let pipeline = Pipeline::builder(&space, "club").topic(&WELCOME).topic(&odd);
    assert!(matches!(pipeline.outgoing(&BADGE, &name("ann")), Err(JobsError::Invalid(_))));
    assert!(matches!(pipeline.outgoing(&odd, &1.0), Err(JobsError::Codec(_))));
    let named = Pipeline::builder(&space, "club").topic(&long).outgoing(&long, &name("ann"));
    assert!(matches!(named, Err(JobsError::Store(_))), "{named:?}");
    let before = pipeline.outgoing(&WELCOME, &name("ann")).unwrap();
    let pipeline = pipeline.spawn().await.unwrap();
    assert!(matches!(pipeline.outgoing(&BADGE, &name("ann")), Err(JobsError::Invalid(_))));
    assert!(matches!(pipeline.outgoing(&odd, &1.0), Err(JobsError::Codec(_))));
    let after = pipeline.outgoing(&WELCOME, &name("ann")).unwrap();
    assert_eq!((after.queue, after.message), (before.queue.clone(), before.message.clone()));
    assert_eq!((before.queue.as_str(), before.message.headers.get("Job-Topic")), ("club-welcome", Some("welcome")));
    pipeline.drain().await;
}
