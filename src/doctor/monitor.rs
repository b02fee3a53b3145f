//! Asks the monitoring port of a nats-server, which tells what a client of an account cannot see.

use crate::{
    engine::nats::inspect::facts::{ClockSample, Facts, Varz},
    time::{Clock, Timestamp},
};

/// In seconds.
const PATIENCE: u64 = 5;

/// Adds to `facts` what each of the ports tells.
pub(super) async fn ask_all(urls: &[String], clock: &Clock, facts: &mut Facts) {
    for url in urls {
        match ask(url, clock).await {
            Ok((varz, sample)) => {
                // One that the system account told of is known already.
                if facts.monitored.iter().any(|known| known.server_name == varz.server_name) {
                    continue;
                }
                if let Some(sample) = sample.filter(|s| facts.clocks.iter().all(|known| known.server != s.server)) {
                    facts.clocks.push(sample);
                }
                facts.monitored.push(varz);
            }
            Err(why) => facts.unmonitored.push((format!("`{}`", without_a_login(url)), why)),
        }
    }
}

async fn ask(url: &str, clock: &Clock) -> Result<(Varz, Option<ClockSample>), String> {
    if !url.starts_with("http://") {
        return Err(
            "write `http://HOST:PORT`; a port that is encrypted is not asked, so use the system account there".to_owned()
        );
    }
    let request = minreq::get(format!("{}/varz", url.trim_end_matches('/'))).with_timeout(PATIENCE);
    let (asked, started) = (clock.now(), clock.instant());
    let answer = tokio::task::spawn_blocking(move || request.send()).await.map_err(|stopped| stopped.to_string())?;
    let answer = answer.map_err(|error| error.to_string())?;
    let took = clock.instant().saturating_duration_since(started);
    if answer.status_code != 200 {
        return Err(format!("it answers {} {}", answer.status_code, answer.reason_phrase));
    }
    let varz: Varz =
        serde_json::from_slice(answer.as_bytes()).map_err(|_| "it is no monitoring port of a nats-server".to_owned())?;
    if varz.server_name.is_empty() {
        return Err("it is no monitoring port of a nats-server".to_owned());
    }
    let sample = Timestamp::parse_rfc3339(&varz.now).map(|says| ClockSample::new(&varz.server_name, says, asked, took));
    Ok((varz, sample))
}

/// A URL without what is before its `@`.
fn without_a_login(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_not_shown() {
        assert_eq!(without_a_login("http://ann:s3cret@host:8222"), "http://host:8222");
        assert_eq!(without_a_login("http://host:8222"), "http://host:8222");
    }
}
