//! A worker's side of a queue: pull requests of exactly what is wanted.
//!
//! A call first takes what is there at once, up to what it was asked for; when nothing is, it waits for one message, so that
//! no message is ever on its way to a worker that has not asked for it. What arrives for a call that was dropped stays here
//! for the next one. The puller makes the consumer anew when it is gone, and does not know what a message is for.

use super::{
    errors::Lapse,
    feed::{Place, nanos},
    link::{Link, Patience},
    settle::{Ends, Settling},
};
use crate::{
    engine::{Delivery, Message, Name, Pull, StoreError},
    time::Instant,
};
use async_nats::{HeaderMap, Subscriber};
use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::json;
use std::{collections::VecDeque, fmt, num::NonZeroUsize, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How long the server keeps a request that waits for a message.
const EXPIRES: Duration = Duration::from_secs(5);
/// How long it keeps one that takes what is there. Without an end the server would keep, and serve later, what it could not
/// give because as many are out as the queue allows.
const AT_ONCE: Duration = Duration::from_millis(200);
/// How often the server says that it still has it.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long the server may be silent about a request.
const SILENCE: Duration = Duration::from_millis(2500);

/// What a puller pulls from: a consumer, and how its messages look.
#[async_trait]
pub(super) trait Source: fmt::Debug + Send + Sync + 'static {
    /// The connection for what changes something.
    fn link(&self) -> &Arc<Link>;

    /// The connection for what arrives.
    fn feed(&self) -> &Arc<Link>;

    fn name(&self) -> &Name;

    /// The subject that asks for messages.
    fn next_subject(&self) -> &str;

    /// What its owner allows a request.
    fn limits(&self) -> Limits;

    /// Makes sure that the consumer is there, also after somebody deleted it.
    async fn ensure(&self, patience: &mut Patience) -> Result<(), StoreError>;

    /// Looks after the consumer once in a while, though nothing is wrong.
    async fn look(&self);

    /// Makes a message of what arrived, and tells the subject that its sender knows.
    fn received(&self, message: async_nats::Message) -> (Message, Option<Box<str>>);

    /// How its messages end.
    fn ends(&self) -> &Ends;
}

/// The most that a request may ask for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) batch: usize,
    pub(super) expires: Duration,
}

impl Limits {
    /// What this library asks for where nobody limits it.
    pub(super) const OURS: Self = Self { batch: usize::MAX, expires: EXPIRES };
}

/// Pulls messages of one queue.
#[derive(Debug)]
pub(super) struct Puller {
    queue: Arc<dyn Source>,
    inbox: Option<Inbox>,
    arrived: VecDeque<async_nats::Message>,
    /// Whether the consumer has to be looked after before the next request.
    suspect: bool,
}

/// Where the messages of all requests arrive.
#[derive(Debug)]
struct Inbox {
    base: String,
    messages: Subscriber,
    connects: watch::Receiver<u64>,
    requests: u64,
    open: Option<Asked>,
}

/// A request that the server has.
#[derive(Debug)]
struct Asked {
    reply: String,
    left: usize,
    heard: Instant,
    waits: bool,
}

/// What came next.
enum Event {
    Arrived,
    /// The request is over, and there was nothing (more).
    Done,
    /// The request is over because something is wrong.
    Broken(&'static str),
}

impl Puller {
    pub(super) fn new(queue: Arc<dyn Source>) -> Self {
        Self { queue, inbox: None, arrived: VecDeque::new(), suspect: false }
    }

    async fn subscribe(&mut self) -> Result<(), StoreError> {
        if self.inbox.is_some() {
            return Ok(());
        }
        let link = self.queue.feed();
        link.connected().await.map_err(Lapse::unavailable)?;
        let connects = link.connects();
        let base = link.client.new_inbox();
        let subscribed = link.clock.timeout(link.attempt, link.client.subscribe(format!("{base}.*"))).await;
        let messages = match subscribed {
            Some(subscribed) => subscribed.map_err(|e| StoreError::Unavailable(e.into()))?,
            None => return Err(StoreError::Unavailable("the connection takes nothing".into())),
        };
        self.inbox = Some(Inbox { base, messages, connects, requests: 0, open: None });
        Ok(())
    }

    /// Asks for `batch` messages: those that are there, or the first ones to come.
    async fn ask(&mut self, batch: usize, waits: bool) -> Result<(), StoreError> {
        self.subscribe().await?;
        let Some(inbox) = &mut self.inbox else { return Ok(()) };
        let Limits { batch: most, expires } = self.queue.limits();
        let batch = batch.min(most);
        let request = if waits {
            // The server takes no heartbeat that is longer than half of it.
            json!({ "batch": batch, "expires": nanos(expires), "idle_heartbeat": nanos(HEARTBEAT.min(expires / 2)) })
        } else {
            json!({ "batch": batch, "no_wait": true, "expires": nanos(AT_ONCE.min(expires)) })
        };
        inbox.requests += 1;
        let reply = format!("{}.{}", inbox.base, inbox.requests);
        let link = self.queue.feed();
        // Before it is sent: a call that is dropped while it sends may have sent.
        inbox.open = Some(Asked { reply: reply.clone(), left: batch, heard: link.clock.instant(), waits });
        let sent =
            link.send(self.queue.next_subject().to_owned(), Some(reply), HeaderMap::new(), request.to_string().into()).await;
        sent.map_err(|lapse| {
            inbox.open = None;
            lapse.unavailable()
        })
    }

    /// Waits for what the server says to the open request.
    async fn event(&mut self) -> Event {
        let Self { queue, inbox, arrived, .. } = self;
        let Some(inbox) = inbox else { return Event::Done };
        let Some(asked) = &mut inbox.open else { return Event::Done };
        let clock = &queue.feed().clock;
        let left = (asked.heard + SILENCE).saturating_duration_since(clock.instant());
        let next = async {
            tokio::select! {
                biased;
                message = inbox.messages.next() => Ok(message),
                _ = inbox.connects.changed() => Err("the connection was made anew"),
            }
        };
        let message = match clock.timeout(left, next).await {
            Some(Ok(Some(message))) => message,
            Some(Ok(None)) => return Event::Broken("the subscription was closed"),
            Some(Err(reason)) => return Event::Broken(reason),
            None => return Event::Broken("the server is silent"),
        };
        asked.heard = clock.instant();
        let Some(status) = message.status else {
            // A message bears the subject that it was published on, so it does not tell its request; but only one is open, and
            // one that the server ended sends nothing more.
            asked.left -= 1;
            if asked.left == 0 {
                inbox.open = None;
            }
            arrived.push_back(message);
            return Event::Arrived;
        };
        if *message.subject != *asked.reply {
            return Event::Arrived;
        }
        match status.as_u16() {
            100 => return Event::Arrived,
            // Nothing there; time is up; the queue has as many out as it allows.
            404 | 408 => {}
            409 if passes(message.description.as_deref()) => {}
            _ => return Event::Broken("the consumer is gone"),
        }
        inbox.open = None;
        Event::Done
    }

    /// Forgets the open request and the subscription; messages that arrived stay.
    fn reset(&mut self, reason: &'static str) {
        tracing::debug!(queue = %self.queue.name(), reason, "a pull starts anew");
        if let Some(mut inbox) = self.inbox.take() {
            while let Some(Some(message)) = inbox.messages.next().now_or_never() {
                if message.status.is_none() {
                    self.arrived.push_back(message);
                }
            }
        }
        self.suspect = true;
    }

    /// Takes up to `max` of what has arrived.
    fn take(&mut self, max: usize) -> Vec<Delivery> {
        let mut taken = Vec::with_capacity(max.min(self.arrived.len()));
        while taken.len() < max
            && let Some(message) = self.arrived.pop_front()
        {
            taken.extend(self.delivery(message));
        }
        taken
    }

    fn delivery(&self, message: async_nats::Message) -> Option<Delivery> {
        let reply = message.reply.clone()?;
        let place = Place::parse(&reply)?;
        let subject = message.subject.clone();
        let settle = Settling { source: Arc::clone(&self.queue), reply, sequence: place.sequence, subject };
        let attempt = u32::try_from(place.attempt).unwrap_or(u32::MAX);
        let (received, subject) = self.queue.received(message);
        let delivery = Delivery::new(received, place.sequence, attempt, place.time, Box::new(settle));
        Some(if let Some(subject) = subject { delivery.on(subject) } else { delivery })
    }

    /// Takes out of the subscription what is there already.
    fn sweep(&mut self) {
        while self.inbox.as_ref().is_some_and(|i| i.open.is_some()) {
            match self.event().now_or_never() {
                Some(Event::Broken(reason)) => self.reset(reason),
                Some(_) => {}
                None => return,
            }
        }
    }
}

/// Tells whether a refused request is no reason to look after the consumer.
fn passes(description: Option<&str>) -> bool {
    let text = description.unwrap_or_default().to_ascii_lowercase();
    ["maxackpending", "exceeded", "message size"].iter().any(|known| text.contains(known))
}

#[async_trait]
impl Pull for Puller {
    async fn next(&mut self, max: NonZeroUsize) -> Result<Vec<Delivery>, StoreError> {
        let max = max.get();
        let mut patience = self.queue.link().patience();
        let mut wait = false;
        loop {
            self.queue.look().await;
            self.sweep();
            // A request that is still open may bring more, which would then be held here by nobody. It ends in a moment: one that
            // waits asks for a single message.
            let open = self.inbox.as_ref().is_some_and(|i| i.open.is_some());
            if !open {
                let taken = self.take(max);
                if !taken.is_empty() {
                    return Ok(taken);
                }
            }
            if self.suspect {
                self.queue.ensure(&mut patience).await?;
                self.suspect = false;
            }
            if self.inbox.as_ref().is_none_or(|i| i.open.is_none()) {
                let batch = if wait { 1 } else { max };
                self.ask(batch, wait).await?;
            }
            let waited = self.inbox.as_ref().and_then(|i| i.open.as_ref()).is_some_and(|o| o.waits);
            match self.event().await {
                Event::Arrived => {}
                // Nothing was there: the next request waits. One that waited starts over.
                Event::Done => wait = !waited,
                Event::Broken(reason) => {
                    self.reset(reason);
                    wait = false;
                    if patience.is_over() {
                        return Err(StoreError::Unavailable(reason.into()));
                    }
                    patience.pause().await;
                }
            }
        }
    }

    async fn close(self: Box<Self>) {
        for delivery in self.finish().await {
            // One that is not told of comes again after `ack_wait`.
            let _ = delivery.retry(Duration::ZERO).await;
        }
    }

    async fn finish(mut self: Box<Self>) -> Vec<Delivery> {
        let link = Arc::clone(self.queue.feed());
        // What the server gives for a request that it answers at once may be on its way to the subscription, and would be nobody's
        // without it until `ack_wait` is over. One that waits has nothing under way, as far as anybody can know.
        while self.inbox.as_ref().and_then(|i| i.open.as_ref()).is_some_and(|asked| !asked.waits) {
            if let Event::Broken(reason) = self.event().await {
                self.reset(reason);
            }
        }
        if let Some(mut inbox) = self.inbox.take() {
            // The server stops sending, and what is under way still arrives before the subscription ends.
            let drain = async {
                let _ = inbox.messages.drain().await;
                while let Some(message) = inbox.messages.next().await {
                    if message.status.is_none() {
                        self.arrived.push_back(message);
                    }
                }
            };
            let _ = link.clock.timeout(link.attempt, drain).await;
        }
        let most = self.arrived.len();
        self.take(most)
    }
}
