//! What the tests share: spaces of their own, as several processes see them.

use anabranch::{
    Codec,
    cell::{Cell, Cells},
    engine::{Engine, Space},
    time::{Clock, nonce},
};
use std::time::Duration;

/// A name that no other test has.
pub(crate) fn fresh() -> String {
    format!("cells-{:x}", nonce())
}

/// Opens a space with a connection of its own, as another process does.
pub(crate) async fn open(url: &str, name: &str) -> Space {
    let joint = if url.contains('?') { "&" } else { "?" };
    Engine::open(&format!("{url}{joint}timeout=3s")).await.unwrap().space(name).await.unwrap()
}

pub(crate) fn number(space: &Space, label: &str) -> Cell<u64> {
    Cells::new(space, Codec::json()).cell(label).unwrap()
}

pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Some(done) = Clock::system().timeout(Duration::from_secs(180), future).await else { panic!("{what} takes too long") };
    done
}
