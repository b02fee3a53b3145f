//! How scenarios hold a lock, permits or a leadership: what a holder believes is recorded in true time, and what it writes shows its token.
//!
//! A belief is recorded from when it was told until it is given back, told to be lost, or over by the holder's own clock. A death is not
//! recorded unless a scenario does so: what a dead holder believed last has to be over as well before anybody else may hold the same.

use crate::stage::{self, Closing, Log, MILLISECOND, SECOND, Skew, idle, micros, space};
use anabranch::{
    cell::{Cell, CellError, Cells},
    codec::Codec,
    coordination::{CoordinationError, Guard, Leadership},
    core::coordination::FencingToken,
    engine::Space,
    error::BoxError,
    testing::{
        check::Holding,
        sim::{Host, SERVER, Simulation},
    },
    time::Instant,
};
use futures_util::future::BoxFuture;
use std::{pin::pin, time::Duration};

/// As short as can be: what goes wrong takes longer.
pub(crate) const LEASE: Duration = SECOND;
/// The drift that locks bear, in millionths: 5 percent either way (`docs/semantics.md`, "Locks, permits and leaders").
pub(crate) const MOST_DRIFT: i64 = 50_000;
/// By how much wall clocks are off, which nobody may care about.
pub(crate) const ANY_TIME: Duration = Duration::from_secs(3 * 3600);

/// What is held, whatever it is.
pub(crate) trait Held: Send + Sync + Sized {
    fn fence(&self) -> FencingToken;
    fn until(&self) -> Instant;
    fn holds(&self) -> bool;
    fn gone(&self) -> BoxFuture<'static, ()>;
    fn give_back(self) -> BoxFuture<'static, Result<(), CoordinationError>>;
}

impl Held for Guard {
    fn fence(&self) -> FencingToken {
        self.token()
    }

    fn until(&self) -> Instant {
        self.valid_until()
    }

    fn holds(&self) -> bool {
        self.is_held()
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.lost())
    }

    fn give_back(self) -> BoxFuture<'static, Result<(), CoordinationError>> {
        Box::pin(self.release())
    }
}

impl Held for Leadership {
    fn fence(&self) -> FencingToken {
        self.term()
    }

    fn until(&self) -> Instant {
        self.valid_until()
    }

    fn holds(&self) -> bool {
        self.is_leader()
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.lost())
    }

    fn give_back(self) -> BoxFuture<'static, Result<(), CoordinationError>> {
        Box::pin(self.resign())
    }
}

/// A write that shows a token, as the cell keeps it.
pub(crate) type Entry = (u64, String);

/// Everything that is recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Records {
    pub(crate) holdings: Log<Holding>,
    /// Writes that were said to be done, and those that were refused for their token.
    pub(crate) written: Log<Entry>,
    pub(crate) refused: Log<Entry>,
    pub(crate) closing: Closing,
}

/// The cell that only the newest holder may write.
pub(crate) fn ledger(space: &Space) -> Cell<Vec<Entry>> {
    Cells::new(space, Codec::json()).cell("ledger").expect("a name")
}

/// One task of a host that holds things.
pub(crate) struct Holder {
    pub(crate) host: Host,
    pub(crate) skew: Skew,
    pub(crate) client: String,
    pub(crate) object: &'static str,
    pub(crate) records: Records,
    pub(crate) ledger: Option<Cell<Vec<Entry>>>,
    pub(crate) number: u32,
}

impl Holder {
    /// Holds for a while, and gives back, or forgets to, as it comes. Returns what the hold was called.
    pub(crate) async fn hold(&mut self, guard: impl Held, units: u32) -> String {
        self.number += 1;
        let name = format!("{}.{}", self.client, self.number);
        let hold: Box<str> = name.as_str().into();
        let (token, at) = (guard.fence().get(), micros(&self.host));
        self.records.holdings.push(Holding::Held {
            client: self.client.as_str().into(),
            object: self.object.into(),
            hold: hold.clone(),
            units,
            token,
            at,
            until: Some(self.believes(&guard)),
        });
        let (end, mut known) = (micros(&self.host) + self.host.roll(2_500_000), guard.until());
        while micros(&self.host) < end {
            let step = MILLISECOND * (1 + u32::try_from(self.host.roll(150)).unwrap_or(0));
            if self.host.clock().timeout(step, guard.gone()).await.is_some() {
                assert!(!guard.holds(), "{name} was told that it is lost, and is held");
                break;
            }
            self.renewed(&guard, &hold, &mut known);
            if self.host.roll(4) == 0 {
                self.number += 1;
                let (own, clock) = (&*self, self.host.clock());
                let mut write = pin!(own.write(guard.fence(), own.number));
                // It may take long, and the hold is renewed meanwhile.
                while clock.timeout(20 * MILLISECOND, &mut write).await.is_none() {
                    own.renewed(&guard, &hold, &mut known);
                }
            }
        }
        let (token, at) = (guard.fence(), micros(&self.host));
        self.records.holdings.push(Holding::Ended { hold, at });
        match self.host.roll(8) {
            0 => drop(guard),
            // Whatever it says: lost, or not known.
            _ => drop(guard.give_back().await),
        }
        // It stood still without knowing, or is just badly made: what stops it is its token.
        if self.host.roll(3) == 0 {
            idle(&self.host, 2 * SECOND).await;
            self.number += 1;
            self.write(token, self.number).await;
        }
        name
    }

    /// Records what the holder believes now, if that has changed.
    fn renewed(&self, guard: &impl Held, hold: &str, known: &mut Instant) {
        if guard.until() != *known && guard.holds() {
            *known = guard.until();
            let (at, until) = (micros(&self.host), Some(self.believes(guard)));
            self.records.holdings.push(Holding::Renewed { hold: hold.into(), at, until });
        }
    }

    fn believes(&self, held: &impl Held) -> u64 {
        if held.holds() { self.skew.true_instant(&self.host, held.until()) } else { micros(&self.host) }
    }

    async fn write(&self, token: FencingToken, number: u32) {
        let Some(ledger) = self.ledger.clone() else { return };
        let entry: Entry = (token.get(), format!("{}.{number}", self.client));
        let own = entry.clone();
        match ledger.update_fenced(&token, move |entries: &mut Vec<Entry>| entries.push(own.clone())).await {
            Ok(()) => self.records.written.push(entry),
            Err(CellError::Fenced { .. }) => self.records.refused.push(entry),
            Err(_) => {}
        }
    }
}

/// Checks that what was written with tokens was written in their order, that nothing is lost that was said to be done, and that nothing
/// is there that was refused; returns how much there is.
pub(crate) fn check_ledger(sim: &mut Simulation, records: &Records) -> usize {
    let entries = sim.ask(|host| async move {
        let stored = ledger(&space(&host).await).read().await?;
        Ok(stored.map(|stored| stored.value).unwrap_or_default())
    });
    for pair in entries.windows(2) {
        assert!(pair[0].0 <= pair[1].0, "{:?} was written after {:?}", pair[1], pair[0]);
    }
    let times = |entry: &Entry| entries.iter().filter(|there| *there == entry).count();
    records.written.look(|written| {
        for entry in written {
            assert_eq!(times(entry), 1, "{entry:?} was said to be written");
        }
    });
    records.refused.look(|refused| {
        for entry in refused {
            assert_eq!(times(entry), 0, "{entry:?} was refused");
        }
    });
    entries.len()
}

/// Returns whether every host has held something since a time in microseconds.
pub(crate) fn all_have_held(records: &Records, hosts: &[&str], since: u64) -> bool {
    let holds = |event: &Holding, host: &str| matches!(event, Holding::Held { client, at, .. } if *at > since && client.starts_with(host));
    records.holdings.look(|events| hosts.iter().all(|host| events.iter().any(|event| holds(event, host))))
}

/// Lets hosts with clocks of their own contend for something while everything goes wrong, then in quiet until each has held it, and
/// ends them. Returns what they recorded; `complaint` says what it is when not everybody comes to hold it.
pub(crate) fn contend<R>(sim: &mut Simulation, hosts: &[&str], complaint: &str, work: fn(Host, Skew, Records) -> R) -> Records
where
    R: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let (mut dice, records) = (stage::dice(sim), Records::default());
    for name in hosts {
        let (skew, records) = (Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT), records.clone());
        sim.host(name, move |host| work(host, skew, records.clone()));
        skew.set(sim, name);
    }
    Skew::draw(&mut dice, ANY_TIME, MOST_DRIFT).set(sim, SERVER);
    stage::everything_goes_wrong(sim, &mut dice, hosts, 4 * SECOND);
    sim.run_for(10 * SECOND);
    stage::calm(sim, hosts);
    let since = u64::try_from(sim.elapsed().as_micros()).unwrap_or(0);
    assert!(sim.run_until(60 * SECOND, |_| all_have_held(&records, hosts, since)), "{complaint}");
    stage::close(sim, &records.closing, hosts, 60 * SECOND);
    records
}
