//! The conformance suite on a real nats-server, the one of `ANABRANCH_NATS_SERVER` or of the path.
#![cfg(feature = "nats")]

use anabranch::{
    engine::Engine,
    testing::server::{NatsCluster, NatsServer},
};

anabranch::engine_conformance!(single, Engine::open(&NatsServer::shared().await.url()).await.unwrap());

anabranch::engine_conformance!(shared, {
    let url = NatsServer::shared().await.url();
    Engine::open(&format!("{url}?writes=shared")).await.unwrap()
});

anabranch::engine_conformance!(
    #[ignore = "slow: every case again, on three replicas"]
    cluster,
    Engine::open(&NatsCluster::shared().await.url()).await.unwrap()
);
