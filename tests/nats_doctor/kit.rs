//! What the tests share.

use anabranch::{
    doctor::{self, Finding, Options, Report, Severity},
    time::Clock,
};
use async_nats::{
    ConnectOptions,
    jetstream::{self, consumer, stream},
};
use futures_util::TryStreamExt as _;
use std::time::Duration;

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(90), future).await else { panic!("{what} takes too long") };
    done
}

pub fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

pub async fn examine(url: &str, options: &Options) -> Report {
    let report = in_time("the examination", doctor::examine(url, options)).await.unwrap();
    for finding in &report.findings {
        assert_eq!(finding.advice.is_none(), finding.severity == Severity::Ok, "{finding:?}");
    }
    report
}

/// The findings of one check.
pub fn of<'a>(report: &'a Report, check: &str) -> Vec<&'a Finding> {
    report.findings.iter().filter(|finding| finding.check == check).collect()
}

/// How bad the findings of one check are.
pub fn severities(report: &Report, check: &str) -> Vec<Severity> {
    of(report, check).iter().map(|finding| finding.severity).collect()
}

/// Everything that is said about a check.
pub fn text(report: &Report, check: &str) -> String {
    let one =
        |f: &&Finding| f.advice.as_ref().map_or_else(|| f.found.clone(), |a| format!("{} | {} | {}", f.found, a.why, a.mend));
    of(report, check).iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Everything in which the severity is above a note.
pub fn alarming(report: &Report) -> Vec<&Finding> {
    report.findings.iter().filter(|finding| finding.severity > Severity::Note).collect()
}

/// Another client; it takes no login from a URL.
pub async fn client(url: &str) -> jetstream::Context {
    let plain = url.split('?').next().unwrap().replace("nats://", "");
    let connected = match plain.split_once('@') {
        Some((login, host)) => {
            let (user, password) = login.split_once(':').unwrap();
            ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned()).connect(host).await
        }
        None => async_nats::connect(plain).await,
    };
    jetstream::new(connected.unwrap())
}

/// Streams and consumers of an account: how they are configured, and what they hold.
#[derive(Debug, PartialEq)]
pub struct Everything(Vec<(stream::Config, u64, u64, u64)>, Vec<(consumer::Config, u64, u64, u64)>);

pub async fn everything(url: &str) -> Everything {
    let js = client(url).await;
    let (mut streams, mut consumers) = (Vec::new(), Vec::new());
    let mut infos: Vec<_> = js.streams().try_collect().await.unwrap();
    infos.sort_by(|a: &stream::Info, b| a.config.name.cmp(&b.config.name));
    for info in infos {
        let stream = js.get_stream(&info.config.name).await.unwrap();
        let all: Vec<consumer::Info> = stream.consumers().try_collect().await.unwrap();
        for consumer in all {
            let delivered = consumer.delivered.consumer_sequence;
            consumers.push((consumer.config, delivered, consumer.num_pending, consumer.num_ack_pending as u64));
        }
        streams.push((info.config, info.state.messages, info.state.last_sequence, info.state.bytes));
    }
    Everything(streams, consumers)
}
