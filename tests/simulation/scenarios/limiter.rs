//! Limiters with keys, reservations and blocks, windows beside them, and clocks that are off: never more than the quota, and no less than
//! there is for those who ask all the time.

use super::Scenario;
use crate::stage::{self, Closing, Log, MILLISECOND, SECOND, Skew, idle, micros, space};
use anabranch::{
    coordination::{RateLimiter, WindowLimiter},
    core::coordination::{Quota, WindowQuota},
    error::BoxError,
    testing::{
        check::limiter::{Admission, check},
        sim::{Host, SERVER, Simulation},
    },
};
use std::{num::NonZeroU32, time::Duration};

pub(crate) const SCENARIO: Scenario =
    Scenario { name: "limiter", about: "no span of time has more than the quota, whatever clocks say", run };

/// The last one takes blocks.
const HOSTS: [&str; 3] = ["a", "b", "c"];
const KEYS: [&str; 2] = ["ann", "bob"];
/// By how much clocks are ahead or behind, and faster or slower.
const AHEAD: Duration = Duration::from_millis(400);
const DRIFT_PPM: i64 = 10_000;
const BLOCK: NonZeroU32 = NonZeroU32::new(3).expect("not zero");
/// How long it is quiet in the end.
const QUIET: Duration = Duration::from_secs(6);

fn quota() -> Quota {
    Quota::per_second(4).and_then(|quota| quota.burst(5)).expect("a quota")
}

#[derive(Debug, Clone, Default)]
struct Records {
    admissions: Log<Admission>,
    windows: Log<Admission>,
    closing: Closing,
}

fn run(sim: &mut Simulation) {
    let (mut dice, records) = (stage::dice(sim), Records::default());
    let mut skews = Vec::new();
    for name in HOSTS {
        let (skew, records) = (Skew::draw(&mut dice, AHEAD, DRIFT_PPM), records.clone());
        sim.host(name, move |host| work(host, skew, records.clone()));
        skew.set(sim, name);
        skews.push(skew);
    }
    // Whose clock decides on nothing: an idle key has a minute more than it needs.
    Skew::draw(&mut dice, 20 * SECOND, DRIFT_PPM).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, &HOSTS, 4 * SECOND);
    sim.run_for(10 * SECOND);
    stage::calm(sim, &HOSTS);
    // What was reserved in the trouble comes first.
    sim.run_for(4 * SECOND);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
    sim.run_for(QUIET);
    // Hosts that wait for what they have reserved in all of the trouble are not waited for.
    records.closing.close();
    // What is reserved last is used when it is due, which may be after the end, when clocks have drifted further.
    let last = records.admissions.look(|all| all.iter().map(|admission| admission.returned).max().unwrap_or(0));
    let apart = apart(&skews, sim.elapsed().max(Duration::from_micros(last)));
    if let Err(violation) = records.admissions.look(|admissions| check(admissions, quota(), apart)) {
        panic!("{violation}\nclocks are {apart:?} apart: {skews:?}");
    }
    check_windows(&records, apart);
    for key in KEYS {
        let admitted: u32 = records.admissions.look(|all| {
            let late = |admission: &&Admission| &*admission.key == key && admission.returned > since;
            all.iter().filter(late).map(|admission| admission.cells).sum()
        });
        let most = 4 * u32::try_from(QUIET.as_secs()).unwrap_or(0);
        assert!(admitted > most / 2, "of {most} cells of {key} in {QUIET:?} without trouble only {admitted} were had");
    }
}

/// Returns by how much clocks differ at most, from the beginning until so long after it.
fn apart(skews: &[Skew], elapsed: Duration) -> Duration {
    let end = i64::try_from(elapsed.as_micros()).unwrap_or(0);
    let span = |elapsed: i64| {
        let shown: Vec<_> = skews.iter().map(|skew| skew.ahead_at(elapsed)).collect();
        shown.iter().max().zip(shown.iter().min()).map_or(0, |(most, least)| most.abs_diff(*least))
    };
    // A clock that drifts counts a span otherwise than it is, by as much as it drifts in it; and everything is in whole microseconds.
    let drift = elapsed * u32::try_from(DRIFT_PPM).unwrap_or(0) / 1_000_000;
    Duration::from_micros(span(0).max(span(end)) + 10) + drift
}

/// A window of the clock has at most its quota: so a span of a window's length, less what clocks are apart, which has to do with two of
/// them, has at most twice as much.
fn check_windows(records: &Records, apart: Duration) {
    let span = u64::try_from(SECOND.saturating_sub(apart).as_micros()).unwrap_or(0);
    records.windows.look(|all| {
        for first in all {
            let inside = all.iter().filter(|one| one.called >= first.called && one.returned <= first.called + span);
            let cells: u32 = inside.map(|one| one.cells).sum();
            assert!(
                cells <= 2 * 3,
                "{cells} were admitted within a window's length after {}, and its quota is 3",
                first.called
            );
        }
    });
}

async fn work(host: Host, skew: Skew, records: Records) -> Result<(), BoxError> {
    let space = space(&host).await;
    let mut limiter = RateLimiter::new(&space, "smtp", quota())?.deadline(3 * SECOND);
    if host.name() == "c" {
        limiter = limiter.leased(BLOCK)?;
    }
    let keys = KEYS.iter().map(|key| limiter.key(key)).collect::<Result<Vec<_>, _>>()?;
    let window = WindowLimiter::new(&space, "second", WindowQuota::fixed(3, SECOND)?)?;
    let tasks = KEYS.iter().zip(&keys).map(|(key, limiter)| {
        let asker = Asker { host: &host, skew, records: &records, key, limiter };
        async move {
            while !asker.records.closing.is_closed() {
                asker.ask().await;
                idle(asker.host, SECOND / 2).await;
            }
        }
    });
    let windows = async {
        while !records.closing.is_closed() {
            let called = micros(&host);
            if window.check_one().await.is_ok_and(|decision| decision.is_allowed()) {
                let (client, key, returned) = (host.name().into(), "second".into(), micros(&host));
                records.windows.push(Admission { client, key, called, returned, cells: 1 });
            }
            idle(&host, SECOND).await;
        }
    };
    futures_util::future::join(futures_util::future::join_all(tasks), windows).await;
    Ok(())
}

/// Who asks one key of the limiter.
#[derive(Clone, Copy)]
struct Asker<'a> {
    host: &'a Host,
    skew: Skew,
    records: &'a Records,
    key: &'static str,
    limiter: &'a RateLimiter,
}

impl Asker<'_> {
    async fn ask(self) {
        let (called, cells) = (micros(self.host), 1 + u32::try_from(self.host.roll(3)).unwrap_or(0));
        match self.host.roll(4) {
            0 => {
                let Ok(reservation) = self.limiter.reserve_within(cells, SECOND).await else { return };
                // Used when they are due, and not before this call.
                let due = self.skew.true_time(reservation.ready_at());
                self.admitted(called.max(due), micros(self.host).max(due), cells, reservation.failed_open());
                reservation.ready().await;
            }
            1 => {
                let Ok(reservation) = self.limiter.until_ready_n_within(cells, SECOND).await else { return };
                let (now, due) = (micros(self.host), self.skew.true_time(reservation.ready_at()));
                self.admitted(called.max(due).min(now), now, cells, reservation.failed_open());
            }
            _ => match self.limiter.check(cells).await {
                Ok(anabranch::coordination::Decision::Allowed { failed_open, .. }) => {
                    self.admitted(called, micros(self.host), cells, failed_open);
                }
                Ok(anabranch::coordination::Decision::Denied { retry_in }) => {
                    self.host.clock().sleep(retry_in.min(SECOND) + MILLISECOND).await;
                }
                // The store is away: nobody passes.
                Err(_) => {}
            },
        }
    }

    fn admitted(&self, called: u64, returned: u64, cells: u32, open: bool) {
        assert!(!open, "{} was let through because the store was away", self.host.name());
        let (client, key) = (self.host.name().into(), self.key.into());
        self.records.admissions.push(Admission { client, key, called, returned, cells });
    }
}
