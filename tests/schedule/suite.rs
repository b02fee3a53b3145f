//! How schedules and delayed messages behave, on every engine and every road.
//!
//! Each case takes a few seconds of the clock, which is virtual or not.
#![allow(unreachable_pub, reason = "what is public here is a test, by the rule about the pages")]

use super::place::{Place, every_second_once, ids, schedule, seconds, to_target};
use anabranch::{
    error::BoxError,
    schedule::{
        Change, Delayed, Event, Liveness, Missed, Overlap, Pending, Placed, Running, Schedule, ScheduleError, Scheduler,
        Schedules,
    },
    time::Timestamp,
};
use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, future::try_join_all};
use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{Arc, Mutex},
};

/// Runs the cases on a road: `each` as a test of its own, or all `at_once` as one test, where time is real and they mostly wait.
#[macro_export]
macro_rules! schedule_suite {
    ($how:ident $road:ident, $place:expr, $test:meta) => {
        $crate::schedule_suite!(@$how $road, $place, $test;
            a_schedule_fires_at_its_times_under_the_names_of_its_firings
            the_same_schedule_again_changes_nothing_and_another_one_is_refused_or_replaces_it
            a_paused_schedule_is_silent_and_goes_on_from_when_it_is_resumed
            a_deleted_schedule_is_silent_and_its_name_is_free
            firings_that_were_missed_are_made_up_for_as_the_schedule_says
            a_schedule_is_triggered_by_hand_also_while_it_is_paused
            a_firing_is_skipped_until_the_one_before_is_reported_to_have_ended
            a_firing_waits_until_the_one_before_has_ended
            the_firing_before_is_cancelled_by_who_can_and_by_nobody_else
            a_delayed_message_is_sent_once_at_its_time
            a_key_that_is_taken_changes_nothing
            a_delayed_message_is_taken_back_or_sent_at_another_time
            a_time_that_is_over_is_sent_at_once_or_refused
            what_is_due_at_once_is_sent_once_each_and_nothing_else
            whoever_is_killed_is_replaced_and_nothing_fires_twice
            sixty_missed_firings_are_made_up_for_once_while_schedulers_die
            a_drain_ends_although_whoever_is_asked_panics_or_never_answers
        );
    };
    (@each $road:ident, $place:expr, $test:meta; $($case:ident)+) => {
        mod $road {
            $(
                #[$test]
                async fn $case() {
                    $crate::suite::$case(&$place.await).await;
                }
            )+
        }
    };
    (@at_once $road:ident, $place:expr, $test:meta; $($case:ident)+) => {
        #[$test]
        async fn $road() {
            let tasks = tokio_util::task::TaskTracker::new();
            let cases = [$((stringify!($case), tasks.spawn(async { $crate::suite::$case(&$place.await).await }))),+];
            let mut failed = Vec::new();
            for (case, task) in cases {
                if task.await.is_err() {
                    failed.push(case);
                }
            }
            assert!(failed.is_empty(), "{failed:?}");
        }
    };
}

pub async fn a_schedule_fires_at_its_times_under_the_names_of_its_firings(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let worker = place.scheduler(0).await;
    let mut events = worker.events();
    let created = place.clock().now();
    assert_eq!(schedules.create(&schedule("@every 1s")).await.unwrap(), Change::Created);
    let came = inbox.take(3).await;
    let first = every_second_once(&came);
    assert!(first > created && first <= place.clock().now());
    assert_eq!(came[0].payload, "tick");
    let fired = async {
        loop {
            if let Some(Event::Fired { schedule, firing, .. }) = events.next().await {
                return (schedule, firing.at);
            }
        }
    };
    assert_eq!(place.clock().timeout(seconds(30), fired).await.unwrap(), ("s".to_owned(), first));
    let status = schedules.get("s").await.unwrap().unwrap();
    assert!(status.fired >= 3 && status.last >= Some(first + seconds(2)) && status.next > status.last, "{status:?}");
    worker.drain().await;
}

pub async fn the_same_schedule_again_changes_nothing_and_another_one_is_refused_or_replaces_it(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let (yearly, secondly) = (schedule("@yearly"), schedule("@every 1s"));
    assert_eq!(schedules.create(&yearly).await.unwrap(), Change::Created);
    let before = schedules.get("s").await.unwrap();
    assert_eq!(schedules.create(&yearly).await.unwrap(), Change::Unchanged);
    assert_eq!(schedules.put(&yearly).await.unwrap(), Change::Unchanged);
    assert!(matches!(schedules.create(&secondly).await, Err(ScheduleError::Exists(name)) if name == "s"));
    assert_eq!(schedules.get("s").await.unwrap(), before);
    let worker = place.scheduler(1).await;
    assert_eq!(schedules.put(&secondly).await.unwrap(), Change::Updated);
    every_second_once(&inbox.take(2).await);
    // Another message, by the rule that it has: no firing is lost or comes twice.
    let other = Schedule::new("s", "@every 1s".parse().unwrap(), to_target("tock"));
    assert_eq!(schedules.put(&other).await.unwrap(), Change::Updated);
    let rest = inbox.take(3).await;
    every_second_once(&rest);
    assert_eq!(rest.last().unwrap().payload, "tock");
    let listed: Vec<_> = schedules.list().await.unwrap().into_iter().map(|s| s.schedule.name().to_owned()).collect();
    assert_eq!(listed, ["s"]);
    worker.drain().await;
}

pub async fn a_paused_schedule_is_silent_and_goes_on_from_when_it_is_resumed(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let worker = place.scheduler(0).await;
    let all = Missed::All(NonZeroU32::new(1000).unwrap());
    schedules.create(&schedule("@every 1s").missed(all)).await.unwrap();
    inbox.take(1).await;
    assert!(schedules.pause("s").await.unwrap() && !schedules.pause("s").await.unwrap());
    // What was decided before may still be on its way.
    inbox.within(seconds(1)).await;
    assert_eq!(ids(&inbox.within(seconds(3)).await), [""; 0]);
    let status = schedules.get("s").await.unwrap().unwrap();
    assert_eq!((status.paused, status.next), (true, None));
    let resumed = place.clock().now();
    assert!(schedules.resume("s").await.unwrap() && !schedules.resume("s").await.unwrap());
    let first = every_second_once(&inbox.take(2).await);
    assert!(first > resumed, "{first} was due while it was paused, until {resumed}");
    assert!(matches!(schedules.pause("nobody").await, Err(ScheduleError::NotFound(_))));
    worker.drain().await;
}

pub async fn a_deleted_schedule_is_silent_and_its_name_is_free(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let worker = place.scheduler(0).await;
    schedules.create(&schedule("@every 1s")).await.unwrap();
    inbox.take(1).await;
    assert!(schedules.delete("s").await.unwrap() && !schedules.delete("s").await.unwrap());
    inbox.within(seconds(1)).await;
    assert_eq!(ids(&inbox.within(seconds(3)).await), [""; 0]);
    assert_eq!(schedules.get("s").await.unwrap(), None);
    assert_eq!(schedules.create(&schedule("@every 2s")).await.unwrap(), Change::Created);
    inbox.take(1).await;
    worker.drain().await;
}

/// D27: not only the last one, and also what was due before the first deployment.
pub async fn firings_that_were_missed_are_made_up_for_as_the_schedule_says(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    // A daily time that is hours away, so that none comes in time meanwhile.
    let now = place.clock().now().as_micros();
    let (hour, day) = (3_600_000_000, seconds(86_400));
    let anchor = Timestamp::from_micros(now - 5 * hour);
    let daily = |name: &str, missed| {
        let rule = anabranch::schedule::Rule::every(day).unwrap().anchored(anchor);
        // Five of them, the last one five hours ago.
        let since = Timestamp::from_micros(anchor.as_micros() - 4 * 24 * hour - hour);
        Schedule::new(name, rule, to_target(name)).missed(missed).since(since)
    };
    for (name, missed) in [
        ("skip", Missed::Skip),
        ("last", Missed::Last),
        ("all", Missed::All(NonZeroU32::new(1000).unwrap())),
        ("three", Missed::All(NonZeroU32::new(3).unwrap())),
    ] {
        schedules.create(&daily(name, missed)).await.unwrap();
    }
    let worker = place.scheduler(0).await;
    let mut came = ids(&inbox.take(9).await);
    came.extend(ids(&inbox.within(seconds(2)).await));
    came.sort();
    let at = |name: &str, days: i64| format!("{name}@{}", Timestamp::from_micros(anchor.as_micros() - days * 24 * hour));
    let mut wanted: Vec<_> = [4, 3, 2, 1, 0].map(|days| at("all", days)).to_vec();
    wanted.extend([at("last", 0), at("three", 2), at("three", 1), at("three", 0)]);
    wanted.sort();
    assert_eq!(came, wanted);
    for (name, lost) in [("skip", 5), ("last", 4), ("all", 0), ("three", 2)] {
        assert_eq!(schedules.get(name).await.unwrap().unwrap().missed, lost, "{name}");
    }
    worker.drain().await;
}

pub async fn a_schedule_is_triggered_by_hand_also_while_it_is_paused(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    schedules.create(&schedule("@yearly")).await.unwrap();
    let one = schedules.trigger("s").await.unwrap();
    schedules.pause("s").await.unwrap();
    let other = schedules.trigger("s").await.unwrap();
    assert!(one.id.ends_with("+1") && other.id.ends_with("+2"), "{one:?}, {other:?}");
    assert_eq!(ids(&inbox.take(2).await).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([one.id, other.id]));
    assert!(matches!(schedules.trigger("nobody").await, Err(ScheduleError::NotFound(_))));
    assert_eq!(schedules.get("s").await.unwrap().unwrap().triggered, 2);
}

/// Waits until a scheduler tells of what is looked for.
async fn heard<T>(place: &Place, worker: &Scheduler, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let mut events = worker.events();
    let hear = async {
        loop {
            if let Some(found) = wanted(events.next().await.unwrap()) {
                return found;
            }
        }
    };
    place.clock().timeout(seconds(60), hear).await.expect("it is told within a minute")
}

pub async fn a_firing_is_skipped_until_the_one_before_is_reported_to_have_ended(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let worker = place.scheduler(0).await;
    schedules.create(&schedule("@every 1s").overlap(Overlap::Skip)).await.unwrap();
    let first = inbox.take(1).await;
    let skipped = heard(place, &worker, |event| if let Event::Skipped { at, .. } = event { Some(at) } else { None }).await;
    assert!(inbox.within(seconds(2)).await.is_empty());
    assert!(!schedules.finished("s@never").await.unwrap(), "another one is not waited for");
    assert!(schedules.finished(first[0].id.as_ref().unwrap()).await.unwrap());
    assert!(!schedules.finished(first[0].id.as_ref().unwrap()).await.unwrap(), "said twice it is said once");
    let second = inbox.take(1).await;
    assert!(second[0].id.as_ref().unwrap() > &format!("s@{skipped}"));
    assert!(schedules.get("s").await.unwrap().unwrap().skipped >= 2);
    worker.drain().await;
}

/// Knows what a test tells it.
#[derive(Debug, Default)]
struct Told {
    done: Mutex<BTreeSet<String>>,
    cancelled: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl Running for Told {
    async fn liveness(&self, firing: &str) -> Result<Liveness, BoxError> {
        Ok(if self.done.lock().unwrap().contains(firing) { Liveness::Done } else { Liveness::Running })
    }

    async fn cancel(&self, firing: &str) -> Result<(), BoxError> {
        self.cancelled.lock().unwrap().insert(firing.to_owned());
        Ok(())
    }
}

pub async fn a_firing_waits_until_the_one_before_has_ended(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let told = Arc::new(Told::default());
    let running = Arc::<Told>::clone(&told);
    let builder = Scheduler::builder(place.space()).lease(seconds(1)).running("target", running);
    let worker = builder.spawn().await.unwrap();
    schedules.create(&schedule("@every 1s").overlap(Overlap::Queue)).await.unwrap();
    let first = ids(&inbox.take(1).await).remove(0);
    let queued = heard(place, &worker, |event| if let Event::Queued { at, .. } = event { Some(at) } else { None }).await;
    assert!(inbox.within(seconds(2)).await.is_empty());
    let status = schedules.get("s").await.unwrap().unwrap();
    assert_eq!((status.queued, status.running.map(|firing| firing.id)), (Some(queued), Some(first.clone())));
    told.done.lock().unwrap().insert(first);
    assert_eq!(ids(&inbox.take(1).await), [format!("s@{queued}")]);
    assert!(schedules.get("s").await.unwrap().unwrap().skipped >= 1, "one waits, and not each");
    // The next one is told of, and not asked about.
    let second = async {
        loop {
            if let Some(at) = schedules.get("s").await.unwrap().unwrap().queued {
                return at;
            }
            place.passes(seconds(1) / 10).await;
        }
    };
    let second = place.clock().timeout(seconds(60), second).await.unwrap();
    assert!(schedules.finished(&format!("s@{queued}")).await.unwrap());
    assert_eq!(ids(&inbox.take(1).await), [format!("s@{second}")]);
    worker.drain().await;
}

pub async fn the_firing_before_is_cancelled_by_who_can_and_by_nobody_else(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let nobody = place.scheduler(1).await;
    schedules.create(&schedule("@every 1s").overlap(Overlap::Cancel)).await.unwrap();
    let first = ids(&inbox.take(1).await).remove(0);
    let failed = heard(place, &nobody, |event| if let Event::Failed { error, .. } = event { Some(error) } else { None }).await;
    assert!(matches!(&*failed, ScheduleError::NobodyCancels(queue) if queue == "target"), "{failed:?}");
    assert_eq!(ids(&inbox.within(seconds(2)).await), [""; 0]);
    nobody.drain().await;
    let told = Arc::new(Told::default());
    let running = Arc::<Told>::clone(&told);
    let worker = Scheduler::builder(place.space()).lease(seconds(1)).running("target", running).spawn().await.unwrap();
    let second = ids(&inbox.take(1).await).remove(0);
    assert!(told.cancelled.lock().unwrap().contains(&first));
    let third = ids(&inbox.take(1).await).remove(0);
    assert!(told.cancelled.lock().unwrap().contains(&second));
    assert!(first < second && second < third);
    worker.drain().await;
}

pub async fn a_delayed_message_is_sent_once_at_its_time(place: &Place) {
    let mut inbox = place.inbox().await;
    let delayed = Delayed::new(place.space()).unwrap();
    let (one, other) = (place.scheduler(0).await, place.scheduler(1).await);
    let began = place.clock().now();
    let mut named = to_target("named");
    named.message = named.message.id("mine").header("Colour", "blue");
    for (key, delay, message) in [("late", 3, to_target("late")), ("soon", 1, to_target("soon")), ("named", 2, named)] {
        let Placed::Scheduled { at } = delayed.after(key, seconds(delay), &message).await.unwrap() else { panic!("{key}") };
        assert!(at >= began + seconds(delay));
    }
    assert!(delayed.get("late").await.unwrap().is_some());
    let mut came = Vec::new();
    for (delay, payload) in [(1, "soon"), (2, "named"), (3, "late")] {
        let message = inbox.take(1).await.remove(0);
        assert_eq!(message.payload, payload);
        assert!(place.clock().now() >= began + seconds(delay), "{payload} comes too early");
        came.push(message);
    }
    assert_eq!((came[1].id.as_deref(), came[1].headers.get("Colour")), (Some("mine"), Some("blue")));
    assert_eq!(ids(&inbox.within(seconds(2)).await), [""; 0]);
    assert_eq!(delayed.get("late").await.unwrap(), None);
    one.drain().await;
    other.drain().await;
}

/// D25: a second message under the same key says so, and changes nothing, not even the time.
pub async fn a_key_that_is_taken_changes_nothing(place: &Place) {
    let mut inbox = place.inbox().await;
    let delayed = Delayed::new(place.space()).unwrap();
    let Placed::Scheduled { at } = delayed.after("k", seconds(2), &to_target("first")).await.unwrap() else { panic!() };
    for delay in [0, 1, 100] {
        assert_eq!(delayed.after("k", seconds(delay), &to_target("second")).await.unwrap(), Placed::Already { at });
    }
    let worker = place.scheduler(0).await;
    let came = inbox.take(1).await;
    assert!(came[0].payload == "first" && place.clock().now() >= at);
    // Sent, so the key is free again, and what is sent next is another message.
    let gone = async { while delayed.get("k").await.unwrap().is_some() {} };
    place.clock().timeout(seconds(30), gone).await.unwrap();
    assert!(matches!(delayed.after("k", seconds(0), &to_target("third")).await.unwrap(), Placed::Scheduled { .. }));
    assert_eq!(inbox.take(1).await[0].payload, "third");
    worker.drain().await;
}

pub async fn a_delayed_message_is_taken_back_or_sent_at_another_time(place: &Place) {
    let mut inbox = place.inbox().await;
    let delayed = Delayed::new(place.space()).unwrap();
    let worker = place.scheduler(0).await;
    let soon = place.clock().now() + seconds(2);
    for key in ["back", "later", "sooner", "a.b \u{fc}"] {
        let due = if key == "sooner" { soon + seconds(1000) } else { soon };
        assert_eq!(delayed.at(key, due, &to_target(key)).await.unwrap(), Placed::Scheduled { at: due });
    }
    assert!(delayed.cancel("back").await.unwrap() && !delayed.cancel("back").await.unwrap());
    assert_eq!(delayed.reschedule("later", soon + seconds(2)).await.unwrap(), soon);
    assert_eq!(delayed.reschedule("sooner", soon + seconds(1)).await.unwrap(), soon + seconds(1000));
    assert!(matches!(delayed.reschedule("back", soon).await, Err(ScheduleError::NotFound(_))));
    let mut listed: Vec<Pending> = delayed.list().await.unwrap().try_collect().await.unwrap();
    listed.sort_by_key(|pending| pending.due);
    let listed: Vec<_> = listed.iter().map(|pending| (pending.key.as_str(), pending.due)).collect();
    assert_eq!(listed, [("a.b \u{fc}", soon), ("sooner", soon + seconds(1)), ("later", soon + seconds(2))]);
    let came = inbox.take(3).await;
    let came: Vec<_> = came.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect();
    assert_eq!(came, ["a.b \u{fc}", "sooner", "later"]);
    assert_eq!(ids(&inbox.within(seconds(2)).await), [""; 0]);
    worker.drain().await;
}

pub async fn a_time_that_is_over_is_sent_at_once_or_refused(place: &Place) {
    let mut inbox = place.inbox().await;
    let delayed = Delayed::new(place.space()).unwrap();
    let worker = place.scheduler(0).await;
    let past = Timestamp::from_micros(place.clock().now().as_micros() - 3_600_000_000);
    assert_eq!(delayed.at("k", past, &to_target("old")).await.unwrap(), Placed::Scheduled { at: past });
    assert_eq!(inbox.take(1).await[0].payload, "old");
    let strict = delayed.clone().refusing_past();
    let refused = strict.at("l", past, &to_target("old")).await;
    assert!(matches!(refused, Err(ScheduleError::Past { due, now }) if due == past && now > past), "{refused:?}");
    let future = past + seconds(7200);
    assert_eq!(strict.at("l", future, &to_target("new")).await.unwrap(), Placed::Scheduled { at: future });
    assert!(matches!(strict.reschedule("l", past).await, Err(ScheduleError::Past { .. })));
    assert_eq!(strict.get("l").await.unwrap(), Some(future));
    worker.drain().await;
}

/// Schedules messages that are numbered, all at the same moment.
async fn place_all(delayed: &Delayed, due: Timestamp, numbers: std::ops::Range<usize>) {
    let mut all = Vec::new();
    for n in numbers {
        all.push(async move { delayed.at(&format!("k{n}"), due, &to_target(&n.to_string())).await });
    }
    for placed in try_join_all(all).await.unwrap() {
        assert_eq!(placed, Placed::Scheduled { at: due });
    }
}

/// D23: more is due at once than is done at once; all of it is sent, and what is added meanwhile too, and what is not due stays.
pub async fn what_is_due_at_once_is_sent_once_each_and_nothing_else(place: &Place) {
    const DUE: usize = 2000;
    let mut inbox = place.inbox().await;
    let delayed = Delayed::new(place.space()).unwrap();
    let due = place.clock().now() + seconds(5);
    place_all(&delayed, due, 0..DUE - 100).await;
    let later = due + seconds(100_000);
    assert_eq!(delayed.at("later", later, &to_target("later")).await.unwrap(), Placed::Scheduled { at: later });
    let team = [place.scheduler(0).await, place.scheduler(1).await, place.scheduler(2).await];
    place.passes(due.since(place.clock().now())).await;
    place_all(&delayed, due, DUE - 100..DUE).await;
    let came = inbox.take(DUE).await;
    let came: BTreeSet<usize> = came.iter().map(|m| std::str::from_utf8(&m.payload).unwrap().parse().unwrap()).collect();
    assert_eq!(came.len(), DUE, "each once");
    assert_eq!(ids(&inbox.within(seconds(2)).await), [""; 0]);
    let left: Vec<Pending> = delayed.list().await.unwrap().try_collect().await.unwrap();
    assert_eq!(left.iter().map(|pending| pending.key.as_str()).collect::<Vec<_>>(), ["later"]);
    for worker in team {
        worker.drain().await;
    }
}

pub async fn whoever_is_killed_is_replaced_and_nothing_fires_twice(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let mut team = vec![place.scheduler(0).await, place.scheduler(1).await, place.scheduler(2).await];
    schedules.create(&schedule("@every 1s")).await.unwrap();
    let mut came = inbox.take(2).await;
    drop(team.remove(0));
    came.extend(inbox.take(3).await);
    drop(team.remove(0));
    came.extend(inbox.take(5).await);
    schedules.pause("s").await.unwrap();
    came.extend(inbox.within(seconds(2)).await);
    every_second_once(&came);
    for worker in team {
        worker.drain().await;
    }
}

/// D21, D26: three schedulers on one schedule for sixty firings, two of them killed on the way.
pub async fn sixty_missed_firings_are_made_up_for_once_while_schedulers_die(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    let mut team = vec![place.scheduler(0).await, place.scheduler(1).await, place.scheduler(2).await];
    let now = place.clock().now().as_micros();
    // Each hour, the last one half an hour ago, so that none comes meanwhile.
    let (hour, half) = (3_600_000_000, 1_800_000_000);
    let rule = anabranch::schedule::Rule::every(seconds(3600)).unwrap().anchored(Timestamp::from_micros(now - half));
    let since = Timestamp::from_micros(now - 60 * hour);
    let all = Missed::All(NonZeroU32::new(100).unwrap());
    schedules.create(&Schedule::new("s", rule, to_target("tick")).missed(all).since(since)).await.unwrap();
    let mut came = inbox.take(1).await;
    drop(team.remove(0));
    came.extend(inbox.take(20).await);
    drop(team.remove(0));
    came.extend(inbox.take(39).await);
    came.extend(inbox.within(seconds(3)).await);
    let wanted: BTreeSet<_> = (0..60).map(|n| format!("s@{}", Timestamp::from_micros(now - half - n * hour))).collect();
    assert_eq!(came.len(), 60);
    assert_eq!(ids(&came).into_iter().collect::<BTreeSet<_>>(), wanted);
    for worker in team {
        worker.drain().await;
    }
}

/// Misbehaves.
#[derive(Debug)]
struct Bad {
    hangs: bool,
}

#[async_trait]
impl Running for Bad {
    async fn liveness(&self, _: &str) -> Result<Liveness, BoxError> {
        assert!(self.hangs, "as it was told to");
        std::future::pending().await
    }

    async fn cancel(&self, _: &str) -> Result<(), BoxError> {
        std::future::pending().await
    }
}

/// D24: code of the application that fails, or never returns, does not keep a scheduler from ending, and other schedules go on.
pub async fn a_drain_ends_although_whoever_is_asked_panics_or_never_answers(place: &Place) {
    let mut inbox = place.inbox().await;
    let schedules = Schedules::new(place.space()).unwrap();
    schedules.create(&schedule("@every 1s").overlap(Overlap::Skip)).await.unwrap();
    let quiet = Schedule::new("other", "@every 1s".parse().unwrap(), to_target("other"));
    for hangs in [false, true] {
        let builder = Scheduler::builder(place.space()).lease(seconds(1)).drain_timeout(seconds(2));
        let worker = builder.running("target", Arc::new(Bad { hangs })).spawn().await.unwrap();
        schedules.put(&quiet).await.unwrap();
        inbox.take(4).await;
        if !hangs {
            let failed = heard(place, &worker, |e| if let Event::Failed { error, .. } = e { Some(error) } else { None }).await;
            assert!(matches!(&*failed, ScheduleError::Running { .. }), "{failed:?}");
        }
        place.clock().timeout(seconds(10), worker.drain()).await.expect("a drain ends");
    }
}
