//! Judges the connection, the version of the server, what it can do, and whether it has JetStream.

use super::report::{Findings, Severity, Topic};
use crate::engine::nats::inspect::facts::{Facts, Unseen};
use std::{collections::BTreeSet, time::Duration};

/// A round trip from which on every operation is felt.
const SLOW: Duration = Duration::from_millis(50);
/// A round trip that leaves little of an operation's time.
const VERY_SLOW: Duration = Duration::from_millis(500);

/// `(2, 12, 8)` of `2.12.8`, also of `2.12.8-dev`.
pub(super) fn version(text: &str) -> Option<(u32, u32, u32)> {
    let plain = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
}

/// A defect of servers, and the version of each line that is the first without it: the last line, or a later one.
struct Defect {
    since: (u32, u32, u32),
    fixed: &'static [(u32, u32, u32)],
    severity: Severity,
    what: &'static str,
    why: &'static str,
}

/// Those that concern what this library does; from the history of nats-server, pull requests 8311, 8377.
const DEFECTS: &[Defect] = &[
    Defect {
        since: (2, 12, 0),
        fixed: &[(2, 12, 12), (2, 14, 3)],
        severity: Severity::Warning,
        what: "counters can be added up wrongly (nats-server 8311)",
        why: "a tally (`Space::tally`) can show another sum than was added",
    },
    Defect {
        since: (2, 12, 0),
        fixed: &[(2, 12, 14), (2, 14, 4)],
        severity: Severity::Note,
        what: "conditions of an atomic batch are confused at times (nats-server 8377)",
        why: "a commit with checks can be refused as a conflict that is none, and is tried again",
    },
];

impl Defect {
    fn is_in(&self, version: (u32, u32, u32)) -> bool {
        let line = |(major, minor, _): (u32, u32, u32)| (major, minor);
        let fixed_here = self.fixed.iter().find(|fixed| line(**fixed) == line(version));
        let newest = self.fixed.iter().copied().max().unwrap_or_default();
        version >= self.since && fixed_here.map_or(version < newest, |fixed| version < *fixed)
    }
}

/// Judges what the server said when it greeted, and the round trip.
pub(super) fn examine(facts: &Facts) -> Findings {
    let mut found = Findings::about(Topic::Server);
    connection(facts, &mut found);
    versions(facts, &mut found);
    jetstream(facts, &mut found);
    found
}

fn connection(facts: &Facts, found: &mut Findings) {
    let (server, asked) = (&facts.server, &facts.asked);
    let took = facts.round_trip.map_or_else(|| "is not answered".to_owned(), |took| format!("takes {took:.1?}"));
    let encrypted = if asked.encrypted { "encrypted" } else { "not encrypted" };
    let text = format!("connected to `{}`, {encrypted}; a round trip {took}", server.name);
    let far = "every transition of a run costs at least one round trip";
    let nearer = "run workers near the servers: in the same region, and not through a proxy";
    match facts.round_trip {
        Some(took) if took >= VERY_SLOW => found.warning("connection", text, far, nearer),
        Some(took) if took >= SLOW => found.note("connection", text, far, nearer),
        Some(_) => found.ok("connection", text),
        None => found.warning(
            "connection",
            text,
            "every operation waits for an answer, and gives up without one",
            "see what the server's log says of this client; look at the findings about permissions",
        ),
    }
    if asked.remote && !asked.encrypted {
        let severity = if asked.secret { Severity::Warning } else { Severity::Note };
        let why = "whoever is on the way reads what is stored, and the password or token where there is one";
        let mend = "set `tls { cert_file, key_file }` at the server, and write `tls://` or `?tls=required` in the URL";
        found.add(severity, "encryption", "the connection to another machine is not encrypted", why, mend);
    }
    if asked.remote && !server.wants_login {
        let why = "whoever reaches its port can read and change everything";
        let mend = "set `authorization` or `accounts` at the server, and give each application a login of its own";
        found.note("login", "the server asks nobody who they are", why, mend);
    }
    if server.lame_duck {
        let why = "its clients are sent away within minutes";
        found.warning("shutdown", "the server is about to stop", why, "name further servers in the URL, separated by commas");
    }
}

fn versions(facts: &Facts, found: &mut Findings) {
    let text = &facts.server.version;
    let mend = "use nats-server 2.15.1 or newer";
    let Some(version) = version(text) else {
        let why = "what a server can do follows from its version";
        return found.warning("version", format!("`{text}` is no version of nats-server"), why, mend);
    };
    match version {
        (0..=1, ..) | (2, 0..=10, _) => found.problem(
            "version",
            format!("nats-server {text}: no TTLs, no consistent reads of several keys"),
            "a space and a bucket need 2.11, and are refused",
            mend,
        ),
        (2, 11, _) => found.warning(
            "version",
            format!("nats-server {text}: TTLs and queues; no atomic commits, no checks, no timers, no counters"),
            "commits of several parts and counters are `Unsupported`; schedules and delays poll instead of being woken up, \
             and a \
             dead letter is published before its run ends instead of with it",
            mend,
        ),
        _ => found.ok("version", format!("nats-server {text}: TTLs, queues, atomic commits, checks, timers, counters")),
    }
    for defect in DEFECTS.iter().filter(|defect| defect.is_in(version)) {
        let fixed: Vec<_> = defect.fixed.iter().map(|(a, b, c)| format!("{a}.{b}.{c}")).collect();
        let mend = format!("use nats-server {} or newer of the same line, or a later line", fixed.join(" or "));
        found.add(defect.severity, "defects", format!("nats-server {text}: {}", defect.what), defect.why, mend);
    }
    let all: BTreeSet<&str> = facts.monitored.iter().map(|varz| varz.version.as_str()).chain([text.as_str()]).collect();
    if all.len() > 1 {
        let list = all.into_iter().collect::<Vec<_>>().join(", ");
        let why = "what a stream may use depends on the oldest server that can come to lead it";
        found.warning(
            "versions",
            format!("servers of several versions: {list}"),
            why,
            "end the upgrade: bring all to the newest",
        );
    }
}

fn jetstream(facts: &Facts, found: &mut Findings) {
    let why = "all state is kept in streams of JetStream: without it nothing can be opened";
    match &facts.account {
        Ok(account) => found.ok("jetstream", format!("JetStream answers, API level {}", account.api.level)),
        Err(Unseen::NoJetStream) => found.problem(
            "jetstream",
            "this account has no JetStream",
            why,
            "start the server with `jetstream { store_dir: ... }` or `-js`; where there are accounts, set `jetstream: \
             enabled` in this one",
        ),
        Err(Unseen::Denied(text)) => {
            found.problem("jetstream", text.clone(), why, "permit publishing to `$JS.API.>` and subscribing to `_INBOX.>`");
        }
        Err(Unseen::Failed(text)) => found.problem(
            "jetstream",
            format!("JetStream does not answer: {text}"),
            why,
            "in a cluster most servers have to be up: see `nats server report jetstream` and the servers' logs",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sample;

    fn severity(check: &str, change: impl FnOnce(&mut Facts)) -> Vec<Severity> {
        let mut facts = sample::healthy();
        change(&mut facts);
        examine(&facts).of(check)
    }

    #[test]
    fn a_healthy_server_is_ok() {
        let found = examine(&sample::healthy());
        for check in ["connection", "version", "jetstream"] {
            assert_eq!(found.of(check), [Severity::Ok], "{check}");
        }
        for check in ["encryption", "login", "shutdown", "defects", "versions"] {
            assert_eq!(found.of(check), [], "{check}");
        }
    }

    #[test]
    fn a_version_says_what_a_server_can_do() {
        let of = |text: &'static str| severity("version", |facts| facts.server.version = text.to_owned());
        assert_eq!(of("2.10.25"), [Severity::Problem]);
        assert_eq!(of("1.4.1"), [Severity::Problem]);
        assert_eq!(of("2.11.11"), [Severity::Warning]);
        assert_eq!(of("2.12.8"), [Severity::Ok]);
        assert_eq!(of("3.0.0-RC.1"), [Severity::Ok]);
        assert_eq!(of("new"), [Severity::Warning]);
    }

    #[test]
    fn a_defect_is_told_of_the_versions_that_have_it() {
        let of = |text: &'static str| severity("defects", |facts| facts.server.version = text.to_owned());
        assert_eq!(of("2.11.11"), []);
        assert_eq!(of("2.12.8"), [Severity::Warning, Severity::Note]);
        assert_eq!(of("2.12.12"), [Severity::Note]);
        assert_eq!(of("2.12.14"), []);
        assert_eq!(of("2.13.0"), [Severity::Warning, Severity::Note]);
        assert_eq!(of("2.14.3"), [Severity::Note]);
        assert_eq!(of("2.15.1"), []);
    }

    #[test]
    fn a_server_without_jetstream_is_a_problem() {
        for unseen in [Unseen::NoJetStream, Unseen::Denied("no".to_owned()), Unseen::Failed("silence".to_owned())] {
            assert_eq!(severity("jetstream", |facts| facts.account = Err(unseen)), [Severity::Problem]);
        }
    }

    #[test]
    fn a_connection_that_is_open_to_others_is_told_where_there_are_others() {
        let of = |check, encrypted, remote, secret| {
            severity(check, |f| (f.asked.encrypted, f.asked.remote, f.asked.secret) = (encrypted, remote, secret))
        };
        assert_eq!(of("encryption", false, true, true), [Severity::Warning]);
        assert_eq!(of("encryption", false, true, false), [Severity::Note]);
        assert_eq!(of("encryption", true, true, true), []);
        assert_eq!(of("encryption", false, false, true), []);
        assert_eq!(of("login", true, true, false), [Severity::Note]);
        assert_eq!(severity("login", |f| (f.asked.remote, f.server.wants_login) = (true, true)), []);
    }

    #[test]
    fn a_slow_round_trip_and_a_server_that_stops_are_told() {
        let of = |took| severity("connection", |facts| facts.round_trip = took);
        assert_eq!(of(Some(SLOW)), [Severity::Note]);
        assert_eq!(of(Some(VERY_SLOW)), [Severity::Warning]);
        assert_eq!(of(None), [Severity::Warning]);
        assert_eq!(severity("shutdown", |facts| facts.server.lame_duck = true), [Severity::Warning]);
    }

    #[test]
    fn servers_of_several_versions_are_told() {
        let older = |facts: &mut Facts| facts.monitored[0].version = "2.14.5".to_owned();
        assert_eq!(severity("versions", older), [Severity::Warning]);
    }
}
