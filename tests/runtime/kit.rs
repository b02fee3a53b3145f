//! Queues that tell what was done with their messages, and waits that are not sleeps.

use anabranch::{
    Ctx, NodeResult, Topology,
    engine::{Delivery, Message, Name, Published, Pull, Queue, QueueOptions, Settle, Space, Store, StoreError},
    runtime::{DeadLetter, Runtime, RuntimeOptions},
    testing::faulty::{Call, FaultyStore},
    time::Clock,
    topology::NodeOptions,
};
use async_trait::async_trait;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};

pub const LEASE: Duration = Duration::from_secs(3);
pub const ACK_WAIT: Duration = Duration::from_secs(30);

pub fn options() -> RuntimeOptions {
    RuntimeOptions::default().lease(LEASE).drain_timeout(Duration::from_secs(5)).stop_grace(Duration::from_secs(2))
}

/// A worker whose store misbehaves as it is told to.
pub async fn faulty_worker(space: &Space) -> (Runtime, Arc<FaultyStore>) {
    let faulty = FaultyStore::over(space, 1);
    let runtime =
        Runtime::start_with(space.clone().with_store(Arc::clone(&faulty) as Arc<dyn Store>), options()).await.unwrap();
    (runtime, faulty)
}

/// Whether a call writes what is stored of a run.
pub fn of_a_run(call: &Call<'_>) -> bool {
    call.writes_below("run.")
}

/// One node, `work`, with a body and options.
pub fn single<C, F, Fut>(options: impl FnOnce(&mut NodeOptions), body: F) -> Topology<u64, u64, C>
where
    C: Send + Sync + 'static,
    F: Fn(Ctx<C>, u64) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = NodeResult<u64>> + Send + 'static,
{
    let mut t = Topology::builder::<u64>("single").app::<C>();
    let input = t.input();
    let work = t.node("work", input, body);
    options(t.options(work));
    t.build(work).unwrap()
}

pub async fn queue(space: &Space, name: &str) -> Arc<dyn Queue> {
    space.queue(name, QueueOptions::default()).await.unwrap()
}

pub async fn publish(queue: &Arc<dyn Queue>, input: u64) -> u64 {
    queue.publish(Message::new(serde_json::to_vec(&input).unwrap())).await.unwrap().sequence
}

/// Lets time pass in which nothing is waited for: for what must not happen meanwhile.
pub async fn time_passes(space: &Space, time: Duration) {
    assert!(space.clock().timeout(time, std::future::pending::<()>()).await.is_none());
}

/// Everything that is in a queue, once whoever had it has been silent for long enough.
pub async fn left_in(space: &Space, queue: &Arc<dyn Queue>) -> Vec<Message> {
    let mut pull = queue.pull().await.unwrap();
    let mut left = Vec::new();
    while let Some(some) = space.clock().timeout(ACK_WAIT * 3, pull.next(NonZeroUsize::MIN)).await {
        for delivery in some.unwrap() {
            left.push(delivery.message().clone());
            delivery.ack().await.unwrap();
        }
    }
    left
}

/// The records in a dead-letter queue.
pub async fn letters(space: &Space, name: &str) -> Vec<DeadLetter> {
    let left = left_in(space, &queue(space, name).await).await;
    left.into_iter().map(|message| DeadLetter::decode(message.payload).unwrap()).collect()
}

/// A queue that tells what was done with its messages, and misbehaves as it is told to.
#[derive(Debug, Clone)]
pub struct Told {
    queue: Arc<dyn Queue>,
    said: watch::Sender<Vec<String>>,
    mischief: watch::Sender<Mischief>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    None,
    /// Acknowledgements are lost on their way.
    LoseAcks,
    /// Acknowledgements are never answered, and lost.
    HangAcks,
    /// Extensions are never answered, and lost.
    HangExtensions,
    /// It takes a second to hand a message back.
    SlowReturns,
}

impl Told {
    pub async fn of(space: &Space, name: &str) -> Arc<Self> {
        let queue = queue(space, name).await;
        Arc::new(Self { queue, said: watch::Sender::default(), mischief: watch::Sender::new(Mischief::None) })
    }

    pub fn queue(self: &Arc<Self>) -> Arc<dyn Queue> {
        Arc::clone(self) as Arc<dyn Queue>
    }

    pub fn mischief(&self, mischief: Mischief) {
        self.mischief.send_replace(mischief);
    }

    pub async fn publish(&self, input: u64) -> u64 {
        publish(&self.queue, input).await
    }

    pub fn said(&self) -> Vec<String> {
        self.said.borrow().clone()
    }

    pub fn count(&self, start: &str) -> usize {
        self.said.borrow().iter().filter(|s| s.starts_with(start)).count()
    }

    /// Waits until something was said that starts so, `times` times.
    pub async fn until(&self, start: &str, times: usize) {
        let mut said = self.said.subscribe();
        said.wait_for(|all| all.iter().filter(|s| s.starts_with(start)).count() >= times).await.unwrap();
    }
}

#[async_trait]
impl Queue for Told {
    fn name(&self) -> &Name {
        self.queue.name()
    }

    fn options(&self) -> &QueueOptions {
        self.queue.options()
    }

    async fn publish(&self, message: Message) -> Result<Published, StoreError> {
        self.queue.publish(message).await
    }

    async fn pull(&self) -> Result<Box<dyn Pull>, StoreError> {
        Ok(Box::new(ToldPull { queue: self.clone(), pull: self.queue.pull().await? }))
    }
}

#[derive(Debug)]
struct ToldPull {
    queue: Told,
    pull: Box<dyn Pull>,
}

#[async_trait]
impl Pull for ToldPull {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        let some = self.pull.next(max).await?;
        self.queue.say(format!("pulled {} of {max}", some.len()));
        let told = some.into_iter().map(|delivery| {
            let (message, sequence) = (delivery.message().clone(), delivery.sequence());
            let (attempt, at, queue) = (delivery.attempt(), delivery.published_at(), self.queue.clone());
            let settle = ToldSettle { queue, sequence, delivery: Mutex::new(Some(delivery)) };
            Delivery::new(message, sequence, attempt, at, Box::new(settle))
        });
        Ok(told.collect())
    }

    async fn close(self: Box<Self>) {
        self.pull.close().await;
        self.queue.say("closed".into());
    }
}

impl Told {
    fn say(&self, what: String) {
        self.said.send_modify(|said| said.push(what));
    }
}

struct ToldSettle {
    queue: Told,
    sequence: u64,
    delivery: Mutex<Option<Delivery>>,
}

impl ToldSettle {
    async fn take(&self) -> Delivery {
        self.delivery.lock().await.take().expect("a delivery is settled once")
    }
}

#[async_trait]
impl Settle for ToldSettle {
    async fn ack(&self) -> Result<(), StoreError> {
        let delivery = self.take().await;
        self.queue.say(format!("ack {}", self.sequence));
        let mischief = *self.queue.mischief.borrow();
        match mischief {
            Mischief::LoseAcks => Err(StoreError::Unknown("lost".into())),
            Mischief::HangAcks => std::future::pending().await,
            Mischief::None | Mischief::HangExtensions | Mischief::SlowReturns => delivery.ack().await,
        }
    }

    async fn retry(&self, after: Duration) -> Result<(), StoreError> {
        let slow = *self.queue.mischief.borrow() == Mischief::SlowReturns;
        if slow {
            let second = Duration::from_secs(1);
            let _ = Clock::system().timeout(second, std::future::pending::<()>()).await;
        }
        self.take().await.retry(after).await?;
        self.queue.say(format!("retry {} in {after:?}", self.sequence));
        Ok(())
    }

    async fn reject(&self) -> Result<(), StoreError> {
        self.queue.say(format!("reject {}", self.sequence));
        self.take().await.reject().await
    }

    async fn extend(&self) -> Result<(), StoreError> {
        self.queue.say(format!("extend {}", self.sequence));
        let hangs = *self.queue.mischief.borrow() == Mischief::HangExtensions;
        if hangs {
            std::future::pending::<()>().await;
        }
        self.delivery.lock().await.as_ref().expect("not settled yet").extend().await
    }
}
