//! The examples on a real nats-server, the one of `ANABRANCH_NATS_SERVER` or of the path: the same programs, another URL.
//!
//! Each that leaves runs behind is run twice, as on a server of one's own: what is there already must not be in its way.
#![cfg(feature = "nats")]

#[path = "examples/program.rs"]
mod program;

use anabranch::{engine::Engine, testing::server::NatsServer};
use program::{Said, run_with};

/// Runs an example on the server that the tests share.
async fn run(example: &str) -> Said {
    run_with(example, &[], Some(&NatsServer::shared().await.url())).await.succeeded()
}

#[tokio::test]
async fn the_quickstart_moves_onto_jetstream() {
    let said = run("quickstart").await;
    said.tells_of_a_takeover();
    assert!(said.after("opened the engine again: ").starts_with("nats-server "));
    said.after("the last owner's lease of 2s has to run out");
}

#[tokio::test]
async fn a_scrape_is_resumed_on_jetstream() {
    for _ in 0..2 {
        run("scrape").await.tells_of_a_resume();
    }
}

#[tokio::test]
async fn branches_are_taken_on_jetstream() {
    for _ in 0..2 {
        run("branching").await.tells_of_three_candidates();
    }
}

#[tokio::test]
async fn an_approval_waits_on_jetstream() {
    for _ in 0..2 {
        run("approval").await.tells_of_a_decision();
    }
}

#[tokio::test]
async fn messages_become_runs_or_dead_letters_on_jetstream() {
    for _ in 0..2 {
        run("per_message").await.tells_of_orders(12);
    }
}

#[tokio::test]
async fn a_batch_of_jobs_ends_on_jetstream() {
    for _ in 0..2 {
        run("wait_group").await.tells_of_a_batch(20);
    }
}

#[tokio::test]
async fn metrics_are_counted_on_jetstream() {
    let url = NatsServer::shared().await.url();
    let space = Engine::open(&url).await.unwrap().space("metrics-or-not").await.unwrap();
    if !space.store().capabilities().atomic_commit {
        // A batch counts as a whole or not at all, which this server cannot have.
        run_with("metrics_collection", &[], Some(&url)).await.failed().after("nats-server 2.12 or newer stores batches as one");
        return;
    }
    for _ in 0..2 {
        run("metrics_collection").await.tells_of_metrics(40);
    }
}

/// Twice at once: they share the quota, which is 50 a second for some four seconds; each alone would have that much.
#[tokio::test]
async fn processes_keep_one_quota_on_jetstream() {
    let (one, other) = tokio::join!(run("rate_limited_calls"), run("rate_limited_calls"));
    let count = one.tells_of_a_kept_quota(true) + other.tells_of_a_kept_quota(true);
    assert!(count <= 10 + 5 * 50, "{count} calls");
}

#[tokio::test]
async fn an_exclusive_job_runs_once_on_jetstream() {
    for _ in 0..2 {
        run("exclusive_job").await.tells_of_an_exclusive_job();
    }
}

#[tokio::test]
async fn leaders_follow_each_other_on_jetstream() {
    for _ in 0..2 {
        run("leader").await.tells_of_three_leaders();
    }
}

#[tokio::test]
async fn printers_are_shared_on_jetstream() {
    for _ in 0..2 {
        run("semaphore").await.tells_of_printers();
    }
}

#[tokio::test]
async fn each_firing_is_a_run_on_jetstream() {
    for _ in 0..2 {
        run("cron").await.tells_of_firings();
    }
}

#[tokio::test]
async fn delayed_messages_come_once_on_jetstream() {
    for _ in 0..2 {
        run("delayed").await.tells_of_newsletters();
    }
}

#[tokio::test]
async fn fans_join_on_jetstream() {
    for _ in 0..2 {
        run("fanbase").await.tells_of_fans(6);
    }
}

#[tokio::test]
async fn jobs_of_three_kinds_are_done_on_jetstream() {
    for _ in 0..2 {
        run("jobs").await.tells_of_jobs(4);
    }
}

#[tokio::test]
async fn a_job_is_done_once_on_jetstream() {
    for _ in 0..2 {
        run("dedupe").await.tells_of_one_charge();
    }
}

#[tokio::test]
async fn long_jobs_are_kept_alive_on_jetstream() {
    for _ in 0..2 {
        run("long_job").await.tells_of_films();
    }
}

#[tokio::test]
async fn jobs_are_put_back_on_jetstream() {
    for _ in 0..2 {
        run("redrive").await.tells_of_labels();
    }
}
