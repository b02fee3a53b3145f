//! Delayed messages of a client that sets them, moves some and takes some back.

use super::{CLOCKS, Came, ORIGIN, SECOND, World, schedules, to_inbox, true_micros};
use anabranch::{
    error::BoxError,
    schedule::{Delayed, Schedules},
    testing::sim::Host,
};
use std::{collections::BTreeMap, time::Duration};

const MESSAGES: u64 = 10;

/// What the client knows of each key.
#[derive(Default)]
pub(super) struct Delays(BTreeMap<String, Known>);

/// What is known of one message, in microseconds of the true time.
#[derive(Debug, Default, Clone)]
struct Known {
    /// When it may be due: more than one time, when nobody knows whether it was moved.
    due: Vec<u64>,
    /// Somebody was told that it will be sent.
    placed: bool,
    /// Somebody was told that it was taken back, or may have taken it back.
    taken: bool,
    maybe_taken: bool,
    /// How often it may have been set again after it was sent, by a client that did not know whether it was set, and stood still before it
    /// set it again.
    again: usize,
}

impl Delays {
    fn known(&mut self, key: &str) -> &mut Known {
        self.0.entry(key.to_owned()).or_default()
    }

    /// Complains by a panic about what was lost, came twice, too early, or although it was taken back.
    pub(super) fn judge(&self, came: &BTreeMap<u64, Came>, until: Duration) {
        let until = u64::try_from(until.as_micros()).unwrap_or(u64::MAX);
        let early = u64::try_from(CLOCKS.as_micros()).unwrap_or(0);
        for (key, known) in &self.0 {
            let times: Vec<u64> =
                came.values().filter(|came| came.due.is_none() && came.payload == *key).map(|came| came.at).collect();
            let most = 1 + known.again - usize::from(known.taken);
            assert!(times.len() <= most, "{key} came at {times:?} us: {known:?}");
            let first = known.due.iter().min().copied().unwrap_or(u64::MAX);
            if let Some(at) = times.first() {
                assert!(*at + early >= first, "{key} came at {at} us: {known:?}");
            } else if known.placed && !known.taken && !known.maybe_taken {
                let last = known.due.iter().max().copied().unwrap_or(0);
                assert!(last > until, "{key} has not come: {known:?}");
            }
        }
        let placed = self.0.values().filter(|known| known.placed).count();
        assert!(placed > 0, "no message was placed");
    }
}

/// Creates the schedules, then sets and changes delayed messages, each life some more.
pub(super) async fn change(host: Host, world: World) -> Result<(), BoxError> {
    let space = loop {
        match host.engine().space("shop").await {
            Ok(space) => break world.road.on(space),
            Err(_) => host.clock().sleep(SECOND / 4).await,
        }
    };
    let all = Schedules::new(&space)?;
    for schedule in schedules() {
        while all.create(&schedule).await.is_err() {
            host.clock().sleep(SECOND / 4).await;
        }
    }
    let delayed = Delayed::new(&space)?;
    let tasks = (0..MESSAGES).map(|n| one(&host, &world, &delayed, n));
    futures_util::future::join_all(tasks).await;
    std::future::pending().await
}

/// The life of one message.
async fn one(host: &Host, world: &World, delayed: &Delayed, n: u64) {
    let key = format!("{n}-of-{}", host.boot());
    let pause = |millis| host.clock().sleep(Duration::from_millis(host.roll(millis)));
    pause(15_000).await;
    let due = |millis| ORIGIN + host.elapsed() + Duration::from_millis(millis);
    let at = due(500 + host.roll(6000));
    let message = to_inbox(&key);
    // Noted before it is said: what is not answered may have happened.
    world.seen().delays.known(&key).due.push(true_micros(at));
    let cannot_be_sent = || Duration::from_micros(true_micros(at)) > host.elapsed() + CLOCKS;
    let mut placed = delayed.at(&key, at, &message).await.is_ok();
    // Again, as long as it cannot have been sent.
    while !placed && cannot_be_sent() {
        pause(500).await;
        world.seen().delays.known(&key).again += 1;
        placed = delayed.at(&key, at, &message).await.is_ok();
        if cannot_be_sent() {
            // It was over before the one before may have been sent.
            world.seen().delays.known(&key).again -= 1;
        }
    }
    if !placed {
        return;
    }
    world.seen().delays.known(&key).placed = true;
    pause(4000).await;
    match host.roll(3) {
        0 => {
            let at = due(500 + host.roll(5000));
            world.seen().delays.known(&key).due.push(true_micros(at));
            let moved = delayed.reschedule(&key, at).await.is_ok();
            let mut seen = world.seen();
            let known = seen.delays.known(&key);
            // One that was sent before was not moved.
            if moved && known.again == 0 {
                known.due = vec![true_micros(at)];
            }
        }
        1 => {
            world.seen().delays.known(&key).maybe_taken = true;
            match delayed.cancel(&key).await {
                Ok(true) => world.seen().delays.known(&key).taken = true,
                // None waited, so it was sent before.
                Ok(false) => world.seen().delays.known(&key).maybe_taken = false,
                Err(error) => host.say(format!("it is not known whether {key} was taken back: {error}")),
            }
        }
        _ => {}
    }
}
