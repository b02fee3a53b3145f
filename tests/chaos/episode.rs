//! One cluster from its start to its end: workers and examples at work, two lines of faults, then peace, an audit and a verdict.

use crate::{
    audit::audit,
    cluster::{Cluster, NODES},
    examples::{self, Tried},
    faults::{Deck, Fault, Kind},
    history,
    nemesis::{strike_nodes, strike_workers},
    options::Sync,
    process::Workers,
    report::{Counts, say, tail},
    verdict::{self, Life, Window},
    worker::WORKERS,
    workload::Failure,
};
use anabranch::time::{Clock, Instant};
use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};
use tokio_util::sync::CancellationToken;

const TICK: Duration = Duration::from_secs(10);
/// How long workers do what they do before the first fault.
const PEACE: Duration = Duration::from_secs(4);

/// What came of an episode.
#[derive(Debug, Default)]
pub(crate) struct Came {
    /// How often each fault had an effect; zero for those that were to happen and did not.
    pub(crate) faults: BTreeMap<String, u64>,
    /// How often each kind of work was done for certain.
    pub(crate) works: BTreeMap<String, u64>,
    pub(crate) violations: Vec<String>,
}

/// Lets faults happen for so long, and judges what came of it.
pub(crate) async fn run(sync: Sync, decks: &mut [Deck; 2], seed: u64, time: Duration, folder: &Path) -> Result<Came, Failure> {
    let workers = usize::try_from(WORKERS)?;
    let mut cluster = Cluster::start(sync, workers + 1, folder).await?;
    if let Some(why) = cluster.why_no_disks() {
        say(&format!("nodes have no disks of their own ({why}): disk-full limits files instead, power-loss is left out"));
    }
    let outcome = faulty(&mut cluster, sync, decks, seed, time, folder).await;
    let bad = outcome.as_ref().map_or(true, |came| !came.violations.is_empty());
    if bad {
        cluster.keep_logs(folder)?;
        for node in 0..NODES {
            println!("--- the end of the log of {}\n{}", cluster.name(node), tail(&cluster.log(node), 15));
        }
    }
    outcome
}

async fn faulty(
    cluster: &mut Cluster,
    sync: Sync,
    [first, second]: &mut [Deck; 2],
    seed: u64,
    time: Duration,
    folder: &Path,
) -> Result<Came, Failure> {
    let (clock, links, url) = (Clock::system(), cluster.links(), cluster.url());
    let mut workers = Workers::start_all(usize::try_from(WORKERS)?, &links, folder, seed)?;
    let power = sync == Sync::Always && cluster.why_no_disks().is_none();
    let possible = |kind: Kind| kind != Kind::PowerLoss || power;
    clock.sleep(PEACE).await;

    let until = clock.instant() + time.saturating_sub(PEACE);
    let over = CancellationToken::new();
    let mut faults = BTreeMap::new();
    let nodes = async {
        let mut met = Vec::new();
        while let Some(fault) = next(first, possible, until).await {
            let from = begins(fault);
            met.push(ends(fault, from, strike_nodes(cluster, fault).await)?);
        }
        io::Result::Ok(met)
    };
    let between = async {
        let mut met = Vec::new();
        while let Some(fault) = next(second, possible, until).await {
            workers.look()?;
            let from = begins(fault);
            met.push(ends(fault, from, strike_workers(&links, &mut workers, fault).await)?);
        }
        io::Result::Ok(met)
    };
    let faults_of_both = async {
        let both = tokio::try_join!(nodes, between);
        over.cancel();
        both
    };
    let ((met, met_too), tried, ()) =
        tokio::try_join!(faults_of_both, examples::run(links.url(links.clients() - 1), over.clone()), ticks(folder, &over))?;
    let windows = [met, met_too].concat();
    for window in &windows {
        *faults.entry(window.kind.name()).or_insert(0) += 1;
    }

    say("no more faults; what was begun comes to its end");
    workers.look()?;
    say(&format!("all nodes are well{}", cluster.mend().await?));
    workers.finish().await?;
    audit(&format!("{url}&timeout=5s"), &folder.join("audit.jsonl"), &lines(folder)?).await?;
    workers.end().await?;
    faults.insert("clock-skew".to_owned(), u64::from(workers.skewed));
    judge(folder, &windows, faults, tried)
}

/// Takes the next fault when it is its time, or none when there is no time for another.
async fn next(deck: &mut Deck, possible: impl Fn(Kind) -> bool, until: Instant) -> Option<Fault> {
    let clock = Clock::system();
    if clock.instant() >= until {
        return None;
    }
    let fault = deck.next(possible)?;
    clock.sleep(fault.after).await;
    (clock.instant() < until).then_some(fault)
}

fn begins(Fault { number, kind, lasts, .. }: Fault) -> u64 {
    let line = if kind.is_for_nodes() { "nodes" } else { "workers" };
    say(&format!("  fault {number} to {line}: {} for {lasts:.1?}", kind.name()));
    history::now() / 1000
}

fn ends(fault: Fault, from: u64, effect: io::Result<String>) -> io::Result<Window> {
    let name = fault.kind.name();
    let effect = effect.map_err(|error| io::Error::other(format!("fault {}, {name}: {error}", fault.number)))?;
    say(&format!("  {name} is over: {effect}"));
    Ok(Window { kind: fault.kind, from, to: history::now() / 1000 })
}

/// Says now and then how far everything is.
async fn ticks(folder: &Path, over: &CancellationToken) -> io::Result<()> {
    let (clock, mut counts) = (Clock::system(), Counts::default());
    while clock.timeout(TICK, over.cancelled()).await.is_none() {
        let before = counts.answers;
        counts.look(folder)?;
        let Counts { answers, open, executions, .. } = counts;
        say(&format!("{answers} answers (+{}), {open} of them unknown; {executions} executions", answers - before));
    }
    Ok(())
}

fn lives(folder: &Path) -> io::Result<Vec<Life>> {
    let mut lives = Vec::new();
    for entry in fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()? {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "jsonl") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().replace("worker-", "w");
            lives.push(Life { name, lines: history::read(&path)? });
        }
    }
    lives.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(lives)
}

fn lines(folder: &Path) -> io::Result<Vec<Vec<history::Line>>> {
    Ok(lives(folder)?.into_iter().map(|life| life.lines).collect())
}

fn judge(folder: &Path, windows: &[Window], faults: BTreeMap<String, u64>, tried: Tried) -> Result<Came, Failure> {
    let verdict = verdict::judge(&lives(folder)?, windows);
    let mut came = Came { faults, works: verdict.works, violations: verdict.violations };
    say(&format!("examples: {} succeeded, {} gave up in an outage", tried.succeeded.values().sum::<u64>(), tried.gave_up));
    came.works.extend(tried.succeeded.into_iter().map(|(example, count)| (format!("example {example}"), count)));
    if let Some(story) = verdict.stale.first() {
        let count = verdict.stale.len();
        say(&format!("{count} objects had a read that was stale while a leader was cut off, as may be; one of them:\n{story}"));
    }
    came.violations.extend(tried.broken);
    Ok(came)
}
