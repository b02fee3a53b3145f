//! The shared limiter of several engines on one server, judged by the history of who passed.

use crate::judge::judge;
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Outage, RateLimiter},
    core::coordination::Quota,
    engine::{Engine, Expect, Key, PutOptions, Space},
    testing::{Dice, server::NatsServer},
    time::{Clock, Timestamp, nonce},
};
use futures_util::future::join_all;
use std::{
    future::pending,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(180), future).await else { panic!("{what} takes too long") };
    done
}

/// Lets real time pass: for those who come at random moments.
async fn passes(time: Duration) {
    assert!(Clock::system().timeout(time, pending::<()>()).await.is_none());
}

/// A clock that is so many milliseconds ahead.
fn ahead(millis: i64) -> Clock {
    Clock::following_tokio(Timestamp::from_micros(Clock::system().now().as_micros() + millis * 1000))
}

async fn space(url: &str, name: &str, clock: Clock) -> Space {
    Engine::open_with(url, clock).await.unwrap().space(name).await.unwrap()
}

/// Who passed, from which call to which return, by the true time, and how many cells.
type Passed = Arc<Mutex<Vec<(i64, i64, u32)>>>;

/// Asks until it is told to stop, at random moments and in every way.
async fn ask(limiter: RateLimiter, seed: u64, passed: Passed, stop: Arc<AtomicBool>) {
    let (mut dice, clock) = (Dice::new(seed), Clock::system());
    while !stop.load(Ordering::Relaxed) {
        passes(Duration::from_micros(dice.roll(20_000))).await;
        let cells = u32::try_from(1 + dice.roll(2)).unwrap();
        let called = clock.now().as_micros();
        let admitted = match dice.roll(4) {
            0 => limiter.until_ready_n_within(cells, millis(dice.roll(300))).await.is_ok(),
            _ => limiter.check(cells).await.is_ok_and(|decision| decision.is_allowed()),
        };
        if admitted {
            passed.lock().unwrap().push((called, clock.now().as_micros(), cells));
        }
    }
}

/// Lets several ask, half of them with blocks, until `meanwhile` is over.
async fn while_asked(limiters: Vec<RateLimiter>, meanwhile: impl Future<Output = ()>) -> Vec<(i64, i64, u32)> {
    let (passed, stop) = (Passed::default(), Arc::new(AtomicBool::new(false)));
    let asking = limiters.into_iter().enumerate().flat_map(|(process, limiter)| {
        let limiter = if process % 2 == 0 { limiter } else { limiter.leased(NonZeroU32::new(5).unwrap()).unwrap() };
        let (passed, stop) = (&passed, &stop);
        (0..4).map(move |task| ask(limiter.clone(), 10 * process as u64 + task, Arc::clone(passed), Arc::clone(stop)))
    });
    let asking = join_all(asking.collect::<Vec<_>>());
    let meanwhile = async {
        meanwhile.await;
        stop.store(true, Ordering::Relaxed);
    };
    in_time("those who ask", async { tokio::join!(asking, meanwhile) }).await;
    let passed = passed.lock().unwrap();
    passed.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_on_one_server_share_a_quota() {
    let (url, name) = (NatsServer::shared().await.url(), format!("test-{:x}", nonce()));
    let quota = Quota::per_second(200).unwrap().burst(20).unwrap();
    let mut limiters = Vec::new();
    for _ in 0..4 {
        limiters.push(RateLimiter::new(&space(&url, &name, Clock::system()).await, "smtp", quota).unwrap());
    }
    let passed = while_asked(limiters, passes(Duration::from_secs(2))).await;
    assert!(passed.iter().map(|(.., cells)| cells).sum::<u32>() > 100, "{} passed", passed.len());
    judge(quota, &passed, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_differ_admit_no_more_than_was_said() {
    let (url, name) = (NatsServer::shared().await.url(), format!("test-{:x}", nonce()));
    let quota = Quota::per_second(200).unwrap().burst(20).unwrap();
    let mut limiters = Vec::new();
    for off in [-400, 0, 250, 400] {
        limiters.push(RateLimiter::new(&space(&url, &name, ahead(off)).await, "smtp", quota).unwrap());
    }
    let passed = while_asked(limiters, passes(Duration::from_secs(2))).await;
    assert!(passed.iter().map(|(.., cells)| cells).sum::<u32>() > 100, "{} passed", passed.len());
    // A tenth of a second for what lies between reading the two clocks in `ahead`.
    judge(quota, &passed, 900_000);
}

/// A server that is killed in the middle loses nothing that was admitted, and admits nobody twice when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_admits_no_more_than_the_quota() {
    let mut server = NatsServer::start().await.unwrap();
    let (url, name) = (server.url(), format!("test-{:x}", nonce()));
    let quota = Quota::per_second(100).unwrap().burst(20).unwrap();
    let mut limiters = Vec::new();
    for _ in 0..3 {
        let space = space(&format!("{url}?timeout=1s"), &name, Clock::system()).await;
        limiters.push(RateLimiter::new(&space, "smtp", quota).unwrap().deadline(Duration::from_secs(10)));
    }
    let back = Mutex::new(0);
    let passed = while_asked(limiters, async {
        for _ in 0..3 {
            passes(millis(700)).await;
            server.kill();
            passes(millis(200)).await;
            server.restart().await.unwrap();
        }
        *back.lock().unwrap() = Clock::system().now().as_micros();
        passes(Duration::from_secs(3)).await;
    })
    .await;
    let back = *back.lock().unwrap();
    let after = passed.iter().filter(|(called, ..)| *called > back).count();
    assert!(after > 20 && passed.len() > after, "{} passed, {after} of them when the server was back", passed.len());
    judge(quota, &passed, 0);
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_or_lets_everyone_pass() {
    let mut server = NatsServer::start().await.unwrap();
    let quota = Quota::per_second(10).unwrap();
    let space = space(&format!("{}?timeout=1s", server.url()), "limits", Clock::system()).await;
    let closed = RateLimiter::new(&space, "smtp", quota).unwrap().deadline(millis(200));
    let open = closed.clone().on_outage(Outage::FailOpen);
    assert!(closed.check_one().await.unwrap().is_allowed());
    server.kill();
    let refused = in_time("an error", closed.check_one()).await;
    let Err(CoordinationError::Cell { source: CellError::Unavailable(_) | CellError::Unknown(_), .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(in_time("an answer", open.until_ready()).await.unwrap().failed_open());
}

#[tokio::test]
async fn what_another_client_wrote_is_an_error_and_stays() {
    let space = space(&NatsServer::shared().await.url(), &format!("test-{:x}", nonce()), Clock::system()).await;
    let key = Key::new("limit.smtp").unwrap();
    let written = space.store().put(&key, "7".into(), Expect::Anything, PutOptions::default()).await.unwrap();
    let limiter = RateLimiter::new(&space, "smtp", Quota::per_second(1).unwrap()).unwrap();
    let answer = limiter.check_one().await;
    assert!(matches!(answer, Err(CoordinationError::Cell { source: CellError::Corrupt { .. }, .. })), "{answer:?}");
    assert_eq!(space.store().get(&key).await.unwrap().unwrap().revision, written);
}

#[tokio::test]
async fn an_idle_key_expires_on_the_server() {
    let space = space(&NatsServer::shared().await.url(), &format!("test-{:x}", nonce()), Clock::system()).await;
    let limiter = RateLimiter::new(&space, "smtp", Quota::per_second(1).unwrap()).unwrap();
    assert!(limiter.check_one().await.unwrap().is_allowed());
    let stored = space.store().get(&Key::new("limit.smtp").unwrap()).await.unwrap().unwrap();
    // A second until it is full, and a minute for clocks that differ.
    assert_eq!(ttl_of(&space, stored.revision.get()).await, "61");
}

/// The TTL with which a message is stored, as the server says it.
async fn ttl_of(space: &Space, sequence: u64) -> String {
    let client = async_nats::connect(NatsServer::shared().await.url()).await.unwrap();
    let stream = format!("KV_{}", space.name());
    let stream = async_nats::jetstream::new(client).get_stream(stream).await.unwrap();
    let message = stream.get_raw_message(sequence).await.unwrap();
    message.headers.get("Nats-TTL").map(|ttl| ttl.as_str().trim_end_matches('s').to_owned()).unwrap()
}
