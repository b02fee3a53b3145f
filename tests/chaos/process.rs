//! The workers as processes: started, killed, paused, and asked to come to an end.
//!
//! A worker is this very program with another role. It dies with this one: the system kills it, and without that it ends when its
//! input does.

use crate::{
    cluster::{is_stopped, signal},
    links::Links,
};
use anabranch::{testing::Dice, time::Clock};
use rustix::process::{Pid, Signal};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// How far a worker's clock is off at most, in milliseconds.
const SKEW: i64 = 600_000;
/// How long a worker may take to come to an end.
const ENDS: Duration = Duration::from_secs(45);

#[derive(Debug)]
struct Worker {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
    pid: Pid,
    url: String,
    life: u32,
}

#[derive(Debug)]
pub(crate) struct Workers {
    all: Vec<Option<Worker>>,
    urls: Vec<String>,
    lives: Vec<u32>,
    folder: PathBuf,
    dice: Dice,
    /// How many lives began with a clock that was off.
    pub(crate) skewed: u32,
}

impl Workers {
    pub(crate) fn start_all(count: usize, links: &Links, folder: &Path, seed: u64) -> io::Result<Self> {
        let urls: Vec<String> = (0..count).map(|worker| links.url(worker)).collect();
        let all = (0..count).map(|_| None).collect();
        let mut workers =
            Self { all, urls, lives: vec![0; count], folder: folder.to_owned(), dice: Dice::new(seed), skewed: 0 };
        (0..count).try_for_each(|worker| workers.start(worker))?;
        Ok(workers)
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// Starts another life of a worker, which must not have one.
    pub(crate) fn start(&mut self, worker: usize) -> io::Result<()> {
        let life = self.lives[worker];
        self.lives[worker] += 1;
        // One in four is right.
        let ahead = if self.dice.roll(4) == 0 { 0 } else { self.dice.roll(2 * SKEW.unsigned_abs()).cast_signed() - SKEW };
        self.skewed += u32::from(ahead != 0);
        let file = |end: &str| self.folder.join(format!("worker-{worker}-{life}.{end}"));
        let mut child = Command::new(env::current_exe()?)
            .arg("worker")
            .args(["--url", &self.urls[worker], "--worker", &worker.to_string(), "--number", &life.to_string()])
            .args(["--ahead", &ahead.to_string(), "--seed", &self.dice.number().to_string(), "--history"])
            .arg(file("jsonl"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(file("err"))?)
            .kill_on_drop(true)
            .spawn()?;
        let lost = || io::Error::other("a process that was just started has no output or no id");
        let says = BufReader::new(child.stdout.take().ok_or_else(lost)?).lines();
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).ok_or_else(lost)?;
        self.all[worker] = Some(Worker { child, says, pid, url: self.urls[worker].clone(), life });
        Ok(())
    }

    fn alive(&self, worker: usize) -> io::Result<&Worker> {
        self.all[worker].as_ref().ok_or_else(|| io::Error::other(format!("worker {worker} does not run")))
    }

    /// Kills a worker, and returns which life of it that was.
    pub(crate) async fn kill(&mut self, worker: usize) -> io::Result<u32> {
        let mut killed = self.all[worker].take().ok_or_else(|| io::Error::other("nobody runs who could be killed"))?;
        killed.child.start_kill()?;
        let status = killed.child.wait().await?;
        if status.code().is_some() {
            return Err(io::Error::other(format!("worker {worker} had ended by itself: {status}")));
        }
        Ok(killed.life)
    }

    pub(crate) fn pause(&self, worker: usize) -> io::Result<()> {
        signal(self.alive(worker)?.pid, Signal::STOP)
    }

    pub(crate) fn resume(&self, worker: usize) -> io::Result<()> {
        signal(self.alive(worker)?.pid, Signal::CONT)
    }

    pub(crate) fn is_paused(&self, worker: usize) -> bool {
        self.alive(worker).is_ok_and(|alive| is_stopped(alive.pid))
    }

    /// Fails when a worker has ended that nobody has killed.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        for (number, worker) in self.all.iter_mut().enumerate() {
            let Some(worker) = worker else { continue };
            if let Some(status) = worker.child.try_wait()? {
                let said =
                    fs::read_to_string(self.folder.join(format!("worker-{number}-{}.err", worker.life))).unwrap_or_default();
                return Err(io::Error::other(format!("worker {number} has ended by itself: {status}\n{said}")));
            }
        }
        Ok(())
    }

    /// Asks all workers to begin nothing more, and returns when they have ended what they had begun.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        for worker in self.all.iter_mut().flatten() {
            worker.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?.write_all(b"finish\n").await?;
        }
        for (number, worker) in self.all.iter_mut().enumerate() {
            let Some(worker) = worker else { continue };
            let finished = async {
                while let Some(line) = worker.says.next_line().await? {
                    if line == "finished" {
                        return Ok(());
                    }
                }
                Err(io::Error::other(format!("worker {number} ended instead of finishing")))
            };
            let in_time = Clock::system().timeout(ENDS, finished).await;
            in_time.unwrap_or_else(|| Err(io::Error::other(format!("worker {number} at {} does not finish", worker.url))))?;
        }
        Ok(())
    }

    /// Lets all workers drain and end.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        for worker in self.all.iter_mut().flatten() {
            drop(worker.child.stdin.take());
        }
        for (number, worker) in self.all.iter_mut().enumerate() {
            let Some(worker) = worker else { continue };
            let ended = Clock::system().timeout(ENDS, worker.child.wait()).await;
            let status = ended.unwrap_or_else(|| Err(io::Error::other(format!("worker {number} does not end"))))?;
            if !status.success() {
                return Err(io::Error::other(format!("worker {number} ended with {status}")));
            }
        }
        Ok(())
    }
}
