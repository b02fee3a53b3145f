//! What holds of limiters whatever is asked, and when, and whose clock says so.
//!
//! Several processes are played one step at a time, and judged by every span of their history; and a token bucket that keeps
//! exact fractions answers beside the limiter.

use crate::judge::judge;
use anabranch::{
    core::coordination::{Block, Limit, Quota, Reserved, Verdict},
    time::Timestamp,
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use std::{num::NonZeroU32, time::Duration};

const START: i64 = 1_700_000_000_000_000;

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

/// Quotas whose cells are a few microseconds, and no whole number of nanoseconds.
fn quotas() -> impl Strategy<Value = Quota> {
    (1..30_u32, 1..60_000_u64, 1..12_u32).prop_map(|(amount, nanos, burst)| {
        let period = Duration::from_nanos(u64::from(amount) * 1000 + nanos);
        Quota::new(amount, period).unwrap().burst(burst).unwrap()
    })
}

/// A bucket that gets a token each `period / amount`, in fractions of `1 / period`.
struct Bucket {
    quota: Quota,
    tokens: i128,
    at: i64,
}

impl Bucket {
    fn period(&self) -> i128 {
        i128::try_from(self.quota.period().as_nanos()).unwrap()
    }

    fn take(&mut self, cells: u32, now: i64) -> Option<u32> {
        let full = i128::from(self.quota.most_at_once().get()) * self.period();
        let gained = i128::from(now - self.at) * 1000 * i128::from(self.quota.amount().get());
        (self.tokens, self.at) = ((self.tokens + gained).min(full), now);
        let left = self.tokens - i128::from(cells) * self.period();
        (left >= 0).then(|| {
            self.tokens = left;
            u32::try_from(left / self.period()).unwrap()
        })
    }
}

/// What a process does.
#[derive(Debug, Clone)]
enum Act {
    Check(u32),
    Reserve(u32, u64),
    /// From its block, or a new one of this size.
    Lease(u32, u32),
    /// It dies, and its block with it.
    Crash,
}

fn acts(reservations: u32) -> impl Strategy<Value = Vec<(usize, u64, Act)>> {
    let act = prop_oneof![
        4 => (1..4_u32).prop_map(Act::Check),
        reservations => (1..4_u32, 0..2000_u64).prop_map(|(cells, longest)| Act::Reserve(cells, longest)),
        6 => (1..3_u32, 2..10_u32).prop_map(|(cells, block)| Act::Lease(cells, block)),
        1 => Just(Act::Crash),
    ];
    // Often several at the same microsecond, sometimes a long silence.
    let pause = prop_oneof![3 => Just(0_u64), 5 => 0..30_u64, 1 => 0..3000_u64];
    prop::collection::vec((0..4_usize, pause, act), 1..150)
}

/// Several processes at one limiter, each with a clock that is so many microseconds off from now on; returns who was admitted,
/// by true time.
fn perform(quota: Quota, acts: &[(usize, u64, Act)], off: impl Fn(usize, usize) -> i64) -> Vec<(i64, i64, u32)> {
    let mut stored: Option<Limit> = None;
    let mut blocks: Vec<Block> = (0..4).map(|_| Block::empty(quota)).collect();
    let mut admitted = Vec::new();
    let mut now = START;
    for (step, (process, pause, act)) in acts.iter().enumerate() {
        now += i64::try_from(*pause).unwrap();
        let clock = Timestamp::from_micros(now + off(*process, step));
        let mut limit = stored.unwrap_or_else(|| Limit::new(quota, clock));
        let before = limit;
        match *act {
            Act::Check(cells) => match limit.check(n(cells), clock) {
                Verdict::Allowed { .. } => admitted.push((now, now, cells)),
                Verdict::Denied { .. } | Verdict::TooMany { .. } => assert_eq!(limit, before),
            },
            Act::Reserve(cells, longest) => match limit.reserve(n(cells), clock, Duration::from_micros(longest)) {
                Reserved::In { wait } => {
                    let at = now + i64::try_from(wait.as_micros()).unwrap();
                    admitted.push((at, at, cells));
                }
                Reserved::Denied { .. } | Reserved::TooMany { .. } => assert_eq!(limit, before),
            },
            Act::Lease(cells, block) => {
                if blocks[*process].take(n(cells), clock).is_some() {
                    admitted.push((now, now, cells));
                    continue;
                }
                let (verdict, leased) = limit.lease(n(cells), n(block), clock);
                if let Verdict::Allowed { .. } = verdict {
                    admitted.push((now, now, cells));
                    blocks[*process].join(leased);
                } else {
                    assert_eq!((limit, leased.is_empty()), (before, true));
                }
            }
            Act::Crash => blocks[*process] = Block::empty(quota),
        }
        if limit != before || stored.is_some() {
            stored = Some(limit);
        }
        if let Some(limit) = stored {
            assert_eq!(Limit::decode(&limit.encode()), Ok(limit));
        }
    }
    admitted
}

fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases: 600, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_limiter_answers_as_an_exact_bucket_of_tokens(
        quota in quotas(),
        asks in prop::collection::vec((1..6_u32, 0..40_u64), 1..200),
    ) {
        let full = i128::from(quota.most_at_once().get()) * i128::try_from(quota.period().as_nanos()).unwrap();
        let mut bucket = Bucket { quota, tokens: full, at: START };
        let mut limit = Limit::new(quota, Timestamp::from_micros(START));
        let mut now = START;
        for (cells, pause) in asks {
            now += i64::try_from(pause).unwrap();
            if cells > quota.most_at_once().get() {
                continue;
            }
            let answer = match limit.check(n(cells), Timestamp::from_micros(now)) {
                Verdict::Allowed { remaining } => Some(remaining),
                _ => None,
            };
            prop_assert_eq!(answer, bucket.take(cells, now));
        }
    }

    #[test]
    fn no_span_of_time_has_more_than_the_quota_whoever_takes_blocks_or_dies(quota in quotas(), acts in acts(0)) {
        judge(quota, &perform(quota, &acts, |_, _| 0), 0);
    }

    /// Waits are rounded up to a microsecond, so whoever waits is up to one late.
    #[test]
    fn reservations_exceed_the_quota_by_no_more_than_they_are_late(quota in quotas(), acts in acts(3)) {
        judge(quota, &perform(quota, &acts, |_, _| 0), 1);
    }

    #[test]
    fn clocks_that_differ_admit_no_more_than_the_bound_says(
        quota in quotas(),
        acts in acts(3),
        // Each process has a few clocks, one after another: they drift, and are set forward and back.
        offs in prop::collection::vec(prop::collection::vec(-500..500_i64, 1..6), 4),
    ) {
        let skew = offs.iter().flatten().max().unwrap() - offs.iter().flatten().min().unwrap();
        let off = |process: usize, step: usize| {
            let clocks = &offs[process];
            clocks[step * clocks.len() / acts.len()]
        };
        judge(quota, &perform(quota, &acts, off), skew + 1);
    }

    #[test]
    fn blocks_lose_less_than_a_cell_of_what_a_bucket_would_have(
        quota in quotas(),
        block in 1..12_u32,
        after in 0..3000_u64,
    ) {
        let start = Timestamp::from_micros(START);
        let mut leased = Limit::new(quota, start);
        let (_, mut cells) = leased.lease(n(1), n(block), start);
        let mut plain = Limit::new(quota, start);
        plain.check(n(1), start);
        let now = start + Duration::from_micros(after);
        cells.prune(now);
        let (kept, whole) = (free(leased, now) + cells.len(), free(plain, now));
        prop_assert!(kept <= whole && kept + 1 >= whole, "{} of {}", kept, whole);
    }

    #[test]
    fn bytes_that_are_no_limit_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(mut limit) = Limit::decode(&bytes) {
            limit.check(n(1), Timestamp::from_micros(START));
            prop_assert_eq!(Limit::decode(&limit.encode()), Ok(limit));
        }
    }
}

/// How many cells would be admitted at once.
fn free(limit: Limit, now: Timestamp) -> u32 {
    let admits = |cells: u32| matches!(limit.clone().check(n(cells), now), Verdict::Allowed { .. });
    (1..=limit.quota().most_at_once().get()).rev().find(|cells| admits(*cells)).unwrap_or(0)
}
