//! A fan club: an event of a stream becomes three jobs, each topic has its own worker, and everything is told in one place.
//!
//! ```text
//! cargo run --example fanbase
//! cargo run --example fanbase -- 100
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example fanbase
//! ```
//!
//! So many fans join, 6 unless the argument says another number, and each is an event in protobuf in the stream `fans`, as another
//! service would publish it. A router makes a letter, a badge and an entry in the census of each, in one commit, and only then
//! acknowledges the event. The printer of badges says how far it is, and jams once. Two more messages cannot be routed: a fan without a
//! name, and one that is no event at all; they become dead letters, and are shown. The example fails if a fan gets anything twice, or
//! not at all.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Codec, RetryPolicy,
    coordination::Counter,
    engine::{Engine, Message, StreamOptions},
    jobs::{Job, JobError, JobResult, Jobs, NodeResultExt as _, Pipeline, PipelineEvent, Route, Topic, TopicOptions},
    time::nonce,
};
use prost::Message as _;
use std::{collections::BTreeSet, env, error::Error, time::Duration};

/// What another service tells of somebody who joined.
#[derive(Clone, PartialEq, prost::Message)]
struct FanJoined {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    idol: String,
}

const WELCOME: Topic<FanJoined> = Topic::new("welcome", Codec::protobuf());
const BADGE: Topic<String> = Topic::new("badge", Codec::json());
const CENSUS: Topic<String> = Topic::new("census", Codec::json());

/// Says what a fan becomes. It may run twice for one fan, and the jobs are there once.
async fn route(event: Job<FanJoined>) -> JobResult<Route> {
    let fan = &event.payload;
    if fan.name.is_empty() {
        return Err("a fan has a name").terminal(); // other errors are tried again
    }
    Ok(Route::to(&WELCOME, fan).and(&BADGE, &fan.name).and(&CENSUS, &fan.idol))
}

async fn welcome(job: Job<FanJoined>) -> JobResult<String> {
    Ok(format!("dear {}, welcome to the fans of {}", job.payload.name, job.payload.idol))
}

async fn badge(job: Job<String>) -> JobResult<String> {
    let half = job.payload.len() / 2;
    job.progress((50, &job.payload[..half])).await?;
    if job.payload == "bob" && job.attempt() == 1 {
        return Err(JobError::retryable("the printer is jammed"));
    }
    job.clock().sleep(Duration::from_millis(50)).await; // stands for work
    Ok(format!("[{}]", job.payload))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let count: usize = env::args().nth(1).map_or(Ok(6), |count| count.parse())?;
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let engine = Engine::open(&url).await?;
    let space = engine.space("fanbase").await?;
    let fans = engine.stream("fans", StreamOptions::default().subject("fans.joined")).await?;

    let start = format!("{:x}", nonce());
    let members = Counter::new(&space, &format!("members-{start}"))?;
    let counted = members.clone();
    let census = move |job: Job<String>| {
        let members = counted.clone();
        // Under the job's id: an attempt whose answer was lost counts once all the same.
        async move { JobResult::Ok(members.add_once(job.id(), 1).await?.value) }
    };
    let soon = TopicOptions::default().keep_results().retry(RetryPolicy::default().fixed(Duration::from_millis(100)));
    let mut pipeline = Pipeline::builder(&space, "fanbase")
        .pipe(&fans, Codec::protobuf(), route)
        .dequeue(WELCOME, welcome)
        .dequeue_with(BADGE, soon, |worker| worker, badge)
        .dequeue(CENSUS, census);
    let mut events = pipeline.events();
    let pipeline = pipeline.spawn().await?;

    let mut waiting = BTreeSet::new();
    for (n, name) in ["ann", "bob", "cleo", "dan"].into_iter().cycle().take(count).enumerate() {
        let fan = FanJoined { name: name.into(), idol: "the Rivers".into() };
        let id = format!("{start}-{n}");
        fans.queue().publish(Message::new(fan.encode_to_vec()).id(&*id)).await?;
        waiting.extend((0..3).map(|job| format!("{id}/{job}")));
    }
    let mut hopeless = BTreeSet::from([format!("{start}-nobody"), format!("{start}-noise")]);
    let nobody = FanJoined { name: String::new(), idol: "the Rivers".into() };
    fans.queue().publish(Message::new(nobody.encode_to_vec()).id(format!("{start}-nobody"))).await?;
    fans.queue().publish(Message::new("let me in").id(format!("{start}-noise"))).await?;

    let (all, mut done) = (waiting.clone(), BTreeSet::new());
    while !waiting.is_empty() || !hopeless.is_empty() {
        match events.next().await.ok_or("the pipeline is gone")? {
            PipelineEvent::Streamed { event, jobs, .. } => println!("{:<22} becomes {} jobs", event.id, jobs.len()),
            PipelineEvent::JobProgressed { job, progress, .. } => {
                println!("{:<22} {}: {}% `{}`", job.id, job.topic, progress.percent.unwrap_or(0), progress.text);
            }
            PipelineEvent::JobFailed { job, error, .. } => println!("{:<22} {}: {error}", job.id, job.topic),
            // On a server there may be fans of an earlier start that was interrupted: they get what is theirs as well.
            PipelineEvent::JobCompleted { job, .. } if all.contains(&job.id) => {
                println!("{:<22} {}: done", job.id, job.topic);
                waiting.remove(&job.id);
                if !done.insert(job.id.clone()) {
                    return Err(format!("{} was done twice", job.id).into());
                }
            }
            PipelineEvent::Error { stage, about: Some(about), error, .. } => {
                println!("{:<22} error at {stage}: {error}", about.id);
                if error.starts_with("given up") && !hopeless.remove(&about.id) && all.contains(&about.id) {
                    return Err(format!("{} was given up", about.id).into());
                }
            }
            _ => {}
        }
    }

    let letters = Jobs::open(&space, &fans).await?.dead_letters().await?;
    let mut given_up = 0;
    for letter in letters.list(1000).await? {
        if letter.id.starts_with(&start) {
            println!("dead letter: {:?}: {}", String::from_utf8_lossy(&letter.payload), letter.reason);
            letters.purge(&letter.id).await?;
            given_up += 1;
        }
    }
    if let (Some(letters), Some(badges), true) = (pipeline.jobs("welcome"), pipeline.jobs("badge"), count > 0) {
        let letter = letters.outcome::<String>(&format!("{start}-0/0")).await?;
        println!("the first letter: {letter}; badge {}", badges.outcome::<String>(&format!("{start}-0/1")).await?);
    }
    println!("{} fans are counted, {} jobs are done, {given_up} events given up", members.value().await?, done.len());
    pipeline.drain().await; // takes nothing new, and hands back what has not begun
    Ok(())
}
