//! Examines an engine before something depends on it: what it can do, what survives which failure, what does not fit.
//!
//! [`examine`] takes the URL that the application opens, and returns a [`Report`]: each [`Finding`] with why it matters and how to
//! mend it. Nothing is created or changed, unless [`Options::probe`] asks for a round with real writes in a space of its own. It is
//! what the command `anabranch doctor` prints.
//!
//! Observing and judging are apart: `engine` says what is there, the files here decide what it means, by values only. What cannot be
//! seen is said to be not visible, and is never guessed.

#[cfg(feature = "nats")]
mod clock;
#[cfg(feature = "nats")]
mod drift;
#[cfg(feature = "nats")]
mod durability;
mod file;
#[cfg(feature = "nats")]
mod limits;
#[cfg(feature = "nats")]
mod monitor;
#[cfg(feature = "nats")]
mod permissions;
mod probe;
mod report;
#[cfg(all(test, feature = "nats"))]
mod sample;
#[cfg(feature = "nats")]
mod server;

pub use report::{Advice, Finding, Report, Severity, Topic};

use self::report::{Findings, report};
#[cfg(feature = "nats")]
use crate::engine::nats::inspect;
use crate::{
    engine::{Engine, Name, OpenError, StoreError, embedded},
    error::BoxError,
    time::{Clock, nonce},
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// What is examined beside the engine itself.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Spaces, by name; without any name everything that looks like this library's is examined.
    pub spaces: Vec<String>,
    /// Buckets, by name.
    pub buckets: Vec<String>,
    /// Streams of others, each `NAME` or `NAME:CONSUMER`.
    pub streams: Vec<String>,
    /// Sizes of what is to be stored, in bytes.
    pub payloads: Vec<usize>,
    /// Monitoring ports of nats-servers, each `http://HOST:PORT`.
    pub monitors: Vec<String>,
    /// A `nats://` URL with a login of the system account, which tells about all servers.
    pub system: Option<String>,
    /// Whether a scratch space is created, used and removed.
    pub probe: bool,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { spaces, buckets, streams, payloads, probe, .. } = self;
        // URLs may hold secrets.
        let mut all = f.debug_struct("Options");
        all.field("spaces", spaces).field("buckets", buckets).field("streams", streams);
        all.field("payloads", payloads).field("probe", probe).finish_non_exhaustive()
    }
}

/// Examines the engine that a URL names, and says what it found.
///
/// # Errors
///
/// When nothing could be examined. [`OpenError::Url`] and [`OpenError::Option`] for a URL that is none, also for that of the system
/// account; [`OpenError::Store`] when no server could be reached, when it refused the login, and for a name that is not valid.
/// Whatever else is wrong is a finding.
///
/// # Cancel safety
///
/// Nothing is left behind, unless a probe was asked for: what it created then stays, and its name begins with `anabranch-doctor-`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::doctor::{self, Severity};
///
/// let report = doctor::examine("memory:", &doctor::Options::default()).await?;
/// assert_eq!(report.worst(), Severity::Warning);
/// let finding = &report.findings[0];
/// assert_eq!(finding.found, "the engine is in memory");
/// assert!(finding.advice.as_ref().unwrap().mend.contains("file:PATH"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub async fn examine(url: &str, options: &Options) -> Result<Report, OpenError> {
    let clock = Clock::system();
    // Boxed, since the futures are large and every caller's would be.
    match url.split_once(':') {
        Some(("memory", "")) => {
            let mut parts = file::examine_memory();
            if options.probe {
                let engine = Engine::open_with(url, clock.clone()).await?;
                parts.push(Box::pin(probe::round(&engine, &scratch()?, &clock)).await);
            }
            Ok(report(url.to_owned(), parts))
        }
        Some(("file", path)) if !path.is_empty() => Box::pin(of_a_file(Path::new(path), options, &clock)).await,
        #[cfg(feature = "nats")]
        Some(("nats" | "tls", _)) => Box::pin(of_servers(url, options, &clock)).await,
        // Only what comes before the first colon: the rest may hold a secret.
        Some((scheme, _)) => Err(OpenError::Url(format!("{scheme}:"))),
        None => Err(OpenError::Url(url.to_owned())),
    }
}

fn scratch() -> Result<Name, StoreError> {
    Ok(Name::new(format!("{}{:x}", probe::PREFIX, nonce()))?)
}

async fn of_a_file(path: &Path, options: &Options, clock: &Clock) -> Result<Report, OpenError> {
    let looked_at = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let facts = embedded::inspect::inspect(&looked_at);
        let free = facts.directory.as_ref().and_then(|directory| file::free(&directory.path));
        (facts, free)
    });
    let (facts, free) = looked.await.map_err(|stopped| StoreError::Unavailable(stopped.into()))?;
    let mut parts = file::examine(&facts, free);
    if let (true, Some(directory)) = (options.probe, &facts.directory) {
        parts.extend(probe_beside(&directory.path, clock).await?);
    }
    Ok(report(format!("file:{}", path.display()), parts))
}

/// Probes a file of its own in the same directory: a space of a file cannot be removed, and another process may have the file open.
async fn probe_beside(directory: &Path, clock: &Clock) -> Result<[Findings; 2], OpenError> {
    let name = scratch()?;
    let path: PathBuf = directory.join(format!("{name}.redb"));
    let found = match Engine::open_with(&format!("file:{}", path.display()), clock.clone()).await {
        Ok(engine) => probe::round(&engine, &name, clock).await,
        Err(error) => {
            let mut found = Findings::about(Topic::Probe);
            let text = format!("no file can be created: {}", crate::error::chain(&error));
            found.problem("open", text, "the library creates one where it is told to", "see the findings about the directory");
            found
        }
    };
    let what = format!("`{}`", path.display());
    let outcome = match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(BoxError::from(error)),
        _ => Ok(()),
    };
    Ok([found, probe::removed(outcome, &what, &format!("remove {what}"))])
}

#[cfg(feature = "nats")]
async fn of_servers(url: &str, options: &Options, clock: &Clock) -> Result<Report, OpenError> {
    let asked = asked(options)?;
    let mut facts = inspect::inspect(url, &asked, clock).await?;
    monitor::ask_all(&options.monitors, clock, &mut facts).await;
    let mut parts = vec![
        server::examine(&facts),
        durability::examine(&facts),
        limits::examine(&facts, &options.payloads),
        drift::examine(&facts),
        permissions::examine(&facts),
    ];
    if facts.account.is_ok() {
        parts.push(clock::examine(&facts));
    }
    if options.probe && facts.account.is_ok() {
        let name = scratch()?;
        match Engine::open_with(url, clock.clone()).await {
            Ok(engine) => parts.push(probe::round(&engine, &name, clock).await),
            Err(error) => {
                let mut found = Findings::about(Topic::Probe);
                let text = format!("the engine cannot be opened: {}", crate::error::chain(&error));
                found.problem("open", text, "no application can open it either", "see the other findings");
                parts.push(found);
            }
        }
        let removed = inspect::remove_space(url, &name, clock).await.map_err(BoxError::from);
        parts.push(probe::removed(removed, &format!("the scratch space `{name}`"), &format!("`nats stream rm KV_{name}`")));
    }
    Ok(report(facts.target, parts))
}

/// Checks the names that were given.
#[cfg(feature = "nats")]
fn asked(options: &Options) -> Result<inspect::Asked, StoreError> {
    let names = |all: &[String]| all.iter().map(|name| Ok(Name::new(name)?)).collect::<Result<Vec<_>, StoreError>>();
    let stream = |text: &String| {
        let (name, consumer) = text.split_once(':').map_or((text.as_str(), None), |(name, consumer)| (name, Some(consumer)));
        // What is on the wire as a token has to be one.
        let consumer = consumer.map(Name::new).transpose()?.map(|name| name.to_string());
        Ok((Name::new(name)?, consumer))
    };
    Ok(inspect::Asked {
        spaces: names(&options.spaces)?,
        buckets: names(&options.buckets)?,
        streams: options.streams.iter().map(stream).collect::<Result<_, StoreError>>()?,
        system: options.system.clone(),
    })
}
