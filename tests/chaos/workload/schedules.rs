//! A schedule that fires each second, schedulers whose clocks differ by seconds, and whoever receives what it sends.

use super::{Failure, Site, chain};
use crate::history::Fact;
use anabranch::{
    engine::{Delivery, Message, Name, Outgoing, QueueOptions},
    schedule::{Schedule, ScheduleError, Scheduler, Schedules},
    time::{Clock, Timestamp},
};
use std::{num::NonZeroUsize, time::Duration};

pub(crate) const SCHEDULE: &str = "tick";
const TARGET: &str = "ticks";
/// Schedules tolerate less than this between clocks, and less than that without a scheduler.
const TOLERANCE: Duration = Duration::from_secs(300);
/// How long the schedule may stand still when all faults are over.
const GOES_ON: Duration = Duration::from_secs(60);
/// The clock of a scheduler is off by this part of its worker's: two seconds at most, so that firings go on.
const PART: i64 = 300;

fn options() -> QueueOptions {
    QueueOptions::default().ack_wait(Duration::from_secs(4))
}

/// Creates the schedule where it is not there, and starts a scheduler, however long that takes.
pub(super) async fn scheduler(site: &Site) -> Result<Scheduler, Failure> {
    let sends = Outgoing { queue: Name::new(TARGET)?, message: Message::new("tick") };
    let schedule = Schedule::new(SCHEDULE, "@every 1s".parse()?, sends).tolerance(TOLERANCE);
    let clock = Clock::skewed(site.ahead * 1000 / PART);
    loop {
        let started = async {
            site.space.queue(TARGET, options()).await?;
            Schedules::new(&site.straight)?.create(&schedule).await?;
            Scheduler::builder(&site.space).lease(Duration::from_secs(2)).clock(clock.clone()).spawn().await
        };
        match started.await {
            Ok(scheduler) => return Ok(scheduler),
            Err(error) if is_away(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_away(error: &ScheduleError) -> bool {
    let text = chain(error);
    matches!(error, ScheduleError::Store(_)) && !text.contains("rejected")
}

/// Takes what the schedule sends.
pub(super) async fn receive(site: Site) {
    let mut dice = site.dice(70);
    while !site.is_over() {
        let Ok(queue) = site.space.queue(TARGET, options()).await else { continue };
        let Ok(mut pull) = queue.pull().await else { continue };
        while !site.is_over() {
            let next = site.space.clock().timeout(Duration::from_secs(1), pull.next(NonZeroUsize::MIN)).await;
            let deliveries = match next {
                None => continue,
                Some(Ok(deliveries)) => deliveries,
                Some(Err(_)) => break,
            };
            for delivery in deliveries {
                note(&site, delivery).await;
            }
        }
        pull.close().await;
        site.pause(&mut dice, 100).await;
    }
}

/// Notes a firing, and tells when it was due.
async fn note(site: &Site, delivery: Delivery) -> Option<i64> {
    let message = delivery.message();
    let due = message.headers.get("Schedule-Time").and_then(Timestamp::parse_rfc3339).map(Timestamp::as_micros);
    match (&message.id, due) {
        (Some(firing), Some(due)) => {
            site.history.note(Fact::Fired { firing: firing.clone(), due, place: delivery.sequence() });
        }
        other => site.odd(format!("a firing without an id or a time: {other:?}")),
    }
    // One that is not acknowledged comes again.
    let _ = delivery.ack().await;
    due
}

/// Waits until the schedule goes on, ends it, and takes what it had sent that nobody has taken.
pub(crate) async fn receive_the_rest(site: &Site) -> Result<(), Failure> {
    let clock = site.space.clock();
    let mut pull = site.space.queue(TARGET, options()).await?.pull().await?;
    // A consumer of the schedulers may be without a leader for seconds after its servers say that they are well.
    let (now, until) = (clock.now(), clock.instant() + GOES_ON);
    let mut newest = None;
    while newest < Some(now.as_micros()) {
        let Some(left) = until.checked_duration_since(clock.instant()) else {
            return Err(format!("the schedule does not go on {GOES_ON:?} after the last fault").into());
        };
        match clock.timeout(left, pull.next(NonZeroUsize::MIN)).await {
            None => {}
            Some(Ok(deliveries)) => {
                for delivery in deliveries {
                    newest = newest.max(note(site, delivery).await);
                }
            }
            // Its consumer is away: opened again, for as long as there is time.
            Some(Err(_)) => {
                let Ok(queue) = site.space.queue(TARGET, options()).await else { continue };
                if let Ok(again) = queue.pull().await {
                    std::mem::replace(&mut pull, again).close().await;
                }
            }
        }
    }
    site.history.note(Fact::Pauses);
    Schedules::new(&site.straight)?.pause(SCHEDULE).await?;
    // Longer than a message is with somebody who has gone away.
    let quiet = options().ack_wait + Duration::from_secs(2);
    while let Some(deliveries) = clock.timeout(quiet, pull.next(NonZeroUsize::MIN)).await {
        for delivery in deliveries? {
            note(site, delivery).await;
        }
    }
    pull.close().await;
    Ok(())
}
