//! Delta debugging: fewer and fewer of some things, as long as it still fails.

/// Returns few of so many things that still fail, of which none can be left out alone; all of them must fail.
///
/// Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002, with the complements only: what is asked about is
/// dear, and of what matters there is little. Where it gets no answer, it should be told that it does not fail; the outcome is then larger
/// than it could be.
pub(super) fn fewest(all: Vec<usize>, mut fails: impl FnMut(&[usize]) -> bool) -> Vec<usize> {
    if fails(&[]) {
        return Vec::new();
    }
    let (mut kept, mut pieces) = (all, 2_usize);
    while kept.len() > 1 {
        pieces = pieces.min(kept.len());
        let size = kept.len().div_ceil(pieces);
        let without = (0..kept.len()).step_by(size).find_map(|at| {
            let end = (at + size).min(kept.len());
            let rest: Vec<usize> = kept[..at].iter().chain(&kept[end..]).copied().collect();
            fails(&rest).then_some(rest)
        });
        match without {
            Some(rest) => (kept, pieces) = (rest, pieces.saturating_sub(1).max(2)),
            None if size == 1 => break,
            None => pieces *= 2,
        }
    }
    kept
}

#[test]
fn what_does_not_matter_is_left_out() {
    let (mut asked, all) = (0, (0..1000).collect());
    let kept = fewest(all, |some| {
        asked += 1;
        some.contains(&3) && some.contains(&997)
    });
    assert_eq!(kept, [3, 997]);
    assert!(asked < 100, "{asked}");
    assert!(fewest(vec![7], |_| true).is_empty());
    assert_eq!(fewest((0..5).collect(), |some| some.len() == 5), [0, 1, 2, 3, 4]);
}
