//! A latch's algebra: everybody once, and open for ever.

use anabranch::core::coordination::{
    Mark, NotThis,
    latch::{Latch, MAX_COUNT},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[test]
fn a_latch_opens_after_so_many_have_counted_down() {
    let mut latch = Latch::new(3, 3);
    assert_eq!(["a", "b", "a"].map(|id| latch.count_down(Mark::of(id))), [2, 1, 1]);
    assert!(!latch.is_open());
    assert_eq!(latch.count_down(Mark::of("c")), 0);
    assert!(latch.is_open());
    let open = latch.clone();
    assert_eq!(["a", "d"].map(|id| latch.count_down(Mark::of(id))), [0, 0]);
    assert_eq!(latch, open);
}

#[test]
fn a_stored_latch_is_read_for_ever() {
    let bytes = [0x08, 6, 0x10, 3, 0x20, 1, 0x29, 9, 0, 0, 0, 0, 0, 0, 0];
    let latch = Latch::decode(&bytes).unwrap();
    assert!(latch.is_open() && latch.count() == 3 && latch.born() == 9);
    assert_eq!(latch.encode(), &bytes[..]);
}

#[test]
fn what_is_no_latch_is_not_taken_for_one() {
    assert!(matches!(Latch::decode(b""), Err(NotThis::Kind { found: 0, .. })));
    assert!(matches!(Latch::decode(&[0x08, 7, 0x10, 3]), Err(NotThis::Kind { found: 7, .. })));
    for broken in [
        vec![0x08, 6],                                                      // counts down from nothing
        [&[0x08, 6, 0x10][..], &[0x81, 0x80, 0x01]].concat(),               // from more than a latch can
        [&[0x08, 6, 0x10, 1, 0x1a, 16][..], &[7; 16]].concat(),             // everybody has, and it is not open
        [&[0x08, 6, 0x10, 2, 0x1a, 16][..], &[7; 16], &[0x20, 1]].concat(), // open, and not everybody has
    ] {
        assert!(matches!(Latch::decode(&broken), Err(NotThis::Broken(_))), "{broken:?}");
    }
    assert_eq!(MAX_COUNT, 16_384);
}

proptest! {
    #[test]
    fn a_latch_is_open_when_so_many_different_ones_were_there(count in 1_u32..6, ids in prop::collection::vec(0_u8..8, 0..20)) {
        let (mut latch, mut seen) = (Latch::new(count, 3), BTreeSet::new());
        for id in ids {
            seen.insert(id);
            let left = latch.count_down(Mark::of(&id.to_string()));
            prop_assert_eq!(left, count.saturating_sub(u32::try_from(seen.len()).unwrap()));
            prop_assert_eq!(latch.is_open(), left == 0);
            latch = Latch::decode(&latch.encode()).unwrap();
        }
    }

    #[test]
    fn bytes_that_are_no_latch_are_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(latch) = Latch::decode(&bytes) {
            prop_assert_eq!(Latch::decode(&latch.encode()), Ok(latch));
        }
    }
}
