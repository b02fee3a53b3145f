//! Closures and what they return: combining, failing, panicking, only looking.

use crate::kit::{elsewhere, number, numbers, raw, space};
use anabranch::{
    Codec,
    cell::{CellError, Cells, UpdateError},
    core::coordination::FencingToken,
    engine::{BucketOptions, Engine, Key, NameError, Rejection, Revision},
    time::Timestamp,
};
use futures_util::{FutureExt as _, future::join_all};
use std::{num::NonZeroUsize, panic::AssertUnwindSafe, time::Duration};

#[tokio::test(start_paused = true)]
async fn updates_that_come_together_share_a_write_and_each_gets_its_own_result() {
    let space = space().await;
    let cell = number(&space, "n");
    let all = join_all((0..64).map(|_| {
        cell.update(|n| {
            *n += 1;
            *n
        })
    }))
    .await;
    let mut results: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    results.sort_unstable();
    assert_eq!(results, (1..=64).collect::<Vec<_>>());
    let counts = numbers(&space).counts();
    // The first one leads, and the others share.
    assert_eq!((counts.edits, counts.attempts, counts.conflicts), (64, 2, 0), "{counts:?}");
    join_all((0..64).map(|_| cell.update(|n| *n += 1))).await.into_iter().for_each(Result::unwrap);
    assert_eq!(numbers(&space).counts().attempts, 3, "in a crowd nobody leads");
}

/// Whoever came a moment after the first of those who were answered with him missed their write, and had half of them for company in
/// the next one.
#[tokio::test(start_paused = true)]
async fn callers_who_come_back_one_after_the_other_still_share_each_write() {
    const CALLERS: u64 = 8;
    const ROUNDS: u64 = 50;
    let space = space().await;
    let cell = number(&space, "n");
    let calls = (0..CALLERS).map(async |n| {
        for _ in 0..ROUNDS {
            cell.update(|n| *n += 1).await.unwrap();
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
        }
    });
    join_all(calls).await;
    let counts = numbers(&space).counts();
    assert_eq!(counts.edits, CALLERS * ROUNDS);
    assert!(counts.attempts <= ROUNDS + 3, "they find each other in the first rounds: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_known_revision_is_written_without_reading() {
    let space = space().await;
    let cell = number(&space, "n");
    for _ in 0..10 {
        cell.update(|n| *n += 1).await.unwrap();
    }
    let counts = numbers(&space).counts();
    assert_eq!((counts.reads, counts.attempts), (1, 10), "only the first one did not know the key: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn one_closures_error_fails_only_its_caller_and_keeps_nothing() {
    let space = space().await;
    let cell = number(&space, "n");
    let all = join_all((0..10_u64).map(|i| {
        cell.try_update(move |n| {
            *n += 1;
            if i % 2 == 0 { Ok(*n) } else { Err(i) }
        })
    }))
    .await;
    for (i, outcome) in (0..).zip(all) {
        match outcome {
            Ok(_) => assert_eq!(i % 2, 0),
            Err(UpdateError::Aborted(error)) => assert_eq!(error, i),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(cell.read().await.unwrap().unwrap().value, 5);
    assert_eq!(numbers(&space).counts().attempts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_fails_its_caller_and_nobody_else() {
    let space = space().await;
    let cell = number(&space, "n");
    let others = join_all((0..8).map(|_| cell.update(|n| *n += 1)));
    let panicking = AssertUnwindSafe(cell.update(|n| {
        *n = 1_000_000;
        assert!(*n == 0, "out of order");
    }))
    .catch_unwind();
    let (others, panicked) = tokio::join!(others, panicking);
    let message = *panicked.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(message, "out of order");
    others.into_iter().for_each(Result::unwrap);
    assert_eq!(cell.read().await.unwrap().unwrap().value, 8);
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_only_looks_writes_nothing_and_sees_the_truth() {
    let space = space().await;
    let cell = number(&space, "n");
    cell.update(|n| *n = 1).await.unwrap();
    let revision = elsewhere(&space, "n", "7").await;
    let seen = cell.edit(|draft| (draft.get().copied(), draft.revision())).await.unwrap();
    assert_eq!(seen.result, (Some(7), Some(revision)), "what the process knew was out of date");
    assert_eq!(seen.revision, None);
    assert_eq!(cell.read().await.unwrap().unwrap().revision, revision);
}

#[tokio::test(start_paused = true)]
async fn an_update_on_an_outdated_value_runs_again_on_the_new_one() {
    let space = space().await;
    let cell = number(&space, "n");
    cell.update(|n| *n = 1).await.unwrap();
    elsewhere(&space, "n", "40").await;
    assert_eq!(
        cell.update(|n| {
            *n += 2;
            *n
        })
        .await
        .unwrap(),
        42
    );
    let counts = numbers(&space).counts();
    assert_eq!((counts.attempts, counts.conflicts), (3, 1), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn where_others_write_between_a_key_is_read_first() {
    let space = space().await;
    let cell = number(&space, "n");
    for _ in 0..20 {
        cell.update(|n| *n += 1).await.unwrap();
        elsewhere(&space, "n", "0").await;
    }
    let learned = numbers(&space).counts().conflicts;
    for _ in 0..20 {
        cell.update(|n| *n += 1).await.unwrap();
        elsewhere(&space, "n", "0").await;
    }
    assert_eq!(numbers(&space).counts().conflicts, learned, "it goes on to guess where guesses fail");
    for _ in 0..20 {
        cell.update(|n| *n += 1).await.unwrap();
    }
    let before = numbers(&space).counts().reads;
    for _ in 0..20 {
        cell.update(|n| *n += 1).await.unwrap();
    }
    assert_eq!(numbers(&space).counts().reads, before, "it goes on to read where guesses are true");
}

#[tokio::test(start_paused = true)]
async fn every_handle_of_a_key_shares_its_writer() {
    let space = space().await;
    let prefix = Key::new("a").unwrap();
    let below = Cells::<u64>::below(&space, &prefix, Codec::json()).cell("n").unwrap();
    let direct = number(&space, "a.n");
    let all = [&below, &direct, &below, &direct].map(|cell| cell.update(|n| *n += 1));
    join_all(all).await.into_iter().for_each(Result::unwrap);
    let counts = numbers(&space).counts();
    assert_eq!((counts.attempts, counts.conflicts), (2, 0), "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_full_makes_its_callers_wait_and_then_says_busy() {
    let (space, store) = crate::kit::faulty(1).await;
    let cells = numbers(&space).line(NonZeroUsize::new(4).unwrap());
    let (cell, hasty) = (cells.cell("n").unwrap(), cells.deadline(Duration::from_secs(5)).cell("n").unwrap());
    store.hold();
    let held = join_all((0..4).map(|_| cell.update(|n| *n += 1)));
    let fifth = hasty.update(|n| *n += 1);
    let (held, fifth, ()) = tokio::join!(held, fifth, async {
        anabranch::testing::pass(Duration::from_secs(6)).await;
        store.resume();
    });
    assert!(matches!(fifth, Err(CellError::Busy(key)) if key.as_str() == "n"));
    assert!(held.iter().all(Result::is_ok), "{held:?}");
    assert_eq!(cell.read().await.unwrap().unwrap().value, 4);
}

#[tokio::test(start_paused = true)]
async fn a_value_over_the_limit_fails_alone_and_nothing_is_overwritten() {
    let space = space().await;
    let cell = Cells::<String>::new(&space, Codec::json()).cell("text").unwrap();
    cell.update(|text| text.push('a')).await.unwrap();
    let limit = space.store().capabilities().max_value;
    let small = join_all((0..7).map(|_| cell.update(|text| text.push('b'))));
    let large = cell.edit(move |draft| draft.set("x".repeat(limit + 1)));
    let (small, large) = tokio::join!(small, large);
    assert!(matches!(large, Err(CellError::Rejected(Rejection::TooLarge { .. }))), "{large:?}");
    small.into_iter().for_each(Result::unwrap);
    assert_eq!(cell.read().await.unwrap().unwrap().value, "abbbbbbb");
}

/// G3, and foreign bytes: what cannot be read is an error and never an empty value.
#[tokio::test(start_paused = true)]
async fn foreign_bytes_are_an_error_and_stay() {
    let space = space().await;
    let revision = elsewhere(&space, "n", "no number").await;
    let cell = number(&space, "n");
    let outcomes = join_all((0..3).map(|_| cell.update(|n| *n += 1))).await;
    for outcome in outcomes {
        assert!(matches!(outcome, Err(CellError::Corrupt { revision: at, .. }) if at == revision), "{outcome:?}");
    }
    assert!(matches!(cell.read().await, Err(CellError::Corrupt { .. })));
    assert!(matches!(cell.reset().await, Err(CellError::Corrupt { .. })));
    assert_eq!(raw(&space, "n").await.unwrap(), "no number");
    // Whoever knows what is there can remove it.
    assert!(matches!(cell.delete_at(Revision::new(revision.get() + 1)).await, Err(CellError::Conflict(_))));
    cell.delete_at(revision).await.unwrap();
    assert_eq!(
        cell.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_value_that_cannot_be_encoded_is_an_error_and_changes_nothing() {
    let space = space().await;
    let codec = Codec::new(
        "picky",
        |n: &u64| if *n == 13 { Err(anabranch::CodecError::new::<u64>("thirteen")) } else { Ok(n.to_string().into()) },
        |bytes| {
            std::str::from_utf8(bytes).ok().and_then(|t| t.parse().ok()).ok_or_else(|| anabranch::CodecError::new::<u64>("nan"))
        },
    );
    let cell = Cells::new(&space, codec).cell("n").unwrap();
    cell.update(|n| *n = 12).await.unwrap();
    assert!(matches!(cell.update(|n| *n += 1).await, Err(CellError::Encode(_))));
    assert_eq!(cell.read().await.unwrap().unwrap().value, 12);
}

#[tokio::test(start_paused = true)]
async fn a_cell_is_reset_and_deleted() {
    let space = space().await;
    let cell = number(&space, "n");
    cell.delete().await.unwrap();
    assert_eq!(raw(&space, "n").await, None, "removing what is not there writes nothing");
    cell.update(|n| *n = 5).await.unwrap();
    cell.reset().await.unwrap();
    assert_eq!(cell.read().await.unwrap().unwrap().value, 0);
    cell.delete().await.unwrap();
    assert!(cell.read().await.unwrap().is_none());
    assert_eq!(
        cell.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_costs_nothing_and_a_read_sees_the_truth() {
    let (space, store) = crate::kit::faulty(1).await;
    let cell = number(&space, "n");
    cell.update(|n| *n = 1).await.unwrap();
    elsewhere(&space, "n", "2").await;
    assert_eq!(cell.read().await.unwrap().unwrap().value, 2);
    store.plan(|_| Some(anabranch::testing::faulty::Fault::Unavailable));
    assert_eq!(cell.read_stale().await.unwrap(), Some(1));
    assert!(matches!(cell.read().await, Err(CellError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn every_write_of_a_cell_with_a_ttl_begins_it_anew() {
    let space = space().await;
    let cell = numbers(&space).ttl(Duration::from_secs(10)).cell("n").unwrap();
    cell.update(|n| *n += 1).await.unwrap();
    anabranch::testing::pass(Duration::from_secs(8)).await;
    assert_eq!(
        cell.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        2
    );
    anabranch::testing::pass(Duration::from_secs(8)).await;
    assert_eq!(cell.read().await.unwrap().unwrap().value, 2);
    anabranch::testing::pass(Duration::from_secs(3)).await;
    assert!(cell.read().await.unwrap().is_none());
    assert_eq!(
        cell.update(|n| {
            *n += 1;
            *n
        })
        .await
        .unwrap(),
        1,
        "an expired value is absent, whatever was known of it"
    );
}

#[tokio::test(start_paused = true)]
async fn the_ttl_is_that_of_the_last_closure_that_touched_the_value() {
    let space = space().await;
    let cell = number(&space, "n");
    let short = cell.edit(|draft| {
        draft.set(1);
        draft.expire_after(Duration::from_secs(2));
    });
    let looking = cell.edit(|draft| draft.expire_after(Duration::from_secs(1000)));
    let (short, looking) = tokio::join!(short, looking);
    short.unwrap();
    looking.unwrap();
    anabranch::testing::pass(Duration::from_secs(3)).await;
    assert!(cell.read().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_older_token_writes_nothing_once_a_newer_one_has_written() {
    let space = space().await;
    let cell = number(&space, "n");
    let (old, new) = (FencingToken::new(3), FencingToken::new(8));
    cell.update_fenced(&old, |n| *n = 3).await.unwrap();
    cell.update_fenced(&new, |n| *n = 8).await.unwrap();
    // What is not fenced keeps the token.
    cell.update(|n| *n += 1).await.unwrap();
    let refused = cell.update_fenced(&old, |n| *n = 0).await;
    assert!(matches!(refused, Err(CellError::Fenced { ours, newest }) if ours == old && newest == new), "{refused:?}");
    assert_eq!(cell.read().await.unwrap().unwrap().value, 9);
    cell.update_fenced(&new, |n| *n += 1).await.unwrap();
    assert_eq!(cell.read().await.unwrap().unwrap().value, 10);
}

#[tokio::test(start_paused = true)]
async fn labels_become_keys_and_come_back() {
    let space = space().await;
    let cells = Cells::<u64>::below(&space, &Key::new("stock").unwrap(), Codec::json());
    let cell = cells.cell("desk lamps, 50 %").unwrap();
    assert_eq!(cells.label(cell.key()).as_deref(), Some("desk lamps, 50 %"));
    assert_eq!(cells.label(&Key::new("other.n").unwrap()), None);
    assert!(matches!(cells.cell(""), Err(NameError::Empty(_))));
    assert!(matches!(cells.cell(&"x".repeat(600)), Err(NameError::TooLong { .. })));
    assert!(matches!(numbers(&space).cell("no key"), Err(NameError::Character { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_cell_of_a_bucket_with_a_history_tells_what_it_held() {
    let engine = Engine::open("memory:").await.unwrap();
    let bucket = engine.bucket("past", BucketOptions::default().history(3)).await.unwrap();
    let cell = number(&bucket, "n");
    for n in 1..=4 {
        cell.update(move |value| *value = n).await.unwrap();
    }
    cell.delete().await.unwrap();
    let past = cell.history().await.unwrap();
    assert_eq!(past.iter().map(|past| past.value).collect::<Vec<_>>(), [Some(3), Some(4), None]);
    assert!(past.windows(2).all(|pair| pair[0].revision < pair[1].revision));
    // A space keeps the newest.
    let newest = number(&space().await, "n");
    newest.update(|n| *n = 1).await.unwrap();
    newest.update(|n| *n = 2).await.unwrap();
    assert_eq!(newest.history().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn protobuf_values_are_plain_on_the_wire() {
    let space = space().await;
    let cell = Cells::<prost_types::Timestamp>::new(&space, Codec::protobuf()).cell("at").unwrap();
    cell.update(|at| at.seconds = 300).await.unwrap();
    assert_eq!(raw(&space, "at").await.unwrap(), vec![0x08, 0xac, 0x02], "what any other client of the bucket reads");
    assert!(cell.read().await.unwrap().unwrap().written_at > Timestamp::EPOCH);
}
