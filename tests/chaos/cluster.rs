//! Three real nodes on disks of their own, with wires between them, and what can be done to one of them.

use crate::{
    disk::{self, Disk},
    links::Links,
    monitor,
    options::Sync,
};
use anabranch::{
    testing::{
        server::{NatsCluster, NatsServer, ServerOptions},
        wire::Wire,
    },
    time::Clock,
};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::{fmt, fs, io, path::Path, sync::Arc, time::Duration};

pub(crate) const NODES: usize = 3;
/// The space of the workload, and the stream that holds it.
pub(crate) const SPACE: &str = "chaos";
const STREAM: &str = "KV_chaos";
/// How long nodes may take until all of them are well again.
const HEALS: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: NatsCluster,
    /// None where nothing can be mounted.
    disks: Vec<Disk>,
    why_no_disks: Option<String>,
    links: Arc<Links>,
    clock: Clock,
}

/// A node that is not well, and why.
#[derive(Debug)]
pub(crate) struct Unwell {
    node: usize,
    why: String,
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl From<Unwell> for io::Error {
    fn from(unwell: Unwell) -> Self {
        Self::new(io::ErrorKind::TimedOut, unwell.why)
    }
}

impl Cluster {
    /// Starts three nodes whose disks are files in `folder`, with wires for so many clients.
    pub(crate) async fn start(sync: Sync, clients: usize, folder: &Path) -> io::Result<Self> {
        let mut routes = Vec::new();
        let options = ServerOptions::default().monitored();
        let options = if sync == Sync::Always { options.sync_always() } else { options };
        let nodes = options
            .prepare_cluster(async |from, to, url| {
                let wire = Wire::to(&url).await?;
                let url = wire.url();
                routes.push((from, to, wire));
                Ok(url)
            })
            .await?;
        let urls: Vec<String> = nodes.nodes().iter().map(NatsServer::url).collect();
        let links = Arc::new(Links::lay(clients, &urls, routes).await?);
        let mut cluster = Self { nodes, disks: Vec::new(), why_no_disks: None, links, clock: Clock::system() };
        for node in cluster.nodes.nodes() {
            match Disk::mount(folder.join(format!("{}.disk", node.name())), node.store()) {
                Ok(disk) => cluster.disks.push(disk),
                Err(error) => {
                    cluster.disks.clear();
                    cluster.why_no_disks = Some(error.to_string());
                    break;
                }
            }
        }
        for node in cluster.nodes.nodes_mut() {
            node.launch()?;
        }
        cluster.heals().await?;
        Ok(cluster)
    }

    /// Says why there are no disks that could be full or lose power.
    pub(crate) fn why_no_disks(&self) -> Option<&str> {
        self.why_no_disks.as_deref()
    }

    pub(crate) fn links(&self) -> Arc<Links> {
        Arc::clone(&self.links)
    }

    /// The URL of all nodes, past all wires.
    pub(crate) fn url(&self) -> String {
        self.nodes.url()
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        self.nodes.nodes()[node].name()
    }

    fn address(&self, node: usize) -> String {
        let url = self.nodes.nodes()[node].monitor_url().expect("all nodes are monitored");
        url.trim_start_matches("http://").to_owned()
    }

    fn pid(&self, node: usize) -> io::Result<Pid> {
        let id = self.nodes.nodes()[node].process().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        id.ok_or_else(|| io::Error::other(format!("{} does not run", self.name(node))))
    }

    /// Who leads the workload's stream, and who leads the cluster, as soon as a node knows both.
    pub(crate) async fn led(&self) -> io::Result<(usize, usize)> {
        let find = |name: Option<String>| (0..NODES).find(|node| Some(self.name(*node)) == name.as_deref());
        let until = self.clock.instant() + HEALS;
        while self.clock.instant() < until {
            for node in 0..NODES {
                let Ok(leaders) = monitor::leaders(&self.address(node), STREAM).await else { continue };
                if let (Some(stream), Some(meta)) = (find(leaders.stream), find(leaders.meta)) {
                    return Ok((stream, meta));
                }
            }
            self.clock.sleep(LOOK).await;
        }
        Err(io::Error::other(format!("nobody leads the stream and the cluster after {HEALS:?}")))
    }

    /// Waits until all nodes are well: whatever was done to them is over, and all replicas are as new as their leaders'.
    pub(crate) async fn heals(&self) -> Result<(), Unwell> {
        let until = self.clock.instant() + HEALS;
        let mut node = 0;
        while node < NODES {
            match monitor::health(&self.address(node)).await {
                Ok(()) => node += 1,
                Err(why) if self.clock.instant() > until => {
                    return Err(Unwell { node, why: format!("{} is not well after {HEALS:?}: {why}", self.name(node)) });
                }
                // All of them have to be well at about the same time.
                Err(_) => {
                    node = 0;
                    self.clock.sleep(LOOK).await;
                }
            }
        }
        Ok(())
    }

    /// Waits until all nodes are well, and starts one again that does not catch up by itself, once, as whoever runs it would: servers are
    /// known to ask for the same catch-up for ever (nats-server issue 6964, pull request 8555). Says which.
    pub(crate) async fn mend(&mut self) -> io::Result<String> {
        let Err(unwell) = self.heals().await else { return Ok(String::new()) };
        self.kill(unwell.node);
        self.launch(unwell.node)?;
        self.heals().await?;
        Ok(format!("; {}, and is since it was started again", unwell.why))
    }

    /// Tells whether a node answers.
    pub(crate) async fn answers(&self, node: usize) -> bool {
        monitor::leaders(&self.address(node), STREAM).await.is_ok()
    }

    pub(crate) fn kill(&mut self, node: usize) {
        self.nodes.nodes_mut()[node].kill();
    }

    /// Asks a node to end, and waits until it has.
    pub(crate) fn stop(&mut self, node: usize) -> io::Result<()> {
        self.nodes.nodes_mut()[node].stop()
    }

    pub(crate) fn launch(&mut self, node: usize) -> io::Result<()> {
        self.nodes.nodes_mut()[node].launch()
    }

    pub(crate) fn pause(&self, node: usize) -> io::Result<()> {
        self.nodes.nodes()[node].pause()
    }

    pub(crate) fn resume(&self, node: usize) -> io::Result<()> {
        self.nodes.nodes()[node].resume()
    }

    /// Tells whether a node's process is stopped, as the system sees it.
    pub(crate) fn is_paused(&self, node: usize) -> bool {
        let Ok(pid) = self.pid(node) else { return false };
        is_stopped(pid)
    }

    /// Takes everything from a node's disk; it must not run. Returns how many things there were.
    pub(crate) fn wipe(&self, node: usize) -> io::Result<u64> {
        disk::wipe(&self.nodes.nodes()[node].store())
    }

    /// Leaves no room for a node to write in.
    pub(crate) fn fill(&self, node: usize) -> io::Result<()> {
        match self.disks.get(node) {
            Some(disk) => disk.fill(),
            // Without a disk: no file of the process may grow beyond this.
            None => self.limit_files(node, Some(1 << 16)),
        }
    }

    pub(crate) fn make_room(&self, node: usize) -> io::Result<()> {
        match self.disks.get(node) {
            Some(disk) => disk.make_room(),
            None => self.limit_files(node, None),
        }
    }

    fn limit_files(&self, node: usize, most: Option<u64>) -> io::Result<()> {
        let limit = Rlimit { current: most, maximum: None };
        prlimit(Some(self.pid(node)?), Resource::Fsize, limit)?;
        Ok(())
    }

    /// Lets these nodes lose their power at one moment: whatever they had not brought to their disks is gone.
    pub(crate) fn lose_power(&mut self, nodes: &[usize]) -> io::Result<()> {
        // Nobody says anything any more that was not on a disk by then.
        for node in nodes {
            self.pause(*node)?;
        }
        for node in nodes {
            self.disks[*node].power_off()?;
        }
        for node in nodes {
            self.kill(*node);
            self.disks[*node].power_on()?;
        }
        Ok(())
    }

    /// What a node has logged.
    pub(crate) fn log(&self, node: usize) -> String {
        self.nodes.nodes()[node].log().unwrap_or_default()
    }

    /// Copies all logs to a folder.
    pub(crate) fn keep_logs(&self, folder: &Path) -> io::Result<()> {
        for node in 0..NODES {
            fs::write(folder.join(format!("{}.log", self.name(node))), self.log(node))?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Before their disks are taken away.
        for node in self.nodes.nodes_mut() {
            node.kill();
        }
        self.disks.clear();
    }
}

/// Tells whether a process is stopped, as the system sees it.
pub(crate) fn is_stopped(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: Pid, signal: Signal) -> io::Result<()> {
    Ok(kill_process(pid, signal)?)
}
