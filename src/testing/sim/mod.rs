//! A deterministic simulation of the whole library: hosts, a server, virtual time and trouble, decided by one seed.
//!
//! Everything runs on the calling thread, and one seed is one execution. Each host is a tokio runtime of its own that is polled one
//! task at a time (`turns`), so a host can be killed between any two polls, which is at any point at which it awaits something. Time
//! jumps from one event to the next (`wheel`), and each host has a clock of its own that may be off or drift. The server is an
//! embedded engine on a disk in memory (`disk`), and hosts reach it over links that delay and lose messages (`net`, `remote`).
//!
//! What could stand in the way of determinism, and how it is contained: tokio's runtime has one thread a host, no timer and no I/O; its
//! `select!` is biased everywhere in this library and in ractor; ractor's actors are tasks of the host's runtime, so they go with it; redb runs
//! in the server's tasks, without a thread, on a disk that the simulation holds; ids, nonces and jitter come from the seed through
//! [`take_chances_from`]. What is left is the order of hash maps, which this library decides nothing by. That all
//! of this is so is checked: two executions of a seed have one [fingerprint](Simulation::fingerprint), in which every poll of
//! every host is.
//!
//! The design is that of `FoundationDB`'s simulation (Zhou et al., "`FoundationDB`: A Distributed Unbundled Transactional Key Value
//! Store", SIGMOD 2021), with processes as runtimes as turmoil has them.

mod disk;
mod explore;
mod host;
mod net;
mod remote;
mod trace;
mod trouble;
mod turns;
mod wheel;

pub use disk::Disk;
pub use explore::{Explored, Failure, explore};
pub use host::Host;
pub use trouble::Trouble;

use crate::{
    error::{BoxError, chain},
    testing::Dice,
    time::{Timestamp, take_chances_from},
};
use host::{Fate, Process, program, serve};
use net::{Link, Net};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    future::Future,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use trace::Trace;
use trouble::What;
use wheel::{HostClock, Wheel};

/// The name of the host that runs the engine.
pub const SERVER: &str = "server";

/// How many tasks of one host have their turn before others may have theirs, at most.
const SLICE: u64 = 16;
/// How long an answer may take, in virtual time, before a simulation takes it that none will come.
const ANSWER: Duration = Duration::from_secs(24 * 3600);

/// One world, decided by a seed.
///
/// ```
/// use anabranch::{engine::{Expect, Key, PutOptions}, testing::sim::Simulation};
/// use std::time::Duration;
///
/// let mut sim = Simulation::new(7);
/// sim.host("writer", |host| async move {
///     let space = host.engine().space("shop").await?;
///     host.clock().sleep(Duration::from_secs(3600)).await;
///     space.store().put(&Key::new("greeting")?, "hello".into(), Expect::Absent, PutOptions::default()).await?;
///     Ok(())
/// });
/// sim.run_for(Duration::from_secs(7200));
/// let entry = sim.ask(|host| async move {
///     Ok(host.engine().space("shop").await?.store().get(&Key::new("greeting")?).await?)
/// });
/// assert_eq!(&*entry.expect("it was written").value, b"hello");
/// ```
pub struct Simulation {
    seed: u64,
    net: Arc<Net>,
    dice: Dice,
    /// Where hosts take their ids and nonces from.
    chance: Rc<RefCell<Dice>>,
    /// The server is the first.
    hosts: Vec<Process>,
    agenda: BTreeMap<(Duration, u64), Deed>,
    deeds: u64,
    troubles: Vec<Trouble>,
}

/// What the simulation does at a moment.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Start(usize),
    Resume(usize),
    Heal(usize),
    Trouble(usize),
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation").field("seed", &self.seed).field("elapsed", &self.elapsed()).finish_non_exhaustive()
    }
}

impl Simulation {
    /// Makes a world with a server in it. Every seed is as good as any other.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let chance = Rc::new(RefCell::new(Dice::new(dice.number())));
        let net = Net::new(Wheel::new(Dice::new(dice.number())), Trace::default());
        let (agenda, hosts) = (BTreeMap::new(), Vec::new());
        let mut sim = Self { seed, net, dice, chance, hosts, agenda, deeds: 0, troubles: Vec::new() };
        sim.host(SERVER, serve);
        // Whoever comes first finds it open.
        while sim.net.served().is_none() && sim.step() {}
        sim
    }

    /// Returns the seed that it was made with.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Sets how many lines of its story are kept, which [`Display`](fmt::Display) tells: the last 400 unless it is set.
    ///
    /// ```
    /// let mut sim = anabranch::testing::sim::Simulation::new(7);
    /// sim.keep_story(1);
    /// sim.crash("server");
    /// let story = sim.to_string();
    /// assert!(story.contains("(what came before is not kept)") && story.contains("is killed"), "{story}");
    /// ```
    pub fn keep_story(&mut self, lines: usize) {
        self.net.trace.keep(lines);
    }

    /// Adds a host and starts it. `run` is what it runs now, and again whenever it is started after a crash; when it returns, the
    /// host is down.
    ///
    /// # Panics
    ///
    /// When there is a host of that name.
    pub fn host<F, R>(&mut self, name: &str, run: F)
    where
        F: Fn(Host) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        assert!(self.place(name).is_none(), "there is a host `{name}` already");
        let link = Link::new(Arc::clone(&self.net), name.into(), Dice::new(self.dice.number()));
        let clock = HostClock::new(&self.net.wheel);
        let dice = Dice::new(self.dice.number());
        self.hosts.push(Process::new(link, clock, program(run), dice));
        let last = self.hosts.len() - 1;
        self.with_chances(|sim| sim.hosts[last].start());
    }

    /// Runs something on a host of its own until it has an answer, while everything else goes on, and returns the answer.
    ///
    /// # Panics
    ///
    /// When it fails, or has no answer within a day of virtual time.
    pub fn ask<T, F, R>(&mut self, run: F) -> T
    where
        T: Send + 'static,
        F: Fn(Host) -> R + Send + Sync + 'static,
        R: Future<Output = Result<T, BoxError>> + Send + 'static,
    {
        let answer = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&answer);
        let run = move |host: Host| {
            let (slot, asked) = (Arc::clone(&slot), run(host));
            async move {
                let told = asked.await?;
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
                Ok(())
            }
        };
        let name = format!("asker-{}", self.dice.number());
        self.host(&name, run);
        let asker = self.hosts.len() - 1;
        self.hosts[asker].asks = true;
        let limit = self.elapsed() + ANSWER;
        while self.hosts[asker].is_up() {
            assert!(self.elapsed() < limit && self.step(), "no answer came\n{self}");
        }
        let told = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It is the last one unless the answer added others, which it cannot.
        drop(self.hosts.remove(asker));
        told.expect("a program that ended well has left its answer")
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.hosts.iter().position(|host| *host.link.host == *name)
    }

    fn known(&self, name: &str) -> usize {
        self.place(name).unwrap_or_else(|| panic!("there is no host `{name}`"))
    }

    fn named(&mut self, name: &str) -> &mut Process {
        let place = self.known(name);
        &mut self.hosts[place]
    }

    fn with_chances<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        /// Gives the thread its own chances back, also when something panics.
        struct Lent(Option<crate::time::Chance>);
        impl Drop for Lent {
            fn drop(&mut self) {
                drop(take_chances_from(self.0.take()));
            }
        }
        let chance = Rc::clone(&self.chance);
        let _lent = Lent(take_chances_from(Some(Box::new(move || chance.borrow_mut().number()))));
        act(self)
    }

    /// Returns how much virtual time has passed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.net.wheel.elapsed()
    }

    /// Returns the true wall time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        wheel::ORIGIN + self.elapsed()
    }

    /// Returns a number that two executions share only when the same things happened in the same order: every poll of every host,
    /// every call and its outcome.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.net.trace.fingerprint()
    }

    /// Returns how many things happened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.net.trace.events()
    }

    /// Returns how many tasks live on a host: what was spawned and has not ended.
    ///
    /// # Panics
    ///
    /// When there is no such host, as everything here that takes a name.
    pub fn tasks(&mut self, name: &str) -> usize {
        self.named(name).tasks()
    }

    /// Returns how many wait for a moment to come.
    #[must_use]
    pub fn sleepers(&self) -> usize {
        self.net.wheel.sleepers()
    }

    /// Returns how often tasks of a host were polled since it was started.
    pub fn polls(&mut self, name: &str) -> u64 {
        self.named(name).polls
    }

    /// Tells whether a host runs.
    pub fn is_up(&mut self, name: &str) -> bool {
        self.named(name).is_up()
    }

    /// Returns a host's disk.
    pub fn disk(&mut self, name: &str) -> Disk {
        self.named(name).disk.clone()
    }

    /// Lets virtual time pass, with everything that is due in it.
    ///
    /// # Panics
    ///
    /// When the program of a host fails or panics, as all that lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.elapsed().saturating_add(duration);
        while self.next().is_some_and(|at| at <= until) && self.step() {}
        self.net.wheel.pass_to(until);
    }

    /// Lets time pass until `done`, or until `limit` of virtual time has passed; tells whether it was done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = self.elapsed().saturating_add(limit);
        loop {
            if done(self) {
                return true;
            }
            if self.next().is_none_or(|at| at > until) || !self.step() {
                self.net.wheel.pass_to(until);
                return done(self);
            }
        }
    }

    /// Returns when something happens next: now, when a host has something to do.
    fn next(&self) -> Option<Duration> {
        if self.hosts.iter().any(Process::is_ready) {
            return Some(self.elapsed());
        }
        let deed = self.agenda.first_key_value().map(|((at, _), _)| *at);
        deed.into_iter().chain(self.net.wheel.next()).min()
    }

    /// Does one thing; `false` when nothing will ever happen again.
    fn step(&mut self) -> bool {
        let ready: Vec<_> = (0..self.hosts.len()).filter(|&n| self.hosts[n].is_ready()).collect();
        if !ready.is_empty() {
            let chosen = ready[usize::try_from(self.dice.roll(ready.len() as u64)).unwrap_or(0)];
            let most = 1 + self.dice.roll(SLICE);
            self.with_chances(|sim| sim.take_turns(chosen, most));
            return true;
        }
        let sleeper = self.net.wheel.next();
        match self.agenda.first_entry() {
            Some(first) if sleeper.is_none_or(|at| first.key().0 <= at) => {
                let ((at, _), deed) = first.remove_entry();
                self.net.wheel.pass_to(at);
                self.with_chances(|sim| sim.perform(deed));
                true
            }
            _ => {
                let Some(at) = sleeper else { return false };
                self.net.wheel.turn(at);
                true
            }
        }
    }

    fn take_turns(&mut self, chosen: usize, most: u64) {
        let at = self.elapsed();
        let (ran, fate) = self.hosts[chosen].run(most);
        self.net.trace.count(at, chosen, ran.polls);
        match fate {
            Fate::Runs => {}
            Fate::Dies(down) => {
                self.kill(chosen);
                if let Some(down) = down {
                    self.plan(down, Deed::Start(chosen));
                }
            }
            Fate::Ended(outcome) => {
                let host = Arc::clone(&self.hosts[chosen].link.host);
                self.net.trace.say(at, &host, "ends".to_owned());
                self.kill(chosen);
                if let Err(error) = outcome {
                    panic!("`{host}` failed: {}\n{self}", chain(&*error));
                }
            }
            Fate::Panicked(panic) => {
                self.kill(chosen);
                std::panic::resume_unwind(panic);
            }
        }
    }

    fn kill(&mut self, place: usize) {
        if place == 0 {
            self.net.serve(None);
            self.hosts.iter().for_each(|host| host.link.break_off());
        }
        self.hosts[place].kill();
    }

    fn plan(&mut self, after: Duration, deed: Deed) {
        self.deeds += 1;
        self.agenda.insert((self.elapsed().saturating_add(after), self.deeds), deed);
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Start(place) => self.hosts[place].start(),
            Deed::Resume(place) => self.hosts[place].paused = false,
            Deed::Heal(place) => self.hosts[place].link.cut(false),
            Deed::Trouble(number) => self.strike(number),
        }
    }

    /// Draws about as long as `mean`.
    fn about(&mut self, mean: Duration) -> Duration {
        let nanos = u64::try_from(mean.as_nanos()).unwrap_or(u64::MAX / 2);
        Duration::from_nanos(self.dice.roll(nanos.saturating_mul(2).max(1)))
    }

    fn strike(&mut self, number: usize) {
        let Some(Trouble { what, every, lasting, hosts }) = self.troubles.get(number).cloned() else { return };
        let named = |host: &Process| hosts.iter().any(|name| **name == *host.link.host);
        let struck: Vec<_> = (0..self.hosts.len())
            .filter(|&n| self.hosts[n].is_up() && !self.hosts[n].asks)
            .filter(|&n| if hosts.is_empty() { n > 0 } else { named(&self.hosts[n]) })
            .collect();
        if !struck.is_empty() {
            let place = struck[usize::try_from(self.dice.roll(struck.len() as u64)).unwrap_or(0)];
            let lasts = self.about(lasting);
            self.hosts[place].link.say(|| format!("meets {what:?} for {lasts:?}"));
            match what {
                What::Crash | What::PowerLoss => {
                    self.kill(place);
                    if what == What::PowerLoss {
                        self.hosts[place].disk.lose_power(&mut self.dice, false);
                    }
                    self.plan(lasts, Deed::Start(place));
                }
                What::Pause => {
                    self.hosts[place].paused = true;
                    self.plan(lasts, Deed::Resume(place));
                }
                What::Cut => {
                    self.hosts[place].link.cut(true);
                    self.plan(lasts, Deed::Heal(place));
                }
                What::Break => self.hosts[place].link.break_off(),
            }
        }
        let next = self.about(every);
        self.plan(next, Deed::Trouble(number));
    }

    /// Lets something go wrong again and again from now on.
    pub fn trouble(&mut self, trouble: Trouble) {
        let first = self.about(trouble.every);
        self.troubles.push(trouble);
        self.plan(first, Deed::Trouble(self.troubles.len() - 1));
    }

    /// Ends all trouble: what is down is started, what is cut off is reached again, what stands still goes on. Hosts whose program
    /// returned stay down.
    pub fn calm(&mut self) {
        self.troubles.clear();
        let planned = std::mem::take(&mut self.agenda);
        for deed in planned.into_values() {
            if !matches!(deed, Deed::Trouble(_)) {
                self.with_chances(|sim| sim.perform(deed));
            }
        }
    }

    /// Kills a host now.
    ///
    /// # Panics
    ///
    /// When there is no such host.
    pub fn crash(&mut self, name: &str) {
        let place = self.known(name);
        self.with_chances(|sim| sim.kill(place));
    }

    /// Kills a host now, and its disk loses what was not synced: some of it, or `all`.
    pub fn lose_power(&mut self, name: &str, all: bool) {
        self.crash(name);
        let disk = self.disk(name);
        disk.lose_power(&mut self.dice, all);
    }

    /// Kills a host right after the poll of this number since its start: with each number from one to
    /// [`polls`](Self::polls) it dies at every point at which it awaits something.
    pub fn crash_at_poll(&mut self, name: &str, poll: u64) {
        self.named(name).crash_at = Some(poll.max(1));
    }

    /// Starts a host that is down.
    ///
    /// # Panics
    ///
    /// When there is no such host.
    pub fn start(&mut self, name: &str) {
        let place = self.known(name);
        self.with_chances(|sim| sim.hosts[place].start());
    }

    /// Lets a host stand still, or go on. Its clocks go on meanwhile.
    pub fn pause(&mut self, name: &str, paused: bool) {
        self.named(name).paused = paused;
    }

    /// Tells whether a host stands still.
    ///
    /// # Panics
    ///
    /// When there is no such host.
    #[must_use]
    pub fn is_paused(&self, name: &str) -> bool {
        self.hosts[self.known(name)].paused
    }

    /// Cuts a host off from the server, or lets it reach it again.
    pub fn cut(&mut self, name: &str, cut: bool) {
        self.named(name).link.cut(cut);
    }

    /// Sets how long messages between a host and the server are under way, each by chance.
    pub fn latency(&mut self, name: &str, least: Duration, most: Duration) {
        self.named(name).link.weather(|weather| (weather.least, weather.most) = (least, most.max(least)));
    }

    /// Sets how many of a thousand messages between a host and the server get lost, requests and answers alike: an answer that is
    /// lost leaves an unknown outcome of something that happened.
    pub fn loss(&mut self, name: &str, of_a_thousand: u16) {
        self.named(name).link.weather(|weather| weather.loss = of_a_thousand);
    }

    /// Sets how far a host's wall clock is ahead of the true time, in microseconds, and how much faster its clocks run, in
    /// millionths (-500,000 to 500,000), from now on. Who is asleep already wakes up when he would have.
    pub fn skew(&mut self, name: &str, ahead_micros: i64, drift_ppm: i64) {
        self.named(name).clock.skew(ahead_micros, drift_ppm);
    }
}

impl fmt::Display for Simulation {
    /// Writes the seed, and the end of the story.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {} after {:?} of virtual time:\n{}", self.seed, self.elapsed(), self.net.trace)
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // Hosts before the server, as it would be if they were killed one by one: nobody waits for an answer any more.
        self.with_chances(|sim| (0..sim.hosts.len()).rev().for_each(|place| sim.kill(place)));
    }
}
