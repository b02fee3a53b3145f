//! What the server says beside the answers: that it denied something, or does not let this client in.
//!
//! A publish that is not permitted gets no answer at all. The server names its subject on the connection instead, and by that
//! a request finds out that it will never be answered. This file does not know what is asked, nor what follows.

use crate::time::{Clock, Instant};
use async_nats::{ClientError, Event, ServerError};
use std::{collections::VecDeque, time::Duration};
use tokio::sync::watch;

/// How many denials are remembered.
const RECENT: usize = 64;

/// A subject that may not be published to.
#[derive(Debug)]
struct Denial {
    subject: String,
    text: String,
    /// Counts denials.
    number: u64,
    at: Instant,
}

/// What was said lately.
#[derive(Debug, Default)]
struct Said {
    denials: VecDeque<Denial>,
    denied: u64,
    /// Why answers cannot arrive on this connection.
    deaf: Option<String>,
    /// Why the last try to connect again failed.
    shut_out: Option<String>,
}

/// Takes in what the client reports; see [`Asides`].
#[derive(Debug, Clone)]
pub(super) struct Ear {
    said: watch::Sender<Said>,
    clock: Clock,
}

impl Ear {
    pub(super) fn new(clock: &Clock) -> Self {
        Self { said: watch::Sender::default(), clock: clock.clone() }
    }

    pub(super) fn asides(&self) -> Asides {
        Asides { said: self.said.subscribe(), clock: self.clock.clone() }
    }

    /// Hears one event of the client.
    pub(super) fn hear(&self, event: Event) {
        match event {
            Event::Connected => self.said.send_modify(|said| (said.deaf, said.shut_out) = (None, None)),
            Event::ServerError(ServerError::Other(text)) => {
                let Some(subject) = denied(&text).map(str::to_owned) else { return };
                tracing::warn!(%text, "the server denied something");
                let at = self.clock.instant();
                self.said.send_modify(|said| {
                    if text.contains(" for Subscription ") {
                        said.deaf = Some(text);
                        return;
                    }
                    said.denied += 1;
                    said.denials.truncate(RECENT - 1);
                    said.denials.push_front(Denial { subject, text, number: said.denied, at });
                });
            }
            Event::ClientError(ClientError::Other(text)) => self.said.send_modify(|said| said.shut_out = Some(text)),
            _ => {}
        }
    }
}

/// What the server says beside the answers on one connection.
#[derive(Debug, Clone)]
pub(super) struct Asides {
    said: watch::Receiver<Said>,
    clock: Clock,
}

impl Asides {
    /// Counts what was denied so far.
    pub(super) fn denials(&self) -> u64 {
        self.said.borrow().denied
    }

    /// Waits until a publish to this subject is denied, beside the `before` denials that there were when it was sent; for ever when
    /// it is permitted.
    pub(super) async fn denial(&self, subject: &str, before: u64) -> String {
        let mut said = self.said.clone();
        let said = said.wait_for(|said| said.denials.iter().any(|d| d.number > before && d.subject == subject)).await;
        let text = said.ok().and_then(|said| said.denials.iter().find(|d| d.subject == subject).map(|d| d.text.clone()));
        match text {
            Some(text) => text,
            // The client is gone, and says nothing any more.
            None => std::future::pending().await,
        }
    }

    /// Tells whether a publish to this subject was denied a moment ago.
    pub(super) fn denied(&self, subject: &str, moment: Duration) -> Option<String> {
        let (said, now) = (self.said.borrow(), self.clock.instant());
        let recent = |d: &&Denial| d.subject == subject && now.saturating_duration_since(d.at) < moment;
        said.denials.iter().find(recent).map(|d| d.text.clone())
    }

    /// Tells why no answer can arrive on this connection, when that is so.
    pub(super) fn deaf(&self) -> Option<String> {
        self.said.borrow().deaf.clone()
    }

    /// Tells why there is no connection, when a server said so.
    pub(super) fn shut_out(&self) -> Option<String> {
        self.said.borrow().shut_out.clone()
    }
}

/// The subject that a denial is about.
fn denied(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("Permissions Violation")?;
    rest.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    fn violation(text: &str) -> Event {
        Event::ServerError(ServerError::Other(text.to_owned()))
    }

    #[tokio::test]
    async fn a_denial_ends_the_wait_for_its_subject_and_no_other() {
        let ear = Ear::new(&Clock::system());
        let asides = ear.asides();
        ear.hear(violation("Permissions Violation for Publish to \"a\""));
        let before = asides.denials();
        let (mut a, mut b) = (pin!(asides.denial("a", before)), pin!(asides.denial("b", before)));
        ear.hear(violation("Permissions Violation for Publish to \"b\""));
        assert_eq!(b.as_mut().await, "Permissions Violation for Publish to \"b\"");
        let waited = Clock::system().timeout(Duration::ZERO, &mut a).await;
        assert!(waited.is_none(), "what was denied before is not this request");
        let moment = Duration::from_secs(60);
        assert!(asides.denied("a", moment).is_some() && asides.denied("c", moment).is_none());
    }

    #[test]
    fn a_denied_subscription_is_remembered_until_the_next_connection() {
        let ear = Ear::new(&Clock::system());
        let asides = ear.asides();
        ear.hear(violation("Permissions Violation for Subscription to \"_INBOX.x.*\""));
        assert!(asides.deaf().is_some_and(|why| why.contains("_INBOX")));
        ear.hear(Event::ClientError(ClientError::Other("authorization violation".into())));
        assert!(asides.shut_out().is_some());
        ear.hear(Event::Connected);
        assert_eq!((asides.deaf(), asides.shut_out()), (None, None));
    }
}
