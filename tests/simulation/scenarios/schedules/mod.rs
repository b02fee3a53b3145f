//! Schedules and delayed messages, seen to by three hosts that crash, stand still, are cut off, leave and have other clocks, on each of the
//! roads: timers, a leader that polls, and a leader on an engine without commits.
//!
//! What arrives is recorded with the time at which the server took it, which is the true time. Each firing that the rule says is sent once,
//! or accounted for as its schedule says; none is early by more than a clock is ahead. Where firings wait for each other, none comes before
//! the one before was said to have ended, or is given up on.

mod delays;

use super::{Scenario, leaving::Leaving};
use anabranch::{
    engine::{Message, Name, Outgoing, QueueOptions, Space},
    error::BoxError,
    schedule::{Event, Missed, Overlap, Schedule, Scheduler, Schedules, Status, fired_by},
    testing::{
        Dice, LesserStore,
        check::schedules::{self, check},
        sim::{Host, SERVER, Simulation, Trouble},
    },
    time::Timestamp,
};
use delays::Delays;
use futures_util::StreamExt as _;
use std::{
    collections::BTreeMap,
    num::{NonZeroU32, NonZeroUsize},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::task::TaskTracker;

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "schedules", about: "what is due is sent once, or accounted for, whoever sees to it", run };

const SCHEDULERS: [&str; 3] = ["a", "b", "c"];
/// Says what is to be sent, and changes its mind.
const CLIENT: &str = "client";
/// Receives it.
const INBOX: &str = "inbox";
const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(2);
/// When every simulation begins.
const ORIGIN: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// For how many seconds things go wrong, and how many more it takes until everything that was due was sent.
const TROUBLE: u32 = 24;
const CALM: u32 = 15;
/// After which a firing of which nothing is known is given up on.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far clocks are off at most, and how fast, in microseconds and millionths.
const AHEAD: i64 = 500_000;
const DRIFT: i64 = 10_000;
/// By how much a clock is off at most until the end; two of them are twice as far apart.
const CLOCKS: Duration = Duration::from_millis(1100);

/// How it is found out what is due, and how it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Road {
    Timers,
    Index,
    Bare,
}

impl Road {
    fn on(self, space: Space) -> Space {
        match self {
            Self::Timers => space,
            Self::Index => space.clone().with_store(LesserStore::without_timers(&space)),
            Self::Bare => space.clone().with_store(LesserStore::without_commits(&space)),
        }
    }

    /// Where a firing is one commit, nothing depends on the queue's dropping what comes twice.
    fn queue(self) -> QueueOptions {
        let window = if self == Self::Bare { QueueOptions::default().dedupe_window } else { SECOND / 10 };
        QueueOptions::default().dedupe_window(window).ack_wait(3 * SECOND)
    }
}

/// What arrived.
#[derive(Debug, Clone)]
struct Came {
    /// The firing's time, or nothing for a delayed message.
    due: Option<u64>,
    payload: String,
    /// When the server took it.
    at: u64,
}

#[derive(Default)]
struct Seen {
    /// By the place in the queue.
    came: BTreeMap<u64, Came>,
    /// When it was first said of a firing that it has ended, by its id.
    finished: BTreeMap<String, u64>,
    /// When whoever sent a firing decided on it, by his clock and by its id: the server may have stood still before it took it.
    decided: BTreeMap<String, u64>,
    delays: Delays,
}

#[derive(Clone)]
struct World {
    road: Road,
    seen: Arc<Mutex<Seen>>,
    leaving: Leaving,
}

impl World {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(host: &Host) -> u64 {
    u64::try_from(host.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The true time of a time of day.
fn true_micros(at: Timestamp) -> u64 {
    u64::try_from(at.since(ORIGIN).as_micros()).unwrap_or(u64::MAX)
}

fn to_inbox(payload: &str) -> Outgoing {
    Outgoing { queue: Name::new("inbox").expect("a name"), message: Message::new(payload.to_owned()) }
}

/// Everything that is scheduled.
fn schedules() -> Vec<Schedule> {
    let all = Missed::All(NonZeroU32::new(1000).expect("not zero"));
    let schedule = |name: &str, rule: &str| {
        // All that is due from then on, whenever the schedule comes to be.
        Schedule::new(name, rule.parse().expect("a rule"), to_inbox(name)).since(ORIGIN + SECOND / 2).patience(PATIENCE)
    };
    vec![
        schedule("each", "@every 2s").missed(all),
        schedule("cron", "*/3 * * * * *").missed(Missed::Last).tolerance(3 * SECOND),
        schedule("drop", "*/4 * * * * *").missed(Missed::Skip).tolerance(3 * SECOND),
        schedule("skip", "@every 2s").missed(all).overlap(Overlap::Skip),
        schedule("line", "@every 3s").missed(all).overlap(Overlap::Queue),
    ]
}

fn run(sim: &mut Simulation) {
    let mut dice = Dice::new(sim.seed() ^ 0x5C4E_D01E);
    let road = [Road::Timers, Road::Index, Road::Bare][usize::try_from(dice.roll(3)).unwrap_or(0)];
    let world = World { road, seen: Arc::default(), leaving: Leaving::default() };
    for name in SCHEDULERS {
        let world = world.clone();
        sim.host(name, move |host| see_to_it(host, world.clone()));
    }
    let (client, inbox) = (world.clone(), world.clone());
    sim.host(CLIENT, move |host| delays::change(host, client.clone()));
    sim.host(INBOX, move |host| receive(host, inbox.clone()));
    go_wrong(sim, &mut dice);
    let outage = dice.roll(u64::from(TROUBLE)) + 1;
    for second in 1..=u64::from(TROUBLE) {
        sim.run_for(SECOND);
        world.leaving.restart(sim);
        if second == outage && dice.roll(2) == 0 {
            // Nobody sees to it for a while.
            for name in SCHEDULERS {
                sim.crash(name);
            }
            sim.run_for(8 * SECOND);
            for name in SCHEDULERS {
                sim.start(name);
            }
        }
    }
    sim.calm();
    for name in SCHEDULERS.into_iter().chain([CLIENT, INBOX]) {
        sim.loss(name, 0);
        sim.start(name);
    }
    world.leaving.restart(sim);
    let calm = sim.elapsed();
    for _ in 0..CALM {
        sim.run_for(SECOND);
        world.leaving.restart(sim);
    }
    // What a wrong clock makes late is not due yet; and what somebody was woken up for who just left comes to another one after the silence of
    // five seconds that stands for a death.
    let until = sim.elapsed().saturating_sub(7 * SECOND);
    let statuses = sim.ask(move |host| async move {
        let schedules = Schedules::new(&road.on(host.engine().space("shop").await?))?;
        for schedule in self::schedules() {
            schedules.pause(schedule.name()).await?;
        }
        Ok(schedules.list().await?)
    });
    let paused = sim.elapsed();
    // What was decided is on its way.
    for _ in 0..6 {
        sim.run_for(SECOND);
        world.leaving.restart(sim);
    }
    let seen = world.seen();
    for status in &statuses {
        judge(&seen, status, until, paused);
    }
    assert_eq!(statuses.len(), schedules().len());
    seen.delays.judge(&seen.came, calm);
    let fired = seen.came.values().filter(|came| came.due.is_some()).count();
    assert!(fired > 20 && seen.came.len() > fired, "{fired} firings, and {} messages", seen.came.len());
}

/// Lets everything go wrong that can.
fn go_wrong(sim: &mut Simulation, dice: &mut Dice) {
    let everyone = || SCHEDULERS.into_iter().chain([CLIENT]);
    for name in everyone() {
        let off = |dice: &mut Dice, most: i64| i64::try_from(dice.roll(most.unsigned_abs() * 2 + 1)).unwrap_or(0) - most;
        let (ahead, drift) = (off(dice, AHEAD), off(dice, DRIFT));
        sim.skew(name, ahead, drift);
        sim.loss(name, u16::try_from(dice.roll(30)).unwrap_or(0));
        sim.latency(name, Duration::from_micros(100), Duration::from_millis(1 + dice.roll(40)));
    }
    let kinds = [
        Trouble::crash(4 * SECOND).lasting(SECOND).of(everyone()),
        Trouble::pause(4 * SECOND).lasting(4 * SECOND).of(everyone()),
        Trouble::cut(5 * SECOND).lasting(3 * SECOND).of(everyone()),
        Trouble::broken_connection(3 * SECOND).of(SCHEDULERS.into_iter().chain([CLIENT, INBOX])),
        Trouble::crash(8 * SECOND).lasting(SECOND).of([SERVER]),
        Trouble::power_loss(8 * SECOND).lasting(SECOND).of([SERVER]),
        Trouble::pause(12 * SECOND).lasting(2 * SECOND).of([SERVER]),
    ];
    for kind in kinds {
        if dice.roll(4) > 0 {
            sim.trouble(kind);
        }
    }
}

/// Complains by a panic about what is wrong with a schedule.
fn judge(seen: &Seen, status: &Status, until: Duration, paused: Duration) {
    let name = status.schedule.name();
    let rule = status.schedule.rule();
    let came: Vec<&Came> = seen.came.values().filter(|came| came.due.is_some() && came.payload == name).collect();
    let due: Vec<u64> = std::iter::successors(rule.next_after(ORIGIN + SECOND / 2), |at| rule.next_after(*at))
        .map(true_micros)
        .take_while(|due| Duration::from_micros(*due) <= paused + CLOCKS)
        .collect();
    let at_least = due.iter().filter(|due| Duration::from_micros(**due) <= until).count();
    let of = || name.into();
    let mut events: Vec<schedules::Event> = due.iter().map(|due| schedules::Event::Due { schedule: of(), due: *due }).collect();
    let fired =
        |came: &&Came| schedules::Event::Fired { schedule: of(), due: came.due.unwrap_or(0), by: "server".into(), at: came.at };
    events.extend(came.iter().map(fired));
    let none = |due: &&u64| came.iter().all(|came| came.due != Some(**due));
    // The record says how many, and not which: those of which nothing came.
    let plan = status.schedule.plan();
    // One may have waited for another that still went on: such a one was dropped when the schedule was paused.
    let waited = plan.overlap == Overlap::Queue && status.running.is_some();
    let dropped = status.missed + status.skipped + u64::from(waited);
    let silent = due.iter().filter(none).take(usize::try_from(dropped).unwrap_or(usize::MAX));
    events.extend(silent.map(|due| schedules::Event::Skipped {
        schedule: of(),
        due: *due,
        why: "counted as dropped".into(),
        at: *due,
    }));
    let last = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
    if let Err(violation) = check(&events, CLOCKS, Some(last)) {
        panic!("{violation}\n{status:?}");
    }
    assert_eq!(status.fired, came.len() as u64, "so many of {name} arrived: {status:?}");
    let decided = usize::try_from(status.fired + dropped).unwrap_or(usize::MAX);
    let at_most = due.len() + usize::from(waited);
    assert!((at_least..=at_most).contains(&decided), "{decided} of {at_least} to {at_most} were decided: {status:?}");
    if matches!(plan.missed, Missed::All(_)) {
        assert_eq!(status.missed, 0, "all of {name} are made up for");
    }
    if plan.overlap == Overlap::Allow {
        assert_eq!(status.skipped, 0, "nothing of {name} waits");
    } else {
        in_turn(seen, name, &came);
    }
}

/// None comes while the one before goes on.
fn in_turn(seen: &Seen, name: &str, came: &[&Came]) {
    let mut turns: Vec<&&Came> = came.iter().collect();
    turns.sort_by_key(|came| came.due);
    for pair in turns.windows(2) {
        let [before, next] = pair else { continue };
        let id = format!("{name}@{}", ORIGIN + Duration::from_micros(before.due.unwrap_or(0)));
        // Patience counts from the decision. Of one who died since it is only known that it was not before its time.
        let since = seen.decided.get(&id).copied().unwrap_or(before.due.unwrap_or(0));
        let given_up = since + u64::try_from(PATIENCE.saturating_sub(2 * CLOCKS).as_micros()).unwrap_or(0);
        let over = seen.finished.get(&id).copied().unwrap_or(u64::MAX).min(given_up);
        assert!(next.at >= over, "{next:?} of {name} came before {before:?} was over at {over} us");
    }
}

/// Sees to what is due until it is killed or leaves.
async fn see_to_it(host: Host, world: World) -> Result<(), BoxError> {
    let scheduler = loop {
        if let Ok(space) = host.engine().space("shop").await
            && let Ok(scheduler) = Scheduler::builder(&world.road.on(space)).lease(LEASE).drain_timeout(SECOND).spawn().await
        {
            break scheduler;
        }
        host.clock().sleep(SECOND / 4).await;
    };
    let told = async {
        let mut events = scheduler.events();
        while let Some(event) = events.next().await {
            if let Event::Fired { firing, late, .. } = event {
                world.seen().decided.insert(firing.id, true_micros(firing.at + late));
            }
        }
    };
    host.clock().timeout(SECOND * u32::try_from(3 + host.roll(40))?, told).await;
    host.say("leaves");
    scheduler.drain().await;
    world.leaving.leave(&host);
    Ok(())
}

/// Takes what arrives, and says of some firings that they have ended, and of others nothing.
async fn receive(host: Host, world: World) -> Result<(), BoxError> {
    let space = loop {
        match host.engine().space("shop").await {
            Ok(space) => break world.road.on(space),
            Err(_) => host.clock().sleep(SECOND / 4).await,
        }
    };
    let schedules = Schedules::new(&space)?;
    let mut pull = loop {
        if let Ok(queue) = space.queue("inbox", world.road.queue()).await
            && let Ok(pull) = queue.pull().await
        {
            break pull;
        }
        host.clock().sleep(SECOND / 4).await;
    };
    let tasks = TaskTracker::new();
    loop {
        let Ok(some) = pull.next(NonZeroUsize::MIN).await else {
            host.clock().sleep(SECOND / 4).await;
            continue;
        };
        for delivery in some {
            let firing = fired_by(&delivery).map(|(name, at)| (name.to_owned(), true_micros(at)));
            let payload = String::from_utf8_lossy(&delivery.message().payload).into_owned();
            if let Some((name, _)) = &firing {
                assert_eq!(*name, payload);
            }
            let at = true_micros(delivery.published_at());
            let id = delivery.message().id.clone().unwrap_or_default();
            let came = Came { due: firing.map(|(_, due)| due), payload: payload.clone(), at };
            // What comes again comes from the same place.
            world.seen().came.insert(delivery.sequence(), came);
            drop(delivery.ack().await);
            if (payload == "skip" || payload == "line") && host.roll(3) > 0 {
                let (host, world, schedules) = (host.clone(), world.clone(), schedules.clone());
                tasks.spawn(async move {
                    host.clock().sleep(Duration::from_millis(host.roll(3000))).await;
                    let at = micros(&host);
                    world.seen().finished.entry(id.clone()).or_insert(at);
                    drop(schedules.finished(&id).await);
                });
            }
        }
    }
}
