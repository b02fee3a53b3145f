//! The order in which units are granted.
//!
//! A member may take what it asks for when there is room for it beside the holders *and* everybody who waits before it. So the
//! first of the queue waits for holders only, nobody overtakes somebody whom he delays by it, and several who fit together do not
//! wait for each other.

use super::{Ask, Holder, Permits, Refusal, Standing, Waiter};

impl Permits {
    /// Takes what is asked for if it is to be had at once, and does not queue up otherwise. Whoever holds it already holds it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the request can never be granted as it is.
    pub fn try_acquire(&mut self, ask: &Ask) -> Result<Standing, Refusal> {
        let waits = self.waiters.iter().position(|w| same(ask, &w.id, &w.name));
        let holds = self.holders.iter().any(|h| same(ask, &h.id, &h.name));
        let has_room = self.room_behind(waits.unwrap_or(self.waiters.len())) >= u64::from(ask.units);
        // Who waits already waits on, unchanged.
        if holds || has_room || !self.possible(ask) { self.join(ask) } else { Ok(Standing::Absent) }
    }

    /// Takes what is asked for, or queues up for it. Repeating it is how a waiter says that it lives, and how it takes what has
    /// become free: one that is granted or waits already counts up its beat.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn join(&mut self, ask: &Ask) -> Result<Standing, Refusal> {
        let standing = self.known(ask)?;
        if standing != Standing::Absent {
            return Ok(standing);
        }
        let ahead = self.waiters.len();
        if self.room_behind(ahead) >= u64::from(ask.units) {
            return Ok(self.grant(ask, ask.beat));
        }
        let Ask { id, beat, units, name, lease, .. } = ask.clone();
        self.waiters.push(Waiter { id, units, name, beat, lease });
        Ok(Standing::Waits { ahead })
    }

    /// Joins again, as somebody who has joined before: if another call has come in its name meanwhile, that one stays.
    ///
    /// # Errors
    ///
    /// As [`try_acquire`](Self::try_acquire).
    pub fn attend(&mut self, ask: &Ask) -> Result<Standing, Refusal> {
        let replaced = !ask.name.is_empty() && self.standing(&ask.id) == Standing::Absent && self.has_name(&ask.name);
        if replaced { Ok(Standing::Replaced) } else { self.join(ask) }
    }

    /// Tells whether a waiter may take what it waits for.
    #[must_use]
    pub fn is_due(&self, id: &str) -> bool {
        self.place(id).is_some_and(|place| self.room_behind(place) >= u64::from(self.waiters[place].units))
    }

    pub(super) fn place(&self, id: &str) -> Option<usize> {
        self.waiters.iter().position(|w| w.id == id)
    }

    fn has_name(&self, name: &str) -> bool {
        self.holders.iter().any(|h| h.name == name) || self.waiters.iter().any(|w| w.name == name)
    }

    /// Renews a member that is there already, by its id or by its name, and lets a waiter take what it may.
    fn known(&mut self, ask: &Ask) -> Result<Standing, Refusal> {
        if !self.possible(ask) {
            return Err(Refusal::Never { wanted: ask.units, capacity: self.capacity });
        }
        let fits = |stored: u32| {
            if stored == ask.units { Ok(()) } else { Err(Refusal::Units { stored, wanted: ask.units }) }
        };
        if let Some(holder) = self.holders.iter_mut().find(|h| same(ask, &h.id, &h.name)) {
            fits(holder.units)?;
            if holder.id == ask.id {
                holder.beat += 1;
            } else {
                // The name comes again: it holds what it held, with a token of its own, and its earlier call holds nothing.
                *holder = Self::holder(ask, ask.beat);
            }
            return Ok(Standing::Holds(holder.token));
        }
        let Some(place) = self.waiters.iter().position(|w| same(ask, &w.id, &w.name)) else { return Ok(Standing::Absent) };
        fits(self.waiters[place].units)?;
        let room = self.room_behind(place);
        let waiter = &mut self.waiters[place];
        // Also a waiter that becomes a holder beats: whoever has seen it silent in the queue has to look anew.
        waiter.beat = if waiter.id == ask.id { waiter.beat + 1 } else { ask.beat };
        waiter.id.clone_from(&ask.id);
        waiter.lease = ask.lease;
        if room < u64::from(ask.units) {
            return Ok(Standing::Waits { ahead: place });
        }
        let beat = self.waiters.remove(place).beat;
        Ok(self.grant(ask, beat))
    }

    fn possible(&self, ask: &Ask) -> bool {
        (1..=self.capacity).contains(&ask.units)
    }

    /// Returns how many units are left beside the holders and the first so many waiters.
    fn room_behind(&self, waiters: usize) -> u64 {
        let before: u64 = self.waiters[..waiters].iter().map(|w| u64::from(w.units)).sum();
        u64::from(self.capacity).saturating_sub(self.held() + before)
    }

    fn grant(&mut self, ask: &Ask, beat: u64) -> Standing {
        self.holders.push(Self::holder(ask, beat));
        Standing::Holds(None)
    }

    fn holder(ask: &Ask, beat: u64) -> Holder {
        let Ask { id, units, lease, info, name, now, .. } = ask.clone();
        Holder { id, units, token: None, info, since: now, name, beat, lease }
    }
}

/// Tells whether a member is who asks.
fn same(ask: &Ask, id: &str, name: &str) -> bool {
    id == ask.id || (!name.is_empty() && name == ask.name)
}
