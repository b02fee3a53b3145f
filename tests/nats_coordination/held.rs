//! Locks, semaphores and elections between processes of their own connections, on servers that die.

use super::{
    recorded::{Units, use_lock, use_units},
    recorder::Recorder,
};
use anabranch::{
    cell::Fence,
    coordination::{CoordinationError, Election, Lock, RwLock, Semaphore},
    core::coordination::permits::Permits,
    engine::{Change, Engine, Key, Scope, Space},
    testing::{Dice, check, server::NatsServer},
    time::{Clock, nonce},
};
use async_nats::jetstream;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use std::{num::NonZeroU32, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

const LEASE: Duration = Duration::from_secs(2);

/// Some processes with a connection each, on one space.
async fn processes<const N: usize>(url: &str) -> [Space; N] {
    let name = format!("test-{:x}", nonce());
    let mut spaces = Vec::new();
    for _ in 0..N {
        spaces.push(Engine::open(url).await.unwrap().space(name.clone()).await.unwrap());
    }
    spaces.try_into().unwrap()
}

fn lock(space: &Space) -> Lock {
    Lock::new(space, "l", LEASE).unwrap()
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    TaskTracker::new().spawn(task)
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(120), future).await else { panic!("{what} takes too long") };
    done
}

/// Watches a key from now on.
async fn changes(space: &Space, name: &str) -> BoxStream<'static, Change> {
    let mut changes = space.store().watch(&Scope::Only(Key::new(name).unwrap())).await.unwrap();
    while !matches!(in_time("what is there", changes.next()).await.unwrap(), Change::Synced) {}
    changes
}

/// Returns what is put next.
async fn put(changes: &mut BoxStream<'static, Change>) -> Bytes {
    loop {
        if let Change::Put(entry) = changes.next().await.unwrap() {
            return entry.value;
        }
    }
}

/// Waits until a key is written so many times.
async fn writes(changes: &mut BoxStream<'static, Change>, times: usize) {
    for _ in 0..times {
        in_time("a write", put(changes)).await;
    }
}

#[tokio::test]
async fn waiters_of_two_processes_are_served_in_the_order_in_which_they_came() {
    let [one, two] = processes(&NatsServer::shared().await.url()).await;
    // Long, so that the only writes are those that are waited for.
    let lock = |space: &Space| Lock::new(space, "l", LEASE * 100).unwrap();
    let guard = lock(&one).acquire().await.unwrap();
    let first = guard.token();
    let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
    let (mut tasks, mut seen) = (Vec::new(), changes(&two, "lock.l").await);
    for number in 0..6 {
        let (lock, told) = (lock(if number % 2 == 0 { &one } else { &two }), told.clone());
        tasks.push(spawn(async move {
            let guard = lock.acquire().await.unwrap();
            told.send((number, guard.token())).unwrap();
            guard.release().await.unwrap();
        }));
        // Not how often it is written, since a waiter may say more than once that it waits.
        while Permits::decode(&in_time("a write", put(&mut seen)).await).unwrap().waiting() <= number {}
    }
    guard.release().await.unwrap();
    let mut served = Vec::new();
    for _ in 0..6 {
        served.push(in_time("a turn", order.recv()).await.unwrap());
    }
    assert_eq!(served.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(served[0].1 > first && served.is_sorted_by(|a, b| a.1 < b.1), "{served:?}");
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_holder_whose_process_ends_is_replaced_after_its_lease() {
    let url = NatsServer::shared().await.url();
    let [own] = processes(&url).await;
    let name = own.name().as_str().to_owned();
    // A runtime of its own, which ends as a process does: nothing is given back.
    let dying = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let token = runtime.block_on(async move {
            let space = Engine::open(&url).await.unwrap().space(name).await.unwrap();
            let guard = lock(&space).acquire().await.unwrap();
            let permit = semaphore(&space).acquire_as("worker").await.unwrap();
            let leader = Election::new(&space, "e", LEASE).unwrap().candidate("dying").campaign().await.unwrap();
            let token = guard.token();
            std::mem::forget((guard, permit, leader));
            token
        });
        runtime.shutdown_background();
        token
    });
    let token = dying.await.unwrap();
    let (lock, election) = (lock(&own), Election::new(&own, "e", LEASE).unwrap().candidate("heir"));
    assert_eq!(election.leader().await.unwrap().unwrap().candidate, "dying");
    let began = own.clock().instant();
    // A name needs not wait for the end of its own lease.
    let permit = semaphore(&own).acquire_as("worker").await.unwrap();
    assert_eq!(semaphore(&own).available().await.unwrap(), 1);
    let both = Box::pin(async { tokio::join!(lock.acquire(), election.campaign()) });
    let (guard, leader) = in_time("the end of a lease", both).await;
    let (guard, leader) = (guard.unwrap(), leader.unwrap());
    assert!(guard.token() > token && leader.is_leader());
    assert!(own.clock().instant() - began > LEASE / 2, "nobody takes over from who may live");
    permit.release().await.unwrap();
    guard.release().await.unwrap();
    leader.resign().await.unwrap();
}

fn semaphore(space: &Space) -> Semaphore {
    Semaphore::new(space, "s", NonZeroU32::new(2).unwrap(), LEASE).unwrap()
}

/// G16: on a server that falls silent the guard is lost by its own clock, before anybody else can have it.
#[tokio::test]
async fn a_guard_is_lost_in_time_when_the_server_falls_silent() {
    let server = NatsServer::start().await.unwrap();
    let [one, two] = processes(&server.url()).await;
    let guard = lock(&one).acquire().await.unwrap();
    let until = guard.valid_until();
    let silence = server.fall_silent(LEASE * 2).unwrap();
    let lost = async {
        guard.lost().await;
        one.clock().instant()
    };
    let (lost, resumed) = in_time("the loss", async { tokio::join!(lost, silence) }).await;
    resumed.unwrap();
    assert!(lost >= until && lost <= until + LEASE, "lost {:?} after it was to end", lost - until);
    assert!(!guard.is_held() && Fence::token(&guard).is_err());
    let next = in_time("the next holder", lock(&two).acquire()).await.unwrap();
    assert!(next.token() > guard.token());
    // A late request of the old guard takes nothing from the new one.
    let released = guard.release().await;
    assert!(matches!(released, Err(CoordinationError::Lost(_))), "{released:?}");
    assert_eq!(lock(&one).holder().await.unwrap().unwrap().token, next.token());
    next.release().await.unwrap();
}

/// G15, N2: each write of a lock carries its TTL: the first, each renewal, and the first over the tombstone of the one before.
#[tokio::test]
async fn every_write_of_a_lock_carries_its_ttl() {
    let url = NatsServer::shared().await.url();
    let [one, two] = processes(&url).await;
    let js = jetstream::new(async_nats::connect(&url).await.unwrap());
    let stream = js.get_stream(format!("KV_{}", one.name())).await.unwrap();
    let subject = format!("$KV.{}.lock.l", one.name());
    let ttl = || async {
        let message = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
        message.headers.get("Nats-TTL").map(|ttl| ttl.as_str().trim_end_matches('s').parse::<u64>().unwrap())
    };
    let mut seen = changes(&two, "lock.l").await;
    for _ in 0..2 {
        let guard = lock(&one).acquire().await.unwrap();
        assert_eq!(ttl().await, Some(3600), "the least that it is kept");
        writes(&mut seen, 3).await;
        assert_eq!(ttl().await, Some(3600), "after renewals");
        let waiter = spawn({
            let long = Lock::new(&two, "l", Duration::from_secs(2400)).unwrap();
            async move { long.acquire().await.unwrap() }
        });
        writes(&mut seen, 2).await;
        assert_eq!(ttl().await, Some(7200), "three times the longest lease of all members");
        guard.release().await.unwrap();
        let guard = in_time("the turn", waiter).await.unwrap();
        assert_eq!(ttl().await, Some(7200));
        guard.release().await.unwrap();
        let tombstone = stream.get_last_raw_message_by_subject(&subject).await.unwrap();
        assert_eq!(tombstone.headers.get("KV-Operation").map(async_nats::HeaderValue::as_str), Some("PURGE"));
    }
}

#[tokio::test]
async fn readers_of_two_processes_share_and_a_writer_is_alone() {
    let [one, two] = processes(&NatsServer::shared().await.url()).await;
    let catalogue = |space: &Space| RwLock::new(space, "r", LEASE * 10).unwrap();
    let (a, b) = (catalogue(&one).read().await.unwrap(), catalogue(&two).read().await.unwrap());
    let mut seen = changes(&one, "rw-lock.r").await;
    let writer = spawn({
        let lock = catalogue(&two);
        async move { lock.write().await.unwrap() }
    });
    writes(&mut seen, 1).await;
    assert!(catalogue(&one).try_read().await.unwrap().is_none());
    a.release().await.unwrap();
    assert!(!writer.is_finished());
    b.release().await.unwrap();
    let writer = in_time("the writer", writer).await.unwrap();
    assert!(catalogue(&one).try_read().await.unwrap().is_none());
    writer.release().await.unwrap();
    catalogue(&one).try_write().await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test]
async fn the_histories_of_a_lock_and_a_semaphore_on_a_server_that_is_killed_are_linearizable() {
    let mut server = NatsServer::start().await.unwrap();
    let spaces: [Space; 3] = processes(&server.url()).await;
    let (locks, permits) = (Recorder::new(check::Lock), Recorder::new(Units(2)));
    let clock = Clock::system();
    let (mut lockers, mut users) = (Vec::new(), Vec::new());
    for (space, seed) in spaces.iter().zip(0..) {
        for task in 0..2 {
            let dice = Dice::new(seed * 10 + task);
            lockers.push(spawn(use_lock(lock(space), clock.clone(), locks.clone(), 6, dice.clone(), 700)));
            users.push(spawn(use_units(semaphore(space), 2, clock.clone(), permits.clone(), 6, dice, 700)));
        }
    }
    let mut killed = 0;
    while killed < 4 && !lockers.iter().all(JoinHandle::is_finished) {
        // The time is the fault's, and not a wait for something to happen.
        clock.timeout(Duration::from_millis(1500), std::future::pending::<()>()).await;
        server.kill();
        killed += 1;
        if killed % 2 == 0 {
            // Longer than a lease.
            clock.timeout(LEASE * 3 / 2, std::future::pending::<()>()).await;
        }
        server.restart().await.unwrap();
    }
    let (mut locked, mut used) = (0, 0);
    for task in lockers {
        locked += in_time("a lock's client", task).await.unwrap();
    }
    for task in users {
        used += in_time("a semaphore's client", task).await.unwrap();
    }
    assert!(killed >= 3 && locked >= 20 && used >= 20, "killed {killed} times, {locked} and {used} of 36 were granted");
    locks.judge().unwrap();
    permits.judge().unwrap();
}
