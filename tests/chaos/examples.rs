//! The library's example programs as workload: one after the other, through wires of their own, for as long as there are faults.
//!
//! Each checks its own result and says so by its exit code (`jobs` ends when everything that it submitted is done). With faults around it
//! may also give up, since an outage was longer than it waits: that says nothing. What says something is a sentence that it has only for a
//! broken promise, and an example that never succeeds.

use anabranch::time::Clock;
use std::{collections::BTreeMap, env, io, path::PathBuf, process::Stdio, time::Duration};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

/// The examples that fit, and what each says when a promise was broken. What else they call wrong an outage can bring about: a place in
/// line, for one, is lost with its lease.
const EXAMPLES: [(&str, &[&str]); 6] = [
    (
        "exclusive_job",
        &["two workers held the lock", "the report is made", "a late write came through", "ann gave back", "the result is "],
    ),
    ("leader", &["two lead at the same time", "the terms do not grow"]),
    ("rate_limited_calls", &[]),
    ("metrics_collection", &["and not "]),
    ("jobs", &[]),
    ("semaphore", &["more printed than there are printers", "a name took 2", "a name took 3"]),
];
/// How long an example may take with faults around.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of all starts.
#[derive(Debug)]
pub(crate) struct Tried {
    /// How often each of them succeeded.
    pub(crate) succeeded: BTreeMap<&'static str, u64>,
    /// An outage was in their way.
    pub(crate) gave_up: u32,
    pub(crate) broken: Vec<String>,
}

fn program(example: &str) -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    let built = own.ancestors().nth(2).map(|built| built.join("examples").join(example));
    let built = built.filter(|program| program.exists());
    built.ok_or_else(|| io::Error::other(format!("the example `{example}` is not built: run ./scripts/chaos")))
}

/// Runs examples until it is told to stop; the one that runs then counts only if it succeeds soon.
pub(crate) async fn run(url: String, over: CancellationToken) -> io::Result<Tried> {
    let clock = Clock::system();
    let succeeded = EXAMPLES.iter().map(|(example, _)| (*example, 0)).collect();
    let mut tried = Tried { succeeded, gave_up: 0, broken: Vec::new() };
    for (example, broken) in EXAMPLES.iter().cycle() {
        if over.is_cancelled() {
            break;
        }
        let mut command = Command::new(program(example)?);
        command.env("ANABRANCH_URL", &url).stdin(Stdio::null()).kill_on_drop(true);
        let ended = tokio::select! {
            biased;
            ended = clock.timeout(PATIENCE, command.output()) => ended,
            () = over.cancelled() => break,
        };
        let Some(output) = ended else {
            tried.gave_up += 1;
            continue;
        };
        let output = output?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            *tried.succeeded.entry(example).or_insert(0) += 1;
        } else if broken.iter().any(|words| said.lines().any(|line| line.starts_with("Error") && line.contains(words)))
            || said.contains("FAILED")
            || said.contains("panicked")
        {
            tried.broken.push(format!("the example `{example}` ended with {}:\n{said}", output.status));
        } else {
            tried.gave_up += 1;
        }
    }
    Ok(tried)
}
