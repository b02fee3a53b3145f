//! Hosts that meet at a latch and, again and again, at a barrier.
//!
//! It records who asked to count down or to arrive, and complains about whoever goes on before all the others have asked to.

use crate::stage::{SECOND, idle, micros};
use anabranch::{
    coordination::{Barrier, Ended, Latch},
    engine::Space,
    error::BoxError,
    testing::sim::{Host, Simulation},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One arrival: when it was asked for, and the generation that it is part of, when that is known.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    called: u64,
    generation: Option<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    counted_down: Vec<String>,
    opened: u64,
    arrivals: BTreeMap<String, Vec<Arrival>>,
    passed: BTreeMap<String, Vec<u64>>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Meetings(Arc<Mutex<Seen>>);

impl Meetings {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Meets the others for as long as the host lives.
    pub(crate) async fn meet(&self, host: &Host, space: &Space, all: &[&str]) -> Result<(), BoxError> {
        let parties = u32::try_from(all.len())?;
        self.latch(host, &Latch::new(space, "opening", parties)?, all).await;
        let barrier = Barrier::new(space, "phase", parties)?;
        loop {
            self.barrier(host, &barrier, all).await;
            idle(host, SECOND / 2).await;
        }
    }

    async fn latch(&self, host: &Host, latch: &Latch, all: &[&str]) {
        idle(host, 3 * SECOND).await;
        self.seen().counted_down.push(host.name().to_owned());
        while latch.count_down_as(host.name()).await.is_err() {
            idle(host, SECOND / 2).await;
        }
        loop {
            match latch.wait().await {
                Ok(ended) => {
                    assert_eq!(ended, Ended::Zero, "a latch that nobody removes");
                    break;
                }
                Err(_) => idle(host, SECOND / 2).await,
            }
        }
        let mut seen = self.seen();
        let missing: Vec<_> = all.iter().filter(|name| !seen.counted_down.iter().any(|there| there == *name)).collect();
        assert!(missing.is_empty(), "{} goes past a latch for which {missing:?} have not counted down", host.name());
        seen.opened += 1;
    }

    /// Arrives, and waits for everybody else.
    async fn barrier(&self, host: &Host, barrier: &Barrier, all: &[&str]) {
        let place = {
            let mut seen = self.seen();
            let arrivals = seen.arrivals.entry(host.name().to_owned()).or_default();
            arrivals.push(Arrival { called: micros(host), generation: None });
            arrivals.len() - 1
        };
        // Whatever became of it, this party arrives again.
        let Ok(arrived) = barrier.arrive(host.name()).await else { return };
        let generation = arrived.generation();
        if let Some(arrival) = self.seen().arrivals.get_mut(host.name()).and_then(|arrivals| arrivals.get_mut(place)) {
            arrival.generation = Some(generation);
        }
        while arrived.wait().await.is_err() {
            idle(host, SECOND / 2).await;
        }
        let now = micros(host);
        let mut seen = self.seen();
        for name in all {
            let there = |arrival: &Arrival| arrival.called <= now && arrival.generation.is_none_or(|known| known == generation);
            let arrived = seen.arrivals.get(*name).is_some_and(|arrivals| arrivals.iter().any(there));
            assert!(arrived, "{} passes generation {generation}, for which {name} has not arrived", host.name());
        }
        seen.passed.entry(host.name().to_owned()).or_default().push(generation);
    }

    /// Checks that everybody comes past the latch, and twice more past the barrier, in generations that grow.
    pub(crate) fn check(&self, sim: &mut Simulation, all: &[&str]) {
        let count = |seen: &Seen, name: &str| seen.passed.get(name).map_or(0, Vec::len);
        let before: Vec<_> = all.iter().map(|name| count(&self.seen(), name)).collect();
        let met = |seen: &Seen| all.iter().zip(&before).all(|(name, before)| count(seen, name) > before + 1);
        let done = sim.run_until(60 * SECOND, |_| met(&self.seen()));
        let seen = self.seen();
        assert!(done, "not everybody has met the others: {seen:?}");
        for (name, passed) in &seen.passed {
            assert!(passed.windows(2).all(|pair| pair[0] < pair[1]), "{name} passed the generations {passed:?}");
        }
    }
}
