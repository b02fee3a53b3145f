//! Judges how streams differ from what this library would create, and says what sets them right.

use super::report::{Findings, Severity, Topic};
use crate::engine::{
    Difference,
    nats::inspect::facts::{Facts, Kind, StreamFacts, Unseen},
};

/// Judges every stream that was looked at, and those that could not be.
pub(super) fn examine(facts: &Facts) -> Findings {
    let mut found = Findings::about(Topic::Drift);
    facts.streams.iter().for_each(|stream| judge(stream, &mut found));
    for (kind, stream) in &facts.missing {
        let (why, mend) = match kind {
            Kind::Stream => ("whoever opens it as it is finds nothing", "create it, or open it with options that create it"),
            _ => (
                "nothing: whoever opens it first creates it, with what the URL says",
                "open it once, if nobody may create streams later",
            ),
        };
        found.note("missing", format!("{} `{stream}` is not there", kind.name()), why, mend);
    }
    for (what, unseen) in &facts.unseen {
        let mend = "permit its `$JS.API.STREAM.INFO`, or start the servers that have it";
        found.warning("unseen", format!("`{what}` could not be looked at: {}", words(unseen)), "it was not examined", mend);
    }
    if let Some(unseen) = &facts.unlisted {
        let text = format!("streams could not be listed: {}", words(unseen));
        let mend = "name them with `--space`, `--bucket` and `--stream`, or permit `$JS.API.STREAM.LIST`";
        found.note("unlisted", text, "only what is named is examined; the library itself lists nothing", mend);
    }
    if facts.account.is_ok() && facts.streams.is_empty() && facts.missing.is_empty() && facts.unlisted.is_none() {
        found.ok("missing", "there is nothing of this library yet");
    }
    found
}

fn words(unseen: &Unseen) -> &str {
    match unseen {
        Unseen::NoJetStream => "there is no JetStream",
        Unseen::Denied(words) | Unseen::Failed(words) => words,
    }
}

fn judge(stream: &StreamFacts, found: &mut Findings) {
    let (kind, name) = (stream.kind.name(), &stream.name);
    if name.contains(super::probe::PREFIX) {
        let why = "a probe was stopped before it could remove it";
        return found.warning("leftover", format!("`{name}` is a scratch space"), why, format!("`nats stream rm {name}`"));
    }
    if let Some(consumer) = stream.consumer.as_ref().filter(|_| stream.lacks) {
        let why = "whoever opens it creates it, where the options allow that; otherwise it is refused as missing";
        found.note(
            "missing",
            format!("stream `{name}` has no consumer `{consumer}`"),
            why,
            "open it once with options that create it",
        );
    }
    let listed: Vec<_> = stream.differences.iter().map(ToString::to_string).collect();
    let (listed, mend) = (listed.join("; "), mend(stream));
    if let Some(refused) = &stream.refused {
        let more = if listed.is_empty() { String::new() } else { format!(" ({listed})") };
        let why = format!("the library refuses to open it as a {kind}, since it would lose or mix up what is stored");
        return found.problem("drift", format!("{refused}{more}"), why, mend);
    }
    if stream.differences.is_empty() {
        return found.ok("drift", format!("{kind} `{name}` is as this library would have it"));
    }
    let severity = stream.differences.iter().map(weight).max().unwrap_or(Severity::Note);
    let text = format!("{kind} `{name}` is configured otherwise: {listed}");
    found.add(severity, "drift", text, why(stream), mend);
}

/// Whether something does not work, or is only not as the URL would create it now.
fn weight(difference: &Difference) -> Severity {
    match difference.what {
        "num_replicas" | "storage" | "retention" | "discard" => Severity::Note,
        _ => Severity::Warning,
    }
}

fn why(stream: &StreamFacts) -> String {
    let reasons = [
        ("allow_atomic", "without batches commits of several parts are `Unsupported`"),
        ("allow_msg_schedules", "without schedules there are no timers, and what is due is found by polling"),
        ("allow_msg_ttl", "without TTLs nothing expires"),
        ("subject_delete_marker_ttl", "without markers those who watch do not see what expired"),
        ("allow_rollup_hdrs", "without rollups keys cannot be deleted"),
        ("allow_direct", "without direct gets several keys cannot be read at once"),
        ("deny_delete", "messages that are settled cannot be removed, and the stream grows"),
        ("duplicate_window", "a message that is sent again later, since its answer was lost, is there twice"),
        ("num_replicas", "the URL's `replicas` holds for what is created, and not for what is there"),
        ("storage", "the URL's `storage` holds for what is created, and not for what is there"),
        ("max_deliver", "a message that failed as often stays in the stream, and nobody finds it"),
    ];
    let differs = |field: &str| stream.differences.iter().any(|difference| difference.what == field);
    let all: Vec<_> = reasons.iter().filter(|(field, _)| differs(field)).map(|(_, reason)| *reason).collect();
    if all.is_empty() { "it does not behave as the library expects".to_owned() } else { all.join("; ") }
}

/// The command that sets right what can be, and what to do about the rest.
fn mend(stream: &StreamFacts) -> String {
    let name = &stream.name;
    let (mut flags, mut fixed, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for Difference { what, wanted, .. } in &stream.differences {
        match *what {
            "num_replicas" => flags.push(format!("--replicas {wanted}")),
            "max_msgs_per_subject" => flags.push(format!("--max-msgs-per-subject={wanted}")),
            "max_msgs" => flags.push("--max-msgs=-1".to_owned()),
            "max_bytes" => flags.push("--max-bytes=-1".to_owned()),
            "max_age" => flags.push("--max-age 0".to_owned()),
            "discard" => flags.push(format!("--discard {wanted}")),
            "duplicate_window" => flags.push(format!("--dupe-window {wanted}")),
            "allow_rollup_hdrs" => flags.push("--allow-rollup".to_owned()),
            "allow_direct" => flags.push("--allow-direct".to_owned()),
            "allow_msg_ttl" => flags.push("--allow-msg-ttl".to_owned()),
            "subject_delete_marker_ttl" => flags.push(format!("--subject-del-markers-ttl {wanted}")),
            "allow_atomic" => flags.push("--allow-batch".to_owned()),
            "allow_msg_schedules" => flags.push("--allow-schedules".to_owned()),
            "subjects" => flags.push(format!("--subjects '{}'", wanted.replace(", ", ","))),
            "max_deliver" => {
                let consumer = stream.consumer.as_deref().unwrap_or_default();
                rest.push(format!("`nats consumer edit {name} {consumer} --max-deliver=-1`"));
            }
            other => fixed.push(other),
        }
    }
    if !flags.is_empty() {
        rest.insert(0, format!("`nats stream edit {name} {}`", flags.join(" ")));
    }
    if !fixed.is_empty() {
        rest.push(format!(
            "{} cannot be changed: copy what is in it, delete it, and let the library create it",
            fixed.join(", ")
        ));
    }
    if rest.is_empty() {
        return "use another name, or delete the stream if nobody needs it".to_owned();
    }
    rest.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::sample;

    fn of(change: impl FnOnce(&mut Facts)) -> Findings {
        let mut facts = sample::healthy();
        change(&mut facts);
        examine(&facts)
    }

    fn differing(all: &[(&'static str, &str, &str)], refused: Option<&str>) -> Findings {
        of(|facts| {
            let differs = |(what, found, wanted): &(&'static str, &str, &str)| Difference {
                what,
                found: (*found).to_owned(),
                wanted: (*wanted).to_owned(),
            };
            facts.streams[0].differences = all.iter().map(differs).collect();
            facts.streams[0].refused = refused.map(ToOwned::to_owned);
        })
    }

    #[test]
    fn what_is_as_it_would_be_created_is_ok() {
        let found = of(|_| {});
        assert_eq!(found.of("drift"), [Severity::Ok]);
        for check in ["missing", "unseen", "unlisted"] {
            assert_eq!(found.of(check), [], "{check}");
        }
    }

    #[test]
    fn what_does_not_work_is_told_with_the_command_that_mends_it() {
        let found = differing(&[("allow_atomic", "false", "true"), ("duplicate_window", "1s", "120s")], None);
        assert_eq!(found.of("drift"), [Severity::Warning]);
        let text = found.text("drift");
        assert!(text.contains("`nats stream edit KV_shop --allow-batch --dupe-window 120s`"), "{text}");
        assert!(text.contains("`Unsupported`"), "{text}");
        let found = differing(&[("deny_delete", "true", "false")], None);
        assert!(found.text("drift").contains("cannot be changed"), "{}", found.text("drift"));
        assert_eq!(differing(&[("num_replicas", "3", "1")], None).of("drift"), [Severity::Note]);
        let found = of(|facts| {
            let (found, wanted) = ("5".to_owned(), "unlimited".to_owned());
            facts.streams[0].differences = vec![Difference { what: "max_deliver", found, wanted }];
            facts.streams[0].consumer = Some("ours".to_owned());
        });
        assert!(found.text("drift").contains("`nats consumer edit KV_shop ours --max-deliver=-1`"), "{}", found.text("drift"));
    }

    #[test]
    fn what_is_refused_is_a_problem() {
        let found = differing(&[("max_age", "3s", "none")], Some("it discards state by age or size"));
        assert_eq!(found.of("drift"), [Severity::Problem]);
        assert!(found.text("drift").contains("--max-age 0"), "{}", found.text("drift"));
        assert!(differing(&[], Some("it is no bucket")).text("drift").contains("another name"));
    }

    #[test]
    fn what_is_not_there_or_was_not_seen_is_told() {
        assert_eq!(of(|facts| facts.missing.push((Kind::Space, "KV_x".to_owned()))).of("missing"), [Severity::Note]);
        assert_eq!(
            of(|facts| (facts.streams[0].consumer, facts.streams[0].lacks) = (Some("c".to_owned()), true)).of("missing"),
            [Severity::Note]
        );
        assert_eq!(of(|facts| facts.streams.clear()).of("missing"), [Severity::Ok]);
        let left = of(|facts| facts.streams[0].name = "KV_anabranch-doctor-1".to_owned());
        assert_eq!((left.of("leftover"), left.of("drift")), (vec![Severity::Warning], vec![]));
        assert_eq!(of(|_| {}).of("leftover"), []);
        let denied = || Unseen::Denied("no".to_owned());
        assert_eq!(of(|facts| facts.unseen.push(("KV_x".to_owned(), denied()))).of("unseen"), [Severity::Warning]);
        assert_eq!(of(|facts| facts.unlisted = Some(denied())).of("unlisted"), [Severity::Note]);
    }
}
