//! Listing keys: one pass over the newest headers, without values.
//!
//! A listing is no snapshot, but it is at least as new as what this store has read and written. Any replica may serve it, and
//! one may be behind; so the key that this store saw change last is listed along, and until that change is seen nothing is
//! given out. A listing that ends without it is begun anew, perhaps at another replica. It ends when it is known to be whole (`whole`).
//! A key that is written again meanwhile comes again, and is given out once.

use super::{
    core::Core,
    feed::{Feed, Start, Step},
    found::Found,
    link::Patience,
    names::takes,
    whole::{SILENT, Whole},
};
use crate::engine::{KeyInfo, Scope, StoreError};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::{collections::HashMap, sync::Arc};

impl Core {
    /// Lists the keys of a scope.
    pub(super) async fn keys(
        self: &Arc<Self>,
        scope: &Scope,
    ) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        let witness = if self.replicas > 1 { self.rings.witness() } else { None };
        let mut patience = self.link.patience();
        loop {
            let mut listing = Listing::open(self, scope, witness.as_ref()).await?;
            if listing.is_fresh().await? || self.is_gone(witness.as_ref(), &mut patience).await? {
                return Ok(stream::unfold(listing, async |mut l| l.next().await.map(|info| (info, l))).boxed());
            }
            if !patience.pause().await {
                return Err(StoreError::Unavailable("the replicas are behind".into()));
            }
        }
    }

    /// Tells whether no replica can show a change, because nothing is left of it.
    async fn is_gone(&self, witness: Option<&(String, u64)>, patience: &mut Patience) -> Result<bool, StoreError> {
        let Some((subject, revision)) = witness else { return Ok(true) };
        Ok(self.last(subject, patience).await?.is_none_or(|found| found.sequence < *revision))
    }
}

/// A listing under way.
struct Listing {
    core: Arc<Core>,
    /// `None` when everything has come.
    feed: Option<Feed>,
    /// What was there when the listing came to be fresh.
    early: Vec<KeyInfo>,
    /// The revision that has to be seen.
    awaited: u64,
    whole: Whole,
    /// What is listed; the key that is listed along may be another one.
    scope: Scope,
}

impl Listing {
    async fn open(core: &Arc<Core>, scope: &Scope, witness: Option<&(String, u64)>) -> Result<Self, StoreError> {
        let filter = core.names.keys(scope)?;
        // The server takes no filter that has what another one has, and what is no key of ours may be the newest change.
        let along = witness.map(|(subject, _)| &**subject).filter(|subject| !takes(&filter, subject));
        let filters: Vec<_> = [Some(&*filter), along].into_iter().flatten().collect();
        let feed = Feed::open(core, &filters, Start::State, true).await?;
        let left = feed.pending;
        let awaited = witness.map_or(0, |(_, revision)| *revision);
        let mut listing = Self {
            core: Arc::clone(core),
            feed: Some(feed),
            early: Vec::new(),
            awaited,
            whole: Whole::new(core, filter),
            scope: scope.clone(),
        };
        listing.close_at_end(left).await?;
        Ok(listing)
    }

    /// Reads until the awaited revision has come; false when it does not come. Changes come in the order of their revisions.
    async fn is_fresh(&mut self) -> Result<bool, StoreError> {
        let (mut newest, mut early) = (0, HashMap::new());
        while newest < self.awaited {
            let Some((found, _)) = self.read().await? else { return Ok(false) };
            newest = found.sequence;
            // Up to here it is the last change of a key that counts: this store may have made it.
            let info = self.info(&found);
            early.insert(found.subject, info);
        }
        self.early = early.into_values().flatten().collect();
        Ok(true)
    }

    async fn next(&mut self) -> Option<Result<KeyInfo, StoreError>> {
        if let Some(info) = self.early.pop() {
            return Some(Ok(info));
        }
        loop {
            let (found, is_first) = match self.read().await {
                Ok(read) => read?,
                Err(error) => return Some(Err(error)),
            };
            if let Some(info) = self.info(&found).filter(|_| is_first) {
                return Some(Ok(info));
            }
        }
    }

    /// Reads the next header, and whether it is the first of its key, and ends the feed behind the last one.
    async fn read(&mut self) -> Result<Option<(Found, bool)>, StoreError> {
        loop {
            let Some(feed) = &mut self.feed else { return Ok(None) };
            match self.core.feed.clock.timeout(SILENT, feed.next()).await {
                Some(Step::Message(found, pending)) => {
                    let is_first = self.whole.saw(&found.subject, found.sequence);
                    self.close_at_end(pending).await?;
                    return Ok(Some((found, is_first)));
                }
                // A listing that is not whole must not pass for one.
                Some(Step::Ended(reason)) => return self.fails(reason),
                None if self.whole.ask_anew() => self.close_at_end(0).await?,
                None => return self.fails("the server does not show everything that it has"),
            }
        }
    }

    fn fails<T>(&mut self, reason: &'static str) -> Result<T, StoreError> {
        self.feed = None;
        Err(StoreError::Unavailable(reason.into()))
    }

    /// Ends the feed when the server says that nothing is left to come, and everything has come.
    async fn close_at_end(&mut self, left: u64) -> Result<(), StoreError> {
        if left > 0 && !self.whole.is_in_doubt() {
            return Ok(());
        }
        let is_whole = self.whole.is().await.inspect_err(|_| self.feed = None)?;
        if is_whole && let Some(feed) = self.feed.take() {
            feed.close().await;
        }
        Ok(())
    }

    fn info(&self, found: &Found) -> Option<KeyInfo> {
        let key = self.core.names.key_of(&found.subject).filter(|key| self.scope.has(key.as_str()))?;
        found.gone().is_none().then(|| KeyInfo::new(key, found.revision(), found.label()))
    }
}
