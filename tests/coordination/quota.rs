//! The algebra of limiters, told as stories.

use anabranch::{
    core::coordination::{Limit, NotThis, Quota, QuotaError, Reserved, Verdict},
    time::Timestamp,
};
use std::{num::NonZeroU32, time::Duration};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const MICRO: Duration = Duration::from_micros(1);

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Ten a second, three at once.
fn quota() -> Quota {
    Quota::per_second(10).unwrap().burst(3).unwrap()
}

#[track_caller]
fn allowed(limit: &mut Limit, cells: u32, now: Timestamp, remaining: u32) {
    assert_eq!(limit.check(n(cells), now), Verdict::Allowed { remaining });
}

#[track_caller]
fn denied(limit: &mut Limit, cells: u32, now: Timestamp, retry_in: Duration) {
    let before = *limit;
    assert_eq!(limit.check(n(cells), now), Verdict::Denied { retry_in });
    assert_eq!(*limit, before, "what is denied changes nothing");
}

#[test]
fn a_burst_is_admitted_at_once_and_then_one_cell_at_a_time() {
    let mut limit = Limit::new(quota(), START);
    allowed(&mut limit, 1, START, 2);
    allowed(&mut limit, 2, START, 0);
    denied(&mut limit, 1, START, millis(100));
    denied(&mut limit, 3, START, millis(300));
    allowed(&mut limit, 1, START + millis(100), 0);
    allowed(&mut limit, 2, START + millis(300), 0);
}

#[test]
fn what_is_denied_is_admitted_after_the_time_that_was_said_and_not_a_microsecond_before() {
    for quota in [quota(), Quota::new(3, Duration::from_nanos(1_000_000_007)).unwrap(), Quota::per_second(7).unwrap()] {
        let mut limit = Limit::new(quota, START);
        let mut now = START;
        for turn in 0..200_u32 {
            let cells = n(1 + turn % quota.most_at_once().get());
            let Verdict::Denied { retry_in } = limit.check(cells, now) else { continue };
            let mut early = limit;
            let just_before = Timestamp::from_micros((now + retry_in).as_micros() - 1);
            assert_eq!(early.check(cells, just_before), Verdict::Denied { retry_in: MICRO });
            now = now + retry_in;
            assert!(matches!(limit.check(cells, now), Verdict::Allowed { .. }));
        }
    }
}

#[test]
fn more_than_the_burst_is_never_admitted() {
    let mut limit = Limit::new(quota(), START);
    assert_eq!(limit.check(n(4), START), Verdict::TooMany { burst: n(3) });
    assert_eq!(limit.reserve(n(4), START, Duration::MAX), Reserved::TooMany { burst: n(3) });
    assert_eq!(limit, Limit::new(quota(), START));
}

#[test]
fn a_schedule_does_not_drift_however_odd_its_cells_are() {
    // A third of a second, and no whole number of nanoseconds.
    let quota = Quota::per_second(3).unwrap().burst(1).unwrap();
    let mut limit = Limit::new(quota, START);
    for cell in 0..3_000_000 {
        let Reserved::In { wait } = limit.reserve(n(1), START, Duration::MAX) else { panic!("it is taken") };
        if cell % 3 == 0 {
            assert_eq!(wait, Duration::from_secs(cell / 3));
        }
    }
}

#[test]
fn reservations_stand_behind_each_other() {
    let mut limit = Limit::new(quota(), START);
    let waits = [0, 0, 0, 100, 200, 300].map(millis);
    for wait in waits {
        assert_eq!(limit.reserve(n(1), START, Duration::MAX), Reserved::In { wait });
    }
    assert_eq!(limit.reserve(n(3), START, Duration::MAX), Reserved::In { wait: millis(600) });
    // Who checks stands behind them as well.
    denied(&mut limit, 1, START, millis(700));
}

#[test]
fn a_reservation_that_would_wait_too_long_is_none() {
    let mut limit = Limit::new(quota(), START);
    allowed(&mut limit, 3, START, 0);
    let before = limit;
    assert_eq!(limit.reserve(n(2), START, Duration::from_micros(199_999)), Reserved::Denied { wait: millis(200) });
    assert_eq!(limit, before);
    assert_eq!(limit.reserve(n(2), START, millis(200)), Reserved::In { wait: millis(200) });
}

#[test]
fn a_clock_that_goes_back_admits_nothing_more() {
    let mut limit = Limit::new(quota(), START);
    allowed(&mut limit, 1, START + millis(500), 2);
    allowed(&mut limit, 2, START, 0);
    denied(&mut limit, 1, START, millis(600));
    allowed(&mut limit, 1, START + millis(600), 0);
}

#[test]
fn who_has_a_slow_clock_is_told_a_time_after_which_it_is_admitted() {
    let mut limit = Limit::new(quota(), START);
    // Somebody's clock is ahead, and nobody comes after it.
    allowed(&mut limit, 3, START + Duration::from_secs(60), 0);
    let Verdict::Denied { retry_in } = limit.check(n(1), START) else { panic!("nothing is left") };
    allowed(&mut limit, 1, START + retry_in, 0);
}

#[test]
fn a_block_hands_out_what_was_free_and_each_cell_until_its_slot() {
    let mut limit = Limit::new(Quota::per_second(10).unwrap(), START);
    let (verdict, mut block) = limit.lease(n(1), n(5), START);
    assert_eq!((verdict, block.len()), (Verdict::Allowed { remaining: 9 }, 4));
    allowed(&mut limit, 5, START, 0);
    // The slots are after 100, 200, 300 and 400 ms.
    assert_eq!(block.take(n(1), START + millis(100)), Some(3));
    assert_eq!(block.take(n(3), START + millis(200) + MICRO), None, "one has expired");
    assert_eq!(block.len(), 2);
    assert_eq!(block.ends(), Some(START + millis(400) + MICRO));
    assert_eq!(block.take(n(1), START), Some(1), "a clock that goes back brings nothing back");
    assert_eq!(block.take(n(1), START + millis(400)), Some(0), "it is there until its slot");
    assert_eq!((block.take(n(1), START), block.ends(), block.is_empty()), (None, None, true));
}

#[test]
fn a_cell_of_a_block_is_gone_a_microsecond_after_its_slot() {
    let mut limit = Limit::new(quota(), START);
    let (_, mut block) = limit.lease(n(1), n(2), START);
    let mut other = block.clone();
    assert_eq!(block.take(n(1), START + millis(100)), Some(0));
    assert_eq!(other.take(n(1), START + millis(100) + MICRO), None);
}

#[test]
fn a_block_takes_no_more_than_is_free() {
    let mut limit = Limit::new(quota(), START);
    allowed(&mut limit, 1, START, 2);
    let (verdict, block) = limit.lease(n(1), n(3), START);
    assert_eq!((verdict, block.len()), (Verdict::Allowed { remaining: 1 }, 1));
    let before = limit;
    let (verdict, block) = limit.lease(n(1), n(3), START);
    assert_eq!((verdict, block.is_empty()), (Verdict::Denied { retry_in: millis(100) }, true));
    assert_eq!(limit, before);
}

#[test]
fn blocks_are_joined_and_used_up_in_the_order_of_their_slots() {
    let quota = Quota::per_second(10).unwrap();
    let mut limit = Limit::new(quota, START);
    let (_, mut block) = limit.lease(n(1), n(3), START);
    let (_, later) = limit.lease(n(1), n(4), START);
    block.join(later);
    assert_eq!(block.take(n(4), START), Some(1));
    assert_eq!(block.ends(), Some(START + millis(600) + MICRO));
    let other = Limit::new(quota.burst(20).unwrap(), START).lease(n(1), n(3), START).1;
    block.join(other.clone());
    assert_eq!(block, other, "cells of another quota are not mixed");
}

#[test]
fn another_quota_keeps_what_was_spent() {
    let mut limit = Limit::new(quota(), START);
    allowed(&mut limit, 2, START, 1);
    let wider = Quota::per_second(100).unwrap().burst(5).unwrap();
    assert!(limit.change_quota(wider, START));
    assert!(!limit.change_quota(wider, START), "it is that already");
    assert_eq!(limit.quota(), wider);
    allowed(&mut limit, 3, START, 0);
    denied(&mut limit, 1, START, millis(10));
    // The other way round: five are spent, and two are allowed at once.
    let narrow = Quota::per_second(1).unwrap().burst(2).unwrap();
    assert!(limit.change_quota(narrow, START));
    denied(&mut limit, 1, START, Duration::from_secs(4));
    // What is over is not spent.
    assert!(limit.change_quota(quota(), START + Duration::from_secs(60)));
    allowed(&mut limit, 3, START + Duration::from_secs(60), 0);
}

#[test]
fn a_state_matters_until_its_bucket_is_full_again() {
    let mut limit = Limit::new(quota(), START);
    assert_eq!(limit.matters_for(), Duration::ZERO);
    allowed(&mut limit, 2, START, 1);
    assert_eq!(limit.matters_for(), millis(200));
    let mut fresh = Limit::new(quota(), START + millis(200));
    allowed(&mut limit, 3, START + millis(200), 0);
    allowed(&mut fresh, 3, START + millis(200), 0);
    assert_eq!(limit, fresh, "then it says what no state says");
}

#[test]
fn a_quota_that_is_none_is_refused() {
    let second = Duration::from_secs(1);
    assert_eq!(Quota::new(0, second), Err(QuotaError::Zero));
    assert_eq!(Quota::per_minute(0), Err(QuotaError::Zero));
    assert_eq!(quota().burst(0), Err(QuotaError::Zero));
    assert_eq!(Quota::new(1, Duration::ZERO), Err(QuotaError::TooFast { amount: n(1), period: Duration::ZERO }));
    assert_eq!(Quota::per_second(1_000_001), Err(QuotaError::TooFast { amount: n(1_000_001), period: second }));
    assert!(Quota::per_second(1_000_000).is_ok());
    let year = Duration::from_secs(366 * 24 * 3600);
    assert!(Quota::new(1, year).is_ok());
    assert_eq!(Quota::new(1, year + Duration::from_nanos(1)), Err(QuotaError::TooLong(year + Duration::from_nanos(1))));
    assert_eq!(Quota::new(u32::MAX, Duration::MAX), Err(QuotaError::TooLong(Duration::MAX)));
    assert_eq!(Quota::new(1, year).unwrap().burst(11), Err(QuotaError::BurstTooLarge { burst: n(11) }));
    assert_eq!(Quota::new(1, year).unwrap().burst(u32::MAX), Err(QuotaError::BurstTooLarge { burst: n(u32::MAX) }));
    assert!(Quota::new(1, year).unwrap().burst(10).is_ok());
}

#[test]
fn the_extremes_of_time_and_quota_end_in_an_answer() {
    let year = Duration::from_secs(366 * 24 * 3600);
    let quotas = [Quota::new(u32::MAX, year).unwrap(), Quota::new(1, year).unwrap().burst(10).unwrap(), quota()];
    for quota in quotas {
        for now in [i64::MIN, -1, 0, i64::MAX - 1, i64::MAX].map(Timestamp::from_micros) {
            for other in quotas {
                let mut limit = Limit::new(quota, now);
                let most = quota.most_at_once();
                limit.check(most, now);
                limit.reserve(most, now, Duration::MAX);
                let (_, mut block) = limit.lease(n(1), most, now);
                block.prune(Timestamp::from_micros(i64::MAX));
                limit.change_quota(other, now);
                assert_eq!(Limit::decode(&limit.encode()), Ok(limit));
            }
        }
    }
}

#[test]
fn what_is_no_limit_is_an_error_and_never_a_fresh_one() {
    let mut limit = Limit::new(quota(), START);
    allowed(&mut limit, 2, START, 1);
    let good = limit.encode();
    assert_eq!(Limit::decode(&good), Ok(limit));
    for (bytes, found) in [(&b""[..], 0), (&[0x08, 0x01], 1)] {
        assert_eq!(Limit::decode(bytes), Err(NotThis::Kind { wanted: "limit", kind: 2, found }));
    }
    assert_eq!(Limit::decode(&[0x08, 0x02]), Err(NotThis::Broken("no limit has such a quota")));
    assert!(matches!(Limit::decode(b"{\"tokens\": 3}"), Err(NotThis::Shape(_))));
    // The last occurrence of a field counts: parts that are more than a microsecond.
    let late = Limit::decode(&[&good[..], &[0x30, 0xFF, 0xFF, 0x7F]].concat());
    assert_eq!(late, Err(NotThis::Broken("a limit's next cell is between two microseconds")));
    for end in 1..good.len() {
        assert_ne!(Limit::decode(&good[..end]), Ok(limit), "a part of the bytes is another state or none");
    }
}
