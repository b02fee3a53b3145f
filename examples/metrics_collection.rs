//! Metrics of searches by user, client, board and search, counted by several workers and watched live.
//!
//! ```text
//! cargo run --example metrics_collection
//! cargo run --example metrics_collection -- 500
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example metrics_collection
//! ```
//!
//! The bucket, the keys and the bytes are those of the Go library nats-jetstream-flow, so a service in Go counts in the same
//! numbers, or shows them. Each search, 40 unless the argument says another number, is counted in one commit: in its user's, its
//! client's and its own metric, each with numbers by board, and in the metric of each of its boards. Every third comes twice, as from
//! a queue whose acknowledgement was lost, and counts once. A watcher prints the boards while they change. The example fails if any
//! total is not what was sent. A server has to be nats-server 2.12 or newer, since one that is older stores no batch as one.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    coordination::{Metrics, MetricsBatch},
    core::coordination::metric::{BaseMetric, Delta, MapDelta, MapMetric},
    engine::{Engine, Space},
    time::unique,
};
use futures_util::{StreamExt as _, stream::select_all};
use std::{collections::BTreeMap, env, error::Error};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// The boards by number, from 1 on.
const BOARDS: [&str; 6] = ["amazon", "ebay", "walmart", "shopify", "alibaba", "wish"];
const WORKERS: usize = 4;

/// What a search is about.
#[derive(Clone)]
struct Search {
    id: u64,
    client: u64,
    user: u64,
    boards: Vec<u64>,
}

impl Search {
    fn new(id: u64) -> Self {
        let boards = (1..).zip(BOARDS).map(|(board, _)| board).filter(|board| !(id + board).is_multiple_of(3)).collect();
        Self { id, client: 1 + id % 3, user: 1 + id % 5, boards }
    }

    /// The labels of the metrics with numbers by board.
    fn labels(&self, scope: &str) -> [String; 3] {
        let Self { id, client, user, .. } = self;
        [format!("{scope}.user.{user}"), format!("{scope}.client.{client}"), format!("{scope}.search.{id}")]
    }
}

fn board(scope: &str, board: u64) -> String {
    format!("{scope}.board.{board}")
}

/// Counts one change of everything that a search is about.
fn batch(space: &Space, scope: &str, search: &Search, delta: Delta) -> MetricsBatch {
    let by_board = search.boards.iter().fold(MapDelta::overall(delta), |change, board| change.board(*board, delta));
    let batch = MetricsBatch::new(space);
    let batch = search.labels(scope).iter().fold(batch, |batch, label| batch.map(label, by_board.clone()));
    search.boards.iter().fold(batch, |batch, number| batch.base(&board(scope, *number), delta))
}

/// Takes a search up and ends it; every seventh fails. Returns whether it had been counted before.
async fn handle(space: &Space, scope: &str, search: &Search) -> Result<bool, Failure> {
    let ledger = format!("{scope}-changes");
    let taken_up = batch(space, scope, search, Delta::taken_up(1));
    let repeated = taken_up.commit_once(&ledger, &format!("{} begins", search.id)).await?.repeated;
    let end = Delta { failed: u64::from(search.id.is_multiple_of(7)), ..Delta::done(1) };
    batch(space, scope, search, end).commit_once(&ledger, &format!("{} ends", search.id)).await?;
    Ok(repeated)
}

/// Prints the boards as they change, until they are what is expected of them.
async fn watch(space: Space, scope: String, wanted: BTreeMap<u64, BaseMetric>) -> Result<usize, Failure> {
    let metrics = Metrics::<BaseMetric>::new(&space);
    let mut boards = Vec::new();
    for number in wanted.keys().copied() {
        boards.push(metrics.watch(&board(&scope, number)).await?.map(move |seen| (number, seen)));
    }
    let (mut boards, mut waiting, mut lines) = (select_all(boards), wanted.clone(), 0);
    while !waiting.is_empty() {
        let (number, seen) = boards.next().await.ok_or("the watch has ended")?;
        let Some(metric) = seen? else { continue };
        let name = BOARDS[usize::try_from(number)? - 1];
        println!("{name:<8} {:>4} processed, {:>2} in flight, {:>2} failed", metric.processed, metric.in_flight, metric.failed);
        lines += 1;
        if wanted[&number] == metric {
            waiting.remove(&number);
        }
    }
    Ok(lines)
}

/// What the metrics have to be after all searches.
fn expect(totals: &mut BaseMetric, search: &Search) {
    totals.processed += 1;
    totals.failed += u64::from(search.id.is_multiple_of(7));
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let count: u64 = env::args().nth(1).map_or(Ok(40), |count| count.parse())?;
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space(Metrics::<BaseMetric>::bucket("metrics_collection")).await?;
    let scope = format!("run-{}", unique(space.clock()));

    let searches: Vec<Search> = (1..=count).map(Search::new).collect();
    let (mut boards, mut maps) = (BTreeMap::<u64, BaseMetric>::new(), BTreeMap::<String, MapMetric>::new());
    for search in &searches {
        for board in &search.boards {
            expect(boards.entry(*board).or_default(), search);
        }
        for label in search.labels(&scope) {
            let metric = maps.entry(label).or_default();
            expect(metric.overall.get_or_insert_default(), search);
            for board in &search.boards {
                expect(metric.boards.entry(*board).or_default(), search);
            }
        }
    }

    let mut watching = JoinSet::new();
    watching.spawn(watch(space.clone(), scope.clone(), boards.clone()));
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (space, scope) = (space.clone(), scope.clone());
        let mine: Vec<Search> = searches.iter().skip(worker).step_by(WORKERS).cloned().collect();
        workers.spawn(async move {
            let mut repeated = 0;
            for search in mine {
                for _ in 0..=u32::from(search.id.is_multiple_of(3)) {
                    repeated += u64::from(handle(&space, &scope, &search).await?);
                }
            }
            Ok::<_, Failure>(repeated)
        });
    }
    let mut repeated = 0;
    while let Some(worker) = workers.join_next().await {
        repeated += worker??;
    }

    // First the totals, so that wrong ones are told of, and not waited for.
    let (base, map) = (Metrics::<BaseMetric>::new(&space), Metrics::<MapMetric>::new(&space));
    for (number, wanted) in &boards {
        let found = base.read(&board(&scope, *number)).await?;
        if found.as_ref() != Some(wanted) {
            return Err(format!("board {number} is {found:?}, and not {wanted:?}").into());
        }
    }
    for (label, wanted) in &maps {
        let found = map.read(label).await?;
        if found.as_ref() != Some(wanted) {
            return Err(format!("{label} is {found:?}, and not {wanted:?}").into());
        }
    }
    let lines = watching.join_next().await.ok_or("nobody watches")???;
    for (label, metric) in maps.iter().filter(|(label, _)| !label.contains(".search.")) {
        let (name, all) = (label.trim_start_matches(&format!("{scope}.")), metric.overall.unwrap_or_default());
        println!("{name}: {} processed, {} failed, on {} boards", all.processed, all.failed, metric.boards.len());
    }
    println!("{lines} changes of boards were seen");
    println!("{count} searches are counted in {} metrics, and {repeated} that came twice were not", boards.len() + maps.len());
    Ok(())
}
