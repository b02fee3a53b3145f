//! The examples, run as a newcomer runs them: as programs, without a server.

#[path = "examples/program.rs"]
mod program;

use program::{run, run_with, stop_after, stop_at};

#[tokio::test]
async fn the_quickstart_survives_the_death_of_its_process() {
    let said = run("quickstart", None).await.succeeded();
    said.tells_of_a_takeover();
    assert_eq!(said.after("opened the engine again: "), "embedded file");
    said.after("one process has it at a time, so the run's last owner is dead");
}

#[tokio::test]
async fn a_url_that_names_no_engine_ends_an_example() {
    run("quickstart", Some("carrier-pigeon:")).await.failed().after("`carrier-pigeon:` names no engine");
    for example in [
        "scrape",
        "branching",
        "approval",
        "per_message",
        "wait_group",
        "metrics_collection",
        "rate_limited_calls",
        "exclusive_job",
        "leader",
        "semaphore",
        "cron",
        "delayed",
        "fanbase",
        "jobs",
        "dedupe",
        "long_job",
        "redrive",
    ] {
        run(example, Some("carrier-pigeon:")).await.failed().after("carrier-pigeon:");
    }
}

#[tokio::test]
async fn a_scrape_goes_on_where_it_failed() {
    run("scrape", None).await.succeeded().tells_of_a_resume();
}

#[tokio::test]
async fn a_branch_takes_one_arm_or_none() {
    run("branching", None).await.succeeded().tells_of_three_candidates();
}

#[tokio::test]
async fn an_approval_waits_for_its_signal() {
    run("approval", None).await.succeeded().tells_of_a_decision();
}

#[tokio::test]
async fn each_message_becomes_a_run_or_a_dead_letter() {
    run("per_message", None).await.succeeded().tells_of_orders(12);
    run_with("per_message", &["30"], None).await.succeeded().tells_of_orders(30);
}

#[tokio::test]
async fn a_number_of_orders_that_is_none_ends_the_example() {
    run_with("per_message", &["many"], None).await.failed().after("InvalidDigit");
}

#[tokio::test]
async fn a_batch_of_jobs_ends_once_and_is_seen_to() {
    run("wait_group", None).await.succeeded().tells_of_a_batch(20);
    run_with("wait_group", &["7"], None).await.succeeded().tells_of_a_batch(7);
}

#[tokio::test]
async fn metrics_are_counted_once_and_watched() {
    run("metrics_collection", None).await.succeeded().tells_of_metrics(40);
}

/// It was taken for a URL, by this one and by no other example.
#[tokio::test]
async fn a_url_that_is_empty_is_none() {
    run("rate_limited_calls", Some("")).await.succeeded().after("on embedded memory");
}

#[tokio::test]
async fn callers_keep_one_quota() {
    run("rate_limited_calls", None).await.succeeded().tells_of_a_kept_quota(false);
}

#[tokio::test]
async fn one_of_two_workers_runs_a_job_and_who_loses_its_lock_stops() {
    run("exclusive_job", None).await.succeeded().tells_of_an_exclusive_job();
}

#[tokio::test]
async fn candidates_lead_one_after_the_other() {
    run("leader", None).await.succeeded().tells_of_three_leaders();
}

#[tokio::test]
async fn never_more_workers_print_than_there_are_printers() {
    run("semaphore", None).await.succeeded().tells_of_printers();
}

#[tokio::test]
async fn each_firing_is_a_run_though_schedulers_are_killed() {
    run("cron", None).await.succeeded().tells_of_firings();
}

#[tokio::test]
async fn delayed_messages_come_once_in_time() {
    run("delayed", None).await.succeeded().tells_of_newsletters();
}

#[tokio::test]
async fn every_fan_gets_everything_once_and_what_cannot_be_routed_is_kept() {
    run("fanbase", None).await.succeeded().tells_of_fans(6);
    run_with("fanbase", &["40"], None).await.succeeded().tells_of_fans(40);
}

#[tokio::test]
async fn jobs_of_three_kinds_are_done_and_a_failure_is_tried_again() {
    run("jobs", None).await.succeeded().tells_of_jobs(4);
    run_with("jobs", &["7"], None).await.succeeded().tells_of_jobs(7);
}

/// D16: what is stopped finishes what runs, and hands the rest back, which the next start does.
#[cfg(unix)]
#[tokio::test]
async fn what_a_signal_left_in_the_queue_is_done_by_the_next_start() {
    let scratch = tempfile::tempdir().unwrap();
    let url = format!("file:{}", scratch.path().join("jobs.db").display());
    let stopped = stop_at("jobs", &["200"], &url, "is 64 pixels wide").await.succeeded();
    let before: usize = stopped.after("stopped after ").split(' ').next().unwrap().parse().unwrap();
    assert_eq!(stopped.done_jobs(), before, "what ran was finished");
    assert!(before < 600, "the signal came too late for this test");
    // Without jobs of its own it does what is there, until it is stopped when the last one is done.
    let last = format!("{}", 600 - before);
    let rest = stop_after("jobs", &["0"], &url, 600 - before).await.succeeded();
    assert_eq!(rest.after("stopped after ").split(' ').next(), Some(&*last), "nothing is lost, and nothing done twice");
}

#[tokio::test]
async fn a_job_that_is_submitted_many_times_is_done_once() {
    run("dedupe", None).await.succeeded().tells_of_one_charge();
}

#[tokio::test]
async fn long_jobs_run_once_time_out_or_are_cancelled() {
    run("long_job", None).await.succeeded().tells_of_films();
}

#[tokio::test]
async fn jobs_that_were_given_up_are_put_back() {
    run("redrive", None).await.succeeded().tells_of_labels();
}
