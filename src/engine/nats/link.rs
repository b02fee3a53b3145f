//! One connection, on which every call ends in bounded time.
//!
//! The client queues what is published while it is disconnected and delivers it after the caller gave up, and its own
//! timeouts do not cover the queue. So a call first waits for the connection, and says [`Lapse::Away`] when there was none;
//! once the client has a request, silence is [`Lapse::Lost`]. The link does not know streams or keys.

use super::{
    access,
    asides::{Asides, Ear},
    errors::{ApiError, Fault, Lapse},
    options::Options,
    requests::{Answer, Asked, Requests, SOON, Silence},
};
use crate::{
    engine::{Rejection, StoreError},
    time::{Backoff, Clock, Instant},
};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Message, StatusCode, Subject, connection::State};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::Either};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often a connection that is away is looked at, beside being told.
const LOOK: Duration = Duration::from_millis(50);

/// How many answers may be there before any is given out. Each has somebody who waits for it, so that there are not too many; but one
/// beyond this would be lost.
const ANSWERS: usize = 1 << 20;

/// How many bytes of the server's limit are left to headers that the engine adds.
pub(super) const HEADROOM: usize = 4096;

/// A connection to the servers.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) clock: Clock,
    /// How long one request waits for its answer.
    pub(super) attempt: Duration,
    /// How long an operation tries.
    pub(super) timeout: Duration,
    /// Counts connections; a change means that what the server sent meanwhile is lost.
    connects: watch::Receiver<u64>,
    asides: Asides,
    requests: Requests,
}

impl Link {
    /// Connects, trying for as long as an operation may take.
    pub(super) async fn connect(options: &Options, role: &str, clock: Clock) -> Result<Self, StoreError> {
        options.access.check().await?;
        let (connected, connects) = watch::channel(0);
        let connected = Arc::new(connected);
        let ear = Ear::new(&clock);
        let asides = ear.asides();
        let mut patience = Patience::start(&clock, options.timeout);
        let client = loop {
            // Boxed, since the future of a handshake is large and every caller's would be.
            let attempt = Box::pin(connect_options(options, role, &connected, &ear).connect(options.servers.clone()));
            match clock.timeout(patience.left().max(LOOK), attempt).await {
                Some(Ok(client)) => break client,
                Some(Err(error)) if access::is_final(&error) => return Err(Rejection::Refused(error.into()).into()),
                Some(Err(_)) if patience.pause().await => {}
                Some(Err(error)) => return Err(StoreError::Unavailable(error.into())),
                None => return Err(StoreError::Unavailable("no server answered".into())),
            }
        };
        let requests = Requests::open(&client, &clock).await.map_err(|error| StoreError::Unavailable(error.into()))?;
        Ok(Self { requests, client, attempt: options.attempt(), timeout: options.timeout, connects, asides, clock })
    }

    /// Refuses a server that has no JetStream, which would leave every request of it unanswered.
    pub(super) async fn has_jetstream(&self) -> Result<(), StoreError> {
        let info = self.client.server_info();
        // In a cluster another server may have it, and then there is an answer.
        if info.jetstream || !matches!(self.request("$JS.API.INFO", HeaderMap::new(), Bytes::new()).await, Err(Lapse::Deaf)) {
            return Ok(());
        }
        let (engine, remedy) = (format!("nats-server {}", info.version), "start the server with JetStream (`-js`)");
        Err(Rejection::Unsupported { what: "a space", engine, remedy }.into())
    }

    /// The largest value or payload, whatever comes beside it.
    pub(super) fn max_value(&self) -> usize {
        self.client.max_payload().saturating_sub(HEADROOM)
    }

    /// Starts the time that an operation may take.
    pub(super) fn patience(&self) -> Patience {
        Patience::start(&self.clock, self.timeout)
    }

    /// Tells each time the connection was made anew.
    pub(super) fn connects(&self) -> watch::Receiver<u64> {
        let mut connects = self.connects.clone();
        connects.mark_unchanged();
        connects
    }

    /// Tells why no answer can arrive, when that is so.
    #[cfg(feature = "cli")]
    pub(super) fn deaf(&self) -> Option<String> {
        self.asides.deaf()
    }

    /// Waits until there is a connection, at most for one attempt.
    pub(super) async fn connected(&self) -> Result<(), Lapse> {
        // Which is nearly always so; boxed otherwise, since every request's future would be as large.
        match self.client.connection_state() {
            State::Connected => Ok(()),
            _ => Box::pin(self.connected_again()).await,
        }
    }

    async fn connected_again(&self) -> Result<(), Lapse> {
        let mut changed = self.connects.clone();
        let until = self.clock.instant() + self.attempt;
        while self.client.connection_state() != State::Connected {
            if self.clock.instant() >= until {
                let why = self.asides.shut_out().map_or_else(String::new, |why| format!(": {why}"));
                return Err(Lapse::Away(format!("there is no connection to a server{why}").into()));
            }
            // The state may turn before or after the event is told, hence the look besides.
            let _ = self.clock.timeout(LOOK, changed.changed()).await;
        }
        Ok(())
    }

    /// Asks, at once where there is a connection, and waits for the answer for one attempt, or up to [`SOON`] longer.
    pub(super) fn request(
        &self,
        subject: impl Into<Subject>,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<Message, Lapse>> {
        let subject = subject.into();
        match self.client.connection_state() {
            State::Connected => Either::Left(self.request_now(subject, headers, payload)),
            // Boxed, since every request's future would be as large.
            _ => Either::Right(Box::pin(async move {
                self.connected().await?;
                self.request_now(subject, headers, payload).await
            })),
        }
    }

    /// Asks at once, and waits for the answer for one attempt.
    fn request_now(
        &self,
        subject: Subject,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<Message, Lapse>> {
        let before = self.asides.denials();
        let mut asked = self.requests.ask(subject.clone(), headers, payload);
        async move {
            let soon = if self.requests.is_at_home() {
                (&mut asked).await
            } else {
                // Boxed, since every request's future would be as large.
                Box::pin(self.clock.timeout(SOON, &mut asked)).await.flatten()
            };
            let answer = match soon {
                Some(answer) => answer,
                // No denial is waited for before, which costs as much as the rest.
                None => Box::pin(self.at_length(&mut asked, subject, before)).await?,
            };
            match answer {
                Ok(answer) if answer.status == Some(StatusCode::NO_RESPONDERS) => Err(Lapse::Deaf),
                Ok(answer) => Ok(answer),
                Err(Silence::Refused(why)) => Err(Lapse::Refused(why)),
                Err(Silence::Gone) => Err(Lapse::Lost("the client is gone".into())),
            }
        }
    }

    /// Waits for an answer that takes its time, or for the news that there will be none: the server has denied more than the
    /// `before` of it that were known when the request was sent.
    async fn at_length(&self, asked: &mut Asked<'_>, subject: Subject, before: u64) -> Result<Answer, Lapse> {
        let answer = async {
            loop {
                let answer = tokio::select! {
                    biased;
                    answer = &mut *asked => answer,
                    text = self.asides.denial(&subject, before) => return Err(Lapse::Refused(text.into())),
                };
                if let Some(answer) = answer {
                    return Ok(answer);
                }
            }
        };
        match self.clock.timeout(self.attempt.saturating_sub(SOON), answer).await {
            Some(answer) => answer,
            // It may have been done: only the answer is denied.
            None => Err(Lapse::Lost(self.asides.deaf().unwrap_or_else(|| "the server did not answer in time".into()).into())),
        }
    }

    /// Publishes without waiting for an answer. That it was denied shows when it is tried again.
    pub(super) async fn send(
        &self,
        subject: impl Into<Subject>,
        reply: Option<String>,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Lapse> {
        let subject = subject.into();
        self.connected().await?;
        if let Some(text) = self.asides.denied(&subject, 2 * self.attempt) {
            return Err(Lapse::Refused(text.into()));
        }
        let sent = async {
            match reply {
                Some(reply) => self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await,
                None => self.client.publish_with_headers(subject, headers, payload).await,
            }
        };
        match self.clock.timeout(self.attempt, sent).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(Lapse::Lost(error.into())),
            None => Err(Lapse::Lost("the connection takes nothing".into())),
        }
    }

    /// Publishes into a stream, at once as [`request`](Self::request) does, and returns the stream's answer.
    pub(super) fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> impl Future<Output = Result<PublishAck, Fault>> {
        // Mapped, since an `async` block around it would be twice as large, and every write's future with it.
        self.request(subject, headers, payload).map(|answer| {
            let answer = answer.map_err(Fault::Lapse)?;
            // Read as what it is and not as any JSON first: this is on the way of every write.
            let answer: Published = serde_json::from_slice(&answer.payload).map_err(|e| Fault::Lapse(Lapse::Lost(e.into())))?;
            match (answer.error, answer.sequence) {
                (Some(error), _) => Err(Fault::Api(error)),
                (None, Some(sequence)) => Ok(PublishAck { sequence, duplicate: answer.duplicate, value: answer.value }),
                (None, None) => Err(Fault::Lapse(Lapse::Lost("the server answered neither yes nor no".into()))),
            }
        })
    }

    /// Calls the JetStream API once.
    pub(super) async fn ask(&self, verb: &str, payload: Bytes) -> Result<Value, Fault> {
        let answer = self.request(format!("$JS.API.{verb}"), HeaderMap::new(), payload).await.map_err(Fault::Lapse)?;
        let mut json: Value = serde_json::from_slice(&answer.payload).map_err(|e| Fault::unreadable(e.into()))?;
        match json.get_mut("error") {
            Some(error) => Err(Fault::Api(serde_json::from_value(error.take()).map_err(|e| Fault::unreadable(e.into()))?)),
            None => Ok(json),
        }
    }

    /// Calls the JetStream API with something that may be repeated, until there is an answer or time runs out.
    pub(super) async fn api(
        &self,
        verb: &str,
        body: &Value,
        patience: &mut Patience,
    ) -> Result<Result<Value, ApiError>, StoreError> {
        let payload = Bytes::from(if body.is_null() { String::new() } else { body.to_string() });
        loop {
            let lapse = match self.ask(verb, payload.clone()).await {
                Ok(answer) => return Ok(Ok(answer)),
                Err(Fault::Api(error)) => {
                    if !error.is_passing() || !patience.pause().await {
                        return Ok(Err(error));
                    }
                    continue;
                }
                // Whoever may not hear an answer is refused: what is asked here changes nothing if it is done twice.
                Err(Fault::Lapse(Lapse::Lost(source))) => {
                    self.asides.deaf().map_or(Lapse::Lost(source), |text| Lapse::Refused(text.into()))
                }
                Err(Fault::Lapse(lapse)) => lapse,
            };
            if matches!(lapse, Lapse::Refused(_)) || !patience.pause().await {
                return Err(lapse.unavailable());
            }
        }
    }
}

/// What a stream answers to a message.
#[derive(Debug, serde::Deserialize)]
struct Published {
    error: Option<ApiError>,
    #[serde(rename = "seq")]
    sequence: Option<u64>,
    #[serde(default)]
    duplicate: bool,
    #[serde(rename = "val")]
    value: Option<String>,
}

/// A message is stored.
#[derive(Debug)]
pub(super) struct PublishAck {
    pub(super) sequence: u64,
    pub(super) duplicate: bool,
    /// What a counter has now.
    pub(super) value: Option<String>,
}

fn connect_options(options: &Options, role: &str, connected: &Arc<watch::Sender<u64>>, ear: &Ear) -> ConnectOptions {
    let (connected, ear) = (Arc::clone(connected), ear.clone());
    options
        .access
        .options()
        .name(format!("{} {role}", options.name))
        .ping_interval(Duration::from_secs(2))
        .connection_timeout(options.attempt())
        .client_capacity(4096)
        .subscription_capacity(ANSWERS)
        .reconnect_delay_callback(|attempt| Duration::from_millis((attempt as u64 * 20).min(1000)))
        .event_callback(move |event| {
            let (connected, ear) = (Arc::clone(&connected), ear.clone());
            async move {
                if matches!(event, Event::Connected) {
                    connected.send_modify(|n| *n += 1);
                }
                ear.hear(event);
            }
        })
}

/// The time that an operation has left, and the pauses in between.
#[derive(Debug)]
pub(super) struct Patience {
    clock: Clock,
    until: Instant,
    backoff: Backoff,
}

impl Patience {
    fn start(clock: &Clock, timeout: Duration) -> Self {
        let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(250));
        Self { until: clock.instant() + timeout, clock: clock.clone(), backoff }
    }

    /// Tells how much time is left.
    pub(super) fn left(&self) -> Duration {
        self.until.saturating_duration_since(self.clock.instant())
    }

    /// Tells whether none is.
    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Waits before the next attempt; false when there is no time for one.
    pub(super) async fn pause(&mut self) -> bool {
        let delay = self.backoff.next_delay().min(self.left());
        self.clock.sleep(delay).await;
        !self.is_over()
    }
}
