//! Messages that are sent later: unique by key, taken back, sent at another time, and a thousand at once.
//!
//! ```text
//! cargo run --example delayed
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example delayed
//! ```
//!
//! A reminder is scheduled for each customer. Who asks for one twice gets the first one; one customer is not reminded after all,
//! another one sooner. Then a thousand are due in the same moment while one of the two schedulers is killed. The example fails if
//! one is lost, or comes twice, or too early.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    engine::{Engine, Message, Name, Outgoing, Pull, QueueOptions, Space},
    schedule::{Delayed, Placed, Scheduler},
};
use futures_util::{TryStreamExt as _, future::try_join_all};
use std::{collections::BTreeSet, env, error::Error, num::NonZeroUsize, time::Duration};

type Failure = Box<dyn Error + Send + Sync>;

/// Whatever has to come comes within this.
const SOON: Duration = Duration::from_secs(60);

fn mail(text: impl Into<String>) -> Result<Outgoing, Failure> {
    Ok(Outgoing { queue: Name::new("mails")?, message: Message::new(text.into()) })
}

/// Another connection to the same space, as another process has it. What is in memory has one process only.
async fn process(url: &str, here: &Space) -> Result<Space, Failure> {
    if url.starts_with("nats") { Ok(Engine::open(url).await?.space(here.name().as_str()).await?) } else { Ok(here.clone()) }
}

/// Takes so many mails.
async fn take(space: &Space, mails: &mut Box<dyn Pull>, count: usize) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    while found.len() < count {
        let most = NonZeroUsize::new((count - found.len()).min(256)).ok_or("there is nothing to wait for")?;
        for delivery in space.clock().timeout(SOON, mails.next(most)).await.ok_or("a mail does not come")?? {
            found.push(String::from_utf8_lossy(&delivery.message().payload).into_owned());
            delivery.ack().await?;
        }
    }
    Ok(found)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let engine = Engine::open(&url).await?;
    // Each start has a space of its own: on a server there may be what an earlier one left.
    let space = engine.space(format!("delayed-{}", engine.space("delayed").await?.clock().now().as_micros())).await?;
    let clock = space.clock().clone();
    let delayed = Delayed::new(&space)?;
    let mut mails = space.queue("mails", QueueOptions::default()).await?.pull().await?;

    let day = Duration::from_secs(86_400);
    for customer in ["ann", "bob", "cleo"] {
        match delayed.after(customer, day, &mail(format!("hello {customer}"))?).await? {
            Placed::Scheduled { .. } => println!("{customer} is reminded in a day"),
            already => return Err(format!("{customer}: {already:?}").into()),
        }
    }
    if let Placed::Scheduled { .. } = delayed.after("ann", day * 7, &mail("hello again")?).await? {
        return Err("ann is reminded twice".into());
    }
    println!("ann asks twice, and is reminded once");
    if !delayed.cancel("bob").await? || delayed.cancel("bob").await? {
        return Err("bob is not taken back once".into());
    }
    println!("bob is not reminded after all");
    let soon = clock.now() + Duration::from_secs(1);
    delayed.reschedule("cleo", soon).await?;

    let mut at_work = Vec::new();
    for _ in 0..2 {
        at_work.push(Scheduler::builder(&process(&url, &space).await?).lease(Duration::from_secs(1)).spawn().await?);
    }
    let came = take(&space, &mut mails, 1).await?;
    if came != ["hello cleo"] || clock.now() < soon {
        return Err(format!("{came:?} came at {}", clock.now()).into());
    }
    println!("came in time: {}", came[0]);

    let due = clock.now() + Duration::from_secs(2);
    let all = (0..1000).map(|n| {
        let delayed = &delayed;
        async move { Ok::<_, Failure>(delayed.at(&format!("newsletter {n}"), due, &mail(format!("newsletter {n}"))?).await?) }
    });
    let placed = try_join_all(all).await?;
    println!("{} newsletters are due in the same moment", placed.len());
    let first = take(&space, &mut mails, 100).await?;
    drop(at_work.remove(0));
    println!("a scheduler is killed while they are sent");
    let rest = take(&space, &mut mails, 900).await?;
    let each: BTreeSet<_> = first.into_iter().chain(rest).collect();
    if each.len() != 1000 || clock.now() < due {
        return Err(format!("{} of 1000 came", each.len()).into());
    }
    if let Some(more) = clock.timeout(Duration::from_secs(1), mails.next(NonZeroUsize::MIN)).await {
        return Err(format!("one came twice: {more:?}").into());
    }
    println!("{} newsletters came, each once", each.len());
    let left: Vec<_> = delayed.list().await?.map_ok(|pending| pending.key).try_collect().await?;
    println!("still waiting: {}", left.join(", "));
    for scheduler in at_work {
        scheduler.drain().await;
    }
    Ok(())
}
