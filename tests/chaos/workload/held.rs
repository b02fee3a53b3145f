//! What is held: a lock with fenced writes, permits of a semaphore, a leadership.
//!
//! Whether something is held is asked after the time was taken: a process that is paused between the two says of an earlier moment what
//! was still so later.

use super::Site;
use crate::history::{Act, Answer, Fact, now};
use anabranch::{
    Codec,
    cell::{Cell, Cells, Fence},
    coordination::{CoordinationError, Election, Lock, Semaphore},
    engine::Key,
};
use std::{num::NonZeroU32, time::Duration};

const LEASE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const PERMITS: NonZeroU32 = NonZeroU32::new(2).expect("2 is not 0");

/// Notes an acquisition, and returns what was acquired.
fn acquired<G>(
    site: &Site,
    object: &str,
    op: u64,
    outcome: Result<G, CoordinationError>,
    token: impl Fn(&G) -> u64,
) -> Option<G> {
    match outcome {
        Ok(held) => {
            site.history.back(op, Answer::Value(token(&held)));
            Some(held)
        }
        Err(error) => {
            let answer = match site.told(object, &error) {
                // Waiting has an end also where a store went away; nothing is held then that anybody here believes in.
                Answer::Lost => Answer::Not,
                answer => answer,
            };
            site.history.back(op, answer);
            None
        }
    }
}

fn released(site: &Site, object: &str, op: u64, outcome: Result<(), CoordinationError>) {
    let answer = match outcome {
        Ok(()) => Answer::Done,
        // Its lease ends it, sooner or later.
        Err(CoordinationError::Cell { .. }) => Answer::Open,
        Err(error) => site.told(object, &error),
    };
    site.history.back(op, answer);
}

/// Notes that something is held as long as it is, for some moments.
async fn holds(site: &Site, object: &str, token: u64, moments: u64, is_held: impl Fn() -> bool) -> bool {
    let mut dice = site.dice(token);
    for _ in 0..moments {
        let at = now();
        if !is_held() {
            return false;
        }
        site.history.note_at(at, Fact::Holds { object: object.to_owned(), token });
        site.pause(&mut dice, 60).await;
    }
    true
}

pub(super) async fn lock(site: Site) {
    let mut dice = site.dice(20);
    let lock = Lock::new(&site.space, "lock", LEASE).expect("the name and the lease are valid");
    let guarded: Cell<u64> = Cells::below(&site.space, &Key::new("guarded").expect("it is a token"), Codec::json())
        .deadline(PATIENCE)
        .cell("token")
        .expect("it is a token");
    while !site.is_over() {
        let op = site.history.call("lock", Act::Acquire);
        let outcome = lock.acquire_within(PATIENCE).await;
        let Some(guard) = acquired(&site, "lock", op, outcome, |guard| guard.token().get()) else { continue };
        let token = guard.token().get();
        let moments = 1 + dice.roll(8);
        holds(&site, "lock", token, moments, || guard.is_held()).await;
        if dice.roll(2) == 0 {
            fenced(&site, &guarded, &guard, token).await;
        }
        let op = site.history.call("lock", Act::Release(token));
        released(&site, "lock", op, guard.release().await);
        site.pause(&mut dice, 200).await;
    }
}

/// Writes the token into what the lock guards, and learns which one was there before.
async fn fenced(site: &Site, guarded: &Cell<u64>, fence: &(impl Fence + Sync), token: u64) {
    let op = site.history.call("guarded", Act::Fenced(token));
    let outcome = guarded.update_fenced(fence, move |last| std::mem::replace(last, token)).await;
    let answer = match outcome {
        Ok(before) => Answer::Value(before),
        Err(error) => site.told_by_cell("guarded", &error),
    };
    site.history.back(op, answer);
}

pub(super) async fn semaphore(site: Site) {
    let mut dice = site.dice(21);
    let permits = Semaphore::new(&site.space, "permits", PERMITS, LEASE).expect("the name and the lease are valid");
    while !site.is_over() {
        let op = site.history.call("permits", Act::Acquire);
        let outcome = permits.acquire_within(NonZeroU32::MIN, PATIENCE).await;
        let Some(guard) = acquired(&site, "permits", op, outcome, |guard| guard.token().get()) else { continue };
        let (token, moments) = (guard.token().get(), 1 + dice.roll(8));
        holds(&site, "permits", token, moments, || guard.is_held()).await;
        let op = site.history.call("permits", Act::Release(token));
        released(&site, "permits", op, guard.release().await);
        site.pause(&mut dice, 200).await;
    }
}

pub(super) async fn election(site: Site) {
    let mut dice = site.dice(22);
    let election = Election::new(&site.space, "leader", LEASE).expect("the name and the lease are valid");
    let election = election.candidate(format!("worker-{}-{}", site.worker, site.life));
    while !site.is_over() {
        let op = site.history.call("leader", Act::Acquire);
        let outcome = match site.space.clock().timeout(PATIENCE, election.campaign()).await {
            Some(outcome) => outcome,
            None => Err(CoordinationError::Deadline("leader".to_owned())),
        };
        let Some(leads) = acquired(&site, "leader", op, outcome, |leads| leads.term().get()) else { continue };
        let (term, moments) = (leads.term().get(), 5 + dice.roll(40));
        holds(&site, "leader", term, moments, || leads.is_leader()).await;
        let op = site.history.call("leader", Act::Release(term));
        released(&site, "leader", op, leads.resign().await);
        site.pause(&mut dice, 100).await;
    }
}
