//! Servers that are killed under schedules.

use super::{
    open,
    place::{Place, Road, every_second_once, schedule, seconds, to_target},
};
use anabranch::{
    schedule::{Delayed, Placed, Schedules},
    testing::server::NatsServer,
};

/// The server dies for longer than some firings take: they are made up for, and none comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_fires_late_and_not_twice() {
    let mut server = NatsServer::start().await.unwrap();
    let spaces = vec![open(&server.url(), "killed").await, open(&server.url(), "killed").await];
    let place = Place::new(spaces, Road::Timers);
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let team = [place.scheduler(0).await, place.scheduler(1).await];
    let later = place.clock().now() + seconds(5);
    let placed = Delayed::new(place.space()).unwrap().at("k", later, &to_target("later")).await.unwrap();
    assert_eq!(placed, Placed::Scheduled { at: later });
    schedules.create(&schedule("@every 1s")).await.unwrap();
    let mut came = inbox.take(3).await;
    server.kill();
    place.passes(seconds(4)).await;
    server.restart().await.unwrap();
    // What is taken may come again, since its acknowledgement may be lost with the server: then it is the same message.
    let mut delayed = 0;
    while came.len() < 12 {
        for message in inbox.take_through_outages().await {
            if message.headers.get("Schedule-Name").is_none() {
                delayed += 1;
            } else if !came.iter().any(|old| old.id == message.id) {
                came.push(message);
            }
        }
    }
    every_second_once(&came);
    assert_eq!(delayed, 1);
    for worker in team {
        worker.drain().await;
    }
}
