//! A test environment for topologies: runs of one, in virtual time, with failures that a test injects into its nodes.
//!
//! A [`Rehearsal`] plays a topology as it is, with its real bodies and an application state of the test's making, in one or several
//! processes of a [simulation](crate::testing::sim). Days pass in milliseconds, a process dies where the test says, and what was stored
//! is a [`Timeline`] that can be asked. Nothing is mocked between the bodies and the store: retries, timeouts, takeovers and signals
//! are the runtime's own. Bodies sleep by [`Ctx::clock`](crate::Ctx::clock) and call fakes in their application state, since there is
//! neither real time nor I/O; a body that reaches for tokio's fails the test, and is told so.
//!
//! Frameworks for durable execution call this a test environment with time skipping; see Temporal's `TestWorkflowEnvironment`.

mod cast;
mod changes;
mod fault;
mod process;
mod timeline;
mod witness;

pub use fault::{Attempts, Fault};
pub use timeline::{Entry, NodeTimeline, Timeline, What};

use crate::{
    codec::Payload,
    core::snapshot::{NodeStatus, RunStatus, Snapshot},
    runtime::{RunError, Runs, RuntimeOptions},
    testing::sim::{Simulation, Trouble},
    topology::{Signal, Topology},
};
use fault::Faults;
use process::{Order, Stage, observe, work};
use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use witness::{Rest, Witness};

/// The one who watches what is stored.
const OBSERVER: &str = "observer";
/// How much virtual time a question may take.
const ANSWER: Duration = Duration::from_secs(3600);
/// How much virtual time a run may work until its outcome is given up, unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs of a topology in virtual time.
///
/// What is wrong with a run is told with its whole timeline. A fault that no attempt met fails the test when the rehearsal is dropped:
/// it would have shown nothing.
///
/// ```
/// use anabranch::{
///     RetryPolicy, Signal, Topology,
///     core::snapshot::RunStatus,
///     testing::rehearsal::{Fault, Rehearsal},
/// };
/// use std::time::Duration;
///
/// const APPROVAL: Signal<String> = Signal::new("approval");
/// const SECOND: Duration = Duration::from_secs(1);
///
/// // The topology of the application, with its real bodies.
/// let mut t = Topology::builder::<u64>("order");
/// let cents = t.input();
/// let charge = t.node("charge", cents, async |_, cents: u64| Ok(format!("paid {cents}")));
/// t.options(charge).retry(RetryPolicy::default().fixed(30 * SECOND).jitter(0));
/// let approval = t.wait_for("approve", charge, APPROVAL);
/// let ship = t.node("ship", (charge, approval), async |_, (paid, by): (String, String)| Ok(format!("{paid}, approved by {by}")));
/// let order = t.build(ship)?;
///
/// let mut rehearsal = Rehearsal::new(order, || ());
/// rehearsal.inject("charge", 1, Fault::error("the bank is away"));
/// rehearsal.inject("ship", 1, Fault::crash());
/// rehearsal.start("order-1", 4999);
/// rehearsal.skip(3 * 24 * 3600 * SECOND);
/// rehearsal.timeline("order-1").expect_status(RunStatus::Suspended);
/// rehearsal.signal("order-1", APPROVAL, "ann".to_string());
/// assert_eq!(rehearsal.outcome("order-1")?, "paid 4999, approved by ann");
///
/// let timeline = rehearsal.timeline("order-1");
/// timeline.expect_order(["charge", "approve", "ship"]).expect_status(RunStatus::Completed);
/// timeline.node("charge").expect_failures(["the bank is away"]).expect_waits([30 * SECOND]);
/// timeline.node("ship").expect_attempts(2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Rehearsal<I, O, C> {
    sim: Simulation,
    topology: Topology<I, O, C>,
    stage: Arc<Stage<I, O, C>>,
    witness: Arc<Witness>,
    faults: Arc<Faults>,
    processes: Vec<String>,
    patience: Duration,
}

impl<I, O, C> fmt::Debug for Rehearsal<I, O, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Rehearsal");
        debug
            .field("topology", &self.topology)
            .field("sim", &self.sim)
            .field("processes", &self.processes)
            .finish_non_exhaustive()
    }
}

impl<I, O, C> Rehearsal<I, O, C>
where
    I: Payload,
    O: Send + 'static,
    C: Send + Sync + 'static,
{
    /// Prepares to play a topology in one process. `app` makes the application state of a process, and is called again when one is
    /// started after a crash: what is to survive, as a fake of a service outside does, the test shares between them.
    ///
    /// Everything is decided by the seed 0; [`seeded`](Self::seeded) takes another.
    pub fn new(topology: Topology<I, O, C>, app: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self::seeded(0, topology, app)
    }

    /// Prepares to play a topology as a seed decides: who has its turn first, how long messages take, what jitter adds to delays.
    pub fn seeded(seed: u64, topology: Topology<I, O, C>, app: impl Fn() -> C + Send + Sync + 'static) -> Self {
        let mut sim = Simulation::new(seed);
        let (witness, faults) = (Arc::<Witness>::default(), Arc::<Faults>::default());
        let (watched, eyes) = (topology.name().to_owned(), Arc::clone(&witness));
        sim.host(OBSERVER, move |host| observe(host, watched.clone(), Arc::clone(&eyes)));
        sim.latency(OBSERVER, Duration::ZERO, Duration::ZERO);
        let stage = Arc::new(Stage::new(app));
        let processes = Vec::new();
        Self { sim, topology, stage, witness, faults, processes, patience: PATIENCE }.workers(1)
    }

    /// Plays in so many processes, at least one, called `worker-1` and so on. Runs are started in each in turn, and what one leaves
    /// is taken over by another.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        for number in self.processes.len()..workers.max(1) {
            let name = format!("worker-{}", number + 1);
            let (stage, topology) = (Arc::clone(&self.stage), self.topology.clone());
            let (faults, witness) = (Arc::clone(&self.faults), Arc::clone(&self.witness));
            self.sim.host(&name, move |host| {
                let cast = cast::Cast { faults: Arc::clone(&faults), witness: Arc::clone(&witness), process: host.clone() };
                work(host, Arc::clone(&stage), cast.play(&topology))
            });
            self.processes.push(name);
        }
        self
    }

    /// Sets how the runtimes behave from their next start on; to be called first. What costs time is heartbeats: a longer lease makes
    /// days in which bodies work cheaper.
    #[must_use]
    pub fn options(self, options: RuntimeOptions) -> Self {
        self.stage.set_options(options);
        self
    }

    /// Sets for how much virtual time the bodies of a run may work before [`outcome`](Self::outcome) gives it up; an hour otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Lets something go wrong in attempts of a node, in every run; of several faults for an attempt, the one that was injected last.
    ///
    /// # Panics
    ///
    /// When the topology has no such node, or the node has no body because it waits for a signal.
    #[track_caller]
    pub fn inject(&mut self, node: &str, attempts: impl Into<Attempts>, fault: Fault) -> &mut Self {
        let graph = self.topology.graph();
        let names: Vec<_> = graph.nodes().map(|(_, node)| &*node.name).collect();
        let Some(id) = graph.find(node) else {
            panic!("there is no node `{node}` in `{}`, only {names:?}", graph.name());
        };
        assert!(
            !matches!(graph.node(id).kind, crate::core::graph::NodeKind::Wait { .. }),
            "the node `{node}` waits for a signal and has no body in which something could go wrong"
        );
        self.faults.inject(node, attempts.into(), fault);
        self
    }

    /// Starts a run in one of the processes, or joins the one that has the id, and returns once it is stored.
    ///
    /// # Panics
    ///
    /// When it is refused; [`ask`](Self::ask) tells in which way.
    #[track_caller]
    pub fn start(&mut self, run: &str, input: I) -> &mut Self {
        let input = input.encode().unwrap_or_else(|error| panic!("the input of `{run}` cannot be written: {error}"));
        let id = run.to_owned();
        let started = self.ask(move |runs| {
            let (id, input) = (id.clone(), I::decode(&input));
            async move { runs.start(&id, input?).await.map(drop) }
        });
        self.taken(run, "start", started)
    }

    /// Sends a signal to a run, and returns once it is stored.
    ///
    /// # Panics
    ///
    /// When it is refused; [`ask`](Self::ask) tells in which way.
    #[track_caller]
    pub fn signal<T: Payload>(&mut self, run: &str, signal: Signal<T>, payload: T) -> &mut Self {
        let payload =
            payload.encode().unwrap_or_else(|error| panic!("the signal `{}` cannot be written: {error}", signal.name()));
        let id = run.to_owned();
        let sent = self.tell(move |runs| {
            let (id, signal, payload) = (id.clone(), signal.clone(), T::decode(&payload));
            async move { runs.signal(&id, signal, payload?).await }
        });
        self.taken(run, "signal", sent)
    }

    /// Asks a run to end.
    ///
    /// # Panics
    ///
    /// When it is refused; [`ask`](Self::ask) tells in which way.
    #[track_caller]
    pub fn cancel(&mut self, run: &str, reason: &str) -> &mut Self {
        let (id, reason) = (run.to_owned(), reason.to_owned());
        let cancelled = self.tell(move |runs| {
            let (id, reason) = (id.clone(), reason.clone());
            async move { runs.cancel(&id, reason).await }
        });
        self.taken(run, "cancel", cancelled)
    }

    /// Moves a run again that failed.
    ///
    /// # Panics
    ///
    /// When it is refused; [`ask`](Self::ask) tells in which way.
    #[track_caller]
    pub fn resume(&mut self, run: &str) -> &mut Self {
        let id = run.to_owned();
        let resumed = self.ask(move |runs| {
            let id = id.clone();
            async move { runs.resume(&id).await.map(drop) }
        });
        self.taken(run, "resume", resumed)
    }

    /// Asks for something that is refused when it was done before: by a process that died before it could say so.
    #[track_caller]
    fn tell<F, R>(&mut self, act: F) -> Result<(), RunError>
    where
        F: Fn(Runs<I, O, C>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), RunError>> + Send + 'static,
    {
        let tried = AtomicBool::new(false);
        self.ask(move |runs| {
            let (again, acts) = (tried.swap(true, Ordering::Relaxed), act(runs));
            async move {
                match acts.await {
                    Err(RunError::Refused(_)) if again => Ok(()),
                    outcome => outcome,
                }
            }
        })
    }

    #[track_caller]
    fn taken(&mut self, run: &str, what: &str, outcome: Result<(), RunError>) -> &mut Self {
        if let Err(error) = outcome {
            panic!("could not {what} `{run}`: {}\n{}", crate::error::chain(&error), self.timeline(run));
        }
        self
    }

    /// Does something with the runs in one of the processes, while time passes, and returns what came of it. When its process dies
    /// meanwhile it is done again in another.
    ///
    /// # Errors
    ///
    /// What `act` returns.
    ///
    /// # Panics
    ///
    /// When no process answers within an hour of virtual time.
    #[track_caller]
    pub fn ask<T, F, R>(&mut self, act: F) -> Result<T, RunError>
    where
        T: Send + 'static,
        F: Fn(Runs<I, O, C>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, RunError>> + Send + 'static,
    {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let order: Order<I, O, C> = Arc::new(move |runs| {
            let (slot, acts) = (Arc::clone(&slot), act(runs));
            Box::pin(async move {
                let told = acts.await;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
            })
        });
        self.stage.give(order);
        let take = || answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut told = None;
        let witness = Arc::clone(&self.witness);
        self.sim.run_until(ANSWER, |_| {
            told = take();
            told.is_some() || witness.complaint().is_some()
        });
        self.complain();
        self.witness.stir(self.sim.elapsed());
        told.unwrap_or_else(|| panic!("no process answered\n{}", self.sim))
    }

    /// Lets virtual time pass, with everything that is due in it. Time in which nothing is due costs nothing.
    pub fn skip(&mut self, time: Duration) -> &mut Self {
        self.pass(time, true, |_| false);
        self
    }

    /// Lets time pass until a run is as `wanted`, and returns it.
    ///
    /// # Panics
    ///
    /// With the timeline, when it does not become so: because nothing moves it any more, or because its bodies worked for longer than
    /// the rehearsal's [patience](Self::patience).
    #[track_caller]
    pub fn run_until(&mut self, run: &str, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let reached = self.pass(self.patience, false, |witness| witness.is(run, &wanted));
        let newest = self.witness.newest(run);
        match newest {
            Some(newest) if reached => newest,
            newest => {
                panic!("the run `{run}` does not become what is expected: {}\n{}", why(newest.as_ref()), self.timeline(run))
            }
        }
    }

    /// Lets time pass until a run has ended, and returns its output.
    ///
    /// # Errors
    ///
    /// As [`Run::outcome`](crate::runtime::Run::outcome): [`RunError::Failed`] and [`RunError::Cancelled`].
    ///
    /// # Panics
    ///
    /// With the timeline, when it does not end: because it waits for a signal that nobody sends, or because its bodies worked for
    /// longer than the rehearsal's [patience](Self::patience).
    #[track_caller]
    pub fn outcome(&mut self, run: &str) -> Result<O, RunError> {
        self.run_until(run, |snapshot| snapshot.status.is_terminal());
        let id = run.to_owned();
        self.ask(move |runs| {
            let id = id.clone();
            async move { runs.get(&id).await?.outcome().await }
        })
    }

    /// Returns what happened to a run so far.
    #[must_use]
    pub fn timeline(&self, run: &str) -> Timeline {
        Timeline { run: run.to_owned(), entries: self.witness.entries(run) }
    }

    /// Returns how much virtual time has passed since the rehearsal began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.sim.elapsed()
    }

    /// Kills a process now, wherever its bodies are; [`start_process`](Self::start_process) starts it again.
    ///
    /// # Panics
    ///
    /// When there is no process of that name.
    #[track_caller]
    pub fn crash(&mut self, process: &str) -> &mut Self {
        self.sim.crash(process);
        self
    }

    /// Starts a process that is down.
    ///
    /// # Panics
    ///
    /// When there is no process of that name.
    #[track_caller]
    pub fn start_process(&mut self, process: &str) -> &mut Self {
        self.sim.start(process);
        self
    }

    /// Lets something befall the processes again and again from now on, whichever hosts the trouble names.
    pub fn trouble(&mut self, trouble: Trouble) -> &mut Self {
        self.sim.trouble(trouble.of(self.processes.iter().cloned()));
        self
    }

    /// Returns the simulation, for what else can be done to it: a cut off server, lost messages, clocks that are wrong.
    pub fn simulation(&mut self) -> &mut Simulation {
        &mut self.sim
    }

    /// Lets time pass until `done`, for at most `most` in which something happens; time in which nothing does is skipped, and counts
    /// when `patient`. Without patience it ends where nothing will ever happen.
    #[track_caller]
    fn pass(&mut self, most: Duration, patient: bool, done: impl Fn(&Witness) -> bool) -> bool {
        let (witness, alone) = (Arc::clone(&self.witness), self.processes.len() == 1);
        let mut left = most;
        loop {
            let (mut rest, begun) = (None, self.sim.elapsed());
            self.sim.run_until(left, |sim| {
                rest = None;
                if done(&witness) || witness.complaint().is_some() {
                    return true;
                }
                rest = witness.rest(sim.now(), sim.elapsed(), alone);
                rest.is_some()
            });
            self.complain();
            left = left.saturating_sub(self.sim.elapsed().saturating_sub(begun));
            if done(&witness) {
                return true;
            }
            let skipped = match rest {
                Some(Rest::ForEver) if patient => left,
                Some(Rest::Until(at)) if patient => at.since(self.sim.now()).min(left),
                Some(Rest::Until(at)) => at.since(self.sim.now()),
                None | Some(Rest::ForEver) => return false,
            };
            // Processes that stand still notice nothing of it: what they hold is theirs, and nobody else is there to take it.
            let standing: Vec<_> = self.processes.iter().filter(|process| !self.sim.is_paused(process)).cloned().collect();
            for process in &standing {
                self.sim.pause(process, true);
            }
            self.sim.run_for(skipped);
            for process in &standing {
                self.sim.pause(process, false);
            }
            self.sim.run_for(Duration::ZERO);
            if patient {
                left = left.saturating_sub(skipped);
                if left.is_zero() {
                    self.complain();
                    return done(&witness);
                }
            }
        }
    }

    #[track_caller]
    fn complain(&self) {
        if let Some(complaint) = self.witness.complaint() {
            panic!("{complaint}");
        }
    }
}

/// Why a run does not move.
fn why(newest: Option<&Snapshot>) -> String {
    let Some(newest) = newest else { return "there is no such run".to_owned() };
    let named = |status: NodeStatus| {
        let nodes: Vec<_> = newest.nodes.iter().filter(|node| node.status == status).map(|node| &*node.name).collect();
        nodes.join("`, `")
    };
    match newest.status {
        RunStatus::Suspended => format!("it waits for the signal of `{}`", named(NodeStatus::Suspended)),
        RunStatus::Running => format!("it still runs, in `{}`", named(NodeStatus::Running)),
        status => format!("it is {status}"),
    }
}

impl<I, O, C> Drop for Rehearsal<I, O, C> {
    fn drop(&mut self) {
        if let Some(idle) = self.faults.idle().filter(|_| !std::thread::panicking()) {
            panic!("a fault was injected that no attempt met: {idle}");
        }
    }
}
