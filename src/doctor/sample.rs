//! A healthy cluster, as the tests of what decides begin.

use crate::engine::nats::inspect::facts::{
    Account, ApiLevel, ClockSample, Cluster, Facts, JetStreamConfig, JetStreamz, Kind, Meta, Outcome, Peer, Server, Stats,
    StreamFacts, Tier, Trial, UrlAsks, Varz,
};
use serde_json::json;
use std::{collections::BTreeMap, time::Duration};

pub(super) fn healthy() -> Facts {
    let peer = |name: &str| Peer { name: name.to_owned(), current: true, offline: false, active: 0, lag: 0 };
    Facts {
        target: "nats://127.0.0.1:4222".to_owned(),
        server: Server {
            version: "2.15.1".to_owned(),
            name: "n1".to_owned(),
            cluster: Some("c".to_owned()),
            max_payload: 1 << 20,
            lame_duck: false,
            wants_login: false,
        },
        asked: UrlAsks {
            replicas: 3,
            memory: false,
            shares_writes: true,
            encrypted: false,
            remote: false,
            secret: false,
            headroom: 4096,
        },
        round_trip: Some(Duration::from_micros(300)),
        account: Ok(Account { usage: Tier::default(), tiers: BTreeMap::new(), api: ApiLevel { level: 5 } }),
        streams: vec![StreamFacts {
            kind: Kind::Space,
            name: "KV_shop".to_owned(),
            config: json!({
                "num_replicas": 3, "storage": "file", "discard": "old", "duplicate_window": 120_000_000_000_u64,
                "allow_msg_ttl": true, "subject_delete_marker_ttl": 3_600_000_000_000_u64,
            }),
            cluster: Some(Cluster { name: "c".to_owned(), leader: "n1".to_owned(), replicas: vec![peer("n2"), peer("n3")] }),
            refused: None,
            differences: Vec::new(),
            consumer: None,
            lacks: false,
        }],
        missing: Vec::new(),
        unseen: Vec::new(),
        unlisted: None,
        trials: vec![Trial { subject: "$JS.API.INFO".to_owned(), purpose: "to ask", outcome: Outcome::Permitted }],
        clocks: vec![ClockSample { server: "n1".to_owned(), ahead: 200, uncertainty: 150 }],
        monitored: vec![Varz {
            server_name: "n1".to_owned(),
            version: "2.15.1".to_owned(),
            now: String::new(),
            jetstream: JetStreamz {
                config: Some(JetStreamConfig {
                    max_memory: 100 << 20,
                    max_storage: 100 << 20,
                    sync_interval: 120_000_000_000,
                    sync_always: true,
                }),
                stats: Stats::default(),
                meta: Some(Meta { leader: "n1".to_owned(), cluster_size: 1, replicas: Vec::new() }),
            },
        }],
        unmonitored: Vec::new(),
    }
}
