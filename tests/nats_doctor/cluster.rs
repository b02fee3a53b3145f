//! A cluster: how many copies there are, and which of them are away.

use super::kit::*;
use anabranch::{
    doctor::Severity,
    engine::Engine,
    testing::server::{NatsServer, ServerOptions},
};

#[tokio::test(flavor = "multi_thread")]
async fn single_copies_and_copies_that_are_away_are_told() {
    let mut cluster = ServerOptions::default().monitored().start_cluster().await.unwrap();
    let url = cluster.url();
    in_time("the space", Engine::open(&url).await.unwrap().space("threefold")).await.unwrap();
    let single = url.replace("replicas=3", "replicas=1");
    in_time("the space", Engine::open(&single).await.unwrap().space("alone")).await.unwrap();
    let monitors: Vec<_> = cluster.nodes().iter().filter_map(NatsServer::monitor_url).collect();
    let all = options(|o| o.monitors = monitors);

    // Until all copies are current; they are made one after the other.
    let report = in_time("the copies", async {
        loop {
            let report = examine(&url, &all).await;
            if severities(&report, "peers") == [Severity::Ok] {
                break report;
            }
        }
    });
    let report = report.await;
    assert_eq!(
        severities(&report, "replicas"),
        [Severity::Warning, Severity::Ok, Severity::Ok],
        "{}",
        text(&report, "replicas")
    );
    assert!(text(&report, "replicas").contains("`nats stream edit KV_alone --replicas 3`"), "{}", text(&report, "replicas"));
    // The space with one copy counts: each of the servers could have it.
    assert_eq!(severities(&report, "sync"), [Severity::Warning; 3], "{}", text(&report, "sync"));
    let copied = examine(&url, &options(|o| o.spaces.push("threefold".to_owned()))).await;
    assert_eq!(severities(&copied, "drift"), [Severity::Ok], "{}", text(&copied, "drift"));
    let few = examine(&single, &options(|o| o.spaces.push("threefold".to_owned()))).await;
    assert_eq!(severities(&few, "replicas"), [Severity::Warning, Severity::Ok], "{}", text(&few, "replicas"));

    // A follower of the space: its leader has heard of it, and notices that it does not any more.
    let js = client(&cluster.nodes()[0].url()).await;
    let info = js.get_stream("KV_threefold").await.unwrap().cached_info().clone();
    let leader = info.cluster.and_then(|cluster| cluster.leader).unwrap();
    let follower = ["n1", "n2", "n3"].into_iter().find(|node| *node != leader).unwrap();
    cluster.node(follower).kill();
    let threefold = options(|o| o.spaces.push("threefold".to_owned()));
    let away = in_time("the news", async {
        loop {
            let report = examine(&url, &threefold).await;
            if text(&report, "peers").contains(&format!("away: {follower}")) {
                break report;
            }
        }
    });
    let away = away.await;
    assert!(severities(&away, "peers").contains(&Severity::Warning), "{}", text(&away, "peers"));
    assert!(text(&away, "peers").contains("lose 0 more"), "{}", text(&away, "peers"));
}
