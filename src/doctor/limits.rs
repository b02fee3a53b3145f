//! Judges quotas of the account and of the servers, and the largest payload beside those that are to be stored.

use super::report::{Findings, Severity, Topic};
use crate::engine::{
    QueueOptions,
    nats::inspect::facts::{Account, Facts, Kind, Tier},
};

/// From which part of a limit on it is told, and from which it is a problem; in percent.
const NEARLY: u64 = 80;
const FULL: u64 = 95;

/// Below which a payload is small for anything: large values are cut into chunks that fit, everything else has to fit as a whole.
const SMALL: usize = 64 << 10;

/// Judges sizes; `payloads` are those that the caller means to store, in bytes.
pub(super) fn examine(facts: &Facts, payloads: &[usize]) -> Findings {
    let mut found = Findings::about(Topic::Limits);
    if let Ok(account) = &facts.account {
        quotas(account, facts.asked.memory, &mut found);
    }
    for varz in &facts.monitored {
        let Some(config) = &varz.jetstream.config else { continue };
        let (server, stats) = (&varz.server_name, &varz.jetstream.stats);
        let mend = "make room, or raise `jetstream { max_file_store }` (`max_memory_store`) of the server";
        part(&mut found, &format!("storage of server `{server}`"), stats.storage, config.max_storage, mend);
        part(&mut found, &format!("memory of server `{server}`"), stats.memory, config.max_memory, mend);
    }
    largest(facts, payloads, &mut found);
    found
}

/// Judges how much of a limit is used; below zero there is none.
fn part(found: &mut Findings, what: &str, used: u64, limit: i64, mend: &str) {
    let Some(limit) = u64::try_from(limit).ok().filter(|limit| *limit > 0) else { return };
    let percent = used.saturating_mul(100) / limit;
    let text = format!("{what}: {used} of {limit} used ({percent} %)");
    let why = "what is full refuses writes: runs stand still and messages are not taken in until there is room";
    match percent {
        FULL.. => found.problem("quota", text, why, mend),
        NEARLY.. => found.warning("quota", text, why, mend),
        _ => found.ok("quota", text),
    }
}

fn quotas(account: &Account, memory: bool, found: &mut Findings) {
    if account.tiers.is_empty() {
        tier("the account", &account.usage, memory, found);
    }
    for (name, usage) in &account.tiers {
        tier(&format!("tier {name} of the account"), usage, memory, found);
    }
}

fn tier(whose: &str, Tier { memory, storage, streams, consumers, limits }: &Tier, in_memory: bool, found: &mut Findings) {
    let mend = "raise the account's limits (`nsc edit account --js-...`, or `jetstream { ... }` of the account), or remove \
        what is not needed";
    part(found, &format!("storage of {whose}, in bytes"), *storage, limits.max_storage, mend);
    part(found, &format!("memory of {whose}, in bytes"), *memory, limits.max_memory, mend);
    part(found, &format!("streams of {whose}"), *streams, limits.max_streams, mend);
    part(found, &format!("consumers of {whose}"), *consumers, limits.max_consumers, mend);
    let (wanted, limit) = if in_memory { ("memory", limits.max_memory) } else { ("files", limits.max_storage) };
    if limit == 0 {
        let why = "a space that is created now is to be there, and is refused";
        found.problem("quota", format!("{whose} may store nothing in {wanted}"), why, mend);
    }
    if limits.max_bytes_required {
        let why = "a space has no limit of bytes, since it would lose state at it: creating one is refused";
        let mend = "allow streams without a limit in this account (`nsc edit account --js-max-bytes-required=false`)";
        found.problem("quota", format!("{whose} wants a limit of bytes of every stream"), why, mend);
    }
    let most = QueueOptions::default().max_in_flight;
    if usize::try_from(limits.max_ack_pending).is_ok_and(|limit| (1..most).contains(&limit)) {
        let text = format!("{whose} allows {} messages in flight for a consumer", limits.max_ack_pending);
        let why = format!("a queue with the usual options asks for {most}, and is refused");
        found.warning(
            "quota",
            text,
            why,
            "raise the account's `max_ack_pending`, or open queues with a smaller `max_in_flight`",
        );
    }
}

fn largest(facts: &Facts, payloads: &[usize], found: &mut Findings) {
    let (most, headroom) = (facts.server.max_payload, facts.asked.headroom);
    let fits = most.saturating_sub(headroom);
    let text = format!("a value has at most {fits} bytes: the server's max_payload of {most} less {headroom} for headers");
    let why = "a snapshot with all small outputs of its run, a job and a message each have to fit as a whole; larger ones \
        are refused";
    let raise =
        |to: usize| format!("set `max_payload: {to}` at every server, or keep large values elsewhere and pass their names");
    if fits < SMALL {
        found.warning("payload", text, why, raise(1 << 20));
    } else {
        found.ok("payload", text);
    }
    for payload in payloads {
        if *payload > fits {
            let text = format!("a payload of {payload} bytes is larger than the {fits} that fit");
            found.problem("payload", text, why, raise((payload + headroom).next_power_of_two()));
        } else {
            found.ok("payload", format!("a payload of {payload} bytes fits"));
        }
    }
    for stream in facts.streams.iter().filter(|stream| stream.kind != Kind::Tally) {
        let Some(limit) = usize::try_from(stream.number("max_msg_size")).ok().filter(|limit| *limit > 0) else { continue };
        let (name, worst) = (&stream.name, payloads.iter().copied().max().unwrap_or(0));
        let text = format!("`{name}` takes messages of at most {limit} bytes");
        let severity = match () {
            () if worst > limit => Severity::Problem,
            // A bucket's limit is its owner's.
            () if limit < most && stream.kind == Kind::Space => Severity::Warning,
            () => continue,
        };
        found.add(severity, "payload", text, why, format!("`nats stream edit {name} --max-msg-size=-1`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sample;
    use serde_json::json;

    fn of(payloads: &[usize], change: impl FnOnce(&mut Facts)) -> Findings {
        let mut facts = sample::healthy();
        change(&mut facts);
        examine(&facts, payloads)
    }

    fn account(change: impl FnOnce(&mut Account)) -> Findings {
        of(&[], |facts| change(facts.account.as_mut().unwrap()))
    }

    #[test]
    fn room_is_told_before_it_is_gone() {
        let storage = |used, limit| account(|a| (a.usage.storage, a.usage.limits.max_storage) = (used, limit)).of("quota");
        assert!(!storage(1, -1).iter().any(|s| *s > Severity::Ok));
        assert!(!storage(79, 100).iter().any(|s| *s > Severity::Ok));
        assert!(storage(80, 100).contains(&Severity::Warning));
        assert!(storage(95, 100).contains(&Severity::Problem));
        let streams = account(|a| (a.usage.streams, a.usage.limits.max_streams) = (10, 10));
        assert!(streams.text("quota").contains("streams of the account: 10 of 10"));
        let full = of(&[], |facts| facts.monitored[0].jetstream.stats.storage = 99 << 20);
        assert!(full.of("quota").contains(&Severity::Problem), "{}", full.text("quota"));
    }

    #[test]
    fn what_an_account_does_not_allow_is_a_problem() {
        for (change, text) in [
            ((|a: &mut Account| a.usage.limits.max_storage = 0) as fn(&mut Account), "nothing in files"),
            (|a| a.usage.limits.max_bytes_required = true, "limit of bytes"),
        ] {
            let found = account(change);
            assert!(found.of("quota").contains(&Severity::Problem) && found.text("quota").contains(text), "{text}");
        }
        assert!(account(|a| a.usage.limits.max_ack_pending = 100).of("quota").contains(&Severity::Warning));
        assert!(!account(|a| a.usage.limits.max_ack_pending = 10_000).of("quota").contains(&Severity::Warning));
        let tiers = json!({ "tiers": { "R1": { "storage": 99, "limits": { "max_storage": 100 } } }, "api": { "level": 5 } });
        let found = of(&[], |facts| facts.account = Ok(serde_json::from_value(tiers).unwrap()));
        assert!(found.text("quota").contains("tier R1"), "{}", found.text("quota"));
    }

    #[test]
    fn a_payload_that_does_not_fit_is_a_problem() {
        assert_eq!(of(&[100_000], |_| {}).of("payload"), [Severity::Ok, Severity::Ok]);
        assert_eq!(of(&[1 << 20], |_| {}).of("payload"), [Severity::Ok, Severity::Problem]);
        assert!(of(&[1 << 20], |_| {}).text("payload").contains("max_payload: 2097152"));
        assert_eq!(of(&[], |facts| facts.server.max_payload = 8192).of("payload"), [Severity::Warning]);
    }

    #[test]
    fn a_stream_that_takes_less_than_the_server_is_told() {
        let limited = |facts: &mut Facts| facts.streams[0].config["max_msg_size"] = 10_000.into();
        assert_eq!(of(&[], limited).of("payload"), [Severity::Ok, Severity::Warning]);
        assert_eq!(of(&[20_000], limited).of("payload"), [Severity::Ok, Severity::Ok, Severity::Problem]);
    }
}
