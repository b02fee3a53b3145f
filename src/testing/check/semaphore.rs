//! Never more units are held than there are.
//!
//! It holds `docs/semantics.md`, "Locks, permits and leaders", to its word that never more permits are held than there are and that a
//! guard is lost before anybody else can hold the same. It does not judge who is served first.

use super::{
    Holding,
    holding::{Belief, beliefs},
    violation::Violation,
};

/// Checks that those who believe to hold units of an object at one moment never hold more than `capacity` together.
///
/// A belief lasts from when it was told to the earliest of its release, its loss, its holder's death and the end of its lease; a release
/// counts from when it begins. Locks are semaphores of one unit.
///
/// # Errors
///
/// That too many are held (rule `semaphore`), with all that were held at that moment; or that a hold was renewed that had ended.
///
/// ```
/// use anabranch::testing::check::{Holding, semaphore};
///
/// let held = |client: &str, units, at, until| Holding::Held {
///     client: client.into(),
///     object: "s".into(),
///     hold: client.into(),
///     units,
///     token: at,
///     at,
///     until: Some(until),
/// };
/// semaphore::check(&[held("a", 2, 0, 100), held("b", 1, 50, 200), held("c", 2, 100, 150)], 3)?;
/// let violation = semaphore::check(&[held("a", 2, 0, 100), held("b", 1, 50, 200), held("c", 2, 99, 150)], 3).unwrap_err();
/// assert!(violation.to_string().starts_with("semaphore: 5 of 3 units of s are held"), "{violation}");
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub fn check(events: &[Holding], capacity: u32) -> Result<(), Violation> {
    for (object, beliefs) in beliefs("semaphore", events)? {
        for begins in &beliefs {
            // The most are held when one begins.
            let held: Vec<&Belief<'_>> = beliefs.iter().filter(|belief| belief.covers(begins.from)).collect();
            let units: u64 = held.iter().map(|belief| u64::from(belief.units)).sum();
            if units > u64::from(capacity) {
                let violation =
                    Violation::new("semaphore", format!("{units} of {capacity} units of {object} are held at once"));
                return Err(held.iter().fold(violation, |violation, belief| belief.show(violation)));
            }
        }
    }
    Ok(())
}
