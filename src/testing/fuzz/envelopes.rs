//! What is stored of jobs, schedules, delayed messages and objects that processes share, of anybody: what is read is the same after
//! it was written, and lives through whatever is done with it.

use super::NOW;
use crate::{
    core::{
        coordination::{
            FencingToken, Lease, Limit, Mark, Quota, Window,
            barrier::{Arrival, Barrier},
            counter::Counter,
            group::Group,
            latch::Latch,
            lease::Sightings,
            metric::{BaseMetric, Delta, MapDelta, MapMetric, Metric},
            once::Done,
            permits::{Ask, Permits},
        },
        jobs::{Delivered, Letter, Outcome, Progress, Record, admit, settle},
        machine::Disposition,
        retry::RetryPolicy,
        schedule::{self, Liveness, Waiting},
    },
    runtime::DeadLetter,
    time::Timestamp,
};
use bytes::Bytes;
use std::{fmt::Debug, num::NonZeroU32, time::Duration};

/// The last moment that there is, and one that is far from all that is stored.
const TIMES: [Timestamp; 4] = [NOW, Timestamp::EPOCH, Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX)];

/// Reads bytes as each of the records that are stored.
///
/// # Panics
///
/// When one that was read is another one after it was written, or does not live through what is done with it.
pub fn envelopes(bytes: &[u8]) {
    let shared = Bytes::copy_from_slice(bytes);
    jobs(bytes);
    schedules(&shared);
    held(bytes);
    counted(bytes);
    limited(bytes);
    metrics(bytes);
    runs(&shared);
}

/// Reads a value, and asserts that it is the same after it was written.
fn read<T: PartialEq + Debug, E: Debug, B: AsRef<[u8]>>(
    bytes: &[u8],
    decode: impl Fn(Bytes) -> Result<T, E>,
    encode: impl Fn(&T) -> B,
) -> Option<T> {
    let read = decode(Bytes::copy_from_slice(bytes)).ok()?;
    same(&read, decode, encode);
    Some(read)
}

fn same<T: PartialEq + Debug, E: Debug, B: AsRef<[u8]>>(
    value: &T,
    decode: impl Fn(Bytes) -> Result<T, E>,
    encode: impl Fn(&T) -> B,
) {
    let written = encode(value);
    let again = decode(Bytes::copy_from_slice(written.as_ref())).expect("what was written can be read");
    assert_eq!(&again, value, "it is the same after it was written");
    assert_eq!(encode(&again).as_ref(), written.as_ref(), "and is written alike");
}

fn jobs(bytes: &[u8]) {
    let decode = |bytes: Bytes| Record::decode(&bytes);
    if let Some(record) = read(bytes, decode, Record::encode) {
        let policy = RetryPolicy::default();
        for delivered in [(1, 0), (u32::MAX, 0), (2, record.generation), (u32::MAX, u32::MAX)] {
            let delivered = Delivered { number: delivered.0, generation: delivered.1 };
            let _ = admit(Some(&record), delivered, &policy);
            let retry = Disposition::Retry { after: Some(Duration::MAX) };
            let failed =
                |disposition| Outcome::Failed { how: crate::core::jobs::How::Error, message: String::new(), disposition };
            for outcome in [Outcome::Done(None), Outcome::HandedBack, Outcome::Blocked(None), failed(retry)] {
                let decision = settle(Some(&record), delivered, "t", &outcome, &policy, (true, NOW, 7));
                decision.record.iter().for_each(|next| same(next, decode, Record::encode));
            }
            let mut reported = record.clone();
            reported.report(delivered, "t", Progress::default());
            reported.cancel(NOW);
            same(&reported, decode, Record::encode);
        }
    }
    if let Some(letter) = read(bytes, |bytes| Letter::decode(&bytes), Letter::encode) {
        // As when it is put back.
        assert!(crate::jobs::doors::label(&letter.id).len() <= letter.id.len().max(80));
    }
    let (pause, written) = crate::jobs::doors::pause(bytes);
    assert_eq!(crate::jobs::doors::pause(&written).0, pause, "a pause is the same after it was written");
}

fn schedules(bytes: &Bytes) {
    let (decode, encode) = (schedule::Record::decode, schedule::Record::encode);
    if let Some(record) = read(bytes, decode, encode) {
        for now in TIMES {
            let _ = record.asks_for_liveness(now);
            for liveness in [Liveness::Unknown, Liveness::Running, Liveness::Done] {
                let tick = record.tick("nightly", now, liveness);
                // One that waited for another was due by whoever decided so.
                let due = |at: Timestamp| at <= now || Some(at) == record.queued;
                assert!(tick.firings.iter().all(|firing| due(firing.at)), "nothing fires early");
                same(&tick.record, decode, encode);
            }
            let mut moved = record.clone();
            moved.pause();
            moved.resume(now);
            moved.trigger("nightly", now, 7);
            moved.redefine(record.plan.clone(), now);
            same(&moved, decode, encode);
        }
    }
    if let Some(waiting) = read(bytes, Waiting::decode, Waiting::encode) {
        assert!(!waiting.message_id("key").is_empty());
    }
}

fn held(bytes: &[u8]) {
    let decode = |bytes: Bytes| Permits::decode(&bytes);
    let Some(permits) = read(bytes, decode, Permits::encode) else { return };
    let most = u64::from(permits.capacity());
    let ask = |id: &str, units| Ask {
        beat: 0,
        id: id.to_owned(),
        units,
        lease: Lease::new(Duration::from_secs(10)).expect("it is in its range"),
        info: String::new(),
        name: String::new(),
        now: NOW,
    };
    let mut eyes = Sightings::default();
    eyes.note(Duration::ZERO, permits.members());
    let silent = eyes.silent(Duration::from_secs(1 << 32), "nobody");
    for units in [1, 2, u32::MAX] {
        let Ok(mut next) = Permits::from(Some(&permits), Some(7), permits.capacity()) else { continue };
        let _ = next.try_acquire(&ask("one", units));
        let _ = next.join(&ask("other", units));
        let _ = next.attend(&ask("other", units));
        for silent in &silent {
            next.evict(silent);
        }
        next.renew("one");
        next.release("one");
        let held: u64 = next.holders().iter().map(|holder| u64::from(holder.units)).sum();
        assert!(held <= most, "never more is held than there is");
        assert!(next.holders().iter().all(|holder| holder.token != Some(FencingToken::new(0))));
        same(&next, decode, Permits::encode);
    }
}

fn counted(bytes: &[u8]) {
    if let Some(mut counter) = read(bytes, |bytes| Counter::decode(&bytes), Counter::encode) {
        for n in [i64::MIN, -1, 1, i64::MAX] {
            let _ = counter.add(n);
            let _ = counter.add_once(Mark::of("a"), n, 2);
        }
        same(&counter, |bytes| Counter::decode(&bytes), Counter::encode);
    }
    if let Some(mut group) = read(bytes, |bytes| Group::decode(&bytes), Group::encode) {
        let before = group.zeros();
        let _ = group.enter("one");
        group.leave("one", 3);
        let _ = (group.add(i64::MAX), group.add(i64::MIN), group.seen_by(before));
        group.close();
        same(&group, |bytes| Group::decode(&bytes), Group::encode);
    }
    if let Some(mut latch) = read(bytes, |bytes| Latch::decode(&bytes), Latch::encode) {
        let left = latch.count_down(Mark::of("one"));
        assert_eq!(latch.is_open(), left == 0);
        same(&latch, |bytes| Latch::decode(&bytes), Latch::encode);
    }
    if let Some(mut barrier) = read(bytes, |bytes| Barrier::decode(&bytes), Barrier::encode) {
        let generation = barrier.arrive("one", Arrival::new(1));
        let _ = barrier.seen_by("one", generation);
        same(&barrier, |bytes| Barrier::decode(&bytes), Barrier::encode);
        barrier.withdraw("one", Arrival::new(1), generation);
        same(&barrier, |bytes| Barrier::decode(&bytes), Barrier::encode);
    }
    read(bytes, |bytes| Done::decode(&bytes), Done::encode);
}

fn limited(bytes: &[u8]) {
    let one = NonZeroU32::MIN;
    if let Some(limit) = read(bytes, |bytes| Limit::decode(&bytes), Limit::encode) {
        for now in TIMES {
            let mut limit = limit;
            limit.check(one, now);
            limit.reserve(one, now, Duration::MAX);
            limit.lease(one, NonZeroU32::MAX, now);
            same(&limit, |bytes| Limit::decode(&bytes), Limit::encode);
            limit.change_quota(Quota::per_second(1).expect("it is a quota"), now);
            let _ = limit.matters_for();
            same(&limit, |bytes| Limit::decode(&bytes), Limit::encode);
        }
    }
    if let Some(window) = read(bytes, |bytes| Window::decode(&bytes), Window::encode) {
        for now in TIMES {
            let mut window = window;
            window.check(one, now);
            let _ = (window.count(now), window.matters_for());
            same(&window, |bytes| Window::decode(&bytes), Window::encode);
        }
    }
}

fn metrics(bytes: &[u8]) {
    let deltas = [Delta { counter: i64::MAX, failed: u64::MAX }, Delta { counter: i64::MIN, failed: 1 }, Delta::done(1)];
    if let Some(metric) = read(bytes, |bytes| BaseMetric::decode(&bytes), Metric::encode) {
        for delta in deltas {
            let mut metric = metric;
            let _ = metric.apply(&delta);
            same(&metric, |bytes| BaseMetric::decode(&bytes), Metric::encode);
        }
    }
    if let Some(metric) = read(bytes, |bytes| MapMetric::decode(&bytes), Metric::encode) {
        for delta in deltas {
            let mut metric = metric.clone();
            let _ = metric.apply(&MapDelta::overall(delta).board(7, delta));
            same(&metric, |bytes| MapMetric::decode(&bytes), Metric::encode);
        }
    }
}

fn runs(bytes: &Bytes) {
    read(bytes, DeadLetter::decode, crate::runtime::doors::dead_letter);
    if let Some(written) = crate::runtime::doors::heartbeat(bytes) {
        assert_eq!(crate::runtime::doors::heartbeat(&written), Some(written.clone()), "a heartbeat is the same");
    }
}
