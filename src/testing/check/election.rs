//! Never two leaders, and terms that grow.
//!
//! It holds `docs/semantics.md`, "Locks, permits and leaders", to its word that a leader stops to lead before another starts, and that each
//! holder's token is greater than those of all before. It does not know who should lead.

use super::{Holding, holding::beliefs, violation::Violation};
use std::collections::BTreeMap;

/// Checks that no two beliefs to lead (or to hold a lock) overlap, and that tokens grow from each to the next.
///
/// A belief is as in [`semaphore::check`](super::semaphore::check). One that was over before its holder was told is none.
///
/// # Errors
///
/// That two lead at once (rule `election.two`), that a token is not greater than the one before (`election.term`), or that a leader
/// goes on that had been told of its loss (`election.revived`); with the two that contradict each other.
///
/// ```
/// use anabranch::testing::check::{Holding, election};
///
/// let elected = |client: &str, token: u64, at, until| Holding::Held {
///     client: client.into(),
///     object: "e".into(),
///     hold: token.to_string().into(),
///     units: 1,
///     token,
///     at,
///     until: Some(until),
/// };
/// election::check(&[elected("a", 1, 0, 100), elected("b", 2, 100, 200)])?;
/// assert_eq!(election::check(&[elected("a", 1, 0, 100), elected("b", 2, 99, 200)]).unwrap_err().rule(), "election.two");
/// assert_eq!(election::check(&[elected("a", 2, 0, 100), elected("b", 2, 100, 200)]).unwrap_err().rule(), "election.term");
/// # Ok::<(), anabranch::testing::check::Violation>(())
/// ```
pub fn check(events: &[Holding]) -> Result<(), Violation> {
    for (object, mut beliefs) in beliefs("election.revived", events)? {
        beliefs.retain(|belief| !belief.is_empty());
        // Ends are looked for among all that are before, since one that was long may be before many that were short.
        let mut open = BTreeMap::new();
        for (at, belief) in beliefs.iter().enumerate() {
            open.retain(|_, before: &mut usize| beliefs[*before].covers(belief.from));
            if let Some(before) = open.values().next().map(|before| &beliefs[*before]).filter(|before| before.overlaps(belief))
            {
                let what = format!("{} and {} lead {object} at once", before.client, belief.client);
                return Err(belief.show(before.show(Violation::new("election.two", what))));
            }
            open.insert(at, at);
        }
        for pair in beliefs.windows(2) {
            let (before, belief) = (&pair[0], &pair[1]);
            if belief.token <= before.token {
                let what = format!(
                    "{} leads {object} with token {}, after {} did with {}",
                    belief.client, belief.token, before.client, before.token
                );
                return Err(belief.show(before.show(Violation::new("election.term", what))));
            }
        }
    }
    Ok(())
}
