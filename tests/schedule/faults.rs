//! Clocks that differ, answers that are lost, stores that are away, and what somebody else has stored.

use super::{
    place::{Place, Road, every_second_once, ids, schedule, seconds, to_target},
    roads::memory,
};
use anabranch::{
    engine::{Expect, Key, PutOptions, Space},
    schedule::{Delayed, Event, Missed, Placed, Rule, Schedule, ScheduleError, Scheduler, Schedules},
    testing::{
        LesserStore,
        faulty::{Fault, FaultyStore, Odds, Op},
    },
    time::{Clock, Timestamp},
};
use futures_util::{StreamExt as _, future::join_all};
use std::{collections::BTreeSet, num::NonZeroU32, sync::Arc, time::Duration};

/// A process whose clock is ahead of that of the engine, or behind.
async fn skewed(space: &Space, ahead: i64) -> Scheduler {
    let clock = Clock::following_tokio(Timestamp::from_micros(space.clock().now().as_micros() + ahead * 1_000_000));
    Scheduler::builder(space).lease(seconds(1)).clock(clock).spawn().await.unwrap()
}

/// A process whose way to the store a test can break.
fn breakable(space: &Space, seed: u64) -> (Space, Arc<FaultyStore>) {
    let store = FaultyStore::over(space, seed);
    (space.clone().with_store(Arc::<FaultyStore>::clone(&store)), store)
}

/// Three schedulers with clocks half a minute apart, two of which are killed on the way.
async fn sixty_firings(road: Road) {
    let place = memory(road).await;
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let mut team = Vec::new();
    for ahead in [25, -25, 0] {
        team.push(skewed(place.space(), ahead).await);
    }
    let began = place.clock().now();
    schedules.create(&schedule("@every 1s")).await.unwrap();
    let mut came = inbox.take(20).await;
    drop(team.remove(0));
    came.extend(inbox.take(20).await);
    drop(team.remove(0));
    came.extend(inbox.take(20).await);
    schedules.pause("s").await.unwrap();
    came.extend(inbox.within(seconds(60)).await);
    let first = every_second_once(&came);
    assert!(first <= began + seconds(1), "the first was {first}, from {began} on");
    assert!(came.len() >= 60);
    assert_eq!(schedules.get("s").await.unwrap().unwrap().missed, 0);
}

/// D21, D26: nothing fires twice, and nothing is taken for missed, as long as clocks differ by less than the tolerance.
#[tokio::test(start_paused = true)]
async fn sixty_firings_with_skewed_clocks_and_two_deaths_come_once_each() {
    for road in [Road::Timers, Road::Index, Road::Bare] {
        sixty_firings(road).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_firing_is_early_by_no_more_than_its_schedulers_clock_is_ahead() {
    let moment = seconds(1) / 2;
    for (road, ahead) in [(Road::Index, 7), (Road::Index, -7), (Road::Timers, 7), (Road::Timers, -7)] {
        let place = memory(road).await;
        let worker = skewed(place.space(), ahead).await;
        let mut inbox = place.inbox().await;
        // Leads, where there are leaders.
        place.passes(seconds(2)).await;
        Schedules::new(place.space()).unwrap().create(&schedule("@every 10s")).await.unwrap();
        for _ in 0..3 {
            let message = inbox.take(1).await.remove(0);
            let at = Timestamp::parse_rfc3339(message.headers.get("Schedule-Time").unwrap()).unwrap();
            let (early, late) = match (road, ahead) {
                (Road::Index, 7) => (seconds(7), seconds(0)),
                (Road::Index, _) => (seconds(0), seconds(7)),
                // A timer goes off by the engine's clock, and is believed.
                _ => (seconds(0), seconds(0)),
            };
            let now = place.clock().now();
            assert!(now + early >= at && now <= at + late + moment, "{road:?} {ahead}: {at} came at {now}");
        }
        worker.drain().await;
    }
}

/// Schedulers whose answers are lost, whose writes are refused and whose store is away, again and again.
async fn through_faults(road: Road, seed: u64) {
    let base = memory(road).await;
    let (mut spaces, mut stores) = (Vec::new(), Vec::new());
    for n in 0..3 {
        let (space, store) = breakable(base.space(), seed * 10 + n);
        spaces.push(space);
        stores.push(store);
    }
    let mut inbox = base.inbox().await;
    let odds = Odds { unknown: 60, conflict: 60, unavailable: 60, latency: Duration::from_millis(80) };
    for store in &stores {
        store.odds(odds);
    }
    let mut team = Vec::new();
    for space in &spaces {
        // Whoever cannot even begin tries again.
        loop {
            if let Ok(worker) = Scheduler::builder(space).lease(seconds(2)).spawn().await {
                team.push(worker);
                break;
            }
        }
    }
    let (schedules, delayed) = (Schedules::new(base.space()).unwrap(), Delayed::new(base.space()).unwrap());
    schedules.create(&schedule("@every 1s").missed(Missed::All(NonZeroU32::new(1000).unwrap()))).await.unwrap();
    let due = base.clock().now() + seconds(10);
    let all = (0..200).map(|n| {
        let delayed = &delayed;
        async move { delayed.at(&format!("k{n}"), due, &to_target("later")).await.unwrap() }
    });
    assert!(join_all(all).await.iter().all(|placed| matches!(placed, Placed::Scheduled { .. })));
    let mut came = inbox.take(230).await;
    schedules.pause("s").await.unwrap();
    for store in &stores {
        store.behave();
    }
    came.extend(inbox.within(seconds(60)).await);
    let (fired, sent): (Vec<_>, Vec<_>) = came.into_iter().partition(|m| m.headers.get("Schedule-Name").is_some());
    every_second_once(&fired);
    assert_eq!((sent.len(), ids(&sent).into_iter().collect::<BTreeSet<_>>().len()), (200, 200), "seed {seed}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_or_comes_twice_when_answers_are_lost_and_the_store_is_away() {
    for seed in 0..2 {
        for road in [Road::Timers, Road::Index, Road::Bare] {
            through_faults(road, seed).await;
        }
    }
}

/// On an engine without commits: dead after the record says what is to be sent, and before it is.
#[tokio::test(start_paused = true)]
async fn what_was_decided_and_not_sent_is_sent_by_the_next_leader() {
    // Of the first the messages had been sent all the same: a second one under the same id is dropped. Those of the second never are.
    for fault in [Fault::Hang, Fault::Delay(seconds(1_000_000))] {
        dead_before_it_is_sent(fault).await;
    }
}

async fn dead_before_it_is_sent(fault: Fault) {
    let place = memory(Road::Bare).await;
    let mut inbox = place.inbox().await;
    let (dying, store) = breakable(place.space(), 1);
    let worker = Scheduler::builder(&dying).lease(seconds(1)).spawn().await.unwrap();
    // It never gets past a message that it sends.
    store.plan(move |call| (call.op == anabranch::testing::faulty::Op::Commit).then_some(fault));
    let schedules = Schedules::new(place.space()).unwrap();
    schedules.create(&schedule("@every 1s")).await.unwrap();
    // One whose next firing is far away, so that only what is pending makes anybody look.
    let soon = place.clock().now() + seconds(1);
    let yearly = Rule::every(seconds(366 * 86_400)).unwrap().anchored(soon);
    schedules.create(&Schedule::new("yearly", yearly, to_target("yearly"))).await.unwrap();
    let _ = Delayed::new(place.space()).unwrap().after("k", seconds(1), &to_target("later")).await.unwrap();
    place.passes(seconds(5)).await;
    drop(worker);
    let heir = place.scheduler(1).await;
    let mut came = inbox.take(10).await;
    schedules.pause("s").await.unwrap();
    came.extend(inbox.within(seconds(30)).await);
    let (fired, others): (Vec<_>, Vec<_>) = came.into_iter().partition(|m| m.headers.get("Schedule-Name") == Some("s"));
    let others: BTreeSet<_> = others.into_iter().map(|message| message.payload).collect();
    assert_eq!(others, BTreeSet::from(["later".into(), "yearly".into()]));
    every_second_once(&fired);
    heir.drain().await;
}

/// Whoever is cut off in the middle of a write, for longer than its lease or its wake-up lasts, writes when others have gone on.
#[tokio::test(start_paused = true)]
async fn who_comes_back_with_a_write_from_long_ago_fires_nothing() {
    for road in [Road::Timers, Road::Index] {
        let place = memory(road).await;
        let mut inbox = place.inbox().await;
        let (cut, store) = breakable(place.space(), 1);
        let zombie = Scheduler::builder(&cut).lease(seconds(1)).spawn().await.unwrap();
        let (schedules, delayed) = (Schedules::new(place.space()).unwrap(), Delayed::new(place.space()).unwrap());
        schedules.create(&schedule("@every 1s")).await.unwrap();
        let due = place.clock().now() + seconds(4);
        for n in 0..10 {
            assert_eq!(delayed.at(&format!("k{n}"), due, &to_target("later")).await.unwrap(), Placed::Scheduled { at: due });
        }
        let mut came = inbox.take(2).await;
        // It has read what is due, and its writes are on their way.
        store.hold_writes();
        place.passes(seconds(3)).await;
        let heir = place.scheduler(1).await;
        came.extend(inbox.take(25).await);
        store.resume();
        came.extend(inbox.take(5).await);
        schedules.pause("s").await.unwrap();
        came.extend(inbox.within(seconds(30)).await);
        let (fired, sent): (Vec<_>, Vec<_>) = came.into_iter().partition(|m| m.headers.get("Schedule-Name").is_some());
        every_second_once(&fired);
        assert_eq!(sent.len(), 10, "{road:?}");
        heir.drain().await;
        zombie.drain().await;
    }
}

/// A timer has gone off, and before anybody comes to it, it is about something else.
#[tokio::test(start_paused = true)]
async fn a_wake_up_that_is_out_of_date_wakes_up_nobody() {
    let place = memory(Road::Timers).await;
    let mut inbox = place.inbox().await;
    let (schedules, delayed) = (Schedules::new(place.space()).unwrap(), Delayed::new(place.space()).unwrap());
    let soon = place.clock().now() + seconds(2);
    for key in ["later", "back"] {
        assert_eq!(delayed.at(key, soon, &to_target(key)).await.unwrap(), Placed::Scheduled { at: soon });
    }
    schedules.create(&schedule("@every 2s")).await.unwrap();
    place.passes(seconds(5)).await;
    delayed.reschedule("later", soon + seconds(100)).await.unwrap();
    assert!(delayed.cancel("back").await.unwrap());
    schedules.pause("s").await.unwrap();
    let worker = place.scheduler(0).await;
    assert_eq!(ids(&inbox.within(seconds(90)).await), [""; 0]);
    assert_eq!(inbox.take(1).await[0].payload, "later");
    assert!(place.clock().now() >= soon + seconds(100));
    worker.drain().await;
}

/// D24: also when the store never answers.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_although_the_store_never_answers() {
    for road in [Road::Timers, Road::Index, Road::Bare] {
        let place = memory(road).await;
        let mut inbox = place.inbox().await;
        let (space, store) = breakable(place.space(), 1);
        let worker = Scheduler::builder(&space).lease(seconds(2)).drain_timeout(seconds(3)).spawn().await.unwrap();
        Schedules::new(place.space()).unwrap().create(&schedule("@every 1s")).await.unwrap();
        inbox.take(2).await;
        store.hold();
        place.passes(seconds(2)).await;
        let began = place.clock().instant();
        place.clock().timeout(seconds(30), worker.drain()).await.expect("a drain ends");
        assert!(place.clock().instant() - began <= seconds(4));
    }
}

/// What was scheduled on a server without timers fires on one that has them.
#[tokio::test(start_paused = true)]
async fn what_was_scheduled_without_timers_gets_them_from_the_first_scheduler_that_can() {
    let place = memory(Road::Timers).await;
    let mut inbox = place.inbox().await;
    let old = place.space().clone().with_store(LesserStore::without_commits(place.space()));
    Schedules::new(&old).unwrap().create(&schedule("@every 1s")).await.unwrap();
    let _ = Delayed::new(&old).unwrap().after("k", seconds(2), &to_target("later")).await.unwrap();
    let worker = place.scheduler(0).await;
    let came = inbox.take(6).await;
    assert_eq!(came.iter().filter(|message| message.payload == "later").count(), 1);
    let fired: Vec<_> = came.into_iter().filter(|message| message.payload == "tick").collect();
    every_second_once(&fired);
    worker.drain().await;
}

async fn put_foreign(place: &Place, key: &str) {
    let store = place.space().store();
    store.put(&Key::new(key).unwrap(), "what is this?".into(), Expect::Anything, PutOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn foreign_bytes_are_an_error_and_stay_as_they_are_and_others_go_on() {
    for road in [Road::Timers, Road::Index] {
        let place = memory(road).await;
        let mut inbox = place.inbox().await;
        put_foreign(&place, "schedule.foreign").await;
        put_foreign(&place, "delayed.foreign").await;
        let (schedules, delayed) = (Schedules::new(place.space()).unwrap(), Delayed::new(place.space()).unwrap());
        let mine = schedule("@every 1s");
        let foreign = Schedule::new("foreign", mine.rule().clone(), to_target("tick"));
        let refused = [
            schedules.create(&foreign).await.err(),
            schedules.put(&foreign).await.err(),
            schedules.pause("foreign").await.err(),
            schedules.trigger("foreign").await.err(),
            schedules.delete("foreign").await.err(),
            schedules.get("foreign").await.err(),
            schedules.list().await.err(),
            delayed.after("foreign", seconds(1), &to_target("x")).await.err(),
            delayed.cancel("foreign").await.err(),
            delayed.get("foreign").await.err(),
        ];
        for error in refused {
            assert!(matches!(error, Some(ScheduleError::Corrupt { .. })), "{error:?}");
        }
        let worker = place.scheduler(0).await;
        schedules.create(&mine).await.unwrap();
        every_second_once(&inbox.take(3).await);
        // Its record is spoiled while it is scheduled: that is told, and nothing is overwritten.
        let mut events = worker.events();
        put_foreign(&place, "schedule.s").await;
        let failed = async {
            loop {
                if let Event::Failed { what, error } = events.next().await.unwrap() {
                    return (what, error);
                }
            }
        };
        if road == Road::Timers {
            let (what, error) = place.clock().timeout(seconds(30), failed).await.unwrap();
            assert!(what == "s" && matches!(&*error, ScheduleError::Corrupt { .. }), "{what}: {error:?}");
        }
        assert_eq!(ids(&inbox.within(seconds(5)).await), [""; 0]);
        let entry = place.space().store().get(&Key::new("schedule.s").unwrap()).await.unwrap().unwrap();
        assert_eq!(entry.value, "what is this?");
        worker.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_before_anything_is_stored() {
    let place = memory(Road::Timers).await;
    let (schedules, delayed) = (Schedules::new(place.space()).unwrap(), Delayed::new(place.space()).unwrap());
    let named = |name: &str| Schedule::new(name, "@daily".parse().unwrap(), to_target("x"));
    let long = "n".repeat(129);
    for name in ["", "two\nlines", long.as_str()] {
        assert!(matches!(schedules.create(&named(name)).await, Err(ScheduleError::Invalid(_))), "{name:?}");
        assert!(matches!(delayed.after(name, seconds(1), &to_target("x")).await, Err(ScheduleError::Invalid(_))), "{name:?}");
    }
    let year = Duration::from_secs(367 * 86_400);
    let too_many = Missed::All(NonZeroU32::new(1001).unwrap());
    for bad in [named("s").tolerance(year), named("s").patience(year), named("s").missed(too_many)] {
        assert!(matches!(schedules.create(&bad).await, Err(ScheduleError::Invalid(_))), "{bad:?}");
    }
    let mut reserved = to_target("x");
    reserved.message = reserved.message.header("Nats-Msg-Id", "mine");
    assert!(matches!(delayed.after("k", seconds(1), &reserved).await, Err(ScheduleError::Store(_))));
    let bad = Schedule::new("s", "@daily".parse().unwrap(), reserved);
    assert!(matches!(schedules.create(&bad).await, Err(ScheduleError::Store(_))));
    assert!(schedules.list().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_takes_a_message_back_and_loses_the_answer_is_not_told_that_it_was_sent() {
    let place = memory(Road::Timers).await;
    let (space, store) = breakable(place.space(), 1);
    let delayed = Delayed::new(&space).unwrap();
    for applied in [true, false] {
        let _ = delayed.after("k", seconds(60), &to_target("later")).await.unwrap();
        store.once(Fault::Unknown { applied }, |call| call.op.writes());
        let taken = delayed.cancel("k").await;
        if applied {
            assert!(matches!(taken, Err(ScheduleError::Store(_))), "{taken:?}");
        } else {
            // It was still there, and was taken back when this was said once more.
            assert!(taken.unwrap());
        }
        assert_eq!(Delayed::new(place.space()).unwrap().get("k").await.unwrap(), None);
    }
    assert!(!delayed.cancel("k").await.unwrap(), "nothing waits");
}

/// The lateness is that of the decision that was stored, however long it takes to find out that it was.
#[tokio::test(start_paused = true)]
async fn a_firing_whose_answer_was_lost_is_not_told_as_later_than_it_was() {
    let place = memory(Road::Timers).await;
    let (space, store) = breakable(place.space(), 1);
    let scheduler = Scheduler::builder(&space).spawn().await.unwrap();
    let mut events = scheduler.events();
    Schedules::new(place.space()).unwrap().create(&schedule("@every 60s")).await.unwrap();
    let mut lost = false;
    store.plan(move |call| {
        if lost {
            return (call.op == Op::Read).then_some(Fault::Delay(seconds(10)));
        }
        lost = call.op == Op::Commit;
        lost.then_some(Fault::Unknown { applied: true })
    });
    let (firing, late) = loop {
        if let Event::Fired { firing, late, .. } = events.next().await.unwrap() {
            break (firing, late);
        }
    };
    assert!(place.clock().now().since(firing.at) >= seconds(10), "the answer was not lost");
    assert!(late < seconds(1), "{late:?}");
}
