//! Judges what survives which failure: when writes reach a disk, how many copies there are and where, and what a stream drops.

use super::{
    report::{Findings, Topic},
    server::version,
};
use crate::engine::nats::inspect::facts::{Cluster, Facts, JetStreamConfig, Kind, Peer, StreamFacts};
use std::time::Duration;

/// How many operations a copy may be behind without being told.
const LAG: u64 = 1_000;
/// For how long a copy may be silent before it counts as away, in nanoseconds: a follower is asked every second.
const SILENCE: u64 = 10_000_000_000;
/// How long message ids are remembered at least, for a repetition to be recognized.
const WINDOW: i64 = 120_000_000_000;

/// Judges servers and streams.
pub(super) fn examine(facts: &Facts) -> Findings {
    let mut found = Findings::about(Topic::Durability);
    if facts.account.is_err() {
        return found;
    }
    sync(facts, &mut found);
    what_is_created(facts, &mut found);
    for stream in &facts.streams {
        copies(facts, stream, &mut found);
        storage(stream, &mut found);
        drops(stream, &mut found);
    }
    for meta in facts.monitored.iter().filter_map(|varz| varz.jetstream.meta.as_ref()) {
        if meta.leader.is_empty() {
            let why = "no stream can be created, and none moves to another server";
            found.problem("leader", "the cluster has no leader of JetStream", why, "start more than half of its servers");
        }
    }
    found
}

fn sync(facts: &Facts, found: &mut Findings) {
    for (place, why) in &facts.unmonitored {
        let mend = "correct the URL; the monitoring port is the server's `http: HOST:8222`, the system account that of \
            `system_account`";
        found.warning("sync", format!("{place} does not tell: {why}"), "what was asked for could not be examined", mend);
    }
    let told: Vec<_> = facts.monitored.iter().filter_map(|v| Some((v, v.jetstream.config.as_ref()?))).collect();
    for (varz, config) in &told {
        flushes(facts, &varz.server_name, config, version(&varz.version), found);
    }
    if told.is_empty() && facts.unmonitored.is_empty() {
        found.note(
            "sync",
            "how long a write may wait for the disk is not visible to a client of this account",
            "a server acknowledges a write when the system has it, and brings it to the disk within its `sync_interval`, 2 \
             minutes unless \
             it is set: a process that is killed loses nothing, a power failure what was not flushed",
            "give `--monitor http://HOST:8222`, the monitoring port of each server, or `--system URL` with a login of the \
             system account",
        );
        return;
    }
    let servers = facts.monitored.iter().filter_map(|v| v.jetstream.meta.as_ref()).map(|meta| meta.cluster_size).max();
    if let Some(servers) = servers.filter(|servers| *servers > told.len() as u64) {
        let text = format!("{} of {servers} servers were asked", told.len());
        found.note("sync", text, "the others may be set otherwise", "give `--monitor` for each, or `--system URL`");
    }
    let always = told.iter().filter(|(_, config)| config.sync_always).count();
    if always == told.len() && always > 0 && !facts.asked.shares_writes {
        let why = "each single write waits for a flush of its own, while writes that share a batch share its flush";
        found.note("writes", "every write is flushed, and single writes do not share", why, "add `writes=shared` to the URL");
    }
    if always == 0 && !told.is_empty() && facts.asked.shares_writes {
        let why = "a batch takes longer than a single write where nothing waits for a flush";
        found.note(
            "writes",
            "writes share batches, and no server flushes every write",
            why,
            "leave `writes=shared` out of the URL",
        );
    }
}

fn flushes(facts: &Facts, server: &str, config: &JetStreamConfig, version: Option<(u32, u32, u32)>, found: &mut Findings) {
    if config.sync_always {
        let text = format!("`{server}` flushes every write before it acknowledges it");
        // Pull requests 8456 and 8475 are in no release before.
        if version < Some((2, 15, 0)) {
            let why = "before 2.15 a block that is compacted can miss its flush (nats-server 8456, 8475): a power failure \
                then loses it";
            found.note("sync", text, why, "use nats-server 2.15 or newer");
        } else {
            found.ok("sync", text);
        }
        return;
    }
    let interval = Duration::from_nanos(config.sync_interval);
    let copies = facts.streams.iter().map(StreamFacts::replicas).min();
    let copies = copies.unwrap_or_else(|| i64::try_from(facts.asked.replicas).unwrap_or(1));
    let text = format!("`{server}` acknowledges writes before they are on the disk, and flushes every {interval:?}");
    let mend = "set `jetstream { sync_interval: always }` at every server, and add `writes=shared` to the URL";
    if copies >= 3 {
        let why = format!(
            "a power failure of most copies at once loses up to {interval:?} of acknowledged writes, and one of a single \
             copy has lost \
             some while others were paused or cut off (Jepsen on 2.12.1, nats-server 7567)"
        );
        found.note("sync", text, why, format!("keep the copies where they do not fail together, or {mend}"));
    } else {
        let why = format!(
            "a power failure of one machine loses up to {interval:?} of acknowledged writes, where there is no more than {}",
            copies_of(copies)
        );
        found.warning("sync", text, why, mend);
    }
}

/// Judges what the URL asks for, which holds for whatever is created from now on.
fn what_is_created(facts: &Facts, found: &mut Findings) {
    let (replicas, clustered) = (facts.asked.replicas, facts.server.cluster.is_some());
    match (clustered, replicas) {
        (false, 1) => {
            let why = "when the machine or its disk is lost, so is everything";
            let mend =
                "run a cluster of three servers, and add `replicas=3` to the URL; or take backups (`nats account backup`)";
            found.note("replicas", "a single server: there is one copy of everything", why, mend);
        }
        (false, _) => {
            let why = "a stream with more copies than there are servers cannot be created";
            let text = format!("the URL asks for {replicas} copies, and this is a single server");
            found.problem("replicas", text, why, "name the servers of a cluster, or leave `replicas` out of the URL");
        }
        (true, 1 | 2) => {
            let text = format!("the URL asks for {} of each stream that is created, in a cluster", copies_of(replicas));
            found.warning("replicas", text, FEW, "add `replicas=3` to the URL before spaces are created");
        }
        (true, _) => found.ok("replicas", format!("the URL asks for {replicas} copies of each stream that is created")),
    }
    if facts.asked.memory {
        let mend = "leave `storage=memory` out of the URL before spaces are created";
        found.warning("storage", "the URL asks for streams in memory", VOLATILE, mend);
    }
}

const FEW: &str = "with one copy a server that is down takes its streams with it, and a lost disk their state; with two \
    copies both have to be up";
const VOLATILE: &str = "a server that ends loses its copy, and when all with a copy were down at once nothing is left";

fn copies_of(n: impl TryInto<u64>) -> String {
    match n.try_into().unwrap_or(u64::MAX) {
        1 => "one copy".to_owned(),
        n => format!("{n} copies"),
    }
}

fn copies(facts: &Facts, stream: &StreamFacts, found: &mut Findings) {
    let (name, wanted) = (&stream.name, stream.replicas());
    if facts.server.cluster.is_some() {
        let text = format!("{} `{name}` has {}", stream.kind.name(), copies_of(wanted));
        match wanted {
            1 | 2 => found.warning("replicas", text, FEW, format!("`nats stream edit {name} --replicas 3`")),
            _ => found.ok("replicas", text),
        }
    }
    if let Some(cluster) = stream.cluster.as_ref().filter(|cluster| !cluster.name.is_empty()) {
        peers(name, cluster, wanted, found);
    }
}

/// A server that was killed is not said to be offline for a long while; but nobody has heard of it.
fn is_away(peer: &Peer) -> bool {
    peer.offline || (!peer.current && peer.active >= SILENCE)
}

/// Since it leads, the leader has not heard of it: it is new, or away.
fn is_unheard(peer: &Peer) -> bool {
    !peer.offline && !peer.current && peer.active == 0
}

fn peers(name: &str, cluster: &Cluster, wanted: i64, found: &mut Findings) {
    let names = |which: fn(&Peer) -> bool| {
        let all: Vec<_> = cluster.replicas.iter().filter(|peer| which(peer)).map(|peer| peer.name.as_str()).collect();
        (all.len(), all.join(", "))
    };
    if cluster.leader.is_empty() {
        let why = "nothing can be read or written until there is a leader, for which most copies have to be up";
        let mend = format!("start the servers that have it: `nats stream info {name}` and `nats server report jetstream`");
        return found.problem("leader", format!("`{name}` has no leader"), why, mend);
    }
    let (offline, who) = names(is_away);
    let (unheard, who_is_unheard) = names(is_unheard);
    let (behind, who_is_behind) = names(|peer| !is_away(peer) && !is_unheard(peer) && (!peer.current || peer.lag > LAG));
    let copies = cluster.replicas.len() + 1;
    if offline > 0 {
        let text = format!("`{name}` has copies that are away: {who}");
        let mend = format!("start them; one that does not come back: `nats stream cluster peer-remove {name} SERVER`");
        if copies - offline <= copies / 2 {
            let why = "most copies are needed to write: it stands still";
            found.problem("peers", text, why, mend);
        } else {
            let more = copies - offline - copies / 2 - 1;
            let why = format!("it can lose {more} more before it stands still");
            found.warning("peers", text, why, mend);
        }
    }
    if unheard > 0 {
        let text = format!("`{name}` has copies that its leader has not heard of: {who_is_unheard}");
        let why = "one that is away does not help when another one is lost";
        found.warning(
            "peers",
            text,
            why,
            "examine again in a minute, since the leader may be new; if it stays, see whether the server runs",
        );
    }
    if behind > 0 {
        let why = "a copy that is behind does not help when another one is lost, and reads of it are old";
        let mend = format!(
            "wait until it has caught up; if it does not, see its server's log and disk, and `nats stream info {name}`"
        );
        found.warning("peers", format!("`{name}` has copies that are behind: {who_is_behind}"), why, mend);
    }
    if i64::try_from(copies).is_ok_and(|copies| copies < wanted) {
        let text = format!("`{name}` has {} of {wanted}", copies_of(copies));
        let why = "it survives fewer failures than it is configured for";
        found.warning("peers", text, why, "add servers to the cluster, or wait until the copies are made");
    } else if offline + unheard + behind == 0 && copies > 1 {
        found.ok("peers", format!("`{name}` is led by `{}`, and all copies are current", cluster.leader));
    }
}

fn storage(stream: &StreamFacts, found: &mut Findings) {
    let (kind, name) = (stream.kind.name(), &stream.name);
    if stream.config["storage"] == "memory" {
        let mend =
            format!("the storage of a stream cannot be changed: copy what is in `{name}`, delete it, and create it with files");
        found.warning("storage", format!("{kind} `{name}` is in memory"), VOLATILE, mend);
    } else {
        found.ok("storage", format!("{kind} `{name}` is in files"));
    }
    if stream.config["persist_mode"] == "async" {
        let why = "a write is acknowledged before it is stored: a server that is killed loses it";
        let mend = format!("copy what is in `{name}`, delete it, and create it without `persist_mode: async`");
        found.warning("storage", format!("{kind} `{name}` is stored after the acknowledgement"), why, mend);
    }
}

/// Judges what is dropped although nobody has settled it. A space that drops anything is refused, and drift.
fn drops(stream: &StreamFacts, found: &mut Findings) {
    if !matches!(stream.kind, Kind::Stream | Kind::Bucket) {
        return;
    }
    let (kind, name) = (stream.kind.name(), &stream.name);
    let limits: Vec<_> = ["max_msgs", "max_bytes"].into_iter().filter(|field| stream.number(field) > 0).collect();
    let limits = limits.join(" and ");
    match (limits.is_empty(), stream.config["discard"] == "new") {
        (true, _) => found.ok("discard", format!("{kind} `{name}` has no limit at which it drops what is old")),
        (false, false) => {
            let why =
                "when it is full the oldest goes for the newest, also what nobody has taken yet: it is lost without a word";
            let mend = format!("`nats stream edit {name} --discard new` refuses what is new instead, or raise its limits");
            found.warning("discard", format!("{kind} `{name}` discards what is old at {limits}"), why, mend);
        }
        (false, true) => {
            let why = "when it is full, writes are refused until there is room";
            found.note(
                "discard",
                format!("{kind} `{name}` refuses what is new at {limits}"),
                why,
                "watch it: `nats stream report`, or raise its limits",
            );
        }
    }
    if stream.kind == Kind::Stream {
        if let age @ 1.. = stream.number("max_age") {
            let age = Duration::from_nanos(age.unsigned_abs());
            let why = "what nobody has taken by then is dropped without a word";
            let mend = format!("where workers can be away for longer: `nats stream edit {name} --max-age 0`");
            found.note("discard", format!("stream `{name}` drops what is older than {age:?}"), why, mend);
        }
        if stream.number("duplicate_window") < WINDOW {
            let window = Duration::from_nanos(stream.number("duplicate_window").unsigned_abs());
            let why = "a message that is sent again after that, since its answer was lost, is there twice";
            let text = format!("stream `{name}` remembers message ids for {window:?}");
            found.note("dedupe", text, why, format!("`nats stream edit {name} --dupe-window 2m`"));
        } else {
            found.ok("dedupe", format!("stream `{name}` remembers message ids for long enough"));
        }
    }
    if stream.kind == Kind::Bucket && (!stream.flag("allow_msg_ttl") || stream.number("subject_delete_marker_ttl") == 0) {
        let why = "writes with a TTL are refused, and what expires by age is not seen by those who watch";
        let mend = format!("where that is wanted: `nats stream edit {name} --allow-msg-ttl --subject-del-markers-ttl 1h`");
        found.note("ttl", format!("bucket `{name}` has no limit markers"), why, mend);
    }
}

#[cfg(test)]
#[path = "durability_tests.rs"]
mod tests;
