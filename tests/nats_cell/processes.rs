//! Sixty-four real processes on one key.

use crate::kit::{fresh, in_time, number, open};
use anabranch::testing::server::NatsServer;
use std::{env, process::Stdio};
use tokio::process::Command;

/// Set in a child, to the server's URL and the name of the space.
const CHILD: &str = "ANABRANCH_CELL_CHILD";
const PROCESSES: u64 = 64;
const EACH: u64 = 5;

/// What a child does; by itself it is no test, and does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn child() {
    let Ok(place) = env::var(CHILD) else { return };
    let (url, name) = place.split_once(' ').unwrap();
    let cell = number(&open(url, name).await, "n");
    for _ in 0..EACH {
        cell.update(|n| *n += 1).await.unwrap();
    }
}

/// G2: nobody starves after some number of attempts.
#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_real_processes_on_one_key_all_succeed() {
    let (url, name) = (NatsServer::shared().await.url(), fresh());
    let space = open(&url, &name).await;
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "processes::child"])
                .env(CHILD, format!("{url} {name}"))
                .stdout(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(in_time("a process", child.wait()).await.unwrap().success());
    }
    assert_eq!(number(&space, "n").read().await.unwrap().unwrap().value, PROCESSES * EACH);
}
