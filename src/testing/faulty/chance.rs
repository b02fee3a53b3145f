//! What chance decides about a call. Each kind has dice of its own, made of one seed.

use super::{
    call::{Call, Op},
    fault::{Fault, WatchFault},
    odds::{Mishaps, Odds},
};
use crate::testing::Dice;
use std::time::Duration;

/// The kinds of chance beside [`Odds`], each with its own dice.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Stale,
    Forgetful,
    Full,
    TooLarge,
    Expiry,
    Hang,
    Duplicate,
    Disconnect,
    Gap,
    Silence,
    Lag,
    Late,
    /// Which of several is chosen where it matters to nobody but the one who chooses.
    Choice,
}

const KINDS: usize = Kind::Choice as usize + 1;

#[derive(Debug)]
pub(super) struct Chance {
    pub(super) odds: Odds,
    pub(super) mishaps: Mishaps,
    calls: Dice,
    kinds: [Dice; KINDS],
}

/// What chance does beside a fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) lasts: Duration,
    /// Whether watches miss what happens meanwhile.
    pub(super) gap: bool,
}

/// A fault that chance chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    Fault(Fault),
    /// Stale, but not behind what the process knows.
    Behind {
        back: usize,
    },
    Outage(Outage),
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        let mut seeds = Dice::new(!seed);
        let kinds = std::array::from_fn(|_| Dice::new(seeds.number()));
        Self { odds: Odds::default(), mishaps: Mishaps::default(), calls: Dice::new(seed), kinds }
    }

    pub(super) fn of_call(&mut self, call: &Call<'_>) -> Option<Drawn> {
        let failed = self.failed(call);
        match (failed, self.mishap(call)) {
            (None | Some(Fault::Delay(_)), Some(mishap)) => Some(mishap),
            (failed, _) => failed.map(Drawn::Fault),
        }
    }

    fn failed(&mut self, call: &Call<'_>) -> Option<Fault> {
        let Odds { unknown, conflict, unavailable, latency } = self.odds;
        let roll = u16::try_from(self.calls.roll(1000)).unwrap_or(0);
        let (unknown, conflict) = if call.op.writes() { (unknown, conflict) } else { (0, 0) };
        if roll < unknown {
            Some(Fault::Unknown { applied: roll % 2 == 0 })
        } else if roll < unknown + conflict {
            Some(Fault::Conflict)
        } else if roll < unknown + conflict + unavailable {
            Some(Fault::Unavailable)
        } else if latency.is_zero() {
            None
        } else {
            Some(Fault::Delay(within(&mut self.calls, latency)))
        }
    }

    fn mishap(&mut self, call: &Call<'_>) -> Option<Drawn> {
        let m = self.mishaps;
        let (reads, writes) = (call.op == Op::Read, call.op.writes());
        let keyed = reads || call.op.compares();
        // All dice whose kind can meet the call are thrown, whatever the others show.
        let outage = self.hits(Kind::Disconnect, m.disconnect).then(|| self.outage(Kind::Disconnect));
        let stale = reads && self.hits(Kind::Stale, m.stale);
        let forgetful = reads && self.hits(Kind::Forgetful, m.forgetful);
        let full = writes && self.hits(Kind::Full, m.full);
        let large = call.size > 0 && self.hits(Kind::TooLarge, m.too_large);
        let expiry = keyed && self.hits(Kind::Expiry, m.expiry);
        let hang = self.hits(Kind::Hang, m.hang);
        let duplicate = call.op == Op::Next && self.hits(Kind::Duplicate, m.duplicate);
        let late = (!m.late.is_zero()).then(|| within(self.dice(Kind::Late), m.late));
        Some(Drawn::Fault(match () {
            () if outage.is_some() => return outage.map(Drawn::Outage),
            () if hang => Fault::Hang,
            () if full => Fault::Full,
            () if large => Fault::TooLarge,
            () if expiry => Fault::Expire { before: self.dice(Kind::Expiry).roll(2) == 0 },
            () if duplicate => Fault::Duplicate,
            () if forgetful => Fault::Stale { back: back(self.dice(Kind::Forgetful)) },
            () if stale => return Some(Drawn::Behind { back: back(self.dice(Kind::Stale)) }),
            () => Fault::Late(late?),
        }))
    }

    /// Decides about a change of a watch; before it is synced there is nothing that it could miss.
    pub(super) fn of_change(&mut self, synced: bool) -> Option<WatchFault> {
        let m = self.mishaps;
        let gap = self.hits(Kind::Gap, m.gap);
        let silence = self.hits(Kind::Silence, m.silence);
        let lag = (!m.lag.is_zero()).then(|| within(self.dice(Kind::Lag), m.lag));
        match () {
            () if gap && synced => Some(WatchFault::Gap(within(self.dice(Kind::Gap), m.outage))),
            () if silence => Some(WatchFault::Silence(within(self.dice(Kind::Silence), m.outage))),
            () => lag.map(WatchFault::Delay),
        }
    }

    /// Chooses one of so many, at least one.
    pub(super) fn choose(&mut self, of: usize) -> usize {
        usize::try_from(self.dice(Kind::Choice).roll(of.max(1) as u64)).unwrap_or(0)
    }

    fn outage(&mut self, kind: Kind) -> Outage {
        let most = self.mishaps.outage;
        let dice = self.dice(kind);
        Outage { lasts: within(dice, most), gap: dice.roll(2) == 0 }
    }

    /// What never happens is not drawn, so that it draws alike from where it is turned on.
    fn hits(&mut self, kind: Kind, of_a_thousand: u16) -> bool {
        of_a_thousand > 0 && self.dice(kind).roll(1000) < u64::from(of_a_thousand)
    }

    fn dice(&mut self, kind: Kind) -> &mut Dice {
        &mut self.kinds[kind as usize]
    }
}

/// Draws a duration of whole microseconds below `most`.
fn within(dice: &mut Dice, most: Duration) -> Duration {
    let most = u64::try_from(most.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(dice.roll(most.max(1)))
}

fn back(dice: &mut Dice) -> usize {
    1 + usize::try_from(dice.roll(3)).unwrap_or(0)
}
