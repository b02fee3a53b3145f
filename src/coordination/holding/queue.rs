//! Acquiring: at once or not at all, or in a fair queue.
//!
//! Whoever waits keeps one watch on the key, so that a release, an eviction, a deletion and an expiry wake it; it says now and
//! then that it lives, which also finds what a watch would miss; and it removes whoever it has seen to be dead. It looks at the
//! state after it began to watch, and after each event, so no wake-up is lost. Dropping a wait leaves the queue.

use super::{Answer, Guard, Holding, Want, member::Member};
use crate::{
    cell::{CellError, Event},
    coordination::CoordinationError,
    core::coordination::{
        Lost,
        lease::Belief,
        permits::{Permits, Standing},
    },
    engine::Revision,
    time::Backoff,
};
use futures_util::{Stream, StreamExt as _};
use std::time::Duration;

/// Delays between requests whose outcome is not clear.
const AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// How long an attempt that does not wait looks for an outcome that is not clear.
const PATIENCE: Duration = Duration::from_secs(30);

impl Holding {
    /// Takes what is wanted if it is to be had at once; `None` when it is not.
    pub(in crate::coordination) async fn try_acquire(&self, want: &Want) -> Result<Option<Guard>, CoordinationError> {
        let mut ask = self.ask(want)?;
        let member = Member::new(self.clone(), ask.id.clone());
        let until = self.now() + PATIENCE;
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut doubtful = false;
        loop {
            let sent = self.now();
            match self.request(&mut ask, Permits::try_acquire).await? {
                Answer::Holds(token) if self.is_worth_it(sent) => return Ok(Some(Guard::new(member, token, sent))),
                // The answer took most of the lease: asking again renews it.
                Answer::Holds(_) => {}
                Answer::Waits(_) | Answer::Absent | Answer::Replaced => {
                    if !doubtful {
                        member.outside();
                    }
                    return Ok(None);
                }
                Answer::Unclear => {
                    doubtful = true;
                    self.clock().sleep(backoff.next_delay()).await;
                }
            }
            if self.now() >= until {
                let source = CellError::Unknown("each of many attempts remained without an answer".into());
                return Err(CoordinationError::at(&self.0.object)(source));
            }
        }
    }

    /// Takes what is wanted, after everybody who came before; gives up after `patience`.
    pub(in crate::coordination) async fn acquire(
        &self,
        want: &Want,
        patience: Option<Duration>,
    ) -> Result<Guard, CoordinationError> {
        let Some(patience) = patience else { return self.wait_for(want).await };
        match self.clock().timeout(patience, self.wait_for(want)).await {
            Some(outcome) => outcome,
            // What was waited for was dropped, and leaves the queue.
            None => Err(CoordinationError::Deadline(self.0.object.clone())),
        }
    }

    async fn wait_for(&self, want: &Want) -> Result<Guard, CoordinationError> {
        let mut ask = self.ask(want)?;
        let member = Member::new(self.clone(), ask.id.clone());
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        // Until it is known that this call has come once, it may still be the one that replaces an earlier call of its name.
        let mut how: fn(&mut Permits, &_) -> _ = Permits::join;
        let mut watch = None;
        loop {
            let sent = self.now();
            let answer = self.request(&mut ask, how).await?;
            match answer {
                Answer::Holds(token) if self.is_worth_it(sent) => return Ok(Guard::new(member, token, sent)),
                Answer::Replaced => {
                    member.outside();
                    return Err(Lost.into());
                }
                Answer::Unclear => self.clock().sleep(backoff.next_delay()).await,
                // The first for too short a time, so it is renewed at once.
                Answer::Holds(_) | Answer::Absent => how = Permits::attend,
                Answer::Waits(since) => {
                    how = Permits::attend;
                    backoff.reset();
                    self.until_worth_asking(&mut watch, &ask.id, sent, since).await?;
                }
            }
        }
    }

    /// Tells whether a lease that was asked for at `sent` has enough left to begin with.
    fn is_worth_it(&self, sent: Duration) -> bool {
        Belief::granted(sent, self.0.lease).holds(self.now() + self.0.lease.renewal())
    }

    /// Waits until it is a waiter's turn, or it is not in the queue, or somebody is to be removed, or it has to beat.
    async fn until_worth_asking(
        &self,
        watch: &mut Option<Watched>,
        id: &str,
        sent: Duration,
        since: Option<Revision>,
    ) -> Result<(), CoordinationError> {
        let beats = sent + self.0.lease.renewal();
        loop {
            let due = self.seen().next_due(id).map_or(beats, |due| due.min(beats));
            let left = due.saturating_sub(self.now());
            if left.is_zero() {
                return Ok(());
            }
            let stream = match watch {
                Some(stream) => stream,
                // One for the whole wait: its first events are what is there now.
                None => match self.watch().await {
                    Ok(began) => watch.insert(Watched { events: Box::new(began), found: false }),
                    // Until it can be watched the queue is asked.
                    Err(CoordinationError::Cell { source: CellError::Unavailable(_), .. }) => {
                        self.clock().sleep(left.min(AGAIN.1)).await;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                },
            };
            match self.clock().timeout(left, stream.events.next()).await {
                None => return Ok(()),
                // The watch has ended, which none does while its store is there; the next attempt says what is wrong.
                Some(None) => {
                    *watch = None;
                    self.clock().sleep(left.min(AGAIN.1)).await;
                    return Ok(());
                }
                Some(Some(event)) => match event {
                    // A watch may be behind: what was before this waiter came says nothing of it.
                    Event::Initial(stored) | Event::Put(stored) if Some(stored.revision) < since => stream.found = true,
                    Event::Deleted(_, revision) | Event::Expired(_, revision) if Some(revision) < since => {}
                    Event::Initial(stored) | Event::Put(stored) => {
                        stream.found = true;
                        self.note(&stored.value);
                        let waits = matches!(stored.value.standing(id), Standing::Waits { .. });
                        if !waits || stored.value.is_due(id) {
                            return Ok(());
                        }
                    }
                    Event::Deleted(..) | Event::Expired(..) => return Ok(()),
                    Event::Resynced => stream.found = false,
                    Event::Synced if !stream.found => return Ok(()),
                    Event::Synced => {}
                    Event::Unreadable(error) => return Err(CoordinationError::at(&self.0.object)(error)),
                },
            }
        }
    }
}

/// A watch on the key.
struct Watched {
    events: Box<dyn Stream<Item = Event<Permits>> + Send + Unpin>,
    /// Whether the key was among what is there.
    found: bool,
}
