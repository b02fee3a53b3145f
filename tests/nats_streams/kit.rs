//! What the tests share: other clients, names of their own, and waiting with an end.

use anabranch::{
    engine::{Delivery, Engine, Pull, Queue, Stream, StreamOptions},
    time::{Clock, nonce},
};
use async_nats::jetstream::{self, consumer, stream};
use std::{num::NonZeroUsize, time::Duration};

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(60), future).await else { panic!("{what} takes too long") };
    done
}

/// Another client.
pub async fn client(url: &str) -> jetstream::Context {
    jetstream::new(async_nats::connect(url).await.unwrap())
}

pub async fn open(url: &str, name: &str, options: StreamOptions) -> Stream {
    Engine::open(url).await.unwrap().stream(name, options).await.unwrap()
}

pub fn fresh() -> String {
    format!("ORDERS-{:x}", nonce())
}

/// A stream as a service in another language makes it: a tree of subjects, everything else as its client does by default.
pub async fn theirs(js: &jetstream::Context, name: &str) -> stream::Stream {
    let subjects = vec![format!("{name}.>")];
    js.create_stream(stream::Config { name: name.to_owned(), subjects, ..Default::default() }).await.unwrap()
}

/// The configurations of a stream and of its consumers, by name.
pub async fn configuration(js: &jetstream::Context, name: &str) -> (stream::Config, Vec<consumer::Config>) {
    use futures_util::TryStreamExt as _;
    let stream = js.get_stream(name).await.unwrap();
    let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
    let mut consumers: Vec<_> = consumers.into_iter().map(|info| info.config).collect();
    consumers.sort_by(|a, b| a.durable_name.cmp(&b.durable_name));
    (stream.cached_info().config.clone(), consumers)
}

/// Waits for one message, however often the server is away.
pub async fn next(pull: &mut dyn Pull) -> Delivery {
    let one = in_time("a message", async {
        loop {
            if let Ok(mut taken) = pull.next(NonZeroUsize::MIN).await {
                break taken.remove(0);
            }
        }
    });
    one.await
}

/// Takes and acknowledges one message.
pub async fn take(queue: &dyn Queue) -> String {
    let mut pull = queue.pull().await.unwrap();
    let delivery = next(&mut *pull).await;
    let payload = text(&delivery);
    delivery.ack().await.unwrap();
    pull.close().await;
    payload
}

pub fn text(delivery: &Delivery) -> String {
    String::from_utf8(delivery.message().payload.to_vec()).unwrap()
}
