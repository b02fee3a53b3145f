//! One server: what it can do, when it flushes, how much it takes.

use super::kit::*;
use anabranch::{
    doctor::{self, Severity, Topic},
    engine::{Engine, Expect, Key, Message, OpenError, PutOptions, QueueOptions, Rejection, StoreError},
    testing::server::{NatsServer, ServerOptions},
    time::nonce,
};

/// Opens a space with keys, a message that nobody has taken, and counters.
async fn shop(url: &str, space: &str) {
    let space = Engine::open(url).await.unwrap().space(space).await.unwrap();
    space.store().put(&Key::new("k").unwrap(), "1".into(), Expect::Absent, PutOptions::default()).await.unwrap();
    let queue = space.queue("mail", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("1")).await.unwrap();
    if space.store().capabilities().counters {
        space.tally().await.unwrap().add(&Key::new("n").unwrap(), 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_server_has_no_warnings_and_is_left_as_it_was() {
    let server = ServerOptions::default().sync_always().monitored().start().await.unwrap();
    let url = format!("{}?writes=shared", server.url());
    shop(&url, "shop").await;
    let before = everything(&server.url()).await;
    let report = examine(&url, &options(|o| o.monitors.push(server.monitor_url().unwrap()))).await;
    assert_eq!(everything(&server.url()).await, before);
    // What an older server has to be told of is another test's.
    let version = server.version().unwrap();
    let alarming: Vec<_> = alarming(&report).into_iter().filter(|f| !matches!(f.check, "version" | "defects")).collect();
    assert!(alarming.is_empty(), "{version}: {alarming:#?}");
    for topic in [Topic::Server, Topic::Durability, Topic::Limits, Topic::Drift, Topic::Clock, Topic::Permissions] {
        assert!(report.findings.iter().any(|f| f.topic == topic && f.severity == Severity::Ok), "{topic}: {report:#?}");
    }
    assert!(text(&report, "drift").contains("`KV_shop` is as this library would have it"), "{}", text(&report, "drift"));
    assert!(text(&report, "sync").contains("flushes every write"), "{}", text(&report, "sync"));
    assert!(report.target.starts_with("nats://127.0.0.1:"), "{}", report.target);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_a_problem() {
    let server = ServerOptions::default().without_jetstream().start().await.unwrap();
    let report = examine(&server.url(), &options(|_| {})).await;
    assert_eq!((severities(&report, "jetstream"), report.exit_code()), (vec![Severity::Problem], 2));
    assert!(text(&report, "jetstream").contains("-js"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_jetstream_is_a_problem_on_a_server_that_has_it() {
    let accounts =
        "accounts { A { jetstream: enabled, users: [{user: a, password: p}] }, B { users: [{user: b, password: p}] } }";
    let server = ServerOptions::default().config(accounts).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:p@"));
    assert_eq!(severities(&examine(&url("a"), &options(|_| {})).await, "jetstream"), [Severity::Ok]);
    assert_eq!(severities(&examine(&url("b"), &options(|_| {})).await, "jetstream"), [Severity::Problem]);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_server_flushes_is_told_by_its_monitoring_port_and_never_guessed() {
    let server = ServerOptions::default().monitored().start().await.unwrap();
    let unseen = examine(&server.url(), &options(|_| {})).await;
    assert_eq!(severities(&unseen, "sync"), [Severity::Note]);
    assert!(text(&unseen, "sync").contains("not visible"), "{}", text(&unseen, "sync"));
    let told = examine(&server.url(), &options(|o| o.monitors.push(server.monitor_url().unwrap()))).await;
    assert_eq!(severities(&told, "sync"), [Severity::Warning]);
    assert!(text(&told, "sync").contains("flushes every 120s"), "{}", text(&told, "sync"));
    let nobody = examine(&server.url(), &options(|o| o.monitors.push(server.url().replace("nats", "http")))).await;
    assert_eq!(severities(&nobody, "sync"), [Severity::Warning], "{}", text(&nobody, "sync"));
    let encrypted = examine(&server.url(), &options(|o| o.monitors.push("https://u:s3cret@localhost".to_owned()))).await;
    assert!(!text(&encrypted, "sync").contains("s3cret") && text(&encrypted, "sync").contains("http://HOST:PORT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_system_account_tells_when_a_server_flushes() {
    let accounts =
        "accounts { $SYS { users: [{user: sys, password: p}] }, A { jetstream: enabled, users: [{user: a, password: p}] } }";
    let server = ServerOptions::default().sync_always().config(accounts).start().await.unwrap();
    let url = |user: &str| server.url().replace("nats://", &format!("nats://{user}:p@"));
    let report = examine(&url("a"), &options(|o| o.system = Some(url("sys")))).await;
    let told = text(&report, "sync");
    assert!(told.contains("`single` flushes every write"), "{told}");
    assert_eq!(severities(&report, "clock"), [Severity::Ok]);
    let other = examine(&url("a"), &options(|o| o.system = Some(url("a")))).await;
    assert_eq!(severities(&other, "sync"), [Severity::Warning]);
    assert!(text(&other, "sync").contains("system account"), "{}", text(&other, "sync"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_the_server_does_not_take_is_a_problem() {
    let server = ServerOptions::default().config("max_payload: 32768").start().await.unwrap();
    let report = examine(&server.url(), &options(|o| o.payloads = vec![10_000, 40_000])).await;
    assert_eq!(severities(&report, "payload"), [Severity::Problem, Severity::Warning, Severity::Ok]);
    assert!(text(&report, "payload").contains("a payload of 40000 bytes is larger than the 28672"));
    assert_eq!(report.exit_code(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_an_account_are_told_before_they_are_reached() {
    let accounts = "accounts { A { jetstream { max_store: 10M, max_streams: 1 }, users: [{user: a, password: p}] } }";
    let server = ServerOptions::default().config(accounts).start().await.unwrap();
    let url = server.url().replace("nats://", "nats://a:p@");
    let js = client(&url).await;
    let one = async_nats::jetstream::stream::Config { name: "one".to_owned(), ..Default::default() };
    js.create_stream(one).await.unwrap();
    let report = examine(&url, &options(|_| {})).await;
    assert_eq!(severities(&report, "quota"), [Severity::Problem, Severity::Ok]);
    assert!(text(&report, "quota").contains("streams of the account: 1 of 1"), "{}", text(&report, "quota"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_does_a_round_and_leaves_nothing_behind() {
    let server = NatsServer::start().await.unwrap();
    let report = examine(&server.url(), &options(|o| o.probe = true)).await;
    let probe: Vec<_> = report.findings.iter().filter(|f| f.topic == Topic::Probe).collect();
    assert!(probe.iter().all(|f| f.severity == Severity::Ok), "{probe:#?}");
    for check in ["open", "write", "watch", "queue", "ttl", "remove"] {
        assert_eq!(severities(&report, check).len(), 1, "{check}");
    }
    assert_eq!(everything(&server.url()).await, everything(&NatsServer::start().await.unwrap().url()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_examined_without_a_server_or_without_a_name() {
    let nobody = doctor::examine("nats://127.0.0.1:9?timeout=500ms", &options(|_| {})).await;
    assert!(matches!(nobody, Err(OpenError::Store(StoreError::Unavailable(_)))), "{nobody:?}");
    let server = NatsServer::shared().await;
    let misnamed = doctor::examine(&server.url(), &options(|o| o.spaces.push("a.b".to_owned()))).await;
    assert!(matches!(misnamed, Err(OpenError::Store(StoreError::Rejected(Rejection::Name(_))))), "{misnamed:?}");
    let absent = format!("s{:x}", nonce());
    let report = examine(&server.url(), &options(|o| o.spaces.push(absent))).await;
    assert_eq!(severities(&report, "missing"), [Severity::Note]);
}
