//! A delivery while a worker has it: who it is, how it is told to stop, and what was learnt of it on the way.
//!
//! It is shared by the task that settles it and by the handler's [`Job`](super::Job), which may outlive the settlement; so whatever is here
//! is only looked at, or set once.

use super::{
    handler::topic_of,
    ledger::Ledger,
    topic::{GENERATION, JOB_ID},
};
use crate::{
    core::{
        jobs::{Delivered, Record},
        retry::StopReason,
    },
    engine::{Delivery, Message, Name},
};
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What a message says its job's id is; an empty one says nothing, or all such messages would be one job.
pub(super) fn named(message: &Message) -> Option<&str> {
    message.headers.get(JOB_ID).filter(|id| !id.is_empty()).or(message.id.as_deref())
}

/// How often a message says that its job was put back.
pub(super) fn generation(message: &Message) -> u32 {
    message.headers.get(GENERATION).and_then(|generation| generation.parse().ok()).unwrap_or(0)
}

/// One delivery.
pub(super) struct Held {
    pub(super) delivery: Delivery,
    pub(super) delivered: Delivered,
    pub(super) ledger: Arc<Ledger>,
    pub(super) stop: Stop,
    id: OnceLock<Box<str>>,
    attempt: AtomicU32,
    /// What was known when it was admitted; unset when nothing was asked.
    pub(super) known: OnceLock<Record>,
    /// There is a record by now, so the end has to be in it.
    recorded: AtomicBool,
    /// It was silent for longer than the queue waits.
    lost: AtomicBool,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

impl Held {
    pub(super) fn new(delivery: Delivery, ledger: Arc<Ledger>) -> Arc<Self> {
        let delivered = Delivered { number: delivery.attempt(), generation: generation(delivery.message()) };
        Arc::new(Self {
            delivered,
            delivery,
            ledger,
            stop: Stop::default(),
            id: OnceLock::new(),
            attempt: AtomicU32::new(1),
            known: OnceLock::new(),
            recorded: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        })
    }

    /// The job's id: what a header says, else the message's id, else the queue and the position in it.
    pub(super) fn id(&self) -> &str {
        self.id.get_or_init(|| {
            let nameless = || format!("{}-{}", self.queue(), self.delivery.sequence());
            named(self.delivery.message()).map_or_else(|| nameless().into(), Into::into)
        })
    }

    pub(super) fn topic(&self) -> &str {
        topic_of(self.delivery.message())
    }

    pub(super) fn queue(&self) -> &Name {
        self.ledger.queue()
    }

    pub(super) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    pub(super) fn set_attempt(&self, attempt: u32) {
        self.attempt.store(attempt, Ordering::Relaxed);
    }

    pub(super) fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }

    pub(super) fn set_recorded(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    pub(super) fn set_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }
}

/// The way to ask one handler to stop; each delivery has its own.
#[derive(Debug, Default)]
pub(super) struct Stop {
    reason: OnceLock<StopReason>,
    asked: Notify,
    token: OnceLock<CancellationToken>,
    /// The handler has looked for its stop, so it is given time to end.
    listens: AtomicBool,
}

impl Stop {
    /// Asks; the first reason stays.
    pub(super) fn ask(&self, reason: StopReason) {
        if self.reason.set(reason).is_ok() {
            self.asked.notify_waiters();
        }
        // Whoever makes the token later looks at the reason first.
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    pub(super) fn reason(&self) -> Option<StopReason> {
        self.reason.get().copied()
    }

    /// Waits until it is asked.
    pub(super) async fn asked(&self) -> StopReason {
        loop {
            // Before looking, so that what is asked in between is heard.
            let asked = self.asked.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            asked.await;
        }
    }

    pub(super) fn listen(&self) {
        self.listens.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_heard(&self) -> bool {
        self.listens.load(Ordering::Relaxed)
    }

    pub(super) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        if self.reason().is_some() {
            token.cancel();
        }
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_leave_the_id_of_their_job_empty_are_not_one_job() {
        let message = |id: &str| Message::new("x").header(JOB_ID, id);
        assert_eq!((named(&message("")), named(&message("j"))), (None, Some("j")));
        assert_eq!(named(&message("").id("m")), Some("m"));
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_stays_and_is_heard_also_later() {
        let stop = Stop::default();
        let token = stop.token().clone();
        assert!(stop.reason().is_none() && !token.is_cancelled());
        let (heard, ()) = tokio::join!(stop.asked(), async { stop.ask(StopReason::Timeout) });
        stop.ask(StopReason::Shutdown);
        assert_eq!((heard, stop.asked().await), (StopReason::Timeout, StopReason::Timeout));
        assert!(token.is_cancelled() && stop.token().is_cancelled());
    }
}
