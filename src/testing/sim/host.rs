//! A host of a simulation: a program, and all that it needs to run, be killed, and run again.

use super::{
    disk::Disk,
    net::{Line, Link, Served},
    remote::Remote,
    turns::{Doom, Ran, Turns},
    wheel::HostClock,
};
use crate::{
    engine::{Engine, StoreError, embedded::Embedded},
    error::BoxError,
    testing::Dice,
    time::Clock,
};
use futures_util::{FutureExt as _, future::BoxFuture};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// What a program sees of its host. Cheap to clone.
#[derive(Clone)]
pub struct Host(Arc<Seen>);

struct Seen {
    clock: Clock,
    line: Line,
    disk: Disk,
    boot: u32,
    doom: Doom,
    dice: Mutex<Dice>,
    engine: OnceLock<Engine>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name()).field("boot", &self.boot()).finish_non_exhaustive()
    }
}

impl Host {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.line.link.host
    }

    /// Returns how often it was started: 1 at first.
    #[must_use]
    pub fn boot(&self) -> u32 {
        self.0.boot
    }

    /// Returns its clock, which may be wrong.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Returns the true time since the simulation began, which no host's clock shows: for records of what happened.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.line.link.net.wheel.elapsed()
    }

    /// Returns the engine of the server that all hosts share, as this host reaches it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        let Seen { engine, line, clock, .. } = &*self.0;
        engine.get_or_init(|| Engine::of(Arc::new(Remote { line: line.clone() }), clock.clone())).clone()
    }

    /// Opens an engine on the host's own disk, which no other host has: what `file:PATH` is. Once a boot.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when what the disk holds cannot be opened.
    pub fn embedded(&self) -> Result<Engine, StoreError> {
        let clock = self.0.clock.clone();
        let backend = Embedded::in_turn(self.0.disk.storage(), clock.clone())?;
        Ok(Engine::of(Arc::new(backend), clock))
    }

    /// Draws a number from zero to below `sides`, by the simulation's seed.
    ///
    /// # Panics
    ///
    /// When there are no sides.
    #[must_use]
    pub fn roll(&self, sides: u64) -> u64 {
        self.0.dice.lock().unwrap_or_else(PoisonError::into_inner).roll(sides)
    }

    /// Kills this host from within: nothing of it happens any more once the caller's turn is over. It is started again after
    /// `down`.
    pub async fn crash(&self, down: Duration) -> ! {
        // Whoever was first decides.
        let _ = self.0.doom.set(down);
        loop {
            std::future::pending::<()>().await;
        }
    }

    /// Says something in the simulation's story.
    pub fn say(&self, what: impl Into<String>) {
        self.0.line.link.say(|| what.into());
    }
}

/// What a host runs each time that it is started.
pub(super) type Program = Arc<dyn Fn(Host) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync>;

/// Makes a program of a function.
pub(super) fn program<F, R>(run: F) -> Program
where
    F: Fn(Host) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Arc::new(move |host| run(host).boxed())
}

/// Runs the server's engine on its disk until it is killed.
pub(super) async fn serve(host: Host) -> Result<(), BoxError> {
    let engine = host.embedded()?;
    let down = CancellationToken::new();
    host.0.line.link.net.serve(Some(Served::new(engine, Handle::current(), down.clone())));
    down.cancelled().await;
    Ok(())
}

/// A host, up or down.
pub(super) struct Process {
    pub(super) link: Arc<Link>,
    pub(super) clock: Arc<HostClock>,
    pub(super) disk: Disk,
    program: Program,
    dice: Dice,
    up: Option<Up>,
    boots: u32,
    pub(super) paused: bool,
    /// Polls since it was started, and the one after which it is killed.
    pub(super) polls: u64,
    pub(super) crash_at: Option<u64>,
    /// Whether it only asks something, and is gone then: trouble leaves it alone.
    pub(super) asks: bool,
}

struct Up {
    turns: Turns,
    main: JoinHandle<Result<(), BoxError>>,
    /// Somebody may be ready although nobody called.
    busy: bool,
}

/// What became of a host in its turns.
pub(super) enum Fate {
    Runs,
    /// It reached the poll after which it was to be killed, or one of its tasks kills it, and it is started again after a time.
    Dies(Option<Duration>),
    Ended(Result<(), BoxError>),
    Panicked(Box<dyn std::any::Any + Send>),
}

impl Process {
    pub(super) fn new(link: Arc<Link>, clock: Arc<HostClock>, program: Program, dice: Dice) -> Self {
        let disk = Disk::new();
        Self { link, clock, disk, program, dice, up: None, boots: 0, paused: false, polls: 0, crash_at: None, asks: false }
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.is_some()
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.paused && self.up.as_ref().is_some_and(|up| up.busy || up.turns.is_called())
    }

    pub(super) fn tasks(&self) -> usize {
        self.up.as_ref().map_or(0, |up| up.turns.tasks())
    }

    /// Starts it, when it is down.
    pub(super) fn start(&mut self) {
        if self.up.is_some() {
            return;
        }
        let turns = Turns::new();
        self.boots += 1;
        let boot = self.boots;
        let dice = Dice::new(self.dice.number());
        let line = Line::new(Arc::clone(&self.link), self.link.reboot());
        let clock = Clock::of(Arc::clone(&self.clock) as _);
        let host = Host(Arc::new(Seen {
            clock,
            line,
            disk: self.disk.clone(),
            boot,
            doom: Arc::clone(turns.doom()),
            dice: Mutex::new(dice),
            engine: OnceLock::new(),
        }));
        self.link.say(|| format!("starts ({boot})"));
        let main = turns.runtime().spawn((self.program)(host));
        (self.paused, self.polls) = (false, 0);
        self.up = Some(Up { turns, main, busy: true });
    }

    /// Kills it where it is: nothing that it still does reaches anybody.
    pub(super) fn kill(&mut self) {
        let Some(up) = self.up.take() else { return };
        self.link.say(|| "is killed".to_owned());
        // In this order: destructors run while the tasks are dropped.
        self.link.reboot();
        self.disk.detach();
        up.turns.crash();
        (self.paused, self.crash_at) = (false, None);
    }

    /// Gives at most `most` of its tasks a turn.
    pub(super) fn run(&mut self, most: u64) -> (Ran, Fate) {
        let Some(up) = &mut self.up else { return (Ran { polls: 0, idle: true }, Fate::Runs) };
        let left = self.crash_at.map(|at| at.saturating_sub(self.polls));
        let ran = up.turns.run(left.map_or(most, |left| left.min(most)));
        self.polls += ran.polls;
        up.busy = !ran.idle;
        if self.crash_at.is_some_and(|at| self.polls >= at) {
            return (ran, Fate::Dies(None));
        }
        if let Some(down) = up.turns.doom().get() {
            return (ran, Fate::Dies(Some(*down)));
        }
        let fate = match (&mut up.main).now_or_never() {
            None => Fate::Runs,
            Some(Ok(outcome)) => Fate::Ended(outcome),
            Some(Err(stopped)) => match stopped.try_into_panic() {
                Ok(panic) => Fate::Panicked(panic),
                Err(stopped) => Fate::Ended(Err(stopped.into())),
            },
        };
        (ran, fate)
    }
}
