//! Requests: what leaves together is answered apart, what nobody waits for does not leave, and nothing keeps a connection.

use super::kit::*;
use anabranch::{
    engine::{Engine, Expect, StoreError},
    testing::server::NatsServer,
    time::nonce,
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::join_all};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Hears whatever others ask on a subject.
async fn spy(url: &str, subject: String) -> (async_nats::Client, async_nats::Subscriber) {
    let client = client(url).await.client();
    let asked = client.subscribe(subject).await.unwrap();
    heard(&client).await;
    (client, asked)
}

/// Returns when the server has done whatever this client said before, and this client has whatever the server sent it before: a flush
/// only empties the client's buffer.
async fn heard(client: &async_nats::Client) {
    client.request("$JS.API.INFO", Bytes::new()).await.unwrap();
}

/// Many at once are a crowd, which leaves in few writes to the socket.
#[tokio::test]
async fn requests_of_a_crowd_are_answered_each_its_own() {
    let space = space(&NatsServer::shared().await.url(), "").await;
    let names: Vec<_> = (0..200).map(|n| format!("k{n}")).collect();
    let written = join_all(names.iter().map(|name| put(&space, name, name, Expect::Absent))).await;
    let mut revisions: Vec<_> = written.into_iter().map(Result::unwrap).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), names.len());
    let read = join_all(names.iter().map(|name| text(&space, name))).await;
    assert!(read.iter().zip(&names).all(|(read, name)| read.as_ref() == Some(name)), "{read:?}");
}

#[tokio::test]
async fn a_read_that_is_given_up_before_it_left_does_not_leave() {
    let url = NatsServer::shared().await.url();
    let engine = Engine::open(&url).await.unwrap();
    let name = format!("test-{:x}", nonce());
    let space = engine.space(name.clone()).await.unwrap();
    let (_spy, mut asked) = spy(&url, format!("$JS.API.DIRECT.GET.KV_{name}")).await;
    let (alone, dropped, kept) = (key("alone"), key("dropped"), key("kept"));
    // Each is polled once, and no task runs before the second is dropped. The first leaves at once.
    let mut first = space.store().get(&alone);
    assert!((&mut first).now_or_never().is_none());
    assert!(space.store().get(&dropped).now_or_never().is_none());
    assert!(first.await.unwrap().is_none());
    assert!(space.store().get(&kept).await.unwrap().is_none());
    for expected in ["alone", "kept"] {
        let request = in_time("a request", asked.next()).await.unwrap();
        let which = String::from_utf8_lossy(&request.payload);
        assert!(which.contains(&format!(".{expected}\"")), "{which} and not {expected}");
    }
}

/// What its process wrote meanwhile made a good answer look old, and the read was asked again of the leader, after a pause.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_beside_writes_of_its_own_process_is_asked_once() {
    let url = NatsServer::shared().await.url();
    let name = format!("test-{:x}", nonce());
    let space = Engine::open(&url).await.unwrap().space(name.clone()).await.unwrap();
    let (spy, mut again) = spy(&url, format!("$JS.API.STREAM.MSG.GET.KV_{name}")).await;
    put(&space, "hot", "x", Expect::Absent).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 0..8 {
        let space = space.clone();
        tasks.spawn(async move {
            for _ in 0..200 {
                if n % 2 == 0 {
                    put(&space, "hot", "x", Expect::Anything).await.unwrap();
                } else {
                    assert!(text(&space, "hot").await.is_some());
                }
            }
        });
    }
    tasks.join_all().await;
    // The server has sent the spy by now whatever was asked.
    heard(&spy).await;
    assert!(again.next().now_or_never().is_none());
}

/// It waited for ever: whoever looks after requests does so on the runtime that the engine was opened on.
#[test]
fn a_call_ends_in_time_while_the_runtime_of_its_engine_stands_still() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (home, elsewhere) = (runtime(), runtime());
    let space = home.block_on(async { space(&NatsServer::shared().await.url(), "timeout=500ms").await });
    let ended = elsewhere.block_on(in_time("the end of a call", async {
        let read = space.store().get(&key("a")).await;
        let written = put(&space, "a", "1", Expect::Absent).await;
        (read, written)
    }));
    assert!(matches!(ended, (Err(StoreError::Unavailable(_)), Err(StoreError::Unknown(_)))), "{ended:?}");
    drop((space, home));
}

#[tokio::test]
async fn an_engine_that_is_dropped_leaves_no_connection() {
    let url = NatsServer::shared().await.url();
    let server = url.split('?').next().unwrap().trim_start_matches("nats://").to_owned();
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let through = format!("nats://{}", door.local_addr().unwrap());
    let (opened, mut open) = tokio::sync::mpsc::unbounded_channel();
    let mut porter = JoinSet::new();
    porter.spawn(async move {
        loop {
            let (mut theirs, _) = door.accept().await.unwrap();
            let mut ours = TcpStream::connect(&server).await.unwrap();
            opened.send(async move { copy_bidirectional(&mut theirs, &mut ours).await }).unwrap_or_default();
        }
    });
    let mut connections = JoinSet::new();
    let space = tokio::select! {
        space = space(&through, "") => space,
        () = async { while let Some(one) = open.recv().await { connections.spawn(one); } } => unreachable!("the door stays open"),
    };
    put(&space, "a", "1", Expect::Absent).await.unwrap();
    assert!(connections.len() >= 2 && connections.try_join_next().is_none(), "they stay while the engine does");
    drop(space);
    in_time("the end of all connections", connections.join_all()).await;
}
