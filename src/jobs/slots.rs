//! Room for so many jobs at once, and who is next when there is room: lanes by their weights.
//!
//! A job that was taken from its queue waits here for its slot, and its task keeps it alive meanwhile. A single lane takes nothing that
//! it has no slot for; of several each may have a few jobs waiting, since whoever chooses between lanes has to see what they have.

use crate::core::jobs::Lanes;
use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Notify, oneshot};

/// The slots of a worker.
#[derive(Debug)]
pub(super) struct Slots {
    state: Mutex<State>,
    /// Something became free, or a job that waited does not any more.
    changed: Notify,
    whole: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    lanes: Lanes,
    waiting: Vec<VecDeque<oneshot::Sender<Slot>>>,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Slot(Option<Arc<Slots>>);

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(slots) = self.0.take() else { return };
        {
            let mut state = slots.state();
            let State { free, lanes, waiting } = &mut *state;
            *free += 1;
            while *free > 0
                && let Some(lane) = lanes.pick(|lane| !waiting[lane].is_empty())
                && let Some(next) = waiting[lane].pop_front()
            {
                match next.send(Self(Some(Arc::clone(&slots)))) {
                    Ok(()) => *free -= 1,
                    // Whoever waited is gone. Nothing comes back by dropping what is empty, while the lock is held.
                    Err(mut slot) => drop(slot.0.take()),
                }
            }
        }
        slots.changed.notify_waiters();
    }
}

impl Slots {
    pub(super) fn new(whole: NonZeroUsize, lanes: Lanes) -> Arc<Self> {
        let waiting = (0..lanes.len()).map(|_| VecDeque::new()).collect();
        let state = Mutex::new(State { free: whole.get(), lanes, waiting });
        Arc::new(Self { state, changed: Notify::new(), whole: whole.get() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a lane may take jobs from its queue, and returns how many.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is taken yet.
    pub(super) async fn room(&self, lane: usize) -> NonZeroUsize {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listens from here on, before looking.
            changed.as_mut().enable();
            if let Some(room) = NonZeroUsize::new(self.look(lane)) {
                return room;
            }
            changed.await;
        }
    }

    fn look(&self, lane: usize) -> usize {
        let state = self.state();
        let lanes = state.lanes.len();
        if lanes == 1 {
            return state.free;
        }
        let waiting = state.waiting[lane].len();
        let ahead = state.lanes.share(lane, self.whole).saturating_sub(waiting);
        state.free.div_ceil(lanes).max(ahead.min(self.whole))
    }

    /// Takes a slot for a job of a lane, or stands in its line.
    pub(super) fn take(self: &Arc<Self>, lane: usize) -> Result<Slot, oneshot::Receiver<Slot>> {
        let mut state = self.state();
        if state.free > 0 {
            state.free -= 1;
            return Ok(Slot(Some(Arc::clone(self))));
        }
        let (next, turn) = oneshot::channel();
        state.waiting[lane].push_back(next);
        Err(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(whole: usize, weights: &[u32]) -> Arc<Slots> {
        Slots::new(NonZeroUsize::new(whole).expect("some"), Lanes::new(weights.iter().copied()))
    }

    #[tokio::test]
    async fn a_single_lane_takes_no_more_than_there_are_slots() {
        let slots = slots(2, &[1]);
        assert_eq!(slots.room(0).await.get(), 2);
        let first = slots.take(0).expect("free");
        let _second = slots.take(0).expect("free");
        assert_eq!(slots.look(0), 0);
        let (room, ()) = tokio::join!(slots.room(0), async { drop(first) });
        assert_eq!(room.get(), 1);
    }

    #[tokio::test]
    async fn slots_go_to_lanes_by_their_weights_and_past_those_who_left() {
        let slots = slots(1, &[3, 1]);
        let mut slot = slots.take(0).expect("free");
        let mut heavy: VecDeque<_> = (0..6).map(|_| slots.take(0).expect_err("taken")).collect();
        let mut light: VecDeque<_> = (0..6).map(|_| slots.take(1).expect_err("taken")).collect();
        drop(heavy.pop_front());
        let mut served = String::new();
        for _ in 0..8 {
            drop(slot);
            let next = [&mut heavy, &mut light].into_iter().zip(['h', 'l']).find_map(|(line, name)| {
                let slot = line.front_mut()?.try_recv().ok()?;
                line.pop_front();
                Some((slot, name))
            });
            let (taken, name) = next.expect("somebody was served");
            served.push(name);
            slot = taken;
        }
        assert_eq!(served, "hhlhhhll");
    }
}
