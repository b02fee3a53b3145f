//! One delivery from its arrival to its settlement: admitted, decoded, run, decided about, recorded, settled.
//!
//! It promises that a message is settled after what became of its job is stored, and that nothing which a handler does (an error, a
//! panic, no end at all) takes anything else down. What an end means is decided in `core::jobs`.
//!
//! A crash before the record is written: the message comes again, and its attempt has counted. A crash between record and
//! settlement: it comes again, is decided alike, and runs only if it was to run again.

use super::{
    alive::alive,
    control::{self, Control, Running},
    events::{Bus, What},
    handler::{Handle, Opened},
    held::Held,
    ledger::{Ledger, Settled, label},
    letters,
    options::Rules,
    sender_of,
    slots::Slot,
};
use crate::{
    cell::CellError,
    coordination::{CoordinationError, Decision as Answer, Guard, Semaphore},
    core::{
        jobs::{self as rules, Admission, How, Outcome, Verdict},
        machine::Disposition,
        retry::StopReason,
    },
    engine::{Delivery, Queue, Rejection, Space},
    error::{chain, panic_text},
    telemetry,
    time::nonce,
    topology::NodeResult,
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use std::{any::Any, collections::HashMap, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// How long a job waits whose record, or limit, cannot be used.
const LATER: Duration = Duration::from_secs(30);
/// The longest message of an error that is kept.
const LONGEST: usize = 4096;

/// What all deliveries of a worker share.
pub(super) struct Floor {
    pub(super) space: Space,
    pub(super) handlers: HashMap<String, Box<dyn Handle>>,
    pub(super) bus: Arc<Bus>,
    pub(super) running: Arc<Running>,
    pub(super) stop_grace: Duration,
    pub(super) key_lease: Duration,
    /// Nothing is begun any more.
    pub(super) stop: CancellationToken,
    /// Everything is dropped.
    pub(super) gone: CancellationToken,
    /// What is in hand.
    pub(super) tasks: TaskTracker,
}

/// What all deliveries of a queue share.
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) control: Arc<Control>,
}

/// A delivery's place among those that run, which it leaves also when it is dropped.
struct Entered<'a>(&'a Running, u64);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.leave(self.1);
    }
}

/// What became of a delivery.
struct End {
    verdict: Verdict,
    what: What,
    /// Told as well.
    besides: Option<What>,
}

impl Floor {
    /// Works on a delivery in a task of its own; `slot` is its slot, or its turn to have one.
    pub(super) fn take(self: &Arc<Self>, lane: &Arc<Lane>, delivery: Delivery, slot: Result<Slot, oneshot::Receiver<Slot>>) {
        let (floor, lane) = (Arc::clone(self), Arc::clone(lane));
        let held = Held::new(delivery, Arc::clone(&lane.ledger));
        let message = held.delivery.message();
        let trace = telemetry::extract(|name| message.headers.get(name));
        let (sequence, number) = (held.delivery.sequence(), held.delivered.number);
        let span = telemetry::job_span(lane.queue.name().as_str(), held.topic(), sequence, number, trace.as_ref());
        let serve = async move {
            let gone = floor.gone.clone();
            // Dropped at the very end of a drain only: the message comes again after `ack_wait`.
            gone.run_until_cancelled(pin!(floor.serve(&lane, &held, slot))).await;
        };
        self.tasks.spawn(serve.instrument(span));
    }

    async fn serve(&self, lane: &Lane, held: &Arc<Held>, slot: Result<Slot, oneshot::Receiver<Slot>>) {
        let _entered = Entered(&self.running, self.running.enter(held));
        let mut permit = None;
        let work = async {
            let slot = match slot {
                Ok(slot) => Some(slot),
                Err(turn) => tokio::select! {
                    biased;
                    () = self.stop.cancelled() => None,
                    slot = turn => slot.ok(),
                },
            };
            (self.work(lane, held, &mut permit, slot.is_some()).await, slot)
        };
        let (end, slot) = alive(held, &self.bus, lane.queue.options().ack_wait, pin!(work)).await;
        self.settle(held, end).await;
        if let Some(permit) = permit {
            // One that is not released ends with its lease.
            if let Err(error) = Box::pin(permit.release()).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a job's permit was not released");
            }
        }
        drop(slot);
    }

    async fn settle(&self, held: &Held, end: End) {
        let receipt = held.delivery.settling();
        let told = match &end.verdict {
            Verdict::Ack => receipt.ack().await,
            // Somebody else has it by now.
            Verdict::Retry(_) if held.is_lost() => Ok(()),
            Verdict::Retry(after) => receipt.retry(*after).await,
            Verdict::Bury(_) => receipt.reject().await,
            Verdict::Leave => Ok(()),
        };
        if let Err(error) = told {
            tracing::warn!(job = held.id(), error = &error as &dyn std::error::Error, "a job's message was not settled");
            self.bus.tell(held, || What::NotAcknowledged { error: chain(&error) });
        }
        self.bus.tell(held, || end.what);
        if let Some(besides) = end.besides {
            self.bus.tell(held, || besides);
        }
    }

    /// Works on a delivery until it is decided, and what was decided is stored. What an ordinary success does without is boxed, since
    /// every job's task would be as large.
    async fn work(&self, lane: &Lane, held: &Arc<Held>, permit: &mut Option<Guard>, begins: bool) -> End {
        let begun = self.space.clock().instant();
        let handler = self.handlers.get(held.topic());
        let fallback = Rules::default();
        let rules = handler.map_or(&fallback, |handler| handler.rules());
        let outcome = if begins && !self.stop.is_cancelled() {
            match self.begin(lane, held, handler.map(|h| &**h), rules, permit).await {
                Ok(outcome) => outcome,
                Err(Early::Ended) => return End { verdict: Verdict::Ack, what: What::Superseded, besides: None },
                Err(Early::Unusable(error)) => return unusable(&error),
            }
        } else {
            Outcome::HandedBack
        };
        let took = self.space.clock().instant().saturating_duration_since(begun);
        let ordinary = matches!(outcome, Outcome::Done(None)) && held.known.get().is_none() && !rules.keep;
        if ordinary && !held.is_recorded() {
            return End { verdict: Verdict::Ack, what: What::Completed { took }, besides: None };
        }
        match Box::pin(self.record(held, &outcome, rules)).await {
            Ok(settled) => {
                if matches!(outcome, Outcome::Cancelled) {
                    // A flag that stays is found to be stale by whoever looks at it.
                    drop(Box::pin(control::lower(&self.space, held.queue(), held.id())).await);
                }
                told(outcome, settled, took)
            }
            Err(CellError::Rejected(rejection @ Rejection::TooLarge { .. })) if matches!(outcome, Outcome::Done(Some(_))) => {
                let outcome = Outcome::Hopeless(format!("its result cannot be kept: {rejection}"));
                match Box::pin(self.record(held, &outcome, rules)).await {
                    Ok(settled) => told(outcome, settled, took),
                    Err(error) => unusable(&error),
                }
            }
            Err(error) => unusable(&error),
        }
    }

    /// Stores what became of a delivery.
    async fn record(&self, held: &Arc<Held>, outcome: &Outcome, how: &Rules) -> Result<Settled, CellError> {
        let now = self.space.clock().now();
        let (delivered, topic) = (held.delivered, held.topic().to_owned());
        // Something is recorded if nothing else, since it was asked for or reported.
        let keep = how.keep || held.is_recorded();
        let facts = Arc::new((topic, outcome.clone(), how.retry.clone(), (keep, now, nonce())));
        let decide = move |record: Option<&rules::Record>| {
            let (topic, outcome, policy, rest) = &*facts;
            rules::settle(record, delivered, topic, outcome, policy, *rest)
        };
        held.ledger.settle(held.id(), decide, |record, reason| letters::letter(held, record, reason, now)).await
    }

    /// Begins an attempt if it may, and waits for its end.
    async fn begin(
        &self,
        lane: &Lane,
        held: &Arc<Held>,
        handler: Option<&dyn Handle>,
        how: &Rules,
        permit: &mut Option<Guard>,
    ) -> Result<Outcome, Early> {
        let asked = lane.control.is_cancelled(|| label(held.id()).into_owned());
        let first = held.delivered.number == 1 && held.delivered.generation == 0;
        // Nothing can be known of a first delivery, unless its job's end is kept, or asked for.
        if !first || how.keep || asked {
            let known = Box::pin(held.ledger.read(held.id())).await.map_err(Early::Unusable)?;
            let admission = rules::admit(known.as_ref(), held.delivered, &how.retry);
            if let Some(known) = known.filter(|known| known.generation == held.delivered.generation) {
                let _ = held.known.set(known);
            }
            match admission {
                Admission::Run { attempt } => held.set_attempt(attempt),
                Admission::Ended => return Err(Early::Ended),
                Admission::Cancel => return Ok(Outcome::Cancelled),
                Admission::Bury(reason) => return Ok(Outcome::Hopeless(reason)),
            }
        }
        let Some(handler) = handler else {
            return Ok(Outcome::Hopeless(format!("nobody here knows the topic `{}`", held.topic())));
        };
        // Code of the application: a job that it panics over is as good as one that it cannot read.
        let opened = std::panic::catch_unwind(AssertUnwindSafe(|| handler.open(held, &self.bus)));
        let Opened { body, concurrency, rate } = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Ok(Outcome::Hopeless(chain(&error))),
            Err(panic) => return Ok(Outcome::Hopeless(format!("reading the job panicked: {}", panic_text(&*panic)))),
        };
        if let Some((key, most)) = concurrency.filter(|(key, _)| !key.is_empty()) {
            let name = format!("job/{}/{key}", held.queue());
            let semaphore = Semaphore::new(&self.space, &name, most, self.key_lease).map_err(|e| refused(&e))?;
            let semaphore = semaphore.holder_info(clipped(held.id().to_owned(), 256));
            match Box::pin(semaphore.try_acquire()).await {
                Ok(Some(guard)) => *permit = Some(guard),
                Ok(None) => return Ok(Outcome::Blocked(None)),
                Err(error) => return Ok(unlimited(&error)),
            }
        }
        if let Some((key, limiter)) = rate.filter(|(key, _)| !key.is_empty()) {
            let checked = match limiter.key(&key) {
                Ok(limiter) => Box::pin(limiter.check_one()).await,
                Err(error) => Err(error),
            };
            match checked {
                Ok(Answer::Allowed { .. }) => {}
                Ok(Answer::Denied { retry_in }) => return Ok(Outcome::Blocked(Some(retry_in))),
                Err(error) => return Ok(unlimited(&error)),
            }
        }
        if held.attempt() == 1
            && let Some((schedule, due)) = sender_of(&held.delivery.message().headers)
        {
            self.bus.tell(held, || What::Scheduled { schedule: schedule.to_owned(), due });
        }
        self.bus.tell(held, || What::Received);
        let mut body = pin!(AssertUnwindSafe(body).catch_unwind());
        let ended = tokio::select! {
            // A handler that has ended has ended, also when it was asked to stop at the same moment.
            biased;
            ended = &mut body => Some(ended),
            () = self.overdue(held, how, permit.as_ref()) => None,
        };
        Ok(outcome(ended, held.stop.reason(), how))
    }

    /// Waits until a handler has to be dropped: it was asked to stop, and has had its time.
    async fn overdue(&self, held: &Held, how: &Rules, permit: Option<&Guard>) {
        let clock = self.space.clock();
        let limits = async {
            let mut passed = Duration::ZERO;
            if let Some(expected) = how.expected.filter(|expected| how.timeout.is_none_or(|timeout| *expected < timeout)) {
                clock.sleep(expected).await;
                passed = expected;
                self.bus.tell(held, || What::ExceededExpectation { expected });
            }
            let Some(timeout) = how.timeout else { return std::future::pending().await };
            clock.sleep(timeout.saturating_sub(passed)).await;
            self.bus.tell(held, || What::TimedOut { timeout });
        };
        let lost = async {
            match permit {
                Some(permit) => permit.lost().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = held.stop.asked() => {}
            () = limits => held.stop.ask(StopReason::Timeout),
            () = lost => held.stop.ask(StopReason::Fenced),
        }
        if held.stop.is_heard() {
            clock.sleep(self.stop_grace).await;
        }
    }
}

/// What a handler panicked with.
type Panic = Box<dyn Any + Send>;

/// Why a delivery is not worked on.
enum Early {
    /// Its job has ended.
    Ended,
    /// Its record cannot be used.
    Unusable(CellError),
}

/// A key of the application's that is no key.
fn refused(error: &CoordinationError) -> Early {
    Early::Unusable(CellError::Unavailable(chain(error).into()))
}

/// A limit that cannot be asked admits nobody.
fn unlimited(error: &CoordinationError) -> Outcome {
    tracing::warn!(error = error as &dyn std::error::Error, "a limit of jobs cannot be used");
    Outcome::Blocked(None)
}

/// A job of which nothing is known waits: nothing is run, and nothing overwritten.
fn unusable(error: &CellError) -> End {
    tracing::warn!(error = error as &dyn std::error::Error, "the record of a job cannot be used");
    End { verdict: Verdict::Retry(LATER), what: What::NotAcknowledged { error: chain(error) }, besides: None }
}

/// What a handler's end is, given that it may have been asked to stop.
fn outcome(ended: Option<Result<NodeResult<Option<Bytes>>, Panic>>, asked: Option<StopReason>, how: &Rules) -> Outcome {
    let retry = Disposition::Retry { after: None };
    let timed_out = |message: Option<String>| {
        let late = format!("the attempt took longer than {:?}", how.timeout.unwrap_or_default());
        let message = message.map_or_else(|| late.clone(), |message| format!("{late}: {message}"));
        Outcome::Failed { how: How::Timeout, message: clipped(message, LONGEST), disposition: retry }
    };
    match ended {
        Some(Ok(Ok(result))) => Outcome::Done(result),
        Some(Ok(Err(error))) => match (error.disposition(), asked) {
            (disposition @ Disposition::Terminal, _) | (disposition, None) => {
                Outcome::Failed { how: How::Error, message: clipped(error.message(), LONGEST), disposition }
            }
            (_, Some(StopReason::Timeout)) => timed_out(Some(error.message())),
            (_, Some(StopReason::Cancelled)) => Outcome::Cancelled,
            (_, Some(_)) => Outcome::HandedBack,
        },
        Some(Err(panic)) => {
            let message = clipped(format!("the handler panicked: {}", panic_text(&*panic)), LONGEST);
            Outcome::Failed { how: How::Panic, message, disposition: retry }
        }
        None => match asked {
            Some(StopReason::Timeout) => timed_out(None),
            Some(StopReason::Cancelled) => Outcome::Cancelled,
            _ => Outcome::HandedBack,
        },
    }
}

/// What is told of an end.
fn told(outcome: Outcome, Settled { verdict, ours }: Settled, took: Duration) -> End {
    let superseded = !ours || verdict == Verdict::Leave;
    let retry_in = if let Verdict::Retry(after) = &verdict { Some(*after) } else { None };
    let buried = if let Verdict::Bury(reason) = &verdict { Some(What::DeadLettered { reason: reason.clone() }) } else { None };
    let (what, besides) = match outcome {
        _ if superseded => (What::Superseded, None),
        Outcome::Done(_) => (What::Completed { took }, None),
        Outcome::Failed { disposition: Disposition::Snooze { after }, .. } => {
            (What::Snoozed { retry_in: retry_in.unwrap_or(after) }, None)
        }
        Outcome::Failed { message, .. } => (What::Failed { message, took, retry_in }, buried),
        Outcome::HandedBack => (What::HandedBack, None),
        Outcome::Blocked(_) => (What::Blocked { retry_in: retry_in.unwrap_or_default() }, None),
        Outcome::Cancelled => (What::Cancelled, None),
        Outcome::Hopeless(reason) => (buried.unwrap_or(What::DeadLettered { reason }), None),
    };
    End { verdict, what, besides }
}

/// Cuts a text that would bloat what is kept.
fn clipped(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most.saturating_sub(4)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}
