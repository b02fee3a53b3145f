//! Three candidates and one leader: one is cut off, one resigns, and the terms grow.
//!
//! ```text
//! cargo run --example leader
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example leader
//! ```
//!
//! Ann, Bob and Cleo campaign. Ann leads, and is cut off from the store; Bob leads once her lease is over, when she has stopped to,
//! and resigns; Cleo leads at once. Somebody who only watches sees each of them. The example fails if two lead at the same time,
//! if a term is not greater than those before, or if the observer misses who leads now.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    coordination::{Election, Leader},
    engine::{Engine, Space},
    testing::faulty::FaultyStore,
    time::Clock,
};
use futures_util::{Stream, StreamExt as _};
use std::{env, error::Error, sync::Arc, time::Duration};

type Failure = Box<dyn Error + Send + Sync>;

const LEASE: Duration = Duration::from_secs(2);
/// Whatever has to happen happens within this.
const SOON: Duration = Duration::from_secs(20);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("leader").await?;
    let clock = space.clock().clone();
    // Each start has an election of its own, since on a server there may be candidates of another.
    let name = format!("scheduler {}", clock.now().as_micros());
    let mut leaders = election(&space, &name, "")?.observe().await?;
    sees(&clock, &mut leaders, None).await?;

    // Ann's way to the store; the test kit knows how to break it.
    let way = FaultyStore::over(&space, 0);
    let ann = election(&space.clone().with_store(Arc::<FaultyStore>::clone(&way)), &name, "ann")?.campaign().await?;
    let first = ann.term();
    println!("ann leads, in term {first}");
    sees(&clock, &mut leaders, Some("ann")).await?;

    let (bob, cleo) = (election(&space, &name, "bob")?, election(&space, &name, "cleo")?);
    let (bob, cleo) = (bob.campaign(), cleo.campaign());
    tokio::pin!(bob, cleo);
    way.hold();
    println!("ann is cut off");
    let followed = async {
        let leadership = tokio::select! {
            // They stand in line in the order in which they ask first.
            biased;
            leadership = &mut bob => leadership?,
            _ = &mut cleo => return Err("cleo overtakes bob".into()),
        };
        Ok::<_, Failure>((leadership, clock.instant()))
    };
    let stopped = async {
        ann.lost().await;
        println!("ann stops to lead");
        clock.instant()
    };
    let both = clock.timeout(SOON, async { tokio::join!(stopped, followed) });
    let (stopped, followed) = both.await.ok_or("nobody follows ann")?;
    let (second, started) = followed?;
    println!("bob leads, in term {}", second.term());
    if ann.is_leader() || stopped >= started {
        return Err("two lead at the same time".into());
    }
    sees(&clock, &mut leaders, Some("bob")).await?;

    let second_term = second.term();
    second.resign().await?;
    println!("bob resigns");
    let third = clock.timeout(SOON, cleo).await.ok_or("nobody follows bob")??;
    println!("cleo leads, in term {}", third.term());
    sees(&clock, &mut leaders, Some("cleo")).await?;
    if !(first < second_term && second_term < third.term()) {
        return Err("the terms do not grow".into());
    }
    third.resign().await?;
    sees(&clock, &mut leaders, None).await?;
    println!("the terms grew, and nobody led beside another");
    Ok(())
}

fn election(space: &Space, name: &str, candidate: &str) -> Result<Election, Failure> {
    Ok(Election::new(space, name, LEASE)?.candidate(candidate))
}

/// Waits until the observer sees that this candidate leads.
async fn sees(
    clock: &Clock,
    leaders: &mut (impl Stream<Item = Option<Leader>> + Unpin),
    candidate: Option<&str>,
) -> Result<(), Failure> {
    let seen = async {
        while let Some(leader) = leaders.next().await {
            if leader.as_ref().map(|l| l.candidate.as_str()) == candidate {
                return Ok(());
            }
        }
        Err("the observer sees nothing any more")
    };
    clock.timeout(SOON, seen).await.ok_or("the observer misses who leads")??;
    println!("observed: {} leads", candidate.unwrap_or("nobody"));
    Ok(())
}
