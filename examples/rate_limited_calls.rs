//! Several processes call a provider that allows 50 calls a second. Needs a Rust toolchain; the processes need a server to meet:
//!
//! ```text
//! cargo run --example rate_limited_calls
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example rate_limited_calls
//! ```
//!
//! With a server this process starts four copies of itself, which call as fast as they are let, and kills one of them in the
//! middle. Without one there is a single process, since an engine in memory is one; four tasks in it do the same. Each call is noted with the
//! time at which it was asked for and the time at which it was let through, and the example fails if any span of time has more
//! calls than the quota allows.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever started it")]

use anabranch::{
    coordination::{CoordinationError, RateLimiter},
    core::coordination::Quota,
    engine::{Engine, Space},
    time::Clock,
};
use futures_util::future::try_join_all;
use std::{
    env,
    num::NonZeroU32,
    process::{ExitCode, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

const CALLERS: usize = 4;
const TIME: Duration = Duration::from_secs(3);
/// What a process takes from the store at once, when that much is free.
const BLOCK: NonZeroU32 = NonZeroU32::new(3).unwrap();

fn quota() -> Result<Quota> {
    Ok(Quota::per_second(50)?.burst(10)?)
}

/// A call to the provider: when it was asked for and when it was let through, in microseconds since the Unix epoch.
#[derive(Clone, Copy)]
struct Call {
    asked: i64,
    passed: i64,
}

/// Calls as often as it is let, until its time is over.
async fn caller(space: &Space, note: impl Fn(Call)) -> Result<()> {
    let provider = RateLimiter::new(space, "provider", quota()?)?.leased(BLOCK)?;
    let clock = space.clock();
    let end = clock.instant() + TIME;
    loop {
        let asked = clock.now().as_micros();
        match provider.until_ready_within(end.saturating_duration_since(clock.instant())).await {
            // Here it would call the provider.
            Ok(_) => note(Call { asked, passed: clock.now().as_micros() }),
            Err(CoordinationError::Deadline(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

async fn space(url: &str) -> Result<Space> {
    Ok(Engine::open(url).await?.space("rate-limited").await?)
}

/// What a copy of this process does: it prints its calls.
async fn copy(url: &str) -> Result<()> {
    caller(&space(url).await?, |call| println!("{} {}", call.asked, call.passed)).await
}

/// Starts a copy and returns its calls; it is killed after `lives`.
async fn process(url: &str, lives: Duration) -> Result<Vec<Call>> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["caller", url]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut printed = BufReader::new(child.stdout.take().ok_or("the process has no output to read")?).lines();
    let mut calls = Vec::new();
    let read = async {
        while let Some(line) = printed.next_line().await? {
            let (asked, passed) = line.split_once(' ').ok_or("a call has two times")?;
            calls.push(Call { asked: asked.parse()?, passed: passed.parse()? });
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    if let Some(read) = Clock::system().timeout(lives, read).await {
        read?;
        return if child.wait().await?.success() { Ok(calls) } else { Err("a process failed".into()) };
    }
    println!("killing process {} with SIGKILL; what it had at hand is lost", child.id().unwrap_or_default());
    child.kill().await?;
    Ok(calls)
}

/// Returns the first span of time with more calls than the quota allows: from when a call was asked for to when another was let
/// through, those that lie in it wholly.
fn excess(quota: Quota, calls: &[Call]) -> Option<String> {
    let mut ends = calls.to_vec();
    ends.sort_unstable_by_key(|call| call.passed);
    for begin in calls {
        let within = ends.iter().filter(|call| call.asked >= begin.asked);
        for (before, end) in within.enumerate() {
            let span = Duration::from_micros(u64::try_from(end.passed - begin.asked).unwrap_or(0));
            let due = span.as_micros() * u128::from(quota.amount().get()) / quota.period().as_micros();
            if before as u128 + 1 > due + u128::from(quota.most_at_once().get()) {
                return Some(format!("{} calls in {span:?}", before + 1));
            }
        }
    }
    None
}

async fn tour() -> Result<ExitCode> {
    let quota = quota()?;
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = &space(&url).await?;
    let engine = space.store().capabilities();
    let calls = if engine.exclusive {
        println!("{CALLERS} tasks on {}, {quota}: one process has it at a time; ANABRANCH_URL names a server", engine.engine);
        let tasks = (0..CALLERS).map(async |_| {
            let calls = std::cell::RefCell::new(Vec::new());
            caller(space, |call| calls.borrow_mut().push(call)).await.map(|()| calls.into_inner())
        });
        try_join_all(tasks).await?
    } else {
        println!("{CALLERS} processes on {}, {quota}", engine.engine);
        // The last one dies halfway.
        let lives = |number| if number == CALLERS { TIME / 2 } else { TIME * 20 };
        try_join_all((1..=CALLERS).map(|number| process(&url, lives(number)))).await?
    };

    let all: Vec<Call> = calls.iter().flatten().copied().collect();
    let start = all.iter().map(|call| call.passed).min().ok_or("nobody was let through")?;
    let second = |call: &Call| (call.passed - start) / 1_000_000;
    for number in 0..=all.iter().map(second).max().unwrap_or(0) {
        let each = calls.iter().map(|calls| calls.iter().filter(|call| second(call) == number).count());
        let each: Vec<usize> = each.collect();
        let list: Vec<String> = each.iter().map(|count| format!("{count:3}")).collect();
        println!("second {number}: {:3} calls, by caller {}", each.iter().sum::<usize>(), list.join(" "));
    }
    println!("{} calls were let through", all.len());
    if let Some(excess) = excess(quota, &all) {
        println!("FAILED: {excess}");
        return Ok(ExitCode::FAILURE);
    }
    println!("no span of time has more than the quota");
    Ok(ExitCode::SUCCESS)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => tour().await,
        ["caller", url] => copy(url).await.map(|()| ExitCode::SUCCESS),
        _ => Err("the example takes no arguments; ANABRANCH_URL names a server".into()),
    };
    outcome.unwrap_or_else(|error| {
        let causes = std::iter::successors(Some(&*error as &dyn std::error::Error), |cause| cause.source());
        eprintln!("error: {}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        ExitCode::FAILURE
    })
}
