//! What workers do all the time: a little of everything that the library promises something about.
//!
//! Each file uses one kind of object and notes what it asked, what it was told and what it saw. Nobody here judges: an answer that
//! never came is noted as such, and an error that should be impossible as odd.

mod cells;
mod groups;
pub(crate) mod held;
pub(crate) mod jobs;
pub(crate) mod limits;
pub(crate) mod runs;
pub(crate) mod schedules;

use crate::{
    cluster::SPACE,
    history::{Answer, Fact, History, now},
};
use anabranch::{
    cell::CellError,
    coordination::CoordinationError,
    engine::{Engine, OpenError, Space, StoreError},
    testing::Dice,
    time::{Clock, nonce},
};
use std::{error::Error, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Where a worker is, and what it needs to work there.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// With this life's clock, which may be far off.
    pub(crate) space: Space,
    /// With a clock that is right: limiters promise nothing to clocks that are minutes apart.
    pub(crate) straight: Space,
    pub(crate) history: History,
    pub(crate) worker: u32,
    pub(crate) life: u32,
    /// By how many milliseconds the clock is ahead.
    pub(crate) ahead: i64,
    pub(crate) seed: u64,
    /// Whether nothing more is begun.
    pub(crate) over: CancellationToken,
}

impl Site {
    /// Opens the space of the workload, however long that takes.
    pub(crate) async fn open(
        url: &str,
        history: History,
        (worker, life): (u32, u32),
        ahead: i64,
        seed: u64,
    ) -> Result<Self, Failure> {
        history.note(Fact::Born { ahead });
        let space = space(url, Clock::skewed(ahead * 1000)).await?;
        let straight = self::space(url, Clock::system()).await?;
        Ok(Self { space, straight, history, worker, life, ahead, seed, over: CancellationToken::new() })
    }

    /// Chance, another one for each purpose.
    fn dice(&self, purpose: u64) -> Dice {
        Dice::new(self.seed ^ (purpose << 32))
    }

    fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    /// Waits for up to so long, or until nothing more is to be begun.
    async fn pause(&self, dice: &mut Dice, most: u64) {
        let time = Duration::from_millis(1 + dice.roll(most));
        let _ = self.space.clock().timeout(time, self.over.cancelled()).await;
    }

    fn odd(&self, what: impl Into<String>) {
        self.history.note(Fact::Odd(format!("worker {} in life {}: {}", self.worker, self.life, what.into())));
    }

    /// What an error of a cell says of what was asked.
    fn told_by_cell(&self, object: &str, error: &CellError) -> Answer {
        match error {
            CellError::Unknown(_) => Answer::Open,
            CellError::Unavailable(_)
            | CellError::Busy(_)
            | CellError::Contended { .. }
            | CellError::Fenced { .. }
            | CellError::Lost(_) => Answer::Not,
            error => {
                self.odd(format!("{object}: {}", chain(error)));
                Answer::Open
            }
        }
    }

    /// What an error of a coordination object says of what was asked.
    fn told(&self, object: &str, error: &CoordinationError) -> Answer {
        match error {
            CoordinationError::Cell { source, .. } => self.told_by_cell(object, source),
            CoordinationError::Deadline(_) => Answer::Not,
            CoordinationError::Lost(_) => Answer::Lost,
            error => {
                self.odd(format!("{object}: {}", chain(error)));
                Answer::Open
            }
        }
    }
}

async fn space(url: &str, clock: Clock) -> Result<Space, Failure> {
    loop {
        let opened = async { Ok::<_, OpenError>(Engine::open_with(url, clock.clone()).await?.space(SPACE).await?) };
        match opened.await {
            Ok(space) => return Ok(space),
            Err(OpenError::Store(StoreError::Unavailable(_) | StoreError::Unknown(_))) => {
                clock.sleep(Duration::from_millis(200)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// The name of an object that lives for a while: histories stay short, and everybody means the same one.
fn for_a_while(kind: &str, while_: Duration) -> String {
    format!("{kind}-{}", now() / u64::try_from(while_.as_nanos()).unwrap_or(u64::MAX))
}

/// What goes on until the worker is drained.
#[derive(Debug)]
pub(crate) struct Residents {
    jobs: anabranch::jobs::Worker,
    runs: runs::Host,
    scheduler: anabranch::schedule::Scheduler,
}

/// Begins everything. What is begun here ends when the site is over; the residents go on.
pub(crate) async fn begin(site: &Site) -> Result<(TaskTracker, Residents), Failure> {
    let tasks = TaskTracker::new();
    for part in 0..2 {
        tasks.spawn(cells::count(site.clone(), part));
        tasks.spawn(cells::register(site.clone(), part));
    }
    tasks.spawn(held::lock(site.clone()));
    tasks.spawn(held::semaphore(site.clone()));
    tasks.spawn(held::election(site.clone()));
    tasks.spawn(groups::enter_and_leave(site.clone()));
    tasks.spawn(groups::wait(site.clone()));
    tasks.spawn(limits::call(site.clone()));
    let residents = Residents {
        jobs: jobs::worker(site).await?,
        runs: runs::Host::start(site).await?,
        scheduler: schedules::scheduler(site).await?,
    };
    tasks.spawn(jobs::submit(site.clone()));
    tasks.spawn(runs::start(site.clone(), residents.runs.runs.clone()));
    tasks.spawn(schedules::receive(site.clone()));
    tasks.close();
    Ok((tasks, residents))
}

impl Residents {
    pub(crate) async fn drain(self) {
        self.jobs.drain_within(Duration::from_secs(5)).await;
        self.scheduler.drain().await;
        self.runs.drain().await;
    }
}

/// A number that no other process draws.
fn unique() -> u64 {
    nonce() >> 12
}
