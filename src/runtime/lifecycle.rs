//! One worker: it lives, hosts topologies, takes over what the dead left, and leaves in good order.

use super::{
    error::RunError,
    hosted::{Hosted, Shared},
    message::Msg,
    options::{HostOptions, RuntimeOptions},
    recovery::{self, Host, Hosts},
    root::Root,
    runs::Runs,
    worker::{self, Worker},
};
use crate::{engine::Space, topology::Topology};
use ractor::Actor as _;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// One worker of a space: hosts topologies and drives their runs.
///
/// Clones are handles of one worker. Dropping the last one, and the last [`Runs`] and [`Run`](super::Run) of it, stops the work where it is, as a crash
/// would: others take the runs over when the lease is over. [`drain`](Self::drain) leaves in good order.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{engine::Engine, runtime::Runtime, Topology};
///
/// let mut t = Topology::builder::<String>("greeting");
/// let name = t.input();
/// let hello = t.node("hello", name, async |_, name: String| Ok(format!("hello, {name}")));
/// let topology = t.build(hello)?;
///
/// let engine = Engine::open("memory:").await?;
/// let runtime = Runtime::start(engine.space("demo").await?).await?;
/// let runs = runtime.host(topology, ())?;
/// let run = runs.start("run-1", "ann".to_string()).await?;
/// assert_eq!(run.outcome().await?, "hello, ann");
/// runtime.drain().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

/// Dropped with the last handle; the background tasks hold only what is shared.
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    hosts: Arc<Hosts>,
    lives: Mutex<Option<DropGuard>>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("shared", &self.inner.shared).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.gone.cancel();
        self.shared.draining.cancel();
        // Takes the run actors with it, and they their bodies.
        self.shared.root.kill();
    }
}

impl Runtime {
    /// Starts a worker with default options.
    ///
    /// # Errors
    ///
    /// [`RunError::Store`] when its first heartbeat could not be stored.
    pub async fn start(space: Space) -> Result<Self, RunError> {
        Self::start_with(space, RuntimeOptions::default()).await
    }

    /// Starts a worker.
    ///
    /// # Errors
    ///
    /// [`RunError::Store`] when its first heartbeat could not be stored.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn start_with(space: Space, options: RuntimeOptions) -> Result<Self, RunError> {
        let worker = Arc::new(Worker::new(space.clone(), options.lease));
        // Before anything is owned: whoever meets this worker's name in a snapshot finds that it lives.
        worker.beat().await?;
        let (failed, failures) = mpsc::unbounded_channel();
        let (root, _) = Root::spawn(None, Root, failed).await.expect("the root has nothing to fail at");
        let stopped = CancellationToken::new();
        let shared = Arc::new(Shared {
            space,
            options,
            worker: Arc::clone(&worker),
            root,
            draining: CancellationToken::new(),
            tasks: TaskTracker::new(),
            claims: TaskTracker::new(),
            gone: CancellationToken::new(),
        });
        let hosts: Arc<Hosts> = Arc::default();
        let (died, deaths) = mpsc::unbounded_channel();
        let work = {
            let (shared, hosts) = (Arc::clone(&shared), Arc::clone(&hosts));
            async move {
                tokio::join!(worker::live(worker, died), recovery::keep_watch(shared, hosts, deaths, failures));
            }
        };
        let until = stopped.clone();
        shared.tasks.spawn(async move {
            until.run_until_cancelled(work).await;
        });
        let lives = Mutex::new(Some(stopped.drop_guard()));
        Ok(Self { inner: Arc::new(Inner { shared, hosts, lives }) })
    }

    /// Returns this worker's id, as snapshots name it.
    #[must_use]
    pub fn worker_id(&self) -> &str {
        &self.inner.shared.worker.me().worker
    }

    /// Returns the space that it works in.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.inner.shared.space
    }

    /// Hosts a topology with its application state.
    ///
    /// Runs of dead workers are taken over from now on; [`Runs::recover`] does it at once for those that are known to be dead.
    ///
    /// # Errors
    ///
    /// [`RunError::InvalidId`] when the topology's name is too long to be part of a key.
    pub fn host<I, O, C>(&self, topology: Topology<I, O, C>, app: C) -> Result<Runs<I, O, C>, RunError>
    where
        C: Send + Sync + 'static,
    {
        self.host_with(topology, app, HostOptions::default())
    }

    /// Hosts a topology with options.
    ///
    /// # Errors
    ///
    /// As [`host`](Self::host).
    pub fn host_with<I, O, C>(
        &self,
        topology: Topology<I, O, C>,
        app: C,
        options: HostOptions,
    ) -> Result<Runs<I, O, C>, RunError>
    where
        C: Send + Sync + 'static,
    {
        const MAX_NAME: usize = 128;
        if topology.name().is_empty() || crate::engine::Key::token(topology.name()).len() > MAX_NAME {
            return Err(RunError::InvalidId(topology.name().to_owned()));
        }
        let definition = Arc::clone(topology.definition());
        let hosted = Arc::new(Hosted::new(Arc::clone(&self.inner.shared), definition, Arc::new(app), options));
        hosted.listen();
        self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&hosted) as Arc<dyn Host>);
        Ok(Runs::new(hosted, topology, self.clone()))
    }

    /// Leaves in good order: takes nothing up any more, asks bodies to stop, waits for them up to the options' `drain_timeout`,
    /// persists that their nodes are to start again elsewhere, and tells the other workers that this one is gone.
    ///
    /// Always returns; what could not be stored is reported, and costs others the wait for the lease.
    ///
    /// # Errors
    ///
    /// [`RunError::Store`] when others could not be told.
    pub async fn drain(&self) -> Result<(), RunError> {
        let shared = &self.inner.shared;
        shared.draining.cancel();
        shared.claims.close();
        let hosts = self.inner.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let clock = shared.space.clock();
        let release = || futures_util::future::join_all(hosts.iter().map(|h| h.release(|| Msg::Release)));
        let released = async {
            release().await;
            // A claim that was under way gives its run an actor yet.
            shared.claims.wait().await;
            release().await;
        };
        if clock.timeout(shared.options.drain_timeout, released).await.is_none() {
            let grace = shared.options.lease;
            let dropped = futures_util::future::join_all(hosts.iter().map(|h| h.release(|| Msg::ReleaseNow)));
            if clock.timeout(grace, dropped).await.is_none() {
                tracing::warn!("runs could not be let go in time: their takeover waits for the lease");
            }
        }
        // The heartbeat goes on until here, so that nobody takes a run whose body is still ending.
        drop(self.inner.lives.lock().unwrap_or_else(PoisonError::into_inner).take());
        shared.tasks.close();
        let _ = clock.timeout(shared.options.lease, shared.tasks.wait()).await;
        let left = clock.timeout(shared.options.lease, shared.worker.leave()).await;
        shared.root.stop(None);
        match left {
            Some(outcome) => Ok(outcome?),
            None => Err(crate::engine::StoreError::Unavailable("the store did not answer".into()).into()),
        }
    }

    /// Stops at once without a word to anybody, as a crash would: for tests of what happens then.
    #[cfg(feature = "testing")]
    pub fn crash(&self) {
        drop(self.inner.lives.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.inner.shared.gone.cancel();
        self.inner.shared.draining.cancel();
        self.inner.shared.root.kill();
    }
}
