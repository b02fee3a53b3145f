//! The programs of a rehearsal's hosts: a worker that does what the test asks for, and an observer of what is stored.

use super::witness::Witness;
use crate::{
    core::snapshot::Snapshot,
    engine::{Change, Key},
    error::{BoxError, chain},
    runtime::{Runs, Runtime, RuntimeOptions},
    testing::sim::Host,
    topology::Topology,
};
use futures_util::{StreamExt as _, future::BoxFuture};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

const SPACE: &str = "rehearsal";

/// Something that the test wants done with the runs. It may be done again when its process dies.
pub(super) type Order<I, O, C> = Arc<dyn Fn(Runs<I, O, C>) -> BoxFuture<'static, ()> + Send + Sync>;

/// What all processes of a rehearsal share with its test.
pub(super) struct Stage<I, O, C> {
    app: Box<dyn Fn() -> C + Send + Sync>,
    orders: Mutex<VecDeque<Order<I, O, C>>>,
    called: Notify,
    options: Mutex<RuntimeOptions>,
}

impl<I, O, C> Stage<I, O, C> {
    pub(super) fn new(app: impl Fn() -> C + Send + Sync + 'static) -> Self {
        let (orders, options) = (Mutex::default(), Mutex::default());
        Self { app: Box::new(app), orders, called: Notify::new(), options }
    }

    pub(super) fn set_options(&self, options: RuntimeOptions) {
        *self.options.lock().unwrap_or_else(PoisonError::into_inner) = options;
    }

    fn options(&self) -> RuntimeOptions {
        self.options.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<Order<I, O, C>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the processes something to do: the one that has been idle for longest takes it.
    pub(super) fn give(&self, order: Order<I, O, C>) {
        self.orders().push_back(order);
        self.called.notify_one();
    }

    async fn next(self: &Arc<Self>) -> Taken<I, O, C> {
        loop {
            let order = self.orders().pop_front();
            match order {
                Some(order) => return Taken { stage: Arc::clone(self), order: Some(order) },
                None => self.called.notified().await,
            }
        }
    }
}

/// An order that is being done; it is there again when it is dropped before it is done.
struct Taken<I, O, C> {
    stage: Arc<Stage<I, O, C>>,
    order: Option<Order<I, O, C>>,
}

impl<I, O, C> Drop for Taken<I, O, C> {
    fn drop(&mut self) {
        if let Some(order) = self.order.take() {
            self.stage.orders().push_front(order);
            self.stage.called.notify_one();
        }
    }
}

/// A process that hosts the topology until it is killed.
pub(super) async fn work<I, O, C>(host: Host, stage: Arc<Stage<I, O, C>>, topology: Topology<I, O, C>) -> Result<(), BoxError>
where
    I: 'static,
    O: Send + 'static,
    C: Send + Sync + 'static,
{
    loop {
        let runs = match open(&host, &stage, &topology).await {
            Ok(runs) => runs,
            Err(error) => {
                // The server may be away, or out of reach.
                host.say(format!("could not start: {}", chain(&*error)));
                host.clock().sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        loop {
            let mut taken = stage.next().await;
            if let Some(order) = taken.order.clone() {
                order(runs.clone()).await;
            }
            taken.order = None;
        }
    }
}

async fn open<I, O, C>(host: &Host, stage: &Stage<I, O, C>, topology: &Topology<I, O, C>) -> Result<Runs<I, O, C>, BoxError>
where
    C: Send + Sync + 'static,
{
    let space = host.engine().space(SPACE).await?;
    let runtime = Runtime::start_with(space, stage.options()).await?;
    Ok(runtime.host(topology.clone(), (stage.app)())?)
}

/// Sees every state of every run of a topology.
pub(super) async fn observe(host: Host, topology: String, witness: Arc<Witness>) -> Result<(), BoxError> {
    let runs = Key::new("run")?.join(&Key::token(&topology));
    loop {
        if let Ok(space) = host.engine().space(SPACE).await
            && let Ok(mut changes) = space.store().watch(&runs.below()).await
        {
            while let Some(change) = changes.next().await {
                if let Change::Put(entry) = change {
                    witness.saw(Snapshot::decode(entry.value)?, host.clock().now(), host.elapsed());
                }
            }
        }
        host.clock().sleep(Duration::from_millis(100)).await;
    }
}
