//! A process: what it opens, how it asks, and what it does step by step.

use super::book::{Book, Told};
use crate::{
    engine::{
        BucketOptions, Commit, Engine, Expect, Key, Message, Outgoing, PutOptions, Queue, QueueOptions, Rejection, Scope,
        Space, StoreError, StreamOptions, Tally, Timer,
    },
    testing::Dice,
    time::Clock,
};
use futures_util::StreamExt as _;
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// How long a process waits for an answer.
pub(super) const ANSWER: Duration = Duration::from_secs(3);
/// How long a worker may be silent in each queue.
const ACK_WAIT: Duration = Duration::from_secs(1);
/// How often a process tries to hold what others hold.
const TRIES: usize = 20;

/// What the history is about.
#[derive(Debug)]
pub(super) struct Places {
    /// A space, and a bucket where the engine has them.
    pub(super) stores: Vec<Space>,
    /// A queue of the space, and a stream where the engine has them.
    pub(super) lanes: Vec<Arc<dyn Queue>>,
    pub(super) tally: Option<Arc<dyn Tally>>,
}

impl Places {
    /// Opens everything, as often as it takes.
    pub(super) async fn open(engine: &Engine, name: &str) -> Self {
        let space = until_open(async || engine.space(name).await).await.expect("every engine has spaces");
        let bucket = until_open(async || engine.bucket(format!("{name}-bucket"), BucketOptions::default()).await).await;
        let options = || QueueOptions::default().ack_wait(ACK_WAIT);
        let queue = until_open(async || space.queue("lane", options()).await).await.expect("every space has queues");
        let options = || StreamOptions::default().ack_wait(ACK_WAIT);
        let stream = until_open(async || engine.stream(format!("{name}-stream"), options()).await).await;
        let tally = until_open(async || space.tally().await).await;
        let lanes = std::iter::once(queue).chain(stream.map(Into::into)).collect();
        Self { stores: std::iter::once(space).chain(bucket).collect(), lanes, tally }
    }

    pub(super) fn space(&self) -> &Space {
        &self.stores[0]
    }

    pub(super) fn clock(&self) -> &Clock {
        self.space().clock()
    }
}

/// Opens something; `None` where the engine has no such thing.
async fn until_open<T>(open: impl AsyncFn() -> Result<T, StoreError>) -> Option<T> {
    loop {
        match Clock::system().timeout(ANSWER, open()).await {
            Some(Ok(opened)) => return Some(opened),
            Some(Err(StoreError::Rejected(Rejection::Unsupported { .. }))) => return None,
            Some(Err(StoreError::Rejected(rejection))) => panic!("{rejection}"),
            Some(Err(_)) => Clock::system().sleep(Duration::from_millis(5)).await,
            None => {}
        }
    }
}

#[derive(Debug)]
pub(super) struct Process<'a> {
    pub(super) number: usize,
    pub(super) places: Places,
    pub(super) book: &'a Book,
    dice: Mutex<Dice>,
    /// What it decides by when it works on messages, which is at the same time.
    pub(super) work: Mutex<Dice>,
}

impl<'a> Process<'a> {
    pub(super) async fn open(engine: &Engine, number: usize, seed: u64, book: &'a Book, truth: &Places) -> Self {
        let places = Places::open(engine, truth.space().name().as_str()).await;
        Self { number, places, book, dice: Mutex::new(Dice::new(seed)), work: Mutex::new(Dice::new(!seed)) }
    }

    pub(super) fn roll(&self, sides: u64) -> u64 {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner).roll(sides)
    }

    /// Asks for something once, and says what became of it.
    pub(super) async fn ask<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> (Told, Option<T>) {
        match self.places.clock().timeout(ANSWER, call).await {
            Some(Ok(done)) => (Told::Done, Some(done)),
            None | Some(Err(StoreError::Unknown(_))) => (Told::Unclear, None),
            Some(Err(StoreError::Conflict | StoreError::Unavailable(_))) => (Told::Refused, None),
            Some(Err(StoreError::Rejected(rejection))) => panic!("seed {}: {rejection}", self.book.seed),
        }
    }

    /// Asks for something that changes nothing until it is there.
    pub(super) async fn until_done<T>(&self, call: impl AsyncFn() -> Result<T, StoreError>) -> T {
        loop {
            if let Some(done) = self.ask(call()).await.1 {
                return done;
            }
            self.pause().await;
        }
    }

    /// Waits a little, so that others get on.
    pub(super) async fn pause(&self) {
        let pause = Duration::from_micros(500 + self.roll(10_000));
        self.places.clock().sleep(pause).await;
    }

    pub(super) async fn take_steps(&self, steps: usize) {
        for _ in 0..steps {
            match self.roll(12) {
                0..4 => self.append().await,
                4..6 => self.append_together().await,
                6 => self.hold().await,
                7 => self.count().await,
                8 | 9 => self.publish().await,
                10 => self.put_for_a_while().await,
                _ if self.roll(2) == 0 => self.list().await,
                _ => self.arm().await,
            }
        }
    }

    /// Is alone with a key for a moment: it creates it, and removes it.
    async fn hold(&self) {
        let (store, lock, name) = (self.places.space().store(), held(), self.book.name(self.number));
        let mut revision = None;
        for _ in 0..TRIES {
            let put = store.put(&lock, name.clone().into(), Expect::Absent, PutOptions::default());
            revision = self.ask(put).await.1;
            if revision.is_none()
                && let Some(Some(found)) = self.ask(store.get(&lock)).await.1
            {
                let holder = String::from_utf8_lossy(&found.value).into_owned();
                let is_over = self.book.open().over.contains(&holder);
                if holder == name {
                    // Nobody but us removes it, so it is there also where the read is stale.
                    revision = Some(found.revision);
                } else if is_over {
                    self.ask(store.delete(&lock, Expect::At(found.revision))).await;
                }
            }
            if revision.is_some() {
                break;
            }
            self.pause().await;
        }
        if let Some(revision) = revision {
            self.enter();
            self.pause().await;
            self.book.open().holder = None;
            self.book.open().over.insert(name);
            // What stays is removed by whoever finds it.
            self.ask(store.delete(&lock, Expect::At(revision))).await;
        } else {
            // It may come to be there, with nobody who believes to hold it.
            self.book.open().over.insert(name);
        }
    }

    fn enter(&self) {
        let other = self.book.open().holder.replace(self.number);
        assert_eq!(other, None, "seed {}: {} holds what somebody else holds", self.book.seed, self.number);
    }

    async fn count(&self) {
        let Some(tally) = &self.places.tally else { return };
        let (name, delta) = (counter(), 1 + i64::try_from(self.roll(9)).expect("it is small"));
        let least = self.book.open().counted;
        let (told, sum) = self.ask(tally.add(&name, delta)).await;
        let mut pages = self.book.open();
        match told {
            Told::Done => pages.counted += i128::from(delta),
            Told::Unclear => pages.perhaps_counted += i128::from(delta),
            Told::Refused => {}
        }
        if let Some(sum) = sum {
            let least = least + i128::from(delta);
            assert!(sum >= least, "seed {}: the sum is {sum}, and {least} were added", self.book.seed);
        }
    }

    async fn publish(&self) {
        let lane = usize::try_from(self.roll(self.places.lanes.len() as u64)).expect("it is small");
        let (queue, payload) = (&self.places.lanes[lane], self.book.name(self.number));
        self.book.sends(&payload, lane, false);
        if self.roll(2) == 0 {
            let (told, _) = self.ask(queue.publish(Message::new(payload.clone()))).await;
            return self.book.sent(&payload, told);
        }
        while self.ask(queue.publish(Message::new(payload.clone()).id(payload.clone()))).await.0 != Told::Done {
            self.pause().await;
        }
        self.book.sent(&payload, Told::Done);
        if let Some(again) = self.ask(queue.publish(Message::new(payload.clone()).id(payload.clone()))).await.1 {
            assert!(again.duplicate, "seed {}: {payload} was published twice", self.book.seed);
        }
    }

    /// Has a message sent by a timer.
    async fn arm(&self) {
        if !self.places.space().store().capabilities().timers {
            return;
        }
        let (payload, clock) = (self.book.name(self.number), self.places.clock());
        self.book.sends(&payload, 0, true);
        let at = clock.now() + Duration::from_millis(self.roll(50));
        let mut was_unclear = false;
        loop {
            let send = Outgoing { queue: self.places.lanes[0].name().clone(), message: Message::new(payload.clone()) };
            let name = Key::new(format!("timer.{payload}")).expect("it is a key");
            let commit = Commit::new().timer(Timer::Arm { name, at, send });
            let (told, _) = self.ask(self.places.space().store().commit(commit)).await;
            was_unclear |= told == Told::Unclear;
            // One that was refused may be left at that, and nothing must come of it.
            if told == Told::Done || (!was_unclear && self.roll(3) == 0) {
                return self.book.sent(&payload, told);
            }
            self.pause().await;
        }
    }

    /// Puts a value that may go at any time, and reads it.
    async fn put_for_a_while(&self) {
        let store = self.places.space().store();
        if !store.capabilities().ttl {
            return;
        }
        let (name, value) = (Key::new("mortal").expect("it is a key"), self.book.name(self.number));
        self.book.open().mortals.insert(value.clone());
        let options = PutOptions::default().ttl(Duration::from_secs(600));
        let (_, revision) = self.ask(store.put(&name, value.into(), Expect::Anything, options.clone())).await;
        if let Some(Some(found)) = self.ask(store.get(&name)).await.1 {
            let value = String::from_utf8_lossy(&found.value).into_owned();
            assert!(self.book.open().mortals.contains(&value), "seed {}: nobody put {value}", self.book.seed);
        }
        if let Some(revision) = revision {
            let value = self.book.name(self.number);
            self.book.open().mortals.insert(value.clone());
            let (_, renewed) = self.ask(store.put(&name, value.into(), Expect::At(revision), options)).await;
            assert!(renewed.is_none_or(|renewed| renewed > revision), "seed {}: revisions grow", self.book.seed);
        }
    }

    /// Lists the keys, among which is whatever this process wrote and nobody removes.
    async fn list(&self) {
        let ours: Vec<&'static str> = {
            let pages = self.book.open();
            let prefix = format!("{}.", self.number);
            let ours = pages.appends.iter().filter(|(id, append)| id.starts_with(&prefix) && append.told == Told::Done);
            ours.flat_map(|(_, append)| append.registers.iter().filter(|(place, _)| *place == 0).map(|(_, key)| *key)).collect()
        };
        let store = self.places.space().store();
        let listing = async {
            let listed: Vec<_> = store.keys(&Scope::All).await?.collect().await;
            listed.into_iter().collect::<Result<Vec<_>, _>>()
        };
        if let Some(listed) = self.ask(listing).await.1 {
            for name in ours {
                let is_there = listed.iter().any(|info| info.key.as_str() == name);
                assert!(is_there, "seed {}: {name} was written and is not listed", self.book.seed);
            }
        }
    }
}

/// What only one may hold.
fn held() -> Key {
    Key::new("held").expect("it is a key")
}

pub(super) fn counter() -> Key {
    Key::new("sum").expect("it is a key")
}
