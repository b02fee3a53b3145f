//! Commits that come together share a batch.
//!
//! A batch costs the server milliseconds whatever its size, and batches of one stream do not overlap. So while one is under
//! way the next commits gather, and leave together: each with its own conditions, none with a key or an id that another one has.
//! A batch that is rejected is halved until the commit is alone that is the reason; the others do not notice. What a fault
//! means for a commit is not decided here; see [`Sending`].

use super::{
    commit::{After, Sending},
    core::Core,
    errors::Fault,
    names::{EXPECTED_SUBJECT, MSG_ID},
};
use crate::engine::{Committed, StoreError};
use std::{
    collections::{HashSet, VecDeque},
    mem::replace,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

/// The most messages that the server takes in a batch.
const MAX_PARTS: usize = 1000;
/// The most bytes that leave together, so that a batch does not hold up everything else on the connection.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// A commit, and who waits for it.
#[derive(Debug)]
struct Seat {
    sending: Sending,
    answer: oneshot::Sender<Result<Committed, StoreError>>,
}

/// Commits that wait for the next batch.
#[derive(Debug, Default)]
pub(super) struct Groups {
    waiting: Mutex<Waiting>,
    /// One that leads while somebody waits, and those that find out what became of a commit.
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct Waiting {
    seats: VecDeque<Seat>,
    led: bool,
}

impl Groups {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes those at the front that can share a batch; nobody leads any more when there are none.
    fn next(&self) -> Vec<Seat> {
        let mut waiting = self.waiting();
        let (mut group, mut taken) = (Vec::new(), HashSet::new());
        let (mut parts, mut bytes) = (0, 0);
        while let Some(seat) = waiting.seats.front() {
            parts += seat.sending.parts.len();
            bytes += seat.sending.parts.iter().map(|p| p.payload.len()).sum::<usize>();
            let full = parts > MAX_PARTS || bytes > MAX_BYTES;
            if !group.is_empty() && full || !claim(&mut taken, &seat.sending) {
                break;
            }
            group.extend(waiting.seats.pop_front());
        }
        waiting.led = !group.is_empty();
        group
    }
}

/// Claims the subjects and the ids of a commit; false when another one has one of them.
fn claim(taken: &mut HashSet<String>, sending: &Sending) -> bool {
    let names = sending.parts.iter().flat_map(|part| {
        let header = |name| part.headers.get(name).map(|value| value.as_str().to_owned());
        [Some(part.subject.clone()), header(EXPECTED_SUBJECT), header(MSG_ID)].into_iter().flatten()
    });
    let names: HashSet<_> = names.collect();
    let free = taken.is_disjoint(&names);
    taken.extend(names);
    free
}

impl Core {
    /// Has a commit leave with the next batch, and waits for its outcome. It happens, or not, whether or not somebody waits.
    pub(super) async fn join(self: &Arc<Self>, sending: Sending) -> Result<Committed, StoreError> {
        let (answer, reply) = oneshot::channel();
        self.enter(Seat { sending, answer });
        reply.await.unwrap_or_else(|_| Err(StoreError::Unknown("the runtime stopped before the server answered".into())))
    }

    fn enter(self: &Arc<Self>, seat: Seat) {
        let mut waiting = self.groups.waiting();
        waiting.seats.push_back(seat);
        if !replace(&mut waiting.led, true) {
            self.groups.tasks.spawn(Arc::clone(self).lead());
        }
    }

    /// Sends batch after batch until nobody waits.
    async fn lead(self: Arc<Self>) {
        loop {
            let group = self.groups.next();
            if group.is_empty() {
                return;
            }
            self.send_group(group).await;
        }
    }

    async fn send_group(self: &Arc<Self>, group: Vec<Seat>) {
        let mut groups = vec![group];
        while let Some(mut group) = groups.pop() {
            let parts: Vec<_> = group.iter().flat_map(|seat| &seat.sending.parts).collect();
            let fault = match self.publish_batch(&parts).await {
                Ok(ack) => {
                    let mut last = ack.sequence;
                    for seat in group.into_iter().rev() {
                        let own = last;
                        last -= seat.sending.parts.len() as u64;
                        // Whoever asked may have stopped to wait; what happened has happened.
                        drop(seat.answer.send(Ok(self.committed(seat.sending, own))));
                    }
                    continue;
                }
                Err(fault) => fault,
            };
            if group.len() > 1 && fault.is_rejection() {
                // Nothing was stored, on account of one of them or of some.
                let second = group.split_off(group.len() / 2);
                groups.extend([second, group]);
                continue;
            }
            let fault = Arc::new(fault);
            for seat in group {
                self.groups.tasks.spawn(Arc::clone(self).conclude(seat, Arc::clone(&fault)));
            }
        }
    }

    /// Finds out what a fault means for one commit, beside the batches of others.
    async fn conclude(self: Arc<Self>, mut seat: Seat, fault: Arc<Fault>) {
        match self.after(&mut seat.sending, fault).await {
            After::Again => self.enter(seat),
            After::Applied(last) => drop(seat.answer.send(Ok(self.committed(seat.sending, last)))),
            After::Empty => drop(seat.answer.send(Ok(Committed { revisions: Vec::new() }))),
            After::Failed(error) => drop(seat.answer.send(Err(error))),
        }
    }
}
