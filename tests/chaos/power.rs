//! What a loss of power costs: all nodes lose at one moment whatever they had not brought to their disks, in the middle of writes.
//!
//! It counts what was acknowledged and what is there afterwards. With `sync_interval: always` nothing may be missing; with the default it
//! tells how much is.

use crate::{
    cluster::{Cluster, NODES},
    options::Sync,
    report::say,
    workload::Failure,
};
use anabranch::{
    Codec,
    cell::{Cell, CellError, Cells},
    engine::Engine,
    time::Clock,
};
use std::{io, path::Path, process::Command, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many write, each to a key of its own.
const WRITERS: usize = 8;
const WRITES: Duration = Duration::from_secs(5);
/// How long it may take until what was written can be read again.
const READS: Duration = Duration::from_secs(45);

/// What was acknowledged before the power failed, and what is there since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Loss {
    pub(crate) acknowledged: u64,
    /// Nothing when the servers did not come back to one state, which is then not theirs to read.
    pub(crate) missing: Option<u64>,
}

/// Cuts the power of so many nodes; `None` where there are no disks that could lose it.
pub(crate) async fn measure(sync: Sync, nodes: usize, folder: &Path) -> Result<Option<Loss>, Failure> {
    let mut cluster = Cluster::start(sync, 0, folder).await?;
    if let Some(why) = cluster.why_no_disks() {
        say(&format!("a loss of power is not tried: {why}"));
        return Ok(None);
    }
    let cells = cells(&cluster).await?;
    for cell in &cells {
        cell.update(|n| *n += 1).await?;
    }
    // As if the servers ran for longer: that there is a stream, and its first messages, is on the disks.
    Command::new("sync").status()?;

    let stop = CancellationToken::new();
    let mut writers = JoinSet::new();
    for (n, cell) in cells.iter().enumerate() {
        let (cell, stop) = (cell.clone(), stop.clone());
        writers.spawn(async move {
            let mut acknowledged = 1;
            while !stop.is_cancelled() {
                // Whatever is not known does not count as acknowledged.
                if let Ok(n) = cell
                    .update(|n| {
                        *n += 1;
                        *n
                    })
                    .await
                {
                    acknowledged = n;
                }
            }
            (n, acknowledged)
        });
    }
    let clock = Clock::system();
    clock.sleep(WRITES).await;
    let without: Vec<usize> = (0..nodes.min(NODES)).collect();
    cluster.lose_power(&without)?;
    stop.cancel();
    let acknowledged = writers.join_all().await;
    without.iter().try_for_each(|node| cluster.launch(*node))?;

    let sum = acknowledged.iter().map(|(_, acknowledged)| acknowledged).sum();
    match cluster.heals().await {
        Ok(()) => {}
        // What they were told to keep in memory for two minutes may be what they would need to agree again.
        Err(error) if sync == Sync::Default => {
            say(&format!("after that loss of power the servers did not recover: {error}"));
            return Ok(Some(Loss { acknowledged: sum, missing: None }));
        }
        Err(error) => return Err(io::Error::from(error).into()),
    }
    // By somebody who has seen nothing before: a process waits for what it knows to be there, and here that may be gone.
    let cells = self::cells(&cluster).await?;
    let until = clock.instant() + READS;
    let found = async |cell: &Cell<u64>| loop {
        match cell.read().await {
            Ok(stored) => return Ok(stored.map_or(0, |stored| stored.value)),
            Err(CellError::Unavailable(_)) if clock.instant() < until => {}
            Err(error) => return Err(error),
        }
    };
    let mut missing = 0;
    for (n, acknowledged) in acknowledged {
        missing += acknowledged.saturating_sub(found(&cells[n]).await?);
    }
    Ok(Some(Loss { acknowledged: sum, missing: Some(missing) }))
}

/// The cells of the writers, as a process of its own sees them.
async fn cells(cluster: &Cluster) -> Result<Vec<Cell<u64>>, Failure> {
    let space = Engine::open(&format!("{}&timeout=5s", cluster.url())).await?.space("power").await?;
    let cells = Cells::<u64>::new(&space, Codec::json()).deadline(Duration::from_secs(5));
    Ok((0..WRITERS).map(|n| cells.cell(&format!("k{n}"))).collect::<Result<_, _>>()?)
}
