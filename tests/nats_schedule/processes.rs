//! Real processes on one schedule, which are killed.
//!
//! A child is this very test binary, started again with [`CHILD`] set: it works as a scheduler until it is killed.

use super::{
    fresh, open,
    place::{Place, Road, every_second_once, ids, schedule, seconds, to_target},
};
use anabranch::{
    schedule::{Delayed, Placed, Scheduler, Schedules},
    testing::{LesserStore, server::NatsServer},
    time::{Clock, Timestamp},
};
use futures_util::future::try_join_all;
use std::{collections::BTreeSet, env, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// Set in a child, to the server's URL, the name of the space, by how many milliseconds its clock is ahead, and the road.
const CHILD: &str = "ANABRANCH_SCHEDULE_CHILD";
/// How many firings there are; each takes a second.
const FIRINGS: &str = "ANABRANCH_SCHEDULE_FIRINGS";

/// What a child does; by itself it is no test, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    let Ok(place) = env::var(CHILD) else { return };
    let [url, name, ahead, road] = place.split(' ').collect::<Vec<_>>()[..] else { panic!("{place}") };
    let space = open(url, name).await;
    let space = if road == "index" { space.clone().with_store(LesserStore::without_timers(&space)) } else { space };
    let ahead: i64 = ahead.parse().unwrap();
    let clock = Clock::following_tokio(Timestamp::from_micros(space.clock().now().as_micros() + ahead * 1000));
    let _scheduler = Scheduler::builder(&space).lease(seconds(1)).clock(clock).spawn().await.unwrap();
    std::future::pending::<()>().await;
}

fn start(url: &str, name: &str, ahead: i64, road: &str) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "processes::child"])
        .env(CHILD, format!("{url} {name} {ahead} {road}"))
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Three schedulers whose clocks differ by half a minute, two of which are killed: each firing comes once.
async fn firings_come_once(road: &str) {
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let place = Place::new(vec![open(&url, &name).await], Road::Timers);
    let firings: usize = env::var(FIRINGS).map_or(20, |firings| firings.parse().unwrap());
    let mut inbox = place.inbox().await;
    let mut children = vec![start(&url, &name, 0, road), start(&url, &name, 15_000, road), start(&url, &name, -15_000, road)];
    let space = place.space();
    let space = if road == "index" { space.clone().with_store(LesserStore::without_timers(space)) } else { space.clone() };
    let schedules = Schedules::new(&space).unwrap();
    schedules.create(&schedule("@every 1s").tolerance(seconds(120))).await.unwrap();
    let mut came = Vec::new();
    for part in 1..=3 {
        came.extend(inbox.take(firings * part / 3 - came.len()).await);
        if part < 3 {
            children.remove(0).kill().await.unwrap();
        }
    }
    schedules.pause("s").await.unwrap();
    came.extend(inbox.within(seconds(2)).await);
    every_second_once(&came);
    assert!(came.len() >= firings);
}

/// D21, D26: on the server's timers.
#[tokio::test(flavor = "multi_thread")]
async fn processes_with_other_clocks_that_are_killed_fire_each_time_once() {
    firings_come_once("timers").await;
}

/// D21, D26: with a leader that polls.
#[tokio::test(flavor = "multi_thread")]
async fn processes_that_poll_with_other_clocks_and_are_killed_fire_each_time_once() {
    firings_come_once("index").await;
}

/// D23: thousands are due at once while the schedulers that send them are killed.
#[tokio::test(flavor = "multi_thread")]
async fn delayed_messages_are_sent_once_though_their_schedulers_are_killed() {
    const DUE: usize = 3000;
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let place = Place::new(vec![open(&url, &name).await], Road::Timers);
    let mut inbox = place.inbox().await;
    let delayed = Delayed::new(place.space()).unwrap();
    let due = place.clock().now() + Duration::from_secs(3);
    let all = (0..DUE).map(|n| {
        let delayed = &delayed;
        async move { delayed.at(&format!("k{n}"), due, &to_target(&n.to_string())).await }
    });
    for placed in try_join_all(all).await.unwrap() {
        assert!(matches!(placed, Placed::Scheduled { .. }));
    }
    let mut children: Vec<_> = (0..3).map(|_| start(&url, &name, 0, "timers")).collect();
    let mut came = inbox.take(DUE / 3).await;
    children.remove(0).kill().await.unwrap();
    came.extend(inbox.take(DUE / 3).await);
    children.remove(0).kill().await.unwrap();
    came.extend(inbox.take(DUE - came.len()).await);
    came.extend(inbox.within(seconds(6)).await);
    let each: BTreeSet<_> = came.iter().map(|message| message.payload.clone()).collect();
    assert_eq!((came.len(), each.len()), (DUE, DUE));
    assert_eq!(ids(&came).into_iter().collect::<BTreeSet<_>>().len(), DUE);
}
