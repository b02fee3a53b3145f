//! Counters of windows: the algebra by stories and random histories, and the shared limiter in virtual time.

use crate::rate_limiter::space;
use anabranch::{
    cell::CellError,
    coordination::{CoordinationError, Decision, WindowLimiter},
    core::coordination::{NotThis, QuotaError, Verdict, Window, WindowQuota},
    engine::{Expect, Key, PutOptions},
    testing::pass,
    time::Timestamp,
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use std::{num::NonZeroU32, time::Duration};

/// The begin of a minute.
const START: Timestamp = Timestamp::from_millis(1_700_000_040_000);
const MINUTE: Duration = Duration::from_secs(60);

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn a_fixed_window_starts_anew_with_each_minute_of_the_clock() {
    let mut window = Window::new(WindowQuota::fixed(10, MINUTE).unwrap(), START);
    assert_eq!(window.check(n(7), START + seconds(50)), Verdict::Allowed { remaining: 3 });
    assert_eq!(window.check(n(4), START + seconds(50)), Verdict::Denied { retry_in: seconds(10) });
    assert_eq!(window.check(n(3), START + seconds(59)), Verdict::Allowed { remaining: 0 });
    // Twenty in eleven seconds, as it says of itself.
    assert_eq!(window.check(n(10), START + seconds(60)), Verdict::Allowed { remaining: 0 });
    assert_eq!(window.check(n(11), START + seconds(600)), Verdict::TooMany { burst: n(10) });
}

#[test]
fn a_sliding_window_forgets_the_one_before_little_by_little() {
    let mut window = Window::new(WindowQuota::sliding(10, MINUTE).unwrap(), START);
    assert_eq!(window.check(n(10), START + seconds(30)), Verdict::Allowed { remaining: 0 });
    assert_eq!(window.check(n(1), START + seconds(59)), Verdict::Denied { retry_in: seconds(7) });
    assert_eq!(window.count(START + seconds(90)), 5);
    assert_eq!(window.check(n(5), START + seconds(90)), Verdict::Allowed { remaining: 0 });
    assert_eq!(window.check(n(2), START + seconds(90)), Verdict::Denied { retry_in: seconds(12) });
    assert_eq!(window.count(START + seconds(120)), 5);
    assert_eq!(window.count(START + seconds(180)), 0);
}

#[test]
fn a_clock_that_is_behind_counts_in_the_window_of_the_others() {
    let mut window = Window::new(WindowQuota::fixed(2, MINUTE).unwrap(), START);
    assert_eq!(window.check(n(1), START + seconds(61)), Verdict::Allowed { remaining: 1 });
    assert_eq!(window.check(n(1), START), Verdict::Allowed { remaining: 0 });
    assert_eq!(window.check(n(1), START), Verdict::Denied { retry_in: seconds(120) });
}

#[test]
fn a_window_that_is_none_is_refused() {
    assert_eq!(WindowQuota::fixed(0, MINUTE), Err(QuotaError::Zero));
    for length in [Duration::ZERO, Duration::from_micros(999), Duration::from_nanos(1_000_001)] {
        assert_eq!(WindowQuota::sliding(1, length), Err(QuotaError::Length(length)));
    }
    assert_eq!(WindowQuota::fixed(1, Duration::MAX), Err(QuotaError::TooLong(Duration::MAX)));
    assert!(WindowQuota::fixed(u32::MAX, seconds(366 * 24 * 3600)).is_ok());
}

#[test]
fn what_is_no_window_is_an_error_and_never_a_fresh_one() {
    let mut window = Window::new(WindowQuota::sliding(10, MINUTE).unwrap(), START);
    window.check(n(10), START);
    let good = window.encode();
    assert_eq!(Window::decode(&good), Ok(window));
    for (bytes, found) in [(&b""[..], 0), (&[0x08, 0x02], 2)] {
        assert_eq!(Window::decode(bytes), Err(NotThis::Kind { wanted: "window", kind: 3, found }));
    }
    assert_eq!(Window::decode(&[0x08, 0x03]), Err(NotThis::Broken("no window has such a quota")));
    assert!(matches!(Window::decode(b"{\"count\": 3}"), Err(NotThis::Shape(_))));
    let full = Window::decode(&[&good[..], &[0x38, 0x0B]].concat());
    assert_eq!(full, Err(NotThis::Broken("a window counts no more than its quota")));
    for now in [i64::MIN, i64::MAX].map(Timestamp::from_micros) {
        let mut window = Window::new(window.quota(), now);
        window.check(n(1), now);
        assert_eq!(Window::decode(&window.encode()), Ok(window));
        window.check(n(1), Timestamp::from_micros(0));
        assert!(window.matters_for() <= 2 * MINUTE);
    }
}

fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases: 400, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Each aligned window has at most what the quota says. A span of the length has at most twice that; with a sliding one at most
    /// what the quota says, and of the window before the share that has passed where the span ends. What is denied is admitted after
    /// the time that was said, not a microsecond before, and changes nothing.
    #[test]
    fn windows_keep_their_bounds_and_their_word(
        sliding in any::<bool>(),
        most in 1..20_u32,
        asks in prop::collection::vec((1..5_u32, 0..900_u64), 1..150),
    ) {
        let length = Duration::from_millis(1);
        let quota = if sliding { WindowQuota::sliding(most, length) } else { WindowQuota::fixed(most, length) }.unwrap();
        let mut window = Window::new(quota, START);
        let mut now = START;
        let mut admitted: Vec<(i64, u32)> = Vec::new();
        for (cells, pause) in asks {
            now = now + Duration::from_micros(pause);
            let before = window;
            match window.check(n(cells), now) {
                Verdict::Allowed { .. } => admitted.push((now.as_micros(), cells)),
                Verdict::TooMany { .. } => prop_assert!(cells > most),
                Verdict::Denied { retry_in } => {
                    prop_assert_eq!(window, before);
                    let then = now + retry_in;
                    let early = Timestamp::from_micros(then.as_micros() - 1);
                    let admits = |at| matches!(window.clone().check(n(cells), at), Verdict::Allowed { .. });
                    prop_assert!(admits(then) && !admits(early), "{} {:?}", quota, retry_in);
                }
            }
        }
        for (x, _) in &admitted {
            let sum = |from: i64, to: i64| -> u32 {
                admitted.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, cells)| cells).sum()
            };
            let passed = x.rem_euclid(1000);
            let aligned = x - passed;
            prop_assert!(sum(aligned, aligned + 1000) <= most);
            prop_assert!(sum(*x, x + 1000) <= 2 * most);
            if sliding {
                let share = sum(aligned - 1000, aligned) * u32::try_from(passed).unwrap() / 1000;
                prop_assert!(sum(x - 999, x + 1) <= most + share);
            }
        }
    }
}

fn limiter(space: &anabranch::engine::Space, most: u32) -> WindowLimiter {
    WindowLimiter::new(space, "api", WindowQuota::fixed(most, MINUTE).unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_window_is_shared_and_each_key_has_its_own() {
    // The clock is 20 s into a minute.
    let space = space().await;
    let (one, other) = (limiter(&space, 3), limiter(&space, 3));
    assert_eq!(one.check(2).await.unwrap(), Decision::Allowed { remaining: 1, failed_open: false });
    assert!(other.check_one().await.unwrap().is_allowed());
    assert_eq!(other.check_one().await.unwrap(), Decision::Denied { retry_in: seconds(40) });
    assert_eq!((one.count().await.unwrap(), one.key("seven").unwrap().count().await.unwrap()), (3, 0));
    assert!(one.key("seven").unwrap().check(3).await.unwrap().is_allowed());
    pass(seconds(40)).await;
    assert_eq!(one.count().await.unwrap(), 0);
    assert!(other.check(3).await.unwrap().is_allowed());
}

#[tokio::test(start_paused = true)]
async fn a_window_limiter_refuses_what_it_cannot_mean() {
    let space = space().await;
    let one = limiter(&space, 3);
    for cells in [0, 4] {
        assert!(matches!(one.check(cells).await, Err(CoordinationError::Invalid(_))));
    }
    one.check_one().await.unwrap();
    let other = limiter(&space, 4);
    for refused in [other.check_one().await.map(drop), other.count().await.map(drop)] {
        let Err(CoordinationError::Mismatch { stored, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(stored, "3 in a fixed window of 60s");
    }
    let key = Key::new("window.api").unwrap();
    let written = space.store().put(&key, "7".into(), Expect::Anything, PutOptions::default()).await.unwrap();
    let answer = one.check_one().await;
    assert!(matches!(answer, Err(CoordinationError::Cell { source: CellError::Corrupt { .. }, .. })), "{answer:?}");
    assert_eq!(space.store().get(&key).await.unwrap().unwrap().revision, written);
}

#[tokio::test(start_paused = true)]
async fn an_idle_window_is_gone_when_it_says_nothing_any_more() {
    let space = space().await;
    limiter(&space, 3).check_one().await.unwrap();
    let key = Key::new("window.api").unwrap();
    // 40 s until this window ends, 60 s for the next, and a minute for clocks that differ.
    pass(seconds(159)).await;
    assert!(space.store().get(&key).await.unwrap().is_some());
    pass(seconds(2)).await;
    assert!(space.store().get(&key).await.unwrap().is_none());
}
