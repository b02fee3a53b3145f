//! Cases of tallies: numbers that the engine adds up.

use super::{assert_bad_name, assert_unsupported, fresh_space, key};
use crate::{
    engine::{BucketOptions, Engine, Key, MAX_KEY_BYTES, Space, Tally},
    time::{Clock, unique},
};
use futures_util::future::join_all;
use std::sync::Arc;

/// Whatever is added is in the value, and the answer is the value with it.
pub async fn what_is_added_is_in_the_value(space: &Space) {
    let Some(tally) = tally(space).await else { return };
    assert_eq!(tally.value(&key("a")).await.unwrap(), None);
    let mut sum = 0;
    for delta in [5, -7, 0, 1, i64::MAX, i64::MIN, -1] {
        sum += i128::from(delta);
        assert_eq!(tally.add(&key("a"), delta).await.unwrap(), sum);
        assert_eq!(tally.value(&key("a")).await.unwrap(), Some(sum));
    }
    assert_eq!(tally.add(&key("zero"), 0).await.unwrap(), 0);
    assert_eq!(tally.value(&key("zero")).await.unwrap(), Some(0), "it is there from now on");
    assert_eq!(tally.add(&key("a.b"), 1).await.unwrap(), 1, "a counter below another one is its own");
    assert_eq!(tally.value(&key("a")).await.unwrap(), Some(sum));
}

/// A sum is not bound by what one step can be.
pub async fn a_sum_grows_beyond_the_largest_step(space: &Space) {
    let Some(tally) = tally(space).await else { return };
    for (name, delta) in [("up", i64::MAX), ("down", i64::MIN)] {
        for n in 1..=3 {
            assert_eq!(tally.add(&key(name), delta).await.unwrap(), n * i128::from(delta));
        }
        assert_eq!(tally.value(&key(name)).await.unwrap(), Some(3 * i128::from(delta)));
    }
}

/// Many add at once: everything is counted, and each gets an answer of its own.
pub async fn racing_additions_are_all_counted(space: &Space) {
    let Some(tally) = tally(space).await else { return };
    let adders = (0..64).map(async |_| {
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(tally.add(&key("n"), 1).await.unwrap());
        }
        assert!(answers.is_sorted_by(|a, b| a < b), "{answers:?}");
        answers
    });
    let mut answers: Vec<_> = join_all(adders).await.into_iter().flatten().collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=64 * 8).collect::<Vec<i128>>());
    assert_eq!(tally.value(&key("n")).await.unwrap(), Some(64 * 8));
}

/// A name that would not be a key is refused.
pub async fn a_counters_name_is_a_key(space: &Space) {
    let Some(tally) = tally(space).await else { return };
    let longest = Key::new("k".repeat(MAX_KEY_BYTES)).unwrap();
    assert_eq!(tally.add(&longest, 1).await.unwrap(), 1);
    assert_bad_name(tally.add(&longest.join("k"), 1).await);
    assert_bad_name(tally.value(&longest.join("k")).await);
}

/// Counters are no keys of the store, and those of two spaces never meet; who opens them again finds them.
pub async fn counters_are_of_their_space_alone(engine: &Engine) {
    let (ours, theirs) = (fresh_space(engine).await, fresh_space(engine).await);
    let (Some(our_tally), Some(their_tally)) = (tally(&ours).await, tally(&theirs).await) else { return };
    our_tally.add(&key("n"), 1).await.unwrap();
    their_tally.add(&key("n"), 10).await.unwrap();
    assert_eq!(our_tally.value(&key("n")).await.unwrap(), Some(1));
    assert!(super::all_keys(&ours).await.is_empty());
    let again = engine.space(ours.name().as_str()).await.unwrap().tally().await.unwrap();
    assert_eq!(again.add(&key("n"), 1).await.unwrap(), 2);

    let name = format!("conformance-bucket-{}", unique(&Clock::system()));
    let bucket = engine.bucket(name, BucketOptions::default()).await.unwrap();
    assert!(!bucket.store().capabilities().counters);
    assert_unsupported(bucket.tally().await);
}

/// The counters of a space; where the engine has none it has to say so.
async fn tally(space: &Space) -> Option<Arc<dyn Tally>> {
    let opened = space.tally().await;
    if space.store().capabilities().counters {
        return Some(opened.unwrap());
    }
    assert_unsupported(opened);
    None
}
