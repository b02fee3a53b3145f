//! Windows that hosts share whose clocks differ, while they die and are cut off: never more than the quota, whichever window it counts for.
//!
//! The time of a decision is known as an interval only: not before the host's own clock when it asked, and not after the fastest clock when it
//! was answered, since a limiter takes the greatest time that anybody has brought. What cannot be told to be in a window is not counted
//! for it.

use crate::{
    stage::{self, Log, MILLISECOND, SECOND, Skew, idle, micros, space},
    try_seeds,
};
use anabranch::{
    coordination::WindowLimiter,
    core::coordination::WindowQuota,
    error::BoxError,
    testing::sim::{Host, SERVER, Simulation},
};
use std::{collections::BTreeMap, time::Duration};

const HOSTS: [&str; 3] = ["a", "b", "c"];
const MOST: u32 = 6;
const LENGTH: Duration = Duration::from_secs(2);
const LENGTH_MICROS: i64 = 2_000_000;
/// By how much clocks are ahead or behind, and faster or slower.
const AHEAD: Duration = Duration::from_millis(400);
const DRIFT_PPM: i64 = 10_000;
/// How long it is quiet in the end.
const QUIET: Duration = Duration::from_secs(10);

/// That somebody was let through: from when to when of the true time, and for how many cells.
#[derive(Debug, Clone, Copy)]
struct Admission {
    host: usize,
    called: u64,
    returned: u64,
    cells: u32,
}

/// The same by the clock that decided: between these two, in microseconds since the begin of all simulations.
#[derive(Debug, Clone, Copy)]
struct Dated {
    early: i64,
    late: i64,
    cells: u32,
}

impl Dated {
    /// The window that it counts for, where that is certain. Simulations begin where a window does.
    fn window(&self) -> Option<i64> {
        let window = self.early.div_euclid(LENGTH_MICROS);
        (window == self.late.div_euclid(LENGTH_MICROS)).then_some(window)
    }

    fn may_be_in(&self, window: i64) -> bool {
        (self.early.div_euclid(LENGTH_MICROS)..=self.late.div_euclid(LENGTH_MICROS)).contains(&window)
    }
}

fn shown(skew: Skew, at: u64) -> i64 {
    let at = i64::try_from(at).unwrap();
    at + skew.ahead_at(at)
}

fn run(sim: &mut Simulation, sliding: bool) {
    let (mut dice, admissions) = (stage::dice(sim), Log::default());
    let mut skews = Vec::new();
    for (place, name) in HOSTS.into_iter().enumerate() {
        let (skew, admissions) = (Skew::draw(&mut dice, AHEAD, DRIFT_PPM), admissions.clone());
        sim.host(name, move |host| work(host, place, sliding, admissions.clone()));
        skew.set(sim, name);
        skews.push(skew);
    }
    // It decides when an idle window is forgotten, and nothing else.
    Skew::draw(&mut dice, 20 * SECOND, DRIFT_PPM).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 4 * SECOND);
    sim.run_for(10 * SECOND);
    stage::calm(sim, &HOSTS);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap();
    sim.run_for(QUIET);
    admissions.look(|admissions| {
        let dated: Vec<_> = admissions.iter().map(|one| date(*one, &skews)).collect();
        in_each_window(&dated);
        if sliding {
            in_each_span_of_a_sliding_one(&dated);
        }
        in_each_span(admissions, &skews);
        let late = admissions.iter().filter(|one| one.called > since).map(|one| one.cells).sum::<u32>();
        let most = MOST * u32::try_from(QUIET.as_secs() / LENGTH.as_secs()).unwrap();
        assert!(late > most / 2, "of {most} cells in {QUIET:?} without trouble only {late} were had");
    });
}

async fn work(host: Host, place: usize, sliding: bool, admissions: Log<Admission>) -> Result<(), BoxError> {
    let quota = if sliding { WindowQuota::sliding } else { WindowQuota::fixed };
    let limiter = WindowLimiter::new(&space(&host).await, "exports", quota(MOST, LENGTH)?)?;
    loop {
        let (called, cells) = (micros(&host), 1 + u32::try_from(host.roll(2))?);
        // Where it is not known what became of it, nobody passes.
        if limiter.check(cells).await.is_ok_and(|decision| decision.is_allowed()) {
            admissions.push(Admission { host: place, called, returned: micros(&host), cells });
        }
        idle(&host, 300 * MILLISECOND).await;
    }
}

fn date(one: Admission, skews: &[Skew]) -> Dated {
    let late = skews.iter().map(|skew| shown(*skew, one.returned)).max().unwrap();
    // Clocks count in whole microseconds.
    Dated { early: shown(skews[one.host], one.called) - 1, late: late + 1, cells: one.cells }
}

/// Each window of the clock has at most the quota.
fn in_each_window(dated: &[Dated]) {
    let mut windows = BTreeMap::<i64, u32>::new();
    for one in dated {
        if let Some(window) = one.window() {
            *windows.entry(window).or_default() += one.cells;
        }
    }
    let most = windows.iter().max_by_key(|(_, cells)| **cells).expect("somebody is let through");
    assert!(*most.1 <= MOST, "window {} has {} cells, and its quota is {MOST}", most.0, most.1);
}

/// A span of a sliding window's length has at most the quota, and of what the window before had the part that has passed of the one in
/// which the span ends.
fn in_each_span_of_a_sliding_one(dated: &[Dated]) {
    for last in dated {
        let Some(window) = last.window() else { continue };
        let inside = |one: &&Dated| one.early > last.late - LENGTH_MICROS && one.late <= last.early;
        let cells = last.cells + dated.iter().filter(inside).map(|one| one.cells).sum::<u32>();
        let before = dated.iter().filter(|one| one.may_be_in(window - 1)).map(|one| one.cells).sum::<u32>().min(MOST);
        let share = i64::from(before) * (last.late - window * LENGTH_MICROS) / LENGTH_MICROS;
        let most = i64::from(MOST) + share;
        assert!(i64::from(cells) <= most, "{cells} cells within {LENGTH:?} before {last:?}, and {most} may be");
    }
}

/// A span of a window's length of the true time, less what clocks differ, has to do with two windows at most.
fn in_each_span(admissions: &[Admission], skews: &[Skew]) {
    for first in admissions {
        let at_once = |at: u64| skews.iter().map(move |skew| shown(*skew, at));
        let begin = at_once(first.called).min().unwrap();
        let inside =
            |one: &&Admission| one.called >= first.called && at_once(one.returned).max().unwrap() < begin + LENGTH_MICROS;
        let cells = admissions.iter().filter(inside).map(|one| one.cells).sum::<u32>();
        assert!(cells <= 2 * MOST, "{cells} cells within {LENGTH:?} after {}, and {} may be", first.called, 2 * MOST);
    }
}

#[test]
fn a_fixed_window_has_no_more_than_its_quota_whatever_clocks_say() {
    try_seeds(30, |sim| run(sim, false));
}

#[test]
fn a_sliding_window_has_no_more_than_its_bound_whatever_clocks_say() {
    try_seeds(30, |sim| run(sim, true));
}
