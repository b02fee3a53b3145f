//! The road with timers: whoever is woken up first does what is due.
//!
//! A timer's message stays in its queue until what it asks for is committed, with the next timer in the same commit. So a
//! crash anywhere leaves the message, and somebody else gets it. A timer that goes off twice finds that the second time is not
//! what the record waits for.

use super::{
    ScheduleError,
    clerk::{Clerk, Due, Outcome},
    ledger::{read_delayed, read_schedule},
    wake::{Kind, Label, QUEUE, Wake},
};
use crate::{
    engine::{Delivery, Expect, Key, Pull, Queue, QueueOptions, StoreError},
    time::Backoff,
};
use futures_util::TryStreamExt as _;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// After which silence of whoever was woken up somebody else is.
const SILENCE: Duration = Duration::from_secs(5);
/// How many wake-ups are worked on at a time.
const SLOTS: usize = 512;
/// The longest delay before something that failed is tried again.
const LATER: Duration = Duration::from_secs(30);
/// How many keys are read at once.
const PAGE: usize = 256;

pub(super) async fn queue(clerk: &Clerk) -> Result<Arc<dyn Queue>, StoreError> {
    clerk.ledger.space.queue(QUEUE, QueueOptions::default().ack_wait(SILENCE)).await
}

/// Takes wake-ups until it is stopped. Handlers go on, and are on the tracker.
pub(super) async fn run(
    clerk: Arc<Clerk>,
    queue: Arc<dyn Queue>,
    stop: CancellationToken,
    gone: CancellationToken,
    tasks: TaskTracker,
) {
    let slots = Arc::new(Semaphore::new(SLOTS));
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let mut pull: Option<Box<dyn Pull>> = None;
    let mut arms = true;
    loop {
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            taken = next(&clerk, &queue, &mut pull, &slots, &mut arms) => taken,
        };
        match taken {
            Ok(deliveries) => {
                backoff.reset();
                let (delayed, schedules): (Vec<_>, Vec<_>) =
                    deliveries.into_iter().partition(|d| due(d).is_some_and(|(kind, _)| kind == Kind::Delayed));
                let groups = schedules.into_iter().map(|delivery| vec![delivery]).chain(Some(delayed));
                for group in groups.filter(|group| !group.is_empty()) {
                    let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
                    // Only this task takes permits, and it took no more messages than there were.
                    let slot = Arc::clone(&slots).try_acquire_many_owned(count);
                    let (clerk, gone) = (Arc::clone(&clerk), gone.clone());
                    tasks.spawn(async move {
                        gone.run_until_cancelled(handle(&clerk, group)).await;
                        drop(slot);
                    });
                }
            }
            Err(error) => {
                clerk.events.failed("", error);
                let delay = backoff.next_delay();
                stop.run_until_cancelled(clerk.clock.sleep(delay)).await;
            }
        }
    }
    if let Some(pull) = pull {
        pull.close().await;
    }
}

/// Waits for free slots, then for messages, and takes no more than there are free slots.
async fn next(
    clerk: &Clerk,
    queue: &Arc<dyn Queue>,
    pull: &mut Option<Box<dyn Pull>>,
    slots: &Semaphore,
    arms: &mut bool,
) -> Result<Vec<Delivery>, ScheduleError> {
    if *arms {
        arm_missing(clerk).await?;
        *arms = false;
    }
    let pull = match pull {
        Some(pull) => pull,
        None => pull.insert(queue.pull().await?),
    };
    let one = slots.acquire().await.expect("the semaphore is never closed");
    let free = NonZeroUsize::new(slots.available_permits() + 1).expect("one more than none");
    drop(one);
    Ok(pull.next(free.min(NonZeroUsize::new(PAGE).expect("256 is not 0"))).await?)
}

fn due(delivery: &Delivery) -> Option<(Kind, Due)> {
    let Wake { key, at } = Wake::of(delivery.message())?;
    let (kind, name) = Kind::of(&key)?;
    Some((kind, Due { key, name, armed: Some(at) }))
}

/// Does what some wake-ups of one kind ask for, and settles them.
async fn handle(clerk: &Clerk, deliveries: Vec<Delivery>) {
    let mut work: Vec<(Delivery, Due)> = Vec::with_capacity(deliveries.len());
    let mut of = Kind::Schedule;
    for delivery in deliveries {
        match due(&delivery) {
            Some((kind, due)) => {
                of = kind;
                work.push((delivery, due));
            }
            // What somebody else has put here wakes up nobody.
            None => settled(delivery.reject().await),
        }
    }
    let dues: Vec<Due> = work.iter().map(|(_, due)| due.clone()).collect();
    let outcomes = clerk.work(of, &dues).await;
    let settle = work.into_iter().zip(outcomes).map(|((delivery, due), outcome)| settle(clerk, delivery, due, outcome));
    futures_util::future::join_all(settle).await;
}

async fn settle(clerk: &Clerk, delivery: Delivery, due: Due, outcome: Outcome) {
    match outcome {
        // Whatever is due next has a timer of its own.
        Ok(_) => settled(delivery.ack().await),
        Err(error) => {
            clerk.events.failed(&due.name, error);
            let delay = Duration::from_millis(100).saturating_mul(1 << delivery.attempt().min(16)).min(LATER);
            settled(delivery.retry(delay).await);
        }
    }
}

/// A wake-up that was not settled comes again, and finds nothing to do.
fn settled(settled: Result<(), StoreError>) {
    if let Err(error) = settled {
        tracing::debug!(error = &error as &dyn std::error::Error, "a wake-up was not settled");
    }
}

/// Arms timers for what was scheduled while the engine had none, which the keys' labels tell.
async fn arm_missing(clerk: &Clerk) -> Result<(), ScheduleError> {
    let store = clerk.ledger.store();
    for kind in Kind::ALL {
        let mut keys = store.keys(&kind.prefix().below()).await?;
        let mut without: Vec<Key> = Vec::new();
        while let Some(info) = keys.try_next().await? {
            if Label::of(info.label.as_deref()).is_none_or(|label| !label.timer) {
                without.push(info.key);
            }
        }
        for key in without {
            let (Some(entry), Some((_, name))) = (store.get(&key).await?, Kind::of(&key)) else { continue };
            let armed = match kind {
                Kind::Schedule => match read_schedule(entry) {
                    Ok((record, at)) => clerk.ledger.put_schedule((&key, &name), Expect::At(at), &record, &[]).await,
                    Err(error) => {
                        clerk.events.failed(&name, error);
                        continue;
                    }
                },
                Kind::Delayed => match read_delayed(entry) {
                    Ok((waiting, at)) => clerk.ledger.put_delayed(&key, Expect::At(at), &waiting).await,
                    Err(error) => {
                        clerk.events.failed(&name, error);
                        continue;
                    }
                },
            };
            match armed {
                // Somebody else has just written it, and armed it.
                Ok(()) | Err(StoreError::Conflict) => {}
                // It will never do, and keeps no other from being sent.
                Err(error @ StoreError::Rejected(_)) => clerk.events.failed(&name, error.into()),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
