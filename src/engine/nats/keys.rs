//! Listing keys: one pass over the newest headers, without values.
//!
//! As fresh as the replica that the server lets serve it; the listing is no snapshot and decides nothing.

use super::{
    core::Core,
    feed::{Feed, Start, Step},
};
use crate::engine::{KeyInfo, Prefix, StoreError};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::sync::Arc;

impl Core {
    /// Lists the keys below a prefix.
    pub(super) async fn keys(
        self: &Arc<Self>,
        prefix: &Prefix,
    ) -> Result<BoxStream<'static, Result<KeyInfo, StoreError>>, StoreError> {
        let filter = self.names.below(prefix)?;
        let feed = Feed::open(self, &filter, Start::State, true).await?;
        let core = Arc::clone(self);
        let left = if feed.pending > 0 { Some(feed) } else { finish(feed).await };
        Ok(stream::unfold(left, move |feed| {
            let core = Arc::clone(&core);
            async move {
                let mut feed = feed?;
                loop {
                    let (found, pending) = match feed.next().await {
                        Step::Message(found, pending) => (found, pending),
                        // A listing that is not whole must not pass for one.
                        Step::Ended(reason) => return Some((Err(StoreError::Unavailable(reason.into())), None)),
                    };
                    let key = core.names.key_of(&found.subject).filter(|_| found.gone().is_none());
                    let info = key.map(|key| KeyInfo::new(key, found.revision(), found.label()));
                    match (info, pending) {
                        (Some(info), 0) => return Some((Ok(info), finish(feed).await)),
                        (Some(info), _) => return Some((Ok(info), Some(feed))),
                        (None, 0) => {
                            feed.close().await;
                            return None;
                        }
                        (None, _) => {}
                    }
                }
            }
        })
        .boxed())
    }
}

async fn finish(feed: Feed) -> Option<Feed> {
    feed.close().await;
    None
}
