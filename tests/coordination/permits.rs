//! Permits, told as stories.

use anabranch::{
    core::coordination::{
        FencingToken, Lease,
        lease::{Sightings, Silent},
        once::Done,
        permits::{Ask, Permits, Refusal, Standing},
    },
    time::Timestamp,
};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(10);

pub(crate) fn ask(id: &str, units: u32) -> Ask {
    let lease = Lease::new(LEASE).unwrap();
    let info = format!("info of {id}");
    Ask { id: id.into(), beat: 0, units, lease, info, name: String::new(), now: Timestamp::from_millis(1) }
}

fn named(id: &str, name: &str) -> Ask {
    Ask { name: name.into(), ..ask(id, 1) }
}

/// What comes out of the store when the entry has this revision.
fn stored(permits: &Permits, revision: u64) -> Permits {
    let read = Permits::decode(&permits.encode()).unwrap();
    Permits::from(Some(&read), Some(revision), permits.capacity()).unwrap()
}

fn holds(token: u64) -> Standing {
    Standing::Holds(Some(FencingToken::new(token)))
}

const NEW: Standing = Standing::Holds(None);

fn waits(ahead: usize) -> Standing {
    Standing::Waits { ahead }
}

fn ids(permits: &Permits) -> Vec<&str> {
    permits.holders().iter().map(|h| h.id.as_str()).collect()
}

fn silent(permits: &Permits, id: &str) -> Silent {
    let (_, beat, _) = permits.members().find(|(member, ..)| *member == id).unwrap();
    Silent { id: id.into(), beat }
}

#[test]
fn a_lock_goes_from_one_to_the_next_in_order() {
    let mut lock = Permits::free(1);
    assert_eq!(lock.join(&ask("a", 1)), Ok(NEW));
    assert_eq!(lock.join(&ask("b", 1)), Ok(waits(0)));
    assert_eq!(lock.join(&ask("c", 1)), Ok(waits(1)));
    assert_eq!(lock.try_acquire(&ask("d", 1)), Ok(Standing::Absent));
    assert_eq!(lock.join(&ask("b", 1)), Ok(waits(0)), "who waits keeps its place");
    assert!(lock.release("a") && !lock.release("a"));
    assert_eq!(lock.join(&ask("c", 1)), Ok(waits(1)), "it is not c's turn");
    assert_eq!(lock.try_acquire(&ask("d", 1)), Ok(Standing::Absent), "nor that of somebody who does not wait");
    assert_eq!(lock.join(&ask("b", 1)), Ok(NEW));
    assert_eq!(lock.join(&ask("c", 1)), Ok(waits(0)));
    assert_eq!((ids(&lock), lock.waiting(), lock.available()), (vec!["b"], 1, 0));
}

#[test]
fn a_request_that_is_repeated_is_recognized() {
    let mut lock = Permits::free(1);
    assert_eq!(lock.try_acquire(&ask("a", 1)), Ok(NEW));
    assert_eq!(lock.try_acquire(&ask("a", 1)), Ok(NEW), "in the same write");
    let mut lock = stored(&lock, 7);
    assert_eq!(lock.try_acquire(&ask("a", 1)), Ok(holds(7)));
    assert_eq!(lock.join(&ask("a", 1)), Ok(holds(7)));
    assert_eq!((lock.holders().len(), lock.waiting()), (1, 0));
}

#[test]
fn a_token_is_the_revision_of_the_write_that_granted_and_stays_so() {
    let mut semaphore = Permits::free(3);
    semaphore.join(&ask("a", 1)).unwrap();
    let mut semaphore = stored(&semaphore, 7);
    assert_eq!(semaphore.join(&ask("b", 1)), Ok(NEW));
    let mut semaphore = stored(&semaphore, 9);
    assert_eq!(semaphore.renew("a"), holds(7));
    let semaphore = stored(&semaphore, 12);
    assert_eq!((semaphore.standing("a"), semaphore.standing("b")), (holds(7), holds(9)));
}

#[test]
fn a_batch_that_has_no_revision_yet_leaves_its_tokens_open() {
    let mut semaphore = Permits::free(2);
    semaphore.join(&ask("a", 1)).unwrap();
    let mut batch = Permits::from(Some(&semaphore), None, 2).unwrap();
    assert_eq!(batch.join(&ask("b", 1)), Ok(NEW));
    assert_eq!(batch.standing("a"), NEW);
    assert_eq!((stored(&batch, 5).standing("a"), stored(&batch, 5).standing("b")), (holds(5), holds(5)));
}

#[test]
fn readers_share_and_a_writer_is_alone() {
    let all = u32::MAX;
    let mut lock = Permits::free(all);
    assert_eq!(lock.join(&ask("r1", 1)), Ok(NEW));
    assert_eq!(lock.join(&ask("r2", 1)), Ok(NEW));
    assert_eq!(lock.join(&ask("w", all)), Ok(waits(0)));
    assert_eq!(lock.join(&ask("r3", 1)), Ok(waits(1)), "a reader that comes later does not delay the writer");
    assert_eq!(lock.try_acquire(&ask("r4", 1)), Ok(Standing::Absent));
    lock.release("r1");
    assert_eq!(lock.join(&ask("w", all)), Ok(waits(0)));
    lock.release("r2");
    assert_eq!(lock.join(&ask("w", all)), Ok(NEW));
    assert_eq!(lock.join(&ask("r5", 1)), Ok(waits(1)));
    lock.release("w");
    assert!(lock.is_due("r3") && lock.is_due("r5"), "readers that stand side by side are granted together");
    assert_eq!(lock.join(&ask("r5", 1)), Ok(NEW), "in any order");
    assert_eq!(lock.join(&ask("r3", 1)), Ok(NEW));
}

#[test]
fn a_small_request_does_not_overtake_a_large_one() {
    let mut semaphore = Permits::free(3);
    semaphore.join(&ask("a", 2)).unwrap();
    assert_eq!(semaphore.join(&ask("big", 3)), Ok(waits(0)));
    assert_eq!(semaphore.join(&ask("small", 1)), Ok(waits(1)), "one unit is free, and it is kept for the big one");
    semaphore.release("big");
    assert_eq!(semaphore.join(&ask("small", 1)), Ok(NEW));
}

#[test]
fn a_holder_that_is_silent_is_removed_and_one_that_beats_is_not() {
    let mut lock = Permits::free(1);
    lock.join(&ask("a", 1)).unwrap();
    let seen = silent(&lock, "a");
    assert_eq!(lock.renew("a"), NEW);
    assert!(!lock.evict(&seen), "it has beaten since");
    assert!(lock.evict(&silent(&lock, "a")));
    assert_eq!(lock.renew("a"), Standing::Absent, "and it learns so");
    assert_eq!(lock.join(&ask("b", 1)), Ok(NEW));
    assert_eq!(lock.renew("a"), Standing::Absent, "also when there is another holder");
}

#[test]
fn who_was_removed_and_comes_again_is_not_taken_for_who_was_silent_before() {
    let mut lock = Permits::free(1);
    let comes = |lock: &mut Permits, beat| lock.join(&Ask { beat, ..ask("a", 1) }).unwrap();
    comes(&mut lock, 0);
    comes(&mut lock, 1);
    // Somebody sees this, and stands still for long; meanwhile others remove `a`, which waits on, and asks a third time.
    let seen = silent(&lock, "a");
    assert!(lock.release("a"));
    for beat in 2..6 {
        comes(&mut lock, beat);
        assert!(!lock.evict(&seen), "it lives, whatever was seen of it before it was removed");
    }
}

#[test]
fn a_name_that_goes_to_and_fro_between_calls_repeats_no_beat_of_either() {
    let mut lock = Permits::free(1);
    lock.join(&ask("holder", 1)).unwrap();
    let comes = |lock: &mut Permits, id: &str, beat| lock.join(&Ask { beat, ..named(id, "worker-7") }).unwrap();
    for beat in 0..3 {
        comes(&mut lock, "1", beat);
    }
    let seen = silent(&lock, "1");
    comes(&mut lock, "2", 0);
    comes(&mut lock, "1", 3);
    assert!(!lock.evict(&seen), "in the queue");
    lock.release("holder");
    comes(&mut lock, "2", 1);
    comes(&mut lock, "1", 4);
    assert!(!lock.evict(&seen), "as the holder");
}

#[test]
fn a_dead_head_of_the_queue_blocks_nobody_for_ever() {
    let mut lock = Permits::free(1);
    for id in ["a", "dead", "c"] {
        lock.join(&ask(id, 1)).unwrap();
    }
    lock.release("a");
    assert_eq!(lock.join(&ask("c", 1)), Ok(waits(1)));
    assert!(lock.evict(&silent(&lock, "dead")));
    assert_eq!(lock.join(&ask("c", 1)), Ok(NEW));
}

#[test]
fn a_waiter_that_takes_its_turn_beats() {
    let mut lock = Permits::free(1);
    lock.join(&ask("a", 1)).unwrap();
    lock.join(&ask("b", 1)).unwrap();
    lock.release("a");
    let waiting = silent(&lock, "b");
    lock.join(&ask("b", 1)).unwrap();
    assert!(!lock.evict(&waiting), "what was seen of the waiter says nothing about the holder");
}

#[test]
fn a_name_takes_one_permit_however_often_it_comes() {
    let mut semaphore = Permits::free(2);
    assert_eq!(semaphore.join(&named("1", "worker-7")), Ok(NEW));
    let mut semaphore = stored(&semaphore, 3);
    assert_eq!(semaphore.try_acquire(&named("2", "worker-7")), Ok(NEW), "it is granted anew, with a token of its own");
    assert_eq!((ids(&semaphore), semaphore.available()), (vec!["2"], 1));
    assert_eq!(semaphore.renew("1"), Standing::Absent, "the earlier call of the name holds nothing");
    assert!(!semaphore.release("1"));
    assert_eq!(semaphore.attend(&named("1", "worker-7")), Ok(Standing::Replaced));
    assert_eq!(semaphore.join(&named("3", "worker-8")), Ok(NEW), "another name is somebody else");
    let other_units = Ask { units: 2, ..named("4", "worker-8") };
    assert_eq!(semaphore.join(&other_units), Err(Refusal::Units { stored: 1, wanted: 2 }));
}

#[test]
fn a_name_keeps_its_place_in_the_queue() {
    let mut lock = Permits::free(1);
    lock.join(&ask("a", 1)).unwrap();
    lock.join(&named("1", "n")).unwrap();
    lock.join(&ask("c", 1)).unwrap();
    assert_eq!(lock.try_acquire(&named("2", "n")), Ok(Standing::Absent));
    assert_eq!(lock.standing("1"), waits(0), "an attempt that does not wait takes nobody's place");
    assert_eq!(lock.join(&named("3", "n")), Ok(waits(0)));
    assert_eq!((lock.standing("1"), lock.waiting()), (Standing::Absent, 2));
}

#[test]
fn what_can_never_be_held_is_refused_and_changes_nothing() {
    let mut semaphore = Permits::free(2);
    semaphore.join(&ask("a", 1)).unwrap();
    let before = semaphore.clone();
    for units in [0, 3, u32::MAX] {
        let never = Err(Refusal::Never { wanted: units, capacity: 2 });
        assert_eq!(semaphore.join(&ask("b", units)), never);
        assert_eq!(semaphore.try_acquire(&ask("b", units)), never);
    }
    assert_eq!(Permits::from(Some(&before), Some(1), 3), Err(Refusal::Capacity { stored: 2, wanted: 3 }));
    assert_eq!(semaphore, before);
}

/// N2: whatever the state, what is written of it lives far longer than any member may be silent.
#[test]
fn a_state_is_kept_far_longer_than_the_longest_lease_in_it() {
    let mut semaphore = Permits::free(3);
    assert_eq!(semaphore.kept(), Permits::LEAST_KEPT);
    let with = |id: &str, secs| Ask { lease: Lease::new(Duration::from_secs(secs)).unwrap(), ..ask(id, 1) };
    semaphore.join(&with("a", 1)).unwrap();
    assert_eq!(semaphore.kept(), Permits::LEAST_KEPT);
    semaphore.join(&with("b", 3600)).unwrap();
    semaphore.join(&with("c", 5)).unwrap();
    semaphore.join(&with("d", 7200)).unwrap();
    assert_eq!(semaphore.kept(), Duration::from_secs(3 * 7200), "a waiter counts as well");
    semaphore.release("d");
    assert_eq!(semaphore.kept(), Duration::from_secs(3 * 3600));
}

/// Two held one lock after an outage of ten seconds: what was stored of it expired in the moment in which it was acquired, and the
/// server's marker of that took the place of the acquisition.
#[test]
fn a_lock_does_not_expire_while_it_is_acquired_after_an_outage() {
    assert!(Permits::free(1).kept() >= Duration::from_secs(3600), "an outage is shorter");
}

#[test]
fn bytes_that_are_no_permits_are_an_error_and_never_a_default() {
    assert!(Permits::decode(b"").is_err(), "an empty message has no kind");
    assert!(Permits::decode(b"hello, I am a text").is_err());
    assert!(Permits::decode(&Done("1".into()).encode()).is_err(), "another object's bytes");
    assert!(Done::decode(&Permits::free(1).encode()).is_err() && Done::decode(b"").is_err() && Done::decode(b"\xff").is_err());
    let mut crowd = Permits::free(5);
    crowd.join(&ask("a", 4)).unwrap();
    crowd.join(&ask("b", 5)).unwrap();
    let bytes = crowd.encode();
    assert_eq!(Permits::decode(&bytes), Ok(crowd));
    for end in 1..bytes.len() {
        // A cut that ends between two fields is a shorter message; it must not be taken for more than it says.
        if let Ok(short) = Permits::decode(&bytes[..end]) {
            assert!(short.members().count() < 2);
        }
    }
    // The capacity is the second field: with 3 instead of 5 more is held than there is.
    let mut broken = bytes.to_vec();
    assert_eq!(broken[..4], [8, 1, 16, 5]);
    broken[3] = 3;
    assert!(Permits::decode(&broken).is_err());
    // Two members of one id.
    let twice = [&bytes[..], &bytes[4..]].concat();
    assert!(Permits::decode(&twice).is_err());
}

#[test]
fn an_observer_gives_up_only_who_was_silent_for_its_whole_lease() {
    let second = Duration::from_secs(1);
    let mut lock = Permits::free(1);
    lock.join(&ask("a", 1)).unwrap();
    let mut seen = Sightings::default();
    assert_eq!(seen.next_due("me"), None);
    seen.note(5 * second, lock.members());
    let patience = Lease::new(LEASE).unwrap().patience();
    assert_eq!(seen.next_due("me"), Some(5 * second + patience));
    seen.note(9 * second, lock.members());
    assert_eq!(seen.next_due("me"), Some(5 * second + patience), "the same beat again is no news");
    lock.renew("a");
    seen.note(10 * second, lock.members());
    assert_eq!(seen.silent(9 * second + patience, "me"), []);
    assert_eq!(seen.silent(10 * second + patience, "me"), [Silent { id: "a".into(), beat: 1 }]);
    assert_eq!((seen.silent(99 * second, "a"), seen.next_due("a")), (vec![], None), "it does not give itself up");
    lock.release("a");
    seen.note(11 * second, lock.members());
    assert_eq!((seen.next_due("me"), seen.silent(99 * second, "me")), (None, vec![]), "who is gone is forgotten");
}
