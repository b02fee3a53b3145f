//! Rings: what they remember, what they claim, what they cost, and what earlier versions wrote.

use super::*;

fn id(writer: u64, count: u64) -> WriteId {
    WriteId { writer, count }
}

/// Continues a ring for a writer that knows the outcome of all its writes.
fn follow(ring: &Ring, at: u64, id: WriteId) -> Ring {
    let next = ring.follow(at, id, |_| true, 0);
    assert_eq!(Ring::parse(&next.header(None)), next);
    // Whatever the label is: it may look like a ring, and may have what a ring is parted from it by.
    for text in ["~", "7~8", "=AAAAAAAAB", "running.w1"] {
        let header = next.header(Some(text));
        assert_eq!((Ring::parse(&header), label(&header)), (next.clone(), Some(text)), "{header}");
    }
    assert_eq!(label(&next.header(None)), None);
    next
}

#[test]
fn a_ring_keeps_the_last_write_of_each_writer_however_often_another_writes() {
    let mut ring = follow(&Ring::default(), 0, id(1, 1));
    for n in 1..=1000 {
        ring = follow(&ring, n * 10, id(2, n));
    }
    assert_eq!(ring.find(10_010, id(1, 1)), Some(10));
    assert_eq!(ring.find(10_010, id(2, 1000)), Some(10_010));
    assert_eq!(ring.find(10_010, id(2, 999)), None, "it is superseded");
    assert!(ring.reaches(0) && ring.reaches(9) && ring.reaches(10) && ring.reaches(5000));
}

#[test]
fn a_write_that_is_under_way_is_not_superseded() {
    let first = follow(&Ring::default(), 0, id(1, 1));
    let second = first.follow(10, id(1, 2), |settled| settled != id(1, 1), 0);
    let third = follow(&second, 20, id(2, 1));
    assert_eq!((third.find(30, id(1, 1)), third.find(30, id(1, 2))), (Some(10), Some(20)));
    let fourth = follow(&third, 30, id(1, 3));
    assert_eq!((fourth.find(40, id(1, 1)), fourth.find(40, id(1, 2))), (None, None));
}

#[test]
fn beyond_its_bound_a_ring_forgets_the_oldest_and_says_so() {
    let mut ring = follow(&Ring::default(), 0, id(0, 1));
    let most = RING as u64;
    for writer in 1..=most + 1 {
        ring = follow(&ring, writer * 10, id(writer, 1));
    }
    let head = (most + 2) * 10;
    assert_eq!((ring.find(head, id(0, 1)), ring.find(head, id(1, 1))), (None, Some(20)));
    assert!(ring.reaches(10) && !ring.reaches(9) && !ring.reaches(0));
}

#[test]
fn a_foreign_write_is_a_gap() {
    let ring = Ring::parse("hello world");
    assert_eq!(ring, Ring::default());
    let next = follow(&ring, 7, id(1, 1));
    assert!(next.reaches(7) && !next.reaches(6) && !next.reaches(0));
    let started = Ring::start(id(2, 1), 0);
    assert!(!started.reaches(7));
    let next = follow(&started, 7, id(1, 1));
    assert_eq!(next.find(9, id(2, 1)), Some(7));
    assert!(next.reaches(6) && !next.reaches(5));
}

#[test]
fn a_write_of_long_ago_leaves_the_ring() {
    let first = Ring::default().follow(0, id(1, 1), |_| true, TICKS - 2);
    let soon = first.follow(10, id(2, 1), |_| true, STAYS - 3);
    assert_eq!(soon.find(20, id(1, 1)), Some(10));
    assert_eq!(Ring::parse(&soon.header(None)), soon);
    let late = soon.follow(20, id(2, 2), |_| true, STAYS - 2);
    assert_eq!(late.find(30, id(1, 1)), None);
    assert!(late.reaches(10) && !late.reaches(9) && !late.reaches(0));
    let behind = first.follow(10, id(2, 1), |_| true, TICKS - 9);
    assert_eq!(behind.find(20, id(1, 1)), Some(10), "a clock that is behind makes nothing old");
}

#[test]
fn what_earlier_versions_wrote_is_read_as_far_as_it_reaches() {
    let chain = Ring::parse("00000000000000ff 30:00000000000000fe 20:00000000000000fd 10:-");
    assert!(chain.reaches(10) && chain.reaches(25) && !chain.reaches(9) && !chain.reaches(0));
    let next = follow(&chain, 40, id(1, 1));
    assert!(next.reaches(10) && !next.reaches(9));
    let created = Ring::parse("00000000000000ff 0:-");
    assert!(created.reaches(0) && !created.reaches(5));
    assert!(follow(&created, 40, id(1, 1)).reaches(0));
    let followed = Ring::parse("00000000000000ff 30:00000000000000fe 0:-");
    assert!(followed.reaches(0) && followed.reaches(30) && !followed.reaches(20));
}

#[test]
fn what_cannot_be_read_is_a_foreign_write() {
    for text in
        ["", "=", "= AA", "=AAAAAAAA AA", "=AAAAAAAAB", "=AAAAAAAAB A", "=AAAAAAAAB AAB x", "=AAAAAAAAB AAB B:AAAAAAAA~"]
    {
        assert_eq!(Ring::parse(text), Ring::default(), "{text:?}");
    }
    assert!(Ring::parse("=AAAAAAAAB AAB B:AAAAAAAAC:D").reaches(1));
    assert_eq!(Ring::parse("=AAAAAAAAB AA____________"), Ring::default(), "a number that is too large");
}

/// The sizes that `docs/wire.md` states.
#[test]
fn a_header_of_one_writer_is_short_and_grows_with_the_writers_only() {
    let measure = |writers: u64| {
        let mut ring = Ring::default();
        let mut longest = 0;
        for n in 0..1000 {
            // Far into the life of a stream and of its writers.
            let writer = 0xA5A5_0000_0000 + n % writers;
            ring = follow(&ring, 50_000_000 + n * 3, id(writer, 100_000 + n));
            longest = longest.max(ring.header(None).len());
        }
        longest
    };
    assert_eq!([1, 4, 64].map(measure), [20, 63, 903]);
    assert_eq!(follow(&Ring::default(), 0, id(1, 1)).header(None).len(), 15);
}

#[test]
fn an_older_write_does_not_hide_a_newer_one() {
    let (rings, others) = (Rings::default(), Rings::default());
    let (old, new) = (others.take_off(), others.take_off());
    rings.remember("k", 5, Ring::start(new.id, 0), None);
    rings.remember("k", 3, Ring::start(old.id, 0), None);
    let next = rings.take_off();
    assert_eq!(rings.next("k", Some(5), next.id, 0).0.find(9, new.id), Some(5));
}

#[test]
fn a_store_knows_which_of_its_writes_are_under_way() {
    let rings = Rings::default();
    let first = rings.take_off();
    rings.remember("k", 5, rings.next("k", Some(0), first.id, 0).0, None);
    let (second, third) = (rings.take_off(), rings.take_off());
    rings.remember("k", 6, rings.next("k", Some(5), second.id, 0).0, None);
    let lost = first.id;
    assert_eq!(rings.next("k", Some(6), third.id, 0).0.find(7, lost), Some(5));
    drop(first);
    assert_eq!(rings.next("k", Some(6), third.id, 0).0.find(7, lost), None);
}

/// What another client writes into the header is not ours to trust: here it says that the last revision of all was before.
#[test]
fn a_ring_that_somebody_made_up_is_followed_without_overflow() {
    let last = Listed { revision: u64::MAX, id: id(1, u64::MAX), tick: 0 };
    let made_up = Ring { own: Some(id(2, 1)), tick: 0, since: Some(u64::MAX), from_nothing: false, before: vec![last; RING] };
    let made_up = Ring::parse(&made_up.header(None));
    assert_eq!(made_up.before.len(), RING);
    assert_eq!(follow(&made_up, 7, id(3, 1)), follow(&Ring::default(), 7, id(3, 1)), "it is as good as a foreign write");
}
