//! What servers say of themselves to the system account.
//!
//! A question goes to all of them, and nobody knows how many there are: it ends when there was silence for a while.

use super::facts::Varz;
use crate::{
    engine::nats::{link::Link, options::Options},
    error::chain,
    time::{Clock, Timestamp},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::Deserialize;
use std::time::Duration;

/// How long after the last answer another one is waited for.
const SILENCE: Duration = Duration::from_secs(1);

const SUBJECT: &str = "$SYS.REQ.SERVER.PING.VARZ";

#[derive(Debug, Deserialize)]
struct Answer {
    data: Varz,
}

/// Asks all servers; each answer with the time of the question, and how long it took.
pub(super) async fn ask_all(options: &Options, clock: &Clock) -> Result<Vec<(Varz, Timestamp, Duration)>, String> {
    let link = Link::connect(options, "doctor", clock.clone()).await.map_err(|error| chain(&error))?;
    let inbox = link.client.new_inbox();
    let mut answers = link.client.subscribe(inbox.clone()).await.map_err(|error| chain(&error))?;
    let (asked, started) = (clock.now(), clock.instant());
    link.client.publish_with_reply(SUBJECT, inbox, Bytes::new()).await.map_err(|error| chain(&error))?;
    let mut all = Vec::new();
    while let Some(Some(answer)) = clock.timeout(SILENCE, answers.next()).await {
        let took = clock.instant().saturating_duration_since(started);
        if answer.status.is_some_and(|status| !status.is_success()) {
            break;
        }
        let answer: Answer = serde_json::from_slice(&answer.payload).map_err(|error| chain(&error))?;
        all.push((answer.data, asked, took));
    }
    if all.is_empty() {
        return Err(format!("no server answers `{SUBJECT}`: the login has to be one of the system account"));
    }
    Ok(all)
}
