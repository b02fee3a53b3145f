//! What the tests share: spaces of their own, waiting with an end, and faults.

use anabranch::{
    engine::{Change, Delivery, Engine, Expect, Key, PutOptions, Queue, Revision, Space, StoreError},
    testing::server::NatsServer,
    time::{Clock, nonce},
};
use async_nats::jetstream;
use futures_util::{StreamExt as _, stream::BoxStream};
use std::{num::NonZeroUsize, time::Duration};

pub fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

pub fn plain() -> PutOptions {
    PutOptions::default()
}

/// Opens a space of its own, with a query appended to the URL.
pub async fn space(url: &str, query: &str) -> Space {
    let joint = if url.contains('?') { "&" } else { "?" };
    let url = if query.is_empty() { url.to_owned() } else { format!("{url}{joint}{query}") };
    Engine::open(&url).await.unwrap().space(format!("test-{:x}", nonce())).await.unwrap()
}

pub async fn put(space: &Space, name: &str, value: &str, expect: Expect) -> Result<Revision, StoreError> {
    space.store().put(&key(name), value.to_owned().into(), expect, plain()).await
}

pub async fn text(space: &Space, name: &str) -> Option<String> {
    let entry = space.store().get(&key(name)).await.unwrap();
    entry.map(|e| String::from_utf8(e.value.to_vec()).unwrap())
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(180), future).await else { panic!("{what} takes too long") };
    done
}

pub async fn next(changes: &mut BoxStream<'static, Change>) -> Change {
    in_time("a change", changes.next()).await.unwrap()
}

/// Reads changes until a key has this value, and returns what came before.
pub async fn until_put(changes: &mut BoxStream<'static, Change>, name: &str, value: &str) -> Vec<Change> {
    let mut before = Vec::new();
    loop {
        match next(changes).await {
            Change::Put(entry) if entry.key == key(name) && entry.value == value => return before,
            other => before.push(other),
        }
    }
}

pub async fn receive(queue: &dyn Queue) -> Delivery {
    let mut pull = queue.pull().await.unwrap();
    let one = in_time("a message", async {
        loop {
            if let Ok(taken) = pull.next(NonZeroUsize::MIN).await {
                break taken;
            }
        }
    });
    let delivery = one.await.pop().unwrap();
    pull.close().await;
    delivery
}

pub async fn client(url: &str) -> jetstream::Context {
    let server = url.split('?').next().unwrap().split(',').next().unwrap().to_owned();
    jetstream::new(async_nats::connect(server).await.unwrap())
}

/// Adds one to a counter as a careful caller does: read again after a conflict, and never repeat what is unknown.
async fn add_one(space: &Space, name: &str) -> Result<(), StoreError> {
    loop {
        let entry = space.store().get(&key(name)).await?;
        let expect = entry.as_ref().map_or(Expect::Absent, |e| Expect::At(e.revision));
        let count = entry.map_or(0, |e| String::from_utf8_lossy(&e.value).parse::<u64>().unwrap());
        match put(space, name, &(count + 1).to_string(), expect).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Adds one to a counter so many times, and returns how often it is not known whether one was added.
pub async fn add(space: &Space, name: &str, times: u64) -> u64 {
    let (mut tried, mut unknown) = (0, 0);
    while tried < times {
        match add_one(space, name).await {
            Ok(()) => tried += 1,
            // What cannot be told is said, and not guessed.
            Err(StoreError::Unknown(_)) => (tried, unknown) = (tried + 1, unknown + 1),
            // Nothing was done.
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    unknown
}

/// The counter; fails when it does not lie between what is known to be counted and what was tried.
pub async fn counted(space: &Space, name: &str, tried: u64, unknown: u64) -> u64 {
    let count = text(space, name).await.unwrap().parse::<u64>().unwrap();
    assert!(count <= tried && count + unknown >= tried, "{tried} were tried, {count} counted and {unknown} are unknown");
    count
}

pub fn at_least(version: &str, minor: u64) -> bool {
    version.split('.').nth(1).and_then(|m| m.parse::<u64>().ok()).unwrap() >= minor
}

/// Lets the first attempt of an operation with a timeout of 4 seconds run into a paused server, so that its acknowledgement is
/// lost and it is applied on resume. The time is the fault that is injected, not a wait for something to happen.
pub async fn while_paused<T>(server: &NatsServer, operation: impl Future<Output = T>) -> T {
    let silence = server.fall_silent(Duration::from_millis(1300)).unwrap();
    in_time("the operation", async { tokio::join!(operation, silence) }).await.0
}

/// The name of the node that leads a stream; nothing without a cluster.
pub async fn leader(js: &jetstream::Context, stream: &str) -> String {
    // A cluster that is still finding itself may leave a question without an answer, or have no leader.
    let found = async {
        loop {
            let Ok(found) = js.get_stream(stream).await else { continue };
            match &found.cached_info().cluster {
                Some(cluster) if cluster.leader.is_none() => {}
                cluster => return cluster.as_ref().and_then(|c| c.leader.clone()).unwrap_or_default(),
            }
        }
    };
    in_time("the leader", found).await
}
