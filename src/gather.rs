//! Lets those come who are about to: what they want then leaves together.
//!
//! Nobody is waited for by time, since that would cost whoever is alone more than it could spare him. It does not know who comes, or
//! what leaves.

use tokio::task::yield_now;

/// Lets run whoever is ready to, at most so many times, as long as by that more are there than before. `there` tells how many, or
/// nothing where more of them are not worth waiting for.
pub(crate) async fn gather(looks: usize, there: impl Fn() -> Option<usize>) {
    let Some(mut before) = there() else { return };
    for _ in 0..looks {
        yield_now().await;
        match there() {
            Some(now) if now > before => before = now,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// How often it is looked where these are there, one look after the other.
    async fn looks(most: usize, there: &[Option<usize>]) -> usize {
        let looked = Cell::new(0);
        gather(most, || there[looked.replace(looked.get() + 1)]).await;
        looked.get()
    }

    #[tokio::test]
    async fn it_ends_where_nobody_more_comes_or_enough_are_there() {
        assert_eq!(looks(8, &[None]).await, 1);
        assert_eq!(looks(8, &[Some(1), Some(1)]).await, 2);
        assert_eq!(looks(8, &[Some(1), Some(3), Some(4), Some(4)]).await, 4);
        assert_eq!(looks(8, &[Some(1), Some(3), None]).await, 3);
        assert_eq!(looks(2, &[Some(1), Some(2), Some(3)]).await, 3);
    }
}
