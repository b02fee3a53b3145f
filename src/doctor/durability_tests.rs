//! Each finding about durability: a case in which it appears, and one in which it does not.

use super::*;
use crate::doctor::{report::Severity, sample};

fn of(change: impl FnOnce(&mut Facts)) -> Findings {
    let mut facts = sample::healthy();
    change(&mut facts);
    examine(&facts)
}

fn stream(kind: Kind, change: impl FnOnce(&mut StreamFacts)) -> Findings {
    of(|facts| {
        facts.streams[0].kind = kind;
        change(&mut facts.streams[0]);
    })
}

#[test]
fn a_healthy_cluster_is_ok() {
    let found = of(|_| {});
    for check in ["sync", "replicas", "peers", "storage"] {
        assert!(!found.of(check).is_empty() && found.of(check).iter().all(|s| *s == Severity::Ok), "{}", found.text(check));
    }
    for check in ["leader", "discard", "dedupe", "writes"] {
        assert_eq!(found.of(check), [], "{}", found.text(check));
    }
}

#[test]
fn when_writes_reach_the_disk_is_told_where_it_is_seen_and_never_guessed() {
    let unseen = of(|facts| facts.monitored.clear());
    assert_eq!(unseen.of("sync"), [Severity::Note]);
    assert!(unseen.text("sync").contains("not visible") && unseen.text("sync").contains("--monitor"));
    let by_default = |facts: &mut Facts| {
        let config = facts.monitored[0].jetstream.config.as_mut().unwrap();
        (config.sync_always, config.sync_interval) = (false, 120_000_000_000);
    };
    assert_eq!(of(by_default).of("sync"), [Severity::Note], "three copies");
    let single = of(|facts| {
        by_default(facts);
        facts.streams[0].config["num_replicas"] = 1.into();
    });
    assert_eq!(single.of("sync"), [Severity::Warning]);
    assert!(single.text("sync").contains("120s"));
    let empty = of(|facts| {
        by_default(facts);
        facts.streams.clear();
        facts.asked.replicas = 1;
    });
    assert_eq!(empty.of("sync"), [Severity::Warning], "what the URL asks for counts where there is nothing yet");
    let older = of(|facts| facts.monitored[0].version = "2.14.5".to_owned());
    assert_eq!(older.of("sync"), [Severity::Note]);
    let failed = of(|facts| {
        facts.monitored.clear();
        facts.unmonitored.push(("http://a".to_owned(), "refused".to_owned()));
    });
    assert_eq!(failed.of("sync"), [Severity::Warning]);
    let partly = of(|facts| facts.monitored[0].jetstream.meta.as_mut().unwrap().cluster_size = 3);
    assert_eq!(partly.of("sync"), [Severity::Ok, Severity::Note]);
}

#[test]
fn writes_share_batches_where_every_write_is_flushed() {
    assert_eq!(of(|facts| facts.asked.shares_writes = false).of("writes"), [Severity::Note]);
    let needless = of(|facts| facts.monitored[0].jetstream.config.as_mut().unwrap().sync_always = false);
    assert_eq!(needless.of("writes"), [Severity::Note]);
    assert_eq!(of(|facts| facts.monitored.clear()).of("writes"), []);
}

#[test]
fn few_copies_are_told_in_a_cluster_and_noted_of_a_single_server() {
    let one = stream(Kind::Space, |s| s.config["num_replicas"] = 1.into());
    assert_eq!(one.of("replicas"), [Severity::Ok, Severity::Warning]);
    assert!(one.text("replicas").contains("nats stream edit KV_shop --replicas 3"));
    assert_eq!(of(|facts| facts.asked.replicas = 1).of("replicas"), [Severity::Warning, Severity::Ok]);
    let single = |facts: &mut Facts| (facts.server.cluster, facts.streams[0].cluster) = (None, None);
    let alone = of(|facts| {
        single(facts);
        facts.asked.replicas = 1;
    });
    assert_eq!(alone.of("replicas"), [Severity::Note]);
    assert_eq!(of(single).of("replicas"), [Severity::Problem], "three copies on a single server");
}

#[test]
fn copies_that_are_away_or_behind_are_told() {
    let with = |change: fn(&mut Cluster)| stream(Kind::Space, |s| change(s.cluster.as_mut().unwrap()));
    let away = with(|c| c.replicas[0].offline = true);
    assert_eq!(away.of("peers"), [Severity::Warning]);
    assert!(away.text("peers").contains("away: n2") && away.text("peers").contains("lose 0 more"), "{}", away.text("peers"));
    assert_eq!(with(|c| c.replicas.iter_mut().for_each(|p| p.offline = true)).of("peers"), [Severity::Problem]);
    let silent = with(|c| (c.replicas[1].current, c.replicas[1].active) = (false, SILENCE));
    assert!(silent.text("peers").contains("away: n3"), "{}", silent.text("peers"));
    let behind = with(|c| (c.replicas[1].current, c.replicas[1].active) = (false, SILENCE - 1));
    assert_eq!(behind.of("peers"), [Severity::Warning]);
    assert!(behind.text("peers").contains("behind: n3"), "{}", behind.text("peers"));
    let unheard = with(|c| c.replicas[1].current = false);
    assert_eq!(unheard.of("peers"), [Severity::Warning]);
    assert!(unheard.text("peers").contains("not heard of: n3"), "{}", unheard.text("peers"));
    assert_eq!(with(|c| c.replicas[1].lag = LAG + 1).of("peers"), [Severity::Warning]);
    assert_eq!(with(|c| c.replicas[1].lag = LAG).of("peers"), [Severity::Ok]);
    assert_eq!(with(|c| drop(c.replicas.pop())).of("peers"), [Severity::Warning]);
    assert_eq!(with(|c| c.leader.clear()).of("leader"), [Severity::Problem]);
    let no_meta = of(|facts| facts.monitored[0].jetstream.meta.as_mut().unwrap().leader.clear());
    assert_eq!(no_meta.of("leader"), [Severity::Problem]);
}

#[test]
fn what_does_not_outlive_a_process_is_told() {
    assert_eq!(stream(Kind::Space, |s| s.config["storage"] = "memory".into()).of("storage"), [Severity::Warning]);
    let late = stream(Kind::Space, |s| s.config["persist_mode"] = "async".into());
    assert_eq!(late.of("storage"), [Severity::Ok, Severity::Warning]);
    assert_eq!(of(|facts| facts.asked.memory = true).of("storage"), [Severity::Warning, Severity::Ok]);
}

#[test]
fn what_a_stream_drops_unseen_is_told() {
    let full = |discard: &'static str| {
        stream(Kind::Stream, |s| (s.config["max_bytes"], s.config["discard"]) = (1_000.into(), discard.into()))
    };
    assert_eq!(full("old").of("discard"), [Severity::Warning]);
    assert!(full("old").text("discard").contains("at max_bytes"));
    assert_eq!(full("new").of("discard"), [Severity::Note]);
    assert_eq!(stream(Kind::Stream, |_| {}).of("discard"), [Severity::Ok]);
    let aged = stream(Kind::Stream, |s| s.config["max_age"] = 1_000_000_000.into());
    assert_eq!(aged.of("discard"), [Severity::Ok, Severity::Note]);
    let bucket = stream(Kind::Bucket, |s| (s.config["max_bytes"], s.config["discard"]) = (1_000.into(), "old".into()));
    assert_eq!(bucket.of("discard"), [Severity::Warning]);
}

#[test]
fn what_a_stream_and_a_bucket_lack_is_noted() {
    assert_eq!(stream(Kind::Stream, |s| s.config["duplicate_window"] = 1_000_000.into()).of("dedupe"), [Severity::Note]);
    assert_eq!(stream(Kind::Stream, |_| {}).of("dedupe"), [Severity::Ok]);
    assert_eq!(stream(Kind::Bucket, |s| s.config["allow_msg_ttl"] = false.into()).of("ttl"), [Severity::Note]);
    assert_eq!(stream(Kind::Bucket, |_| {}).of("ttl"), []);
}

#[test]
fn without_jetstream_nothing_is_said_about_it() {
    use crate::engine::nats::inspect::facts::Unseen;
    let found = of(|facts| facts.account = Err(Unseen::NoJetStream));
    assert_eq!((found.of("sync"), found.of("replicas")), (vec![], vec![]));
}
