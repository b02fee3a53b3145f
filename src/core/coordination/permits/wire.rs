//! Permits as protobuf bytes, and back. What breaks a rule of theirs was written by somebody else, and is an error.

use super::{Holder, Permits, Waiter, pb};
use crate::{
    core::coordination::{FencingToken, Lease, NotThis},
    time::Timestamp,
};
use bytes::Bytes;
use prost::Message as _;
use std::{collections::BTreeSet, time::Duration};

const KIND: u32 = 1;

impl Permits {
    /// Writes them as protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let holders = self.holders.iter().map(|h| pb::permits::Holder {
            id: h.id.clone(),
            units: h.units,
            token: h.token.map_or(0, FencingToken::get),
            beat: h.beat,
            lease_ms: millis(h.lease),
            info: h.info.clone(),
            since: h.since.as_micros(),
            name: h.name.clone(),
        });
        let waiters = self.waiters.iter().map(|w| pb::permits::Waiter {
            id: w.id.clone(),
            units: w.units,
            beat: w.beat,
            lease_ms: millis(w.lease),
            name: w.name.clone(),
        });
        let (holders, waiters) = (holders.collect(), waiters.collect());
        pb::Permits { kind: KIND, capacity: self.capacity, holders, waiters }.encode_to_vec().into()
    }

    /// Reads them back.
    ///
    /// # Errors
    ///
    /// [`NotThis`] for everything that [`encode`](Self::encode) does not write.
    pub fn decode(bytes: &[u8]) -> Result<Self, NotThis> {
        let stored = pb::Permits::decode(bytes).map_err(NotThis::shape)?;
        NotThis::unless_kind(stored.kind, KIND, "permit")?;
        let holders = stored.holders.into_iter().map(holder).collect::<Result<Vec<_>, _>>()?;
        let waiters = stored.waiters.into_iter().map(waiter).collect::<Result<Vec<_>, _>>()?;
        let permits = Self { capacity: stored.capacity, holders, waiters };
        permits.check()?;
        Ok(permits)
    }

    fn check(&self) -> Result<(), NotThis> {
        let units = self.holders.iter().map(|h| h.units).chain(self.waiters.iter().map(|w| w.units));
        if units.into_iter().any(|units| units == 0 || units > self.capacity) || self.held() > u64::from(self.capacity) {
            return Err(NotThis::Broken("more is held or waited for than there is, or nothing"));
        }
        let mut ids = BTreeSet::new();
        if !self.members().all(|(id, ..)| !id.is_empty() && ids.insert(id)) {
            return Err(NotThis::Broken("a member has no id, or is there twice"));
        }
        let names = self.holders.iter().map(|h| &h.name).chain(self.waiters.iter().map(|w| &w.name));
        let mut distinct = BTreeSet::new();
        if !names.filter(|name| !name.is_empty()).all(|name| distinct.insert(name)) {
            return Err(NotThis::Broken("a name is there twice"));
        }
        Ok(())
    }
}

fn millis(lease: Lease) -> u64 {
    u64::try_from(lease.length().as_millis()).expect("a lease is at most a day")
}

fn lease(millis: u64) -> Result<Lease, NotThis> {
    Lease::new(Duration::from_millis(millis)).ok_or(NotThis::Broken("a lease is out of its range"))
}

fn holder(stored: pb::permits::Holder) -> Result<Holder, NotThis> {
    let pb::permits::Holder { id, units, token, beat, lease_ms, info, since, name } = stored;
    let token = (token > 0).then(|| FencingToken::new(token));
    Ok(Holder { id, units, token, info, since: Timestamp::from_micros(since), name, beat, lease: lease(lease_ms)? })
}

fn waiter(stored: pb::permits::Waiter) -> Result<Waiter, NotThis> {
    let pb::permits::Waiter { id, units, beat, lease_ms, name } = stored;
    Ok(Waiter { id, units, name, beat, lease: lease(lease_ms)? })
}
