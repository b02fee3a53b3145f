//! Whether a feed of the newest messages has brought everything that is there.
//!
//! The server says with each message how many are still to come, and that is no proof: while a message is replaced it counts neither
//! the old one nor the new one, for a moment, and a feed that ends by it lacks a key that was there all the time. What proves it is the newest
//! message of all, asked of the stream's leader *afterwards*: a feed brings messages in their order, so one that has brought that has
//! brought everything. Where others keep writing, the newest is always another. Then the subjects that are there at one moment have to have
//! come, and the newest of the moment before. What can go without a trace may never come, so that moment is another one now and then, and
//! a feed that is silent is not waited for.

use super::{core::Core, errors::refused, read::get};
use crate::{engine::StoreError, time::Instant};
use serde_json::json;
use std::{collections::HashSet, sync::Arc, time::Duration};

/// How long a feed that is not whole may be silent before it is asked what there is: what was to come may be gone.
pub(super) const SILENT: Duration = Duration::from_millis(250);
/// How often in a row it may be.
const SILENCES: u32 = 20;
/// How long one thing is awaited while others come.
const AWAITED: Duration = Duration::from_secs(1);

/// What a feed has brought.
#[derive(Debug)]
pub(super) struct Whole {
    core: Arc<Core>,
    filter: String,
    seen: HashSet<Box<str>>,
    newest: u64,
    awaited: Option<Awaited>,
    silences: u32,
}

/// What has to come.
#[derive(Debug)]
struct Awaited {
    newest: u64,
    subjects: HashSet<String>,
    since: Instant,
}

impl Whole {
    pub(super) fn new(core: &Arc<Core>, filter: String) -> Self {
        Self { core: Arc::clone(core), filter, seen: HashSet::new(), newest: 0, awaited: None, silences: 0 }
    }

    /// Hears of a message that has come, and tells whether it is the first of its subject.
    pub(super) fn saw(&mut self, subject: &str, sequence: u64) -> bool {
        self.newest = self.newest.max(sequence);
        self.silences = 0;
        if let Some(awaited) = &mut self.awaited {
            awaited.subjects.remove(subject);
        }
        !self.seen.contains(subject) && self.seen.insert(subject.into())
    }

    /// Returns the newest revision that has come.
    pub(super) fn up_to(&self) -> u64 {
        self.newest
    }

    /// Tells whether the end is in doubt: the server has said that nothing is to come, or is silent, and more is awaited.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.awaited.is_some()
    }

    /// Hears that the feed is silent, and forgets what is awaited, as it may be gone; false when that was so for too long.
    pub(super) fn ask_anew(&mut self) -> bool {
        self.awaited = None;
        self.silences += 1;
        self.silences <= SILENCES
    }

    /// Tells whether everything has come, once the server has said that nothing is to come, or is silent.
    pub(super) async fn is(&mut self) -> Result<bool, StoreError> {
        let now = self.core.feed.clock.instant();
        self.awaited.take_if(|awaited| now.saturating_duration_since(awaited.since) >= AWAITED);
        if self.awaited.is_none() {
            let newest = newest(&self.core, &self.filter).await?;
            if self.newest >= newest {
                return Ok(true);
            }
            let mut subjects = self.subjects().await?;
            subjects.retain(|subject| !self.seen.contains(subject.as_str()));
            self.awaited = Some(Awaited { newest, subjects, since: now });
        }
        Ok(self.awaited.as_ref().is_none_or(|awaited| self.newest >= awaited.newest && awaited.subjects.is_empty()))
    }

    /// Reads which subjects there are.
    async fn subjects(&self) -> Result<HashSet<String>, StoreError> {
        let (link, verb) = (&self.core.feed, format!("STREAM.INFO.{}", self.core.names.stream()));
        let mut all = HashSet::new();
        // The server gives so many at once, and says how many there are.
        let (mut offset, mut total) = (0, 1);
        while offset < total {
            let request = json!({ "subjects_filter": self.filter, "offset": offset });
            let info = link.api(&verb, &request, &mut link.patience()).await?.map_err(refused)?;
            let Some(page) = info["state"]["subjects"].as_object().filter(|page| !page.is_empty()) else { break };
            (offset, total) = (offset + page.len() as u64, info["total"].as_u64().unwrap_or(0));
            all.extend(page.keys().cloned());
        }
        Ok(all)
    }
}

/// The newest revision of what a filter matches, as the leader knows it; zero when there is nothing.
pub(super) async fn newest(core: &Core, filter: &str) -> Result<u64, StoreError> {
    let (which, mut patience) = (json!({ "last_by_subj": filter }), core.feed.patience());
    let found = get(&core.feed, &core.names.stream(), filter, &which, &mut patience).await?;
    Ok(found.map_or(0, |found| found.sequence))
}
