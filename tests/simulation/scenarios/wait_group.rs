//! Wait groups, latches and barriers: nobody wakes up too early, and everybody does in the end, whoever dies and whatever watch breaks.

use super::Scenario;
use crate::{
    meeting,
    stage::{self, Closing, Log, SECOND, idle, micros, space},
};
use anabranch::{
    coordination::{CoordinationError, Ended, WaitGroup},
    error::BoxError,
    testing::{
        check::{
            Until,
            wait_group::{Event, check},
        },
        sim::{Host, SERVER, Simulation},
    },
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "wait_group", about: "nobody wakes up before zero, a latch or a barrier, and everybody does then", run };

const HOSTS: [&str; 3] = ["a", "b", "c"];
/// A group for each span of time.
const ROUND: Duration = Duration::from_secs(3);
const EXPIRES: Duration = Duration::from_secs(5);

/// When something was first asked for, and when it was known to be done.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    called: Option<u64>,
    returned: Option<u64>,
}

impl Step {
    fn begin(&mut self, now: u64) {
        self.called.get_or_insert(now);
    }

    fn end(&mut self, now: u64) {
        self.returned.get_or_insert(now);
    }
}

/// A member by its group and its id: when it came and went.
type Members = Arc<Mutex<BTreeMap<(String, String), (Step, Step)>>>;

/// How far a wait is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Lasts,
    /// Its host died, or it could not begin.
    Gone,
    /// A zero has woken it.
    Woken(u64),
}

/// One who waits, or waited.
#[derive(Debug, Clone)]
struct Waiter {
    host: String,
    boot: u32,
    group: String,
    called: u64,
    state: Wait,
}

#[derive(Debug, Clone, Default)]
struct Records {
    members: Members,
    waiters: Arc<Mutex<Vec<Waiter>>>,
    meetings: meeting::Meetings,
    closing: Closing,
}

impl Records {
    fn step(&self, group: &str, id: &str, change: impl FnOnce(&mut (Step, Step))) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        change(members.entry((group.to_owned(), id.to_owned())).or_default());
    }

    /// Returns the members of a host that nobody knows to have left.
    fn unfinished(&self, host: &str) -> Vec<(String, String)> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = members.iter().filter(|((_, id), (_, left))| id.starts_with(host) && left.returned.is_none());
        mine.map(|(key, _)| key.clone()).collect()
    }

    fn waits(&self, host: &Host, group: &str) -> usize {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, boot, group, called) = (host.name().to_owned(), host.boot(), group.to_owned(), micros(host));
        waiters.push(Waiter { host: name, boot, group, called, state: Wait::Lasts });
        waiters.len() - 1
    }

    fn ends(&self, waiter: usize, state: Wait) {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)[waiter].state = state;
    }

    /// Those who waited in an earlier boot wait no more.
    fn forget_waiters(&self, host: &Host) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier =
            |waiter: &&mut Waiter| waiter.host == host.name() && waiter.boot < host.boot() && waiter.state == Wait::Lasts;
        waiters.iter_mut().filter(earlier).for_each(|waiter| waiter.state = Wait::Gone);
    }

    fn all_woken(&self) -> bool {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|waiter| waiter.state != Wait::Lasts)
    }

    fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for ((group, id), (came, left)) in self.members.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for (step, by) in [(came, 1), (left, -1)] {
                if let Some(called) = step.called {
                    let (client, group) = (id.as_str().into(), group.as_str().into());
                    events.push(Event::Changed { client, group, by, called, returned: step.returned });
                }
            }
        }
        for waiter in self.waiters.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let (client, group, called) = (waiter.host.as_str().into(), waiter.group.as_str().into(), waiter.called);
            let waited = |woken| Event::Waited { client, group, called, waiting: None, woken };
            match waiter.state {
                Wait::Woken(at) => events.push(waited(Some(at))),
                Wait::Lasts => events.push(waited(None)),
                Wait::Gone => {}
            }
        }
        events
    }
}

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    for name in HOSTS {
        let records = records.clone();
        sim.host(name, move |host| work(host, records.clone()));
    }
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 5 * SECOND);
    sim.run_for(12 * SECOND);
    stage::calm(sim, &HOSTS);
    records.closing.close();
    let quiet = |records: &Records| records.all_woken() && HOSTS.iter().all(|host| records.unfinished(host).is_empty());
    sim.run_until(60 * SECOND, |_| quiet(&records));
    let events = records.events();
    if let Err(violation) = check(&events, Until::Quiet) {
        panic!("{violation}");
    }
    assert!(quiet(&records), "somebody still enters, leaves or waits: {events:?}");
    records.meetings.check(sim, &HOSTS);
    for host in HOSTS {
        sim.crash(host);
    }
    let woken = events.iter().filter(|event| matches!(event, Event::Waited { .. })).count();
    assert!(woken > 0 && events.len() > 3, "only {woken} of {} events are waits", events.len());
    a_short_zero_and_an_expiry(sim, &mut dice);
}

/// Those who surely wait see a zero that is over at once, though a watch breaks, and that a group expires whose members are dead.
fn a_short_zero_and_an_expiry(sim: &mut Simulation, dice: &mut anabranch::testing::Dice) {
    let told = Log::default();
    sim.ask(|host| async move {
        let space = space(&host).await;
        WaitGroup::new(&space, "flash")?.enter("one").await?;
        WaitGroup::new(&space, "dead")?.expires_after(EXPIRES)?.enter("nobody").await?;
        Ok(())
    });
    for name in ["d", "e"] {
        let told = told.clone();
        sim.host(name, move |host| wait_for_both(host, told.clone()));
    }
    sim.run_for(2 * SECOND);
    let broken = dice.roll(3);
    match broken {
        0 => sim.cut("d", true),
        1 => sim.crash(SERVER),
        _ => {}
    }
    sim.run_for(SECOND / 2);
    if broken == 1 {
        sim.start(SERVER);
    }
    sim.ask(|host| async move {
        let group = WaitGroup::new(&space(&host).await, "flash")?;
        group.leave("one").await?;
        group.enter("two").await?;
        Ok(())
    });
    sim.run_for(SECOND / 2);
    sim.cut("d", false);
    let all = |told: &Log<Ended>, what: Ended| told.look(|told| told.iter().filter(|ended| **ended == what).count() == 2);
    let done = sim.run_until(40 * SECOND, |_| all(&told, Ended::Zero) && all(&told, Ended::Expired));
    assert!(done, "two waited for a short zero and two for an expiry, and were told {:?}", told.look(<[Ended]>::to_vec));
}

async fn wait_for_both(host: Host, told: Log<Ended>) -> Result<(), BoxError> {
    let space = space(&host).await;
    let (flash, dead) = (WaitGroup::new(&space, "flash")?, WaitGroup::new(&space, "dead")?.expires_after(EXPIRES)?);
    let (one, other) = futures_util::future::join(flash.wait(), dead.wait()).await;
    told.push(one?);
    told.push(other?);
    Ok(())
}

/// Asks until it is done.
async fn surely<R, F>(host: &Host, ask: impl Fn() -> F) -> R
where
    F: Future<Output = Result<R, CoordinationError>>,
{
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(_) => idle(host, SECOND / 2).await,
        }
    }
}

async fn work(host: Host, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    records.forget_waiters(&host);
    // What is redelivered: members that a boot before this one may have let in or out, or not.
    for (group, id) in records.unfinished(host.name()) {
        member(&host, &records, &WaitGroup::new(&space, &group)?, &group, &id).await;
    }
    let groups = async {
        for number in 0.. {
            if records.closing.is_closed() {
                break;
            }
            let group = format!("{}", host.elapsed().as_secs() / ROUND.as_secs());
            let id = format!("{}{}.{number}", host.name(), host.boot());
            member(&host, &records, &WaitGroup::new(&space, &group)?, &group, &id).await;
            idle(&host, SECOND / 2).await;
        }
        Ok::<_, BoxError>(())
    };
    let waits = async {
        while !records.closing.is_closed() {
            let group = format!("{}", host.elapsed().as_secs() / ROUND.as_secs());
            let waiter = records.waits(&host, &group);
            match WaitGroup::new(&space, &group)?.wait().await {
                Ok(ended) => {
                    assert_eq!(ended, Ended::Zero, "group {group}, which nobody closes");
                    records.ends(waiter, Wait::Woken(micros(&host)));
                }
                Err(_) => records.ends(waiter, Wait::Gone),
            }
            idle(&host, SECOND).await;
        }
        Ok(())
    };
    let meets = records.meetings.meet(&host, &space, &HOSTS);
    futures_util::future::try_join3(groups, waits, meets).await?;
    Ok(())
}

/// Enters, works and leaves. To enter again what has left is to stay out.
async fn member(host: &Host, records: &Records, group: &WaitGroup, name: &str, id: &str) {
    records.step(name, id, |(came, _)| came.begin(micros(host)));
    let inside = surely(host, || group.enter(id)).await;
    records.step(name, id, |(came, left)| {
        came.end(micros(host));
        assert!(inside || left.called.is_some(), "{id} has entered, and is told that it has left");
    });
    if inside {
        idle(host, SECOND).await;
    }
    records.step(name, id, |(_, left)| left.begin(micros(host)));
    surely(host, || group.leave(id)).await;
    records.step(name, id, |(_, left)| left.end(micros(host)));
    let again = surely(host, || group.enter(id)).await;
    assert!(!again, "{id} has left, and was let in again");
}
