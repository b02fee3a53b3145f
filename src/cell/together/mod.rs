//! Several keys of one space changed as one: all of them, or none.
//!
//! `parts` are the cells that take part, whatever their types; `commit` takes their turns, decides and writes. This file is what
//! users see of it.

mod commit;
mod parts;

use super::{
    error::{CellError, UpdateError},
    handle::Cell,
};
use crate::engine::Rejection;
use commit::commit;
use parts::{Group, Member};
use std::convert::Infallible;

/// Changes several cells of one space as one: a tuple of two to four cells, or a slice of cells of one type.
///
/// The closure gets the values in the order of the cells, absent ones as their default. It may run many times, and has to be pure.
/// Every value that it gets is written. On JetStream such a commit takes the server some milliseconds, where a write of one key takes
/// a tenth of one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{Codec, cell::{Cells, together}, engine::Engine};
///
/// let space = Engine::open("memory:").await?.space("bank").await?;
/// let accounts = Cells::<i64>::new(&space, Codec::json());
/// let (ann, bob) = (accounts.cell("ann")?, accounts.cell("bob")?);
/// together((&ann, &bob), |(ann, bob)| {
///     *ann -= 5;
///     *bob += 5;
/// })
/// .await?;
/// assert_eq!((ann.read().await?.unwrap().value, bob.read().await?.unwrap().value), (-5, 5));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
///
/// # Errors
///
/// [`CellError::Rejected`] when the engine commits one part at a time only, when a cell is named twice, or when the cells are not
/// of one space; [`CellError::Unknown`] when all of it happened or nothing, and which of the two is not known; otherwise as
/// [`Cell::edit`].
///
/// # Panics
///
/// Panics when the closure does; nothing is changed then.
///
/// # Cancel safety
///
/// Safe for the values: a change whose future is dropped happens as a whole, or not at all.
pub async fn together<G, R, F>(cells: G, mut change: F) -> Result<R, CellError>
where
    G: Together,
    R: Send + 'static,
    F: FnMut(G::Values<'_>) -> R + Send + 'static,
{
    match try_together(cells, move |values| Ok::<R, Infallible>(change(values))).await {
        Ok(result) => Ok(result),
        Err(UpdateError::Cell(error)) => Err(error),
        Err(UpdateError::Aborted(never)) => match never {},
    }
}

/// Changes several cells as [`together`] does, or none of them when the closure returns an error.
///
/// # Errors
///
/// [`UpdateError::Aborted`] with what the closure returned, otherwise as [`together`].
///
/// # Panics
///
/// As [`together`].
///
/// # Cancel safety
///
/// As [`together`].
pub async fn try_together<G, R, E, F>(cells: G, mut change: F) -> Result<R, UpdateError<E>>
where
    G: Together,
    R: Send + 'static,
    E: Send + 'static,
    F: FnMut(G::Values<'_>) -> Result<R, E> + Send + 'static,
{
    let mut members = cells.members();
    let Some(host) = G::parts(&mut members).first().map(|part| part.host()) else {
        return Err(CellError::from(Rejection::InvalidOption("cells that change as one are at least one")).into());
    };
    // In a task of its own: whoever waits may stop to wait, or never look again, and holds up nobody.
    let running = host.tasks.clone().spawn(async move {
        let mut outcome = None;
        let work = |members: &mut G::Members| outcome.insert(change(G::values(members))).is_ok();
        commit::<G>(&mut members, &host, work).await?;
        outcome.expect("it ran before it was committed").map_err(UpdateError::Aborted)
    });
    match running.await {
        Ok(outcome) => outcome,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(stopped) => Err(CellError::Unknown(stopped.into()).into()),
        },
    }
}

/// Cells that [`together`] can change as one: a tuple of two to four of them, or a slice of cells of one type.
pub trait Together: Group {
    /// What the closure gets: the values, in the order of the cells.
    type Values<'v>;
    /// Lends the values to the closure.
    #[doc(hidden)]
    fn values(members: &mut Self::Members) -> Self::Values<'_>;
}

impl<T: Clone + Default + Send + Sync + 'static> Together for &[Cell<T>] {
    type Values<'v> = Vec<&'v mut T>;

    fn values(members: &mut Vec<Member<T>>) -> Vec<&mut T> {
        members.iter_mut().map(Member::value).collect()
    }
}

macro_rules! tuples {
    ($(($($cell:ident $member:ident),+))+) => {$(
        impl<$($cell: Clone + Default + Send + Sync + 'static),+> Together for ($(&Cell<$cell>,)+) {
            type Values<'v> = ($(&'v mut $cell,)+);

            fn values(($($member,)+): &mut Self::Members) -> Self::Values<'_> {
                ($($member.value(),)+)
            }
        }
    )+};
}

tuples! {
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d)
}
