//! What was acquired: it renews itself, knows when it is lost, and is given back.

use super::{
    Holding,
    member::{Left, Member},
};
use crate::{
    cell::Fence,
    coordination::CoordinationError,
    core::coordination::{
        FencingToken, Lost,
        lease::Belief,
        permits::{Permits, Standing},
    },
    newest,
    time::{Backoff, Instant},
};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// Delays between attempts to renew.
const AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// Something that is held: a lock, a side of a read-write lock, or permits of a semaphore.
///
/// It renews its lease by itself, at a third of it, for as long as it lives; forgetting it
/// ([`std::mem::forget`]) holds it until the process ends. It stops to believe that it holds before anybody else can,
/// and [`lost`](Self::lost) tells. What it does to things elsewhere should show [`token`](Self::token), since a process that
/// stands still, such as one whose machine is suspended, sees nothing:
/// [`Cell::update_fenced`](crate::cell::Cell::update_fenced) does.
///
/// Give it back with [`release`](Self::release), which says whether that went well. Dropping it stops the renewal at once and gives it
/// back in the background, as well as that goes: when the process or its runtime ends first, others wait until its lease is over.
#[derive(Debug)]
#[must_use = "what is dropped is given back"]
pub struct Guard {
    token: FencingToken,
    member: Option<Member>,
    belief: Arc<newest::Sender<Belief>>,
    renewal: JoinHandle<()>,
    holding: Holding,
}

impl Guard {
    /// Begins with a request that was sent at `sent` and granted.
    pub(super) fn new(member: Member, token: FencingToken, sent: Duration) -> Self {
        let holding = member.holding.clone();
        let belief = Arc::new(newest::Sender::new(Belief::granted(sent, holding.0.lease)));
        let keep = keep(holding.clone(), member.id.clone(), Arc::clone(&belief), sent);
        let renewal = holding.0.tasks.spawn(keep);
        Self { token, member: Some(member), belief, renewal, holding }
    }

    /// Returns the fencing token: greater than those of all who held the same before, also across processes.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Tells whether it is still held. It may be lost a moment later: whoever goes on for longer watches
    /// [`lost`](Self::lost).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.belief.borrow().holds(self.holding.now())
    }

    /// Returns until when it is held, if no renewal comes through from now on.
    #[must_use]
    pub fn valid_until(&self) -> Instant {
        self.holding.0.origin + self.belief.borrow().until()
    }

    /// Waits until it is not held any more: its lease is over without a renewal, somebody has removed it, or it was released or
    /// dropped. It comes before anybody else can hold the same, as long as this process is not standing still.
    ///
    /// The future does not borrow the guard, so that a task can have it.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing changes.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let (mut belief, holding) = (self.belief.subscribe(), self.holding.clone());
        async move {
            loop {
                let left = {
                    let belief = belief.borrow_and_update();
                    let now = holding.now();
                    if !belief.holds(now) {
                        return;
                    }
                    belief.until().saturating_sub(now)
                };
                // Renewed, lost, or over: the next look tells. Without the guard there is nobody to renew it.
                if let Some(Err(_)) = holding.clock().timeout(left, belief.changed()).await {
                    return;
                }
            }
        }
    }

    /// Gives it back, and returns when it is known that others can have it.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Lost`] when it was not held to the end: others may have held it meanwhile.
    /// [`CoordinationError::Cell`] when that could not be found out in about half a minute, since the store is away or does not
    /// answer; it is not renewed any more, so others have it once its lease is over.
    ///
    /// # Cancel safety
    ///
    /// A dropped release goes on in the background, as for a dropped guard.
    pub async fn release(mut self) -> Result<(), CoordinationError> {
        let held = self.is_held();
        self.stop();
        // It is there until a guard is released, which consumes it.
        let Some(member) = self.member.take() else { return Err(Lost.into()) };
        match member.leave().await? {
            // Nobody has removed it until now, so nobody else has had it.
            Left::Now => Ok(()),
            // By ours, whose answer was lost: nobody else removes what is valid.
            Left::Perhaps if held => Ok(()),
            Left::Perhaps | Left::Before => Err(Lost.into()),
        }
    }

    /// Stops to renew, and to believe.
    fn stop(&self) {
        // G17: the task has this guard's id and no other, so whatever of it is still under way renews nobody else.
        self.renewal.abort();
        self.belief.send_modify(Belief::gone);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Fence for Guard {
    fn token(&self) -> Result<FencingToken, Lost> {
        if self.is_held() { Ok(self.token) } else { Err(Lost) }
    }
}

/// Renews until it is lost.
async fn keep(holding: Holding, id: String, belief: Arc<newest::Sender<Belief>>, granted: Duration) {
    let (clock, lease) = (holding.clock().clone(), holding.0.lease);
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut next = granted + lease.renewal();
    loop {
        clock.sleep(next.saturating_sub(holding.now())).await;
        let sent = holding.now();
        let left = belief.borrow().until().saturating_sub(sent);
        if left.is_zero() {
            break;
        }
        let own = id.clone();
        let renew = holding.change(move |permits: &mut Permits| Ok(permits.renew(&own)));
        // A store that never answers one renewal may well take the next.
        match clock.timeout(left.min(lease.renewal()), renew).await {
            Some(Ok((Standing::Holds(_), _))) => {
                // In one step with the look at the clock, so that nobody is told of a loss that is taken back.
                belief.send_modify(|belief| belief.renewed(sent, holding.now(), lease));
                backoff.reset();
                next = sent + lease.renewal();
            }
            Some(Ok(_)) => {
                tracing::warn!(object = holding.0.object, id, "what was held was taken away");
                break;
            }
            Some(Err(error)) => {
                tracing::warn!(object = holding.0.object, id, error = &error as &dyn std::error::Error, "a renewal failed");
                next = holding.now() + backoff.next_delay();
            }
            None => tracing::warn!(object = holding.0.object, id, "a renewal was not answered"),
        }
    }
    belief.send_modify(Belief::gone);
}
