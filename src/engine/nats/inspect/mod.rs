//! Looks at a server, an account and its streams, and says what it saw. Whether that is good is decided elsewhere.
//!
//! Nothing is created, changed or taken: there are questions, and requests that the server cannot understand, by which it shows
//! whether it would take them. What one question does not bring is noted, and does not keep the others from being asked.

mod drift;
pub(crate) mod facts;
mod monitor;
mod streams;
mod trials;

use self::facts::{Account, ClockSample, Facts, Server, Unseen, UrlAsks};
use super::{
    access::Login,
    errors::{ApiError, Lapse},
    link::{HEADROOM, Link},
    names::Names,
    options::Options,
    space::Shape,
};
use crate::{
    engine::{Name, OpenError, StoreError},
    error::chain,
    time::{Clock, Timestamp},
};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::Value;
use std::{sync::Mutex, time::Duration};

/// How many round trips are measured.
const ROUNDS: usize = 5;

/// What is looked at beside the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) spaces: Vec<Name>,
    pub(crate) buckets: Vec<Name>,
    /// A stream and its consumer.
    pub(crate) streams: Vec<(Name, Option<String>)>,
    /// A URL of the system account.
    pub(crate) system: Option<String>,
}

/// Looks at everything that a URL leads to.
pub(crate) async fn inspect(url: &str, asked: &Asked, clock: &Clock) -> Result<Facts, OpenError> {
    let options = Options::parse(url)?;
    // Before anything is asked, since a mistake in it is the caller's.
    let system = asked.system.as_deref().map(Options::parse).transpose()?;
    let link = Link::connect(&options, "doctor", clock.clone()).await?;
    let look = Look { link, prefix: options.prefix.clone(), shape: shape(&options), clocks: Mutex::default() };
    let account = look.account().await;
    let round_trip = look.round_trip().await;
    let level = account.as_ref().map_or(0, |account| account.api.level);
    let seen = if account == Err(Unseen::NoJetStream) { streams::Seen::default() } else { look.streams(asked, level).await };
    let trials = if account == Err(Unseen::NoJetStream) { Vec::new() } else { look.trials(&seen, asked).await };
    let mut monitored = Vec::new();
    let mut unmonitored = Vec::new();
    if let Some(system) = system {
        match monitor::ask_all(&system, clock).await {
            Ok(all) => {
                for (varz, asked, took) in all {
                    look.hear(&varz.server_name, &varz.now, asked, took);
                    monitored.push(varz);
                }
            }
            Err(why) => unmonitored.push(("the system account".to_owned(), why)),
        }
    }
    Ok(Facts {
        target: options.servers.join(","),
        server: look.server(),
        asked: asks(&options, &look.link),
        round_trip,
        account,
        streams: seen.streams,
        missing: seen.missing,
        unseen: seen.unseen,
        unlisted: seen.unlisted,
        trials,
        clocks: look.clocks.into_inner().unwrap_or_default(),
        monitored,
        unmonitored,
    })
}

/// Removes the space that a probe made; the stream of its counters, too.
pub(crate) async fn remove_space(url: &str, space: &Name, clock: &Clock) -> Result<(), StoreError> {
    let options = Options::parse(url).map_err(|error| StoreError::Unavailable(error.into()))?;
    let link = Link::connect(&options, "doctor", clock.clone()).await?;
    let names = Names::new(&options.prefix, space);
    for stream in [names.stream(), names.tallies()] {
        match link.api(&format!("STREAM.DELETE.{stream}"), &Value::Null, &mut link.patience()).await? {
            Err(error) if !error.is_missing() => return Err(super::errors::refused(error)),
            _ => {}
        }
    }
    Ok(())
}

fn shape(options: &Options) -> Shape {
    Shape { replicas: options.replicas, memory: options.memory }
}

fn asks(options: &Options, link: &Link) -> UrlAsks {
    UrlAsks {
        replicas: options.replicas,
        memory: options.memory,
        shares_writes: options.shares_writes,
        encrypted: options.access.tls.is_some() || link.client.server_info().tls_required,
        remote: options.servers.iter().any(|server| !is_local(server)),
        secret: matches!(options.access.login, Login::Password(..) | Login::Token(_)),
        headroom: HEADROOM,
    }
}

/// Whether `nats://HOST:PORT` is this machine.
fn is_local(server: &str) -> bool {
    let host = server.split_once("://").map_or(server, |(_, host)| host);
    let host =
        host.strip_prefix('[').and_then(|v6| v6.split(']').next()).unwrap_or_else(|| host.split(':').next().unwrap_or(host));
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// One look, by one connection.
struct Look {
    link: Link,
    prefix: String,
    shape: Shape,
    clocks: Mutex<Vec<ClockSample>>,
}

/// What an API call came to.
enum Asking {
    Answer(Value),
    Error(ApiError),
    Unseen(Unseen),
}

impl Look {
    fn server(&self) -> Server {
        let info = self.link.client.server_info();
        Server {
            version: info.version,
            name: info.server_name,
            cluster: info.cluster,
            max_payload: info.max_payload,
            lame_duck: info.lame_duck_mode,
            wants_login: info.auth_required,
        }
    }

    async fn account(&self) -> Result<Account, Unseen> {
        match self.ask("INFO", &Value::Null).await {
            Asking::Answer(account) => serde_json::from_value(account).map_err(|e| Unseen::Failed(e.to_string())),
            Asking::Error(error) if error.is_without_jetstream() => Err(Unseen::NoJetStream),
            Asking::Error(error) => Err(Unseen::Failed(error.to_string())),
            Asking::Unseen(unseen) => Err(unseen),
        }
    }

    /// Asks the JetStream API once, and a second time where an answer was lost.
    async fn ask(&self, verb: &str, body: &Value) -> Asking {
        let payload = Bytes::from(if body.is_null() { String::new() } else { body.to_string() });
        let mut lost = None;
        for _ in 0..2 {
            match self.link.request(format!("$JS.API.{verb}"), HeaderMap::new(), payload.clone()).await {
                Ok(answer) => {
                    let Ok(mut json) = serde_json::from_slice::<Value>(&answer.payload) else {
                        return Asking::Unseen(Unseen::Failed("the answer is no JSON".to_owned()));
                    };
                    return match json.get_mut("error").map(Value::take) {
                        None => Asking::Answer(json),
                        Some(error) => serde_json::from_value(error)
                            .map_or_else(|e| Asking::Unseen(Unseen::Failed(e.to_string())), Asking::Error),
                    };
                }
                Err(Lapse::Deaf) if verb == "INFO" => return Asking::Unseen(Unseen::NoJetStream),
                Err(Lapse::Deaf) => return Asking::Unseen(Unseen::Failed("no server answers for it".to_owned())),
                Err(Lapse::Refused(why)) => return Asking::Unseen(Unseen::Denied(why.to_string())),
                Err(lapse) => lost = Some(lapse),
            }
            // Who may not hear answers is told so beside them.
            if let Some(why) = self.link.deaf() {
                return Asking::Unseen(Unseen::Denied(why));
            }
        }
        let why = lost.map_or_else(String::new, |lapse| chain(&lapse));
        Asking::Unseen(Unseen::Failed(why))
    }

    /// Asks something that every server answers at once, whatever the answer is.
    async fn round_trip(&self) -> Option<Duration> {
        let mut shortest = None;
        for _ in 0..ROUNDS {
            let started = self.link.clock.instant();
            let lapse = self.link.request("$JS.API.INFO", HeaderMap::new(), Bytes::new()).await;
            if !matches!(lapse, Err(Lapse::Lost(_) | Lapse::Away(_))) {
                let took = self.link.clock.instant().saturating_duration_since(started);
                shortest = Some(shortest.map_or(took, |least: Duration| least.min(took)));
            }
        }
        shortest
    }

    /// Notes what time it is for a server; of several answers the one that took the least time counts.
    fn hear(&self, server: &str, says: &str, asked: Timestamp, took: Duration) {
        let Some(says) = Timestamp::parse_rfc3339(says) else { return };
        let sample = ClockSample::new(server, says, asked, took);
        let mut clocks = crate::engine::locked(&self.clocks);
        match clocks.iter_mut().find(|known| known.server == sample.server) {
            Some(known) if known.uncertainty <= sample.uncertainty => {}
            Some(known) => *known = sample,
            None => clocks.push(sample),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_this_machine() {
        for local in ["nats://localhost", "nats://127.0.0.1:4222", "tls://[::1]:4222", "nats://127.9.9.9"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["nats://10.0.0.1:4222", "nats://nats.example", "tls://[fe80::1]:4222", "nats://localhost.example:1"] {
            assert!(!is_local(remote), "{remote}");
        }
    }

    #[test]
    fn a_clock_is_compared_with_the_middle_of_a_round_trip() {
        let at = Timestamp::from_millis;
        let sample = ClockSample::new("n1", at(1_500), at(1_000), Duration::from_millis(200));
        assert_eq!((sample.ahead, sample.uncertainty), (400_000, 100_000));
        assert_eq!(ClockSample::new("n1", at(900), at(1_000), Duration::ZERO).ahead, -100_000);
    }
}
