//! Servers that refuse: without JetStream, too old, full, with too few permissions, with a small limit of a message.
//!
//! Each has to be a clear error and not a long wait, and nothing may be lost by it. The engine's own timeout is ten minutes
//! where an answer has to come at once, and the test's is one.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::{
    Ctx, Topology,
    core::snapshot::RunStatus,
    engine::{
        Commit, Delivery, Engine, Expect, Key, Message, Name, OpenError, PutOptions, Queue, QueueOptions, Rejection, Revision,
        Space, StoreError,
    },
    runtime::{Runtime, RuntimeOptions},
    testing::server::{NatsServer, ServerOptions},
    time::{Clock, nonce},
};
use async_nats::jetstream;
use futures_util::StreamExt as _;
use std::{error::Error, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(60), future).await else { panic!("{what} takes too long") };
    done
}

/// Opens an engine that is in no hurry: what comes within the test's patience came at once.
async fn engine(server: &NatsServer, login: &str) -> Result<Engine, OpenError> {
    let host = server.url().replace("nats://", "");
    in_time("opening", Engine::open(&format!("nats://{login}{host}?timeout=600s"))).await
}

async fn space(server: &NatsServer, login: &str) -> Space {
    let name = format!("test-{:x}", nonce());
    in_time("a space", engine(server, login).await.unwrap().space(name)).await.unwrap()
}

async fn put(space: &Space, name: &str, value: impl Into<bytes::Bytes>) -> Result<Revision, StoreError> {
    in_time("a put", space.store().put(&key(name), value.into(), Expect::Absent, PutOptions::default())).await
}

/// Everything that an error says.
fn said(error: &dyn Error) -> String {
    let causes: Vec<_> = std::iter::successors(Some(error), |&e| e.source()).map(ToString::to_string).collect();
    causes.join(": ")
}

/// Expects that the server refused, and returns why.
fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(error @ StoreError::Rejected(Rejection::Refused(_))) => said(&error),
        other => panic!("{other:?}"),
    }
}

/// Expects that there was no room, and returns why.
fn no_room<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(error @ StoreError::Unavailable(_)) => said(&error),
        other => panic!("{other:?}"),
    }
}

async fn receive(queue: &dyn Queue) -> Delivery {
    let mut pull = queue.pull().await.unwrap();
    let delivery = in_time("a message", pull.next(NonZeroUsize::MIN)).await.unwrap().pop().unwrap();
    pull.close().await;
    delivery
}

/// What a body waits for.
#[derive(Clone, Default)]
struct Gate {
    entered: Arc<Notify>,
    open: watch::Sender<bool>,
}

/// Waits for the gate, and returns its input as often as it says.
fn held() -> Topology<usize, String, Gate> {
    let mut t = Topology::builder::<usize>("held").app::<Gate>();
    let input = t.input();
    let held = t.node("held", input, async |ctx: Ctx<Gate>, size: usize| {
        ctx.app().entered.notify_one();
        ctx.app().open.subscribe().wait_for(|open| *open).await.unwrap();
        Ok("x".repeat(size))
    });
    t.build(held).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_refused_at_once() {
    let server = ServerOptions::default().without_jetstream().start().await.unwrap();
    let error = engine(&server, "").await.unwrap_err();
    assert!(matches!(error, OpenError::Store(StoreError::Rejected(Rejection::Unsupported { .. }))), "{error:?}");
    assert!(said(&error).contains("JetStream"), "{}", said(&error));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_jetstream_is_refused() {
    let config = "accounts { plain { users: [ { user: ann, password: p } ] } }";
    let server = ServerOptions::default().config(config).start().await.unwrap();
    // Not at once: a server that just started says this too.
    let url = format!("{}?timeout=1s", server.url().replace("nats://", "nats://ann:p@"));
    let opened = in_time("a space", Engine::open(&url).await.unwrap().space("s")).await;
    let why = refused(opened);
    assert!(why.contains("JetStream not enabled for account"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_too_old_is_refused_with_what_is_needed() {
    let server = NatsServer::start().await.unwrap();
    let version = server.version().unwrap();
    let name = "old";
    if !version.starts_with("2.10.") {
        // What an older server makes of the stream: it drops what it does not know.
        let js = jetstream::new(async_nats::connect(server.url()).await.unwrap());
        let subjects = ["$KV.old.>", "old.queue.>", "old.timer.>"].map(str::to_owned).to_vec();
        let config = jetstream::stream::Config {
            name: "KV_old".into(),
            subjects,
            max_messages_per_subject: 1,
            allow_direct: true,
            allow_rollup: true,
            ..Default::default()
        };
        js.create_stream(config).await.unwrap();
    }
    let error = in_time("a space", engine(&server, "").await.unwrap().space(name)).await.unwrap_err();
    let StoreError::Rejected(Rejection::Unsupported { engine, remedy, .. }) = &error else { panic!("{error:?}") };
    assert!(engine.contains(&version) && remedy.contains("2.11"), "{}", said(&error));
}

/// A server with one user, who may do what `permissions` say.
fn one_user(permissions: &str) -> String {
    format!("authorization {{ users: [ {{ user: ann, password: p, permissions: {{ {permissions} }} }} ] }}")
}

async fn server_that_permits(permissions: &str) -> NatsServer {
    ServerOptions::default().config(one_user(permissions)).start().await.unwrap()
}

const ANN: &str = "ann:p@";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_permitted_is_refused_at_once_and_named() {
    let cases = [("publish: { deny: [\"$JS.API.>\"] }", "$JS.API"), ("subscribe: { deny: [\"_INBOX.>\"] }", "_INBOX")];
    for (permissions, subject) in cases {
        let server = server_that_permits(permissions).await;
        let why = refused(in_time("a space", engine(&server, ANN).await.unwrap().space("s")).await);
        assert!(why.contains("Permissions Violation") && why.contains(subject), "{why}");
    }

    let server = server_that_permits("publish: { deny: [\"$KV.*.secret.>\", \"*.queue.secret.>\"] }").await;
    let space = space(&server, ANN).await;
    put(&space, "public", "1").await.unwrap();
    let why = refused(put(&space, "secret.a", "1").await);
    assert!(why.contains("Permissions Violation") && why.contains("secret.a"), "{why}");
    assert!(space.store().get(&key("secret.a")).await.unwrap().is_none());

    let commit = Commit::new().put(key("b"), "1".into(), Expect::Absent, PutOptions::default());
    if space.store().capabilities().atomic_commit {
        let commit = commit.send(Name::new("secret").unwrap(), Message::new("m"));
        let why = refused(in_time("a commit", space.store().commit(commit)).await);
        assert!(why.contains("Permissions Violation") && why.contains(".queue.secret"), "{why}");
        assert!(space.store().get(&key("b")).await.unwrap().is_none(), "all or nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_may_not_be_published_to_refuses_the_message() {
    let server = server_that_permits("publish: { deny: [\"*.queue.closed.>\"] }").await;
    let space = space(&server, ANN).await;
    let queue = space.queue("closed", QueueOptions::default()).await.unwrap();
    let why = refused(in_time("a publish", queue.publish(Message::new("m"))).await);
    assert!(why.contains("Permissions Violation") && why.contains(".queue.closed"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_is_not_permitted_says_so_and_its_message_stays() {
    let mut server = server_that_permits("publish: { deny: [\"$JS.ACK.>\"] }").await;
    let host = server.url().replace("nats://", ANN);
    // Whoever tried for as long as it may would be too late.
    let engine = Engine::open(&format!("nats://{host}?timeout=300s")).await.unwrap();
    let space = engine.space("s").await.unwrap();
    let queue = space.queue("q", QueueOptions::default().ack_wait(Duration::from_secs(1))).await.unwrap();
    queue.publish(Message::new("m")).await.unwrap();
    let why = refused(in_time("an acknowledgement", receive(&*queue).await.ack()).await);
    assert!(why.contains("Permissions Violation") && why.contains("$JS.ACK"), "{why}");
    server.reconfigure(one_user("publish: \">\"")).unwrap();
    let acknowledged = async { while receive(&*queue).await.ack().await.is_err() {} };
    in_time("the acknowledgement", acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough() {
    let server = server_that_permits(
        "publish: { allow: [\"$JS.API.>\", \"$JS.ACK.>\", \"$JS.FC.>\", \"$KV.*.>\", \"*.queue.>\", \"*.timer.>\"] }, \
         subscribe: { allow: [\"_INBOX.>\"] }",
    )
    .await;
    let space = space(&server, ANN).await;
    if space.store().capabilities().atomic_commit {
        let commit = Commit::new().put(key("k"), "1".into(), Expect::Absent, PutOptions::default());
        let commit = commit.send(Name::new("out").unwrap(), Message::new("m")).check(key("other"), Expect::Absent);
        in_time("a commit", space.store().commit(commit)).await.unwrap();
        let out = space.queue("out", QueueOptions::default()).await.unwrap();
        in_time("an acknowledgement", receive(&*out).await.ack()).await.unwrap();
    }
    let queue = space.queue("in", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("3")).await.unwrap();
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let gate = Gate::default();
    gate.open.send_replace(true);
    let runs = runtime.host(held(), gate).unwrap();
    let supervisor = runs.supervise(queue).run_id(|_| "r1".into()).spawn().await.unwrap();
    let outcome = async {
        loop {
            if let Ok(run) = runs.get("r1").await {
                break run.outcome().await;
            }
        }
    };
    assert_eq!(in_time("the run", outcome).await.unwrap(), "xxx");
    supervisor.drain().await;
    in_time("the drain", runtime.drain()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_permission_is_taken_away_goes_on_when_it_is_back() {
    let mut server = server_that_permits("publish: \">\"").await;
    let space = space(&server, ANN).await;
    let runtime = Runtime::start(space.clone()).await.unwrap();
    let gate = Gate::default();
    let runs = runtime.host(held(), gate.clone()).unwrap();
    let run = runs.start("r1", 3).await.unwrap();
    in_time("the body", gate.entered.notified()).await;
    server.reconfigure(one_user("publish: { deny: [\"$KV.>\"] }")).unwrap();
    let mut probes = 0;
    let denied = async {
        loop {
            probes += 1;
            match put(&space, &format!("probe.{probes}"), "1").await {
                Err(StoreError::Rejected(Rejection::Refused(_))) => break,
                other => assert!(matches!(other, Ok(_) | Err(StoreError::Unavailable(_))), "{other:?}"),
            }
        }
    };
    in_time("the denial", denied).await;
    gate.open.send_replace(true);
    // While it may not be stored, the run is not said to be over.
    let early = Clock::system().timeout(Duration::from_secs(1), run.outcome()).await;
    assert!(early.is_none(), "{early:?}");
    server.reconfigure(one_user("publish: \">\"")).unwrap();
    assert_eq!(in_time("the outcome", run.outcome()).await.unwrap(), "xxx");
    let snapshot = runs.inspect("r1").await.unwrap().unwrap();
    assert_eq!((snapshot.status, snapshot.nodes[0].attempt), (RunStatus::Completed, 1), "the attempt was not repeated");
}

/// Fills what is left to a server with something else, until it takes no more.
async fn fill(js: &jetstream::Context) {
    js.create_stream(jetstream::stream::Config {
        name: "filler".into(),
        subjects: vec!["filler".into()],
        ..Default::default()
    })
    .await
    .unwrap();
    for size in [256 << 10, 16 << 10, 1 << 10, 64, 1] {
        while js.publish("filler", vec![0; size].into()).await.unwrap().await.is_ok() {}
    }
}

/// A run on a server without room goes on when there is some, and nothing that was stored is lost.
async fn goes_on_when_there_is_room(server: &NatsServer, login: &str) {
    let host = server.url().replace("nats://", "");
    // One operation does not try for long here: a server without room says so itself, and it may be the same in a moment.
    let engine = Engine::open(&format!("nats://{login}{host}?timeout=2s")).await.unwrap();
    let space = engine.space("full").await.unwrap();
    let client = async_nats::ConnectOptions::with_user_and_password("ann".into(), "p".into()).connect(server.url());
    let js = jetstream::new(client.await.unwrap());
    let revision = put(&space, "before", "1").await.unwrap();
    let queue = space.queue("q", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("before")).await.unwrap();
    let runtime = Runtime::start_with(space.clone(), RuntimeOptions::default().inline_limit(1024)).await.unwrap();
    let gate = Gate::default();
    let runs = runtime.host(held(), gate.clone()).unwrap();
    let run = runs.start("r1", 100 << 10).await.unwrap();
    in_time("the body", gate.entered.notified()).await;

    fill(&js).await;
    gate.open.send_replace(true);
    let why = no_room(put(&space, "after", "x".repeat(64 << 10)).await);
    assert!(why.contains("resource") || why.contains("storage") || why.contains("bytes"), "{why}");
    let why = no_room(in_time("a publish", queue.publish(Message::new("x".repeat(64 << 10)))).await);
    assert!(why.contains("resource") || why.contains("storage") || why.contains("bytes"), "{why}");
    assert!(space.store().get(&key("after")).await.unwrap().is_none());
    assert_eq!(space.store().get(&key("before")).await.unwrap().unwrap().revision, revision);
    let early = Clock::system().timeout(Duration::from_secs(1), run.outcome()).await;
    assert!(early.is_none(), "{early:?}");

    js.delete_stream("filler").await.unwrap();
    assert_eq!(in_time("the outcome", run.outcome()).await.unwrap().len(), 100 << 10);
    assert_eq!(runs.inspect("r1").await.unwrap().unwrap().nodes[0].attempt, 1, "the attempt was not repeated");
    let delivery = receive(&*queue).await;
    assert_eq!(delivery.message().payload, "before");
    delivery.ack().await.unwrap();
    put(&space, "after", "1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_full_server_goes_on_when_there_is_room() {
    let server = ServerOptions::default().max_file_store(4 << 20).start().await.unwrap();
    goes_on_when_there_is_room(&server, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_a_full_account_goes_on_when_there_is_room() {
    let config =
        "accounts { small { users: [ { user: ann, password: p } ], jetstream { max_file: 4194304, max_mem: 1048576 } } }";
    let server = ServerOptions::default().config(config).start().await.unwrap();
    goes_on_when_there_is_room(&server, ANN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_the_server_takes_is_refused_or_goes_in_parts() {
    let server = ServerOptions::default().config("max_payload: 65536").start().await.unwrap();
    let space = space(&server, "").await;
    let limit = space.store().capabilities().max_value;
    assert!(limit < 65536);
    let too_large = |result: &Result<_, StoreError>| matches!(result, Err(StoreError::Rejected(Rejection::TooLarge { .. })));
    let large = "x".repeat(65536);
    let stored = put(&space, "k", large.clone()).await;
    assert!(too_large(&stored), "{stored:?}");
    let queue = space.queue("q", QueueOptions::default()).await.unwrap();
    let published = queue.publish(Message::new(large.clone())).await.map(|p| Revision::new(p.sequence));
    assert!(too_large(&published), "{published:?}");
    if space.store().capabilities().atomic_commit {
        let commit = Commit::new().put(key("a"), "1".into(), Expect::Absent, PutOptions::default());
        let commit = commit.put(key("b"), large.into(), Expect::Absent, PutOptions::default());
        let committed = in_time("a commit", space.store().commit(commit)).await.map(|c| c.revisions[0]);
        assert!(too_large(&committed), "{committed:?}");
        let mut keys = space.store().keys(&anabranch::engine::Scope::All).await.unwrap();
        assert!(keys.next().await.is_none(), "all or nothing");
    }
    let gate = Gate::default();
    gate.open.send_replace(true);
    let runs = Runtime::start(space).await.unwrap().host(held(), gate).unwrap();
    let outcome = in_time("the run", runs.start("r1", 1 << 20).await.unwrap().outcome()).await.unwrap();
    assert_eq!(outcome.len(), 1 << 20);
}
