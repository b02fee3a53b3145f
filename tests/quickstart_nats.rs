//! The examples on a real nats-server, the one of `ANABRANCH_NATS_SERVER` or of the path: the same programs, another URL.
#![cfg(feature = "nats")]

#[path = "quickstart/program.rs"]
mod program;

use anabranch::testing::server::NatsServer;
use program::run;

#[tokio::test]
async fn the_quickstart_moves_onto_jetstream() {
    let said = run("quickstart", Some(&NatsServer::shared().await.url())).await.succeeded();
    said.tells_of_a_takeover();
    assert!(said.after("opened the engine again: ").starts_with("nats-server "));
    said.after("the last owner's lease of 2s has to run out");
}

#[tokio::test]
async fn messages_become_runs_or_dead_letters_on_jetstream() {
    run("message_driven", Some(&NatsServer::shared().await.url())).await.succeeded().tells_of_dead_letters();
}
