//! Reading the versions of a key that a bucket keeps, oldest first.
//!
//! The server gives one message a request, so writes can come in between, and push the oldest out. A list counts only when its
//! first message is still there at the end: then everything behind it is there, too. All requests go to the stream's leader.

use super::{core::Core, found::Found, link::Patience};
use crate::engine::{Key, StoreError, Version};
use serde_json::json;

impl Core {
    /// Lists the versions of a key, removals among them.
    pub(super) async fn history(&self, key: &Key) -> Result<Vec<Version>, StoreError> {
        let (subject, mut patience) = (self.names.key(key)?, self.link.patience());
        if self.keeping.history == Some(1) {
            return Ok(self.last(&subject, &mut patience).await?.map(version).into_iter().collect());
        }
        loop {
            let newest = self.rings.newest(&subject);
            if let Some(found) = self.versions(&subject, newest, &mut patience).await? {
                return Ok(found.into_iter().map(version).collect());
            }
            if !patience.pause().await {
                return Err(StoreError::Unavailable("no whole history could be read in time".into()));
            }
        }
    }

    /// Reads the messages of a subject one by one; `None` when some went meanwhile, or when the leader does not have yet what this
    /// store has seen.
    async fn versions(&self, subject: &str, newest: u64, patience: &mut Patience) -> Result<Option<Vec<Found>>, StoreError> {
        let mut found: Vec<Found> = Vec::new();
        loop {
            let from = found.last().map_or(1, |last| last.sequence + 1);
            match self.message(subject, &json!({ "seq": from, "next_by_subj": subject }), patience).await? {
                Some(next) => found.push(next),
                None => break,
            }
        }
        let Some((first, last)) = found.first().zip(found.last()) else {
            // Everything has expired, or was purged, or nothing was ever there; a leader that is behind shows at the end.
            return Ok(self.last(subject, patience).await?.is_none().then(Vec::new));
        };
        self.saw(last);
        let again = self.message(subject, &json!({ "seq": first.sequence, "next_by_subj": subject }), patience).await?;
        let whole = again.is_some_and(|again| again.sequence == first.sequence) && last.sequence >= newest;
        Ok(whole.then_some(found))
    }
}

fn version(found: Found) -> Version {
    let (revision, time, label) = (found.revision(), found.time, found.label());
    let value = found.gone().is_none().then_some(found.payload);
    Version::new(revision, time, value, label)
}
