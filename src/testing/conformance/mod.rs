//! The suite that every engine must pass: what the contracts in [`engine`](crate::engine) say, as cases.
//!
//! [`engine_conformance!`](crate::engine_conformance) makes one test a case. A case takes a space that is its own, decides on
//! [`Capabilities`](crate::engine::Capabilities) what to expect (an engine that lacks something has to refuse it, and that
//! is asserted), and never sleeps: it waits for the event. It does not know which engine it runs on.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a case is a test: it fails by panicking")]

pub mod bucket;
pub mod commit;
mod differential;
mod faults;
pub mod queue;
pub mod store;
pub mod streams;
pub mod tally;
pub mod watch;

pub use differential::differential;
pub use faults::{in_trouble, under_faults};
pub use streams::fresh_space_over_streams;

use crate::{
    engine::{Change, Delivery, Engine, Entry, Expect, Key, Pull, PutOptions, Rejection, Revision, Space, StoreError},
    time::{Clock, unique},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::BoxStream};
use std::{future::Future, num::NonZeroUsize, time::Duration};

/// How long a case waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes one test of every case, in a module of the given name; the cases of queues come twice, the second time over streams.
///
/// The expression is evaluated once a case, inside the test, and gives an [`Engine`] or whatever keeps one alive and is
/// [`Borrow<Engine>`](std::borrow::Borrow), such as an engine beside its scratch directory. Attributes pass through to each
/// test.
///
/// ```
/// use anabranch::engine::Engine;
/// anabranch::engine_conformance!(#[ignore = "slow"] memory, Engine::open("memory:").await.unwrap());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! engine_conformance {
    ($(#[$attribute:meta])* $name:ident, $engine:expr $(,)?) => {
        mod $name {
            #[allow(unused_imports, reason = "the expression names what it needs from the module around")]
            use super::*;

            $crate::engine_conformance! { @cases [$(#[$attribute])*] $engine;
                store:
                    revisions_grow_across_the_store
                    a_revision_is_not_reused_after_a_delete
                    what_was_put_is_read_back
                    absent_holds_for_a_key_that_was_never_written
                    absent_holds_after_a_delete
                    absent_holds_after_expiry
                    absent_refuses_a_key_that_is_there
                    a_stale_revision_conflicts_and_writes_nothing
                    racing_increments_are_all_counted
                    one_of_many_creators_wins
                    one_of_many_writers_at_a_revision_wins
                    a_deleted_key_reads_as_absent
                    deleting_what_is_not_there_is_fine
                    a_delete_that_expects_otherwise_conflicts
                    a_ttl_belongs_to_one_write
                    a_ttl_below_a_second_is_rejected
                    a_bad_label_is_rejected
                    keys_are_listed_with_revision_and_label
                    keys_below_a_prefix_match_whole_tokens
                    several_keys_are_read_in_their_order
                    several_keys_are_never_read_torn
                    a_value_as_large_as_the_limit_is_stored
                    a_value_beyond_the_limit_is_rejected
                    a_key_beyond_the_limit_is_rejected;
                watch:
                    a_watch_reports_values_then_synced_then_changes
                    a_watch_of_nothing_is_synced
                    a_watch_reports_deletes
                    a_watch_reports_expiry
                    a_watch_matches_its_prefix_only
                    a_watch_of_one_key_sees_no_other
                    a_watch_keeps_each_key_in_order
                    a_watch_that_starts_amid_writes_misses_nothing
                    a_slow_watch_ends_at_the_newest_value
                    two_watches_see_the_same
                    dropping_a_watch_leaves_the_others_alone;
                commit:
                    a_commit_writes_all_of_its_keys
                    an_empty_commit_is_fine
                    one_stale_part_undoes_everything
                    one_oversized_part_undoes_everything
                    a_check_holds_a_commit_to_a_key_it_does_not_write
                    an_absent_check_holds_while_the_key_is_absent
                    revisions_are_told_in_the_order_of_writes
                    a_commit_deletes_beside_its_puts
                    a_key_named_twice_is_rejected
                    too_many_parts_are_rejected
                    racing_commits_over_two_keys_never_mix
                    a_committed_message_arrives_once
                    a_message_waits_for_its_queue_to_be_opened
                    a_timer_fires_not_before_its_time
                    a_timer_of_the_past_fires_at_once
                    arming_again_replaces_a_timer
                    a_cancelled_timer_does_not_fire
                    cancelling_what_is_not_armed_is_fine;
                tally:
                    what_is_added_is_in_the_value
                    a_sum_grows_beyond_the_largest_step
                    racing_additions_are_all_counted
                    a_counters_name_is_a_key;
            }

            $crate::engine_conformance! { @queue_cases [$(#[$attribute])*] $engine; fresh_space }

            mod streams {
                #[allow(unused_imports, reason = "the expression names what it needs from the module around")]
                use super::*;

                $crate::engine_conformance! { @queue_cases [$(#[$attribute])*] $engine; fresh_space_over_streams }
                $crate::engine_conformance! { @engine_cases [$(#[$attribute])*] $engine;
                    streams
                        a_stream_that_is_configured_otherwise_is_left_alone
                        what_is_left_out_matches_any_stream
                        nothing_is_created_that_was_not_to_be
                        a_delivery_tells_the_subject_it_was_published_on
                        a_message_that_is_too_old_is_not_delivered
                        a_stream_says_what_it_lacks
                        a_second_consumer_of_a_work_queue_is_refused
                }
            }

            $crate::engine_conformance! { @engine_cases [$(#[$attribute])*] $engine;
                bucket
                    a_bucket_that_is_configured_otherwise_is_left_alone
                    options_that_are_left_out_match_anything
                    a_bucket_keeps_as_many_versions_as_it_was_asked_to
                    a_history_that_is_read_amid_writes_has_no_holes
                    the_history_of_a_space_is_its_newest_value
                    what_is_too_old_is_gone_and_a_watch_says_so
                    a_ttl_is_taken_only_where_it_is_kept
                    a_bucket_refuses_what_needs_a_space
                    bad_options_of_a_bucket_are_rejected
                    a_value_beyond_its_buckets_limit_is_rejected
                    the_rules_of_a_store_hold_in_every_bucket
            }
            $crate::engine_conformance! { @engine_cases [$(#[$attribute])*] $engine; tally counters_are_of_their_space_alone }
            $crate::engine_conformance! { @engine_case [$(#[$attribute])*] $engine; two_spaces_never_meet }
            $crate::engine_conformance! { @engine_case [$(#[$attribute])*] $engine; a_space_opened_twice_is_the_same }
            $crate::engine_conformance! { @engine_case [$(#[$attribute])*] $engine; a_bad_space_name_is_rejected }
        }
    };
    (@queue_cases $attributes:tt $engine:expr; $prepare:ident) => {
        $crate::engine_conformance! { @room $attributes $engine; $prepare queue
            a_message_is_delivered_until_it_is_acknowledged
            messages_arrive_in_order_when_none_comes_again
            attempts_are_counted_from_one
            headers_and_id_survive
            a_silent_workers_message_comes_again
            an_extended_message_does_not_come_again
            a_retried_message_comes_not_before_its_delay
            a_rejected_message_never_comes_again
            a_late_acknowledgement_still_removes
            an_id_is_taken_once
            a_pull_takes_no_more_than_it_asks_for
            a_cancelled_pull_loses_nothing
            a_closed_pull_hands_back_at_once
            a_waiting_pull_sees_what_is_published
            no_more_are_in_flight_than_allowed
            several_workers_never_share_a_message
            opening_again_shares_the_queue
            opening_with_other_options_is_rejected
            options_out_of_range_are_rejected
            an_oversized_message_is_rejected
            a_message_that_looks_like_the_engines_own_is_rejected
        }
    };
    (@cases $attributes:tt $engine:expr; $($room:ident: $($case:ident)+;)+) => {
        $($crate::engine_conformance! { @room $attributes $engine; fresh_space $room $($case)+ })+
    };
    (@room $attributes:tt $engine:expr; $prepare:ident $room:ident $($case:ident)+) => {
        $($crate::engine_conformance! { @case $attributes $engine; $prepare $room $case })+
    };
    (@case [$(#[$attribute:meta])*] $engine:expr; $prepare:ident $room:ident $case:ident) => {
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let engine = $engine;
            let space = $crate::testing::conformance::$prepare(::std::borrow::Borrow::borrow(&engine)).await;
            $crate::testing::conformance::in_time(&space.clock().clone(), async {
                $crate::testing::conformance::$room::$case(&space).await;
            })
            .await;
        }
    };
    (@engine_cases $attributes:tt $engine:expr; $room:ident $($case:ident)+) => {
        $($crate::engine_conformance! { @engine_case $attributes $engine; $case in $room })+
    };
    (@engine_case [$(#[$attribute:meta])*] $engine:expr; $case:ident $(in $room:ident)?) => {
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let engine = $engine;
            $crate::testing::conformance::in_time(&$crate::time::Clock::system(), async {
                $crate::testing::conformance::$($room::)?$case(::std::borrow::Borrow::borrow(&engine)).await;
            })
            .await;
        }
    };
}

/// Opens a space that no other case uses, on an engine that several cases may share.
pub async fn fresh_space(engine: &Engine) -> Space {
    engine.space(format!("conformance-{}", unique(&Clock::system()))).await.unwrap()
}

/// Runs a case, and fails it when it hangs.
pub async fn in_time(clock: &Clock, case: impl Future<Output = ()>) {
    assert!(clock.timeout(PATIENCE * 3, case).await.is_some(), "the case hangs");
}

/// Keys, queues and timers of one space are not those of another.
pub async fn two_spaces_never_meet(engine: &Engine) {
    let (ours, theirs) = (fresh_space(engine).await, fresh_space(engine).await);
    put(&ours, "same", "ours", Expect::Absent).await.unwrap();
    put(&theirs, "same", "theirs", Expect::Absent).await.unwrap();
    assert_eq!(text(&ours, "same").await.as_deref(), Some("ours"));
    ours.store().delete(&key("same"), Expect::Anything).await.unwrap();
    assert_eq!(text(&theirs, "same").await.as_deref(), Some("theirs"));
    assert!(all_keys(&ours).await.is_empty());

    let mut changes = ours.store().watch(&crate::engine::Scope::All).await.unwrap();
    assert_eq!(next_change(&ours, &mut changes).await, Change::Synced);
    put(&theirs, "theirs", "alone", Expect::Absent).await.unwrap();
    put(&ours, "ours", "alone", Expect::Absent).await.unwrap();
    assert!(matches!(next_change(&ours, &mut changes).await, Change::Put(entry) if entry.key == key("ours")));

    let options = crate::engine::QueueOptions::default();
    let our_queue = ours.queue("same", options.clone()).await.unwrap();
    let their_queue = theirs.queue("same", options).await.unwrap();
    our_queue.publish(crate::engine::Message::new("ours")).await.unwrap();
    their_queue.publish(crate::engine::Message::new("theirs")).await.unwrap();
    for (space, queue, expected) in [(&ours, our_queue, "ours"), (&theirs, their_queue, "theirs")] {
        let mut pull = queue.pull().await.unwrap();
        let delivery = next_delivery(space, &mut *pull).await;
        assert_eq!(delivery.message().payload, expected);
        delivery.ack().await.unwrap();
        pull.close().await;
    }
}

/// A space that is opened a second time holds what was put into it.
pub async fn a_space_opened_twice_is_the_same(engine: &Engine) {
    let first = fresh_space(engine).await;
    put(&first, "k", "v", Expect::Absent).await.unwrap();
    let second = engine.space(first.name().as_str()).await.unwrap();
    assert_eq!(text(&second, "k").await.as_deref(), Some("v"));
    assert_eq!(first.instance(), second.instance());
}

/// The alphabet of space names is checked before anything is created.
pub async fn a_bad_space_name_is_rejected(engine: &Engine) {
    for bad in ["", "a.b", "a b", "a*", &"a".repeat(65)] {
        assert!(matches!(engine.space(bad).await, Err(StoreError::Rejected(Rejection::Name(_)))), "{bad:?}");
    }
}

fn key(name: &str) -> Key {
    Key::new(name).unwrap()
}

async fn put(space: &Space, name: &str, value: &str, expect: Expect) -> Result<Revision, StoreError> {
    space.store().put(&key(name), Bytes::copy_from_slice(value.as_bytes()), expect, PutOptions::default()).await
}

async fn read(space: &Space, name: &str) -> Option<Entry> {
    space.store().get(&key(name)).await.unwrap()
}

async fn text(space: &Space, name: &str) -> Option<String> {
    read(space, name).await.map(|entry| String::from_utf8(entry.value.to_vec()).unwrap())
}

async fn all_keys(space: &Space) -> Vec<Key> {
    let listed = space.store().keys(&crate::engine::Scope::All).await.unwrap();
    let mut keys: Vec<_> = listed.map(|info| info.unwrap().key).collect().await;
    keys.sort();
    keys
}

async fn next_change(space: &Space, changes: &mut BoxStream<'static, Change>) -> Change {
    space.clock().timeout(PATIENCE, changes.next()).await.expect("a change comes in time").expect("a watch never ends")
}

/// Waits until a key's TTL ran out, by the watch and not by the clock.
async fn expired(space: &Space, changes: &mut BoxStream<'static, Change>, name: &str) -> Revision {
    loop {
        if let Change::Expired(found, revision) = next_change(space, changes).await
            && found == key(name)
        {
            return revision;
        }
    }
}

async fn next_delivery(space: &Space, pull: &mut dyn Pull) -> Delivery {
    let one = space.clock().timeout(PATIENCE, pull.next(NonZeroUsize::MIN)).await.expect("a message comes in time").unwrap();
    let [delivery] = <[Delivery; 1]>::try_from(one).expect("one was asked for");
    delivery
}

#[track_caller]
fn assert_conflict<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict)), "a conflict was expected, not {result:?}");
}

#[track_caller]
fn assert_too_large<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Rejected(Rejection::TooLarge { .. }))), "too large was expected, not {result:?}");
}

#[track_caller]
fn assert_invalid_option<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Rejected(Rejection::InvalidOption(_)))), "an invalid option, not {result:?}");
}

#[track_caller]
fn assert_unsupported<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Rejected(Rejection::Unsupported { .. }))), "unsupported, not {result:?}");
}

#[track_caller]
fn assert_bad_name<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Rejected(Rejection::Name(_)))), "a bad name was expected, not {result:?}");
}
