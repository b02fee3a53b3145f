//! One round with real writes in a scratch space: write, compare-and-set, watch, queue, commit, timer, TTL.
//!
//! It knows the contract of engines and no engine. Who calls it removes the space.

use super::report::{Findings, Topic};
use crate::{
    engine::{
        Change, Commit, Engine, Expect, Key, Message, Name, Outgoing, Pull, PutOptions, Queue, QueueOptions, Scope, Space,
        Store, StoreError, Timer,
    },
    error::{BoxError, chain},
    time::Clock,
};
use futures_util::StreamExt as _;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// How long one step may take.
const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// What every scratch space's name begins with.
pub(super) const PREFIX: &str = "anabranch-doctor-";

/// Runs the round in the space `name`; what fails ends it, since what follows builds on it.
pub(super) async fn round(engine: &Engine, name: &Name, clock: &Clock) -> Findings {
    let mut steps = Steps { found: Findings::about(Topic::Probe), clock, failed: false };
    let space = steps.run("open", "opens a scratch space", async { Ok(engine.space(name.as_str()).await?) }).await;
    let Some(space) = space else { return steps.found };
    let store = Arc::clone(space.store());
    let can = store.capabilities().clone();
    steps.run("write", "writes, compares and sets, and refuses what is stale", compare_and_set(&store)).await;
    steps.run("watch", "sees a change", watch(&store)).await;
    let queue = steps.run("queue", "sends, takes and acknowledges", queue(&space)).await;
    if can.atomic_commit {
        steps.run("commit", "commits a key and a message at once", commit(&store, queue.as_ref())).await;
    }
    if can.timers {
        steps.run("timer", "is woken up by a timer of a second", timer(&store, queue.as_ref(), clock)).await;
    }
    if can.ttl {
        steps.run("ttl", "sees a key expire after a second", ttl(&store)).await;
    }
    steps.found
}

/// Says what came of removing what the round left.
pub(super) fn removed(outcome: Result<(), BoxError>, what: &str, by_hand: &str) -> Findings {
    let mut found = Findings::about(Topic::Probe);
    match outcome {
        Ok(()) => found.ok("remove", format!("{what} is removed")),
        Err(error) => {
            let text = format!("{what} is not removed: {}", chain(&*error));
            found.warning("remove", text, "it stays until somebody removes it", by_hand);
        }
    }
    found
}

struct Steps<'a> {
    found: Findings,
    clock: &'a Clock,
    failed: bool,
}

impl Steps<'_> {
    async fn run<T>(&mut self, check: &'static str, what: &str, step: impl Future<Output = Result<T, BoxError>>) -> Option<T> {
        if self.failed {
            return None;
        }
        let started = self.clock.instant();
        let outcome = self.clock.timeout(PATIENCE, Box::pin(step)).await;
        let took = self.clock.instant().saturating_duration_since(started);
        let error = match outcome {
            Some(Ok(done)) => {
                self.found.ok(check, format!("{what}; {took:.1?}"));
                return Some(done);
            }
            Some(Err(error)) => chain(&*error),
            None => format!("nothing came of it within {PATIENCE:?}"),
        };
        self.failed = true;
        let why = "the library does this all the time, and does not work without it";
        let mend = "the findings about the server, limits and permissions say more; else the server's log does";
        self.found.problem(check, format!("does not get through ({what}): {error}"), why, mend);
        None
    }
}

fn key(name: &str) -> Result<Key, StoreError> {
    Ok(Key::new(name)?)
}

async fn compare_and_set(store: &Arc<dyn Store>) -> Result<(), BoxError> {
    let (key, options) = (key("probe.key")?, PutOptions::default);
    let first = store.put(&key, "1".into(), Expect::Absent, options()).await?;
    let second = store.put(&key, "2".into(), Expect::At(first), options()).await?;
    match store.put(&key, "3".into(), Expect::At(first), options()).await {
        Err(StoreError::Conflict) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err("a write with a stale revision was accepted".into()),
    }
    let entry = store.get(&key).await?.ok_or("what was written is not there")?;
    // A read may be older than a write that others see; never newer, and never of what was refused.
    if entry.revision > second || &entry.value[..] == b"3" {
        return Err("another value is there than was written".into());
    }
    Ok(())
}

async fn watch(store: &Arc<dyn Store>) -> Result<(), BoxError> {
    let key = key("probe.watched")?;
    let mut changes = store.watch(&Scope::Only(key.clone())).await?;
    let revision = store.put(&key, "1".into(), Expect::Anything, PutOptions::default()).await?;
    loop {
        match changes.next().await.ok_or("the watch ended")? {
            Change::Put(entry) if entry.revision == revision => return Ok(()),
            _ => {}
        }
    }
}

async fn next(queue: &Arc<dyn Queue>, payload: &[u8]) -> Result<(), BoxError> {
    let mut pull: Box<dyn Pull> = queue.pull().await?;
    let delivery = pull.next(NonZeroUsize::MIN).await?.pop().ok_or("nothing came")?;
    let same = &delivery.message().payload[..] == payload;
    delivery.ack().await?;
    pull.close().await;
    if same { Ok(()) } else { Err("another message came than was sent".into()) }
}

async fn queue(space: &Space) -> Result<Arc<dyn Queue>, BoxError> {
    let queue = space.queue("probe", QueueOptions::default()).await?;
    queue.publish(Message::new("1")).await?;
    next(&queue, b"1").await?;
    Ok(queue)
}

async fn commit(store: &Arc<dyn Store>, queue: Option<&Arc<dyn Queue>>) -> Result<(), BoxError> {
    let queue = queue.ok_or("there is no queue")?;
    let all = Commit::new().put(key("probe.commit")?, "1".into(), Expect::Absent, PutOptions::default());
    store.commit(all.send(queue.name().clone(), Message::new("2"))).await?;
    next(queue, b"2").await
}

async fn timer(store: &Arc<dyn Store>, queue: Option<&Arc<dyn Queue>>, clock: &Clock) -> Result<(), BoxError> {
    let queue = queue.ok_or("there is no queue")?;
    let send = Outgoing { queue: queue.name().clone(), message: Message::new("3") };
    let timer = Timer::Arm { name: key("probe")?, at: clock.now() + SECOND, send };
    store.commit(Commit::new().timer(timer)).await?;
    next(queue, b"3").await
}

async fn ttl(store: &Arc<dyn Store>) -> Result<(), BoxError> {
    let key = key("probe.expiring")?;
    let mut changes = store.watch(&Scope::Only(key.clone())).await?;
    store.put(&key, "1".into(), Expect::Absent, PutOptions::default().ttl(SECOND)).await?;
    loop {
        if let Change::Expired(..) = changes.next().await.ok_or("the watch ended")? {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Severity;

    #[test]
    fn what_is_left_behind_is_told_with_the_way_to_remove_it() {
        let left = removed(Err("denied".into()), "the scratch space", "`nats stream rm KV_x`");
        assert_eq!(left.of("remove"), [Severity::Warning]);
        assert!(left.text("remove").contains("denied | it stays") && left.text("remove").contains("nats stream rm KV_x"));
        assert_eq!(removed(Ok(()), "the scratch space", "").of("remove"), [Severity::Ok]);
    }

    #[tokio::test]
    async fn a_step_that_fails_ends_the_round() {
        let clock = Clock::system();
        let mut steps = Steps { found: Findings::about(Topic::Probe), clock: &clock, failed: false };
        let first = steps.run("open", "opens", async { Err::<(), _>(BoxError::from("no room")) }).await;
        let second = steps.run("write", "writes", async { Ok(()) }).await;
        assert_eq!((first, second), (None, None));
        assert_eq!((steps.found.of("open"), steps.found.of("write")), (vec![Severity::Problem], vec![]));
        assert!(steps.found.text("open").contains("no room"), "{}", steps.found.text("open"));
    }
}
