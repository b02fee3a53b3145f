//! A topology that a schedule starts, with three schedulers of which two are killed: each firing is one run.
//!
//! ```text
//! cargo run --example cron
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example cron
//! ```
//!
//! Every second a report is due. Three schedulers see to it; two of them are dropped on the way, as a crash does. Each
//! firing becomes a run under the firing's id. Then the schedule is paused, triggered by hand, resumed and deleted. At the end
//! five nightly reports that were missed before anything was deployed are made up for. The example fails if a firing is missing or
//! comes twice.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Payload as _, Topology,
    engine::{Engine, Message, Name, Outgoing, QueueOptions, Space},
    runtime::{Runs, Runtime},
    schedule::{Missed, Rule, Schedule, Scheduler, Schedules, firing_id},
    time::Timestamp,
};
use futures_util::TryStreamExt as _;
use std::{env, error::Error, num::NonZeroU32, time::Duration};

type Failure = Box<dyn Error + Send + Sync>;

/// Another connection to the same space, as another process has it. What is in memory has one process only.
async fn process(url: &str, here: &Space) -> Result<Space, Failure> {
    if url.starts_with("nats") { Ok(Engine::open(url).await?.space(here.name().as_str()).await?) } else { Ok(here.clone()) }
}

fn report() -> Result<Topology<String, String, ()>, Failure> {
    let mut t = Topology::builder::<String>("report");
    let title = t.input();
    let rows = t.node("rows", title, async |_, title: String| Ok(format!("{title}: 3 rows")));
    let sent = t.node("send", rows, async |_, text: String| Ok(text));
    Ok(t.build(sent)?)
}

/// Waits until so many runs are there, and returns their ids.
async fn runs_of(runs: &Runs<String, String, ()>, space: &Space, schedule: &str, count: usize) -> Result<Vec<String>, Failure> {
    let until = space.clock().instant() + Duration::from_secs(60);
    loop {
        let all: Vec<_> = runs.list().await?.map_ok(|run| run.id).try_collect().await?;
        let mut ids: Vec<_> = all.into_iter().filter(|id| id.starts_with(&format!("{schedule}@"))).collect();
        ids.sort();
        if ids.len() >= count {
            return Ok(ids);
        }
        if space.clock().instant() > until {
            return Err(format!("{count} runs of `{schedule}` were to come, and there are {ids:?}").into());
        }
        space.clock().sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let engine = Engine::open(&url).await?;
    // Each start has a space of its own: on a server there may be the schedules of an earlier one.
    let name = format!("cron-{}", Timestamp::EPOCH + engine.space("cron").await?.clock().now().since(Timestamp::EPOCH));
    let space = engine.space(name.replace([':', '.'], "-")).await?;
    let runtime = Runtime::start(space.clone()).await?;
    let runs = runtime.host(report()?, ())?;
    let schedules = Schedules::new(&space)?;
    let reports = |title: &str| -> Result<Outgoing, Failure> {
        Ok(Outgoing { queue: Name::new("reports")?, message: Message::new(title.to_owned().encode()?) })
    };

    // What a firing sends, and what makes a run of it.
    schedules.create(&Schedule::new("live", "@every 1s".parse()?, reports("live report")?)).await?;
    let queue = space.queue("reports", QueueOptions::default()).await?;
    let supervisor = runs.supervise(queue).run_id(firing_id).spawn().await?;

    let mut at_work = Vec::new();
    for _ in 0..3 {
        at_work.push(Scheduler::builder(&process(&url, &space).await?).lease(Duration::from_secs(1)).spawn().await?);
    }
    for killed in 1..=2 {
        runs_of(&runs, &space, "live", killed * 2).await?;
        drop(at_work.remove(0));
        println!("scheduler {killed} is killed");
    }
    runs_of(&runs, &space, "live", 6).await?;
    schedules.pause("live").await?;
    let by_hand = schedules.trigger("live").await?;
    println!("paused, and fired by hand: {}", by_hand.id);
    println!("its run says: {}", {
        runs_of(&runs, &space, "live", 7).await?;
        runs.get(&by_hand.id).await?.outcome().await?
    });
    let status = schedules.get("live").await?.ok_or("the schedule is gone")?;
    let ids = runs_of(&runs, &space, "live", usize::try_from(status.fired)?).await?;
    let times: Vec<_> = ids.iter().filter(|id| !id.contains('+')).filter_map(|id| id.split_once('@')).collect();
    let times: Vec<_> = times.iter().filter_map(|(_, time)| Timestamp::parse_rfc3339(time)).collect();
    if times.windows(2).any(|pair| pair[1].since(pair[0]) != Duration::from_secs(1)) || ids.len() as u64 != status.fired {
        return Err(format!("a firing is missing: {ids:?}").into());
    }
    println!("{} firings, one second apart, each a run of its own", times.len());
    schedules.resume("live").await?;
    schedules.delete("live").await?;

    // Deployed five days late: every night since then is made up for.
    let night: Rule = "CRON_TZ=Europe/Berlin 0 2 * * *".parse()?;
    let mut since = space.clock().now();
    for _ in 0..5 {
        since = night.last_until(Timestamp::from_micros(since.as_micros() - 1)).ok_or("there was no such night")?;
    }
    let since = Timestamp::from_micros(since.as_micros() - 1);
    let all = Missed::All(NonZeroU32::new(30).ok_or("30 is not 0")?);
    schedules.create(&Schedule::new("nightly", night, reports("nightly report")?).missed(all).since(since)).await?;
    let made_up_for = runs_of(&runs, &space, "nightly", 5).await?;
    println!("made up for: {}", made_up_for.join(", "));

    for scheduler in at_work {
        scheduler.drain().await;
    }
    supervisor.drain().await;
    runtime.drain().await?;
    println!("drained");
    Ok(())
}
