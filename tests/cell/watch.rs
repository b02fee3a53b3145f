//! Watching cells: what is there, that this is all, and everything that happens.

use crate::kit::{elsewhere, faulty, number, numbers, space};
use anabranch::cell::{Cells, Event};
use anabranch::{Codec, engine::Key};
use futures_util::StreamExt as _;
use std::time::Duration;

/// G6: deletes and expiry are told, the end of what was there is told, and a bad value ends nothing.
#[tokio::test(start_paused = true)]
async fn a_watcher_sees_what_is_there_and_every_change_with_deletes_and_expiry() {
    let space = space().await;
    let cell = numbers(&space).ttl(Duration::from_secs(5)).cell("n").unwrap();
    cell.update(|n| *n = 1).await.unwrap();
    let mut events = cell.watch().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Initial(stored) if stored.value == 1));
    assert!(matches!(events.next().await.unwrap(), Event::Synced));
    cell.update(|n| *n = 2).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Put(stored) if stored.value == 2));
    cell.delete().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Deleted(key, _) if key == *cell.key()));
    elsewhere(&space, "n", "no number").await;
    assert!(matches!(events.next().await.unwrap(), Event::Unreadable(_)));
    let bad = space.store().get(cell.key()).await.unwrap().unwrap().revision;
    cell.delete_at(bad).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Deleted(..)));
    cell.update(|n| *n = 3).await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Put(stored) if stored.value == 3));
    assert!(matches!(events.next().await.unwrap(), Event::Expired(key, _) if key == *cell.key()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_nothing_says_that_there_is_nothing() {
    let space = space().await;
    let mut events = number(&space, "n").watch().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Synced));
}

/// Whoever keeps a copy drops what does not come again.
#[tokio::test(start_paused = true)]
async fn a_watch_that_missed_something_says_so_and_begins_anew() {
    let (space, store) = faulty(1).await;
    let cell = number(&space, "n");
    cell.update(|n| *n = 1).await.unwrap();
    let mut events = cell.watch().await.unwrap();
    for value in [1, 2] {
        assert!(matches!(events.next().await.unwrap(), Event::Initial(stored) if stored.value == value));
        assert!(matches!(events.next().await.unwrap(), Event::Synced));
        cell.update(move |n| *n = value + 1).await.unwrap();
        assert!(matches!(events.next().await.unwrap(), Event::Put(stored) if stored.value == value + 1));
        store.trouble().gap();
        assert!(matches!(events.next().await.unwrap(), Event::Resynced));
    }
    assert!(matches!(events.next().await.unwrap(), Event::Initial(stored) if stored.value == 3));
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_all_cells_names_them() {
    let space = space().await;
    let cells = Cells::<u64>::below(&space, &Key::new("stock").unwrap(), Codec::json());
    elsewhere(&space, "other.n", "1").await;
    let mut events = cells.watch().await.unwrap();
    assert!(matches!(events.next().await.unwrap(), Event::Synced), "what is not below the prefix is none of them");
    cells.cell("desk lamps").unwrap().update(|n| *n = 4).await.unwrap();
    match events.next().await.unwrap() {
        Event::Put(stored) => assert_eq!((cells.label(&stored.key).as_deref(), stored.value), (Some("desk lamps"), 4)),
        other => panic!("{other:?}"),
    }
}
