//! Typed shared state at a key, and the only read-modify-write loop of the library.
//!
//! A [`Cell`] is a value that many tasks and processes change at once; [`Cells`] are those of a space, by label. Contention is
//! removed, not retried: all updates of a key in a process share one compare-and-set, and between processes whoever loses reads
//! again and waits a little, by chance longer or shorter, until a deadline. It knows revisions, conflicts and lost answers, and
//! does not know what the values mean.
//!
//! `trail`, `draft`, `work` and `desk` are the parts; `shelf` holds what is in use, `writer` is the loop, and
//! `together` commits several keys at once.

mod cells;
mod desk;
#[cfg(feature = "testing")]
pub(crate) mod doors;
mod draft;
mod error;
mod event;
mod fence;
mod handle;
mod shelf;
mod together;
mod trail;
mod work;
mod writer;

pub use cells::Cells;
pub use draft::Draft;
pub use error::{CellError, UpdateError};
pub use event::{Event, Past, Stored};
pub use fence::Fence;
pub use handle::Cell;
pub use shelf::CellCounts;
pub use together::{Together, together, try_together};
pub use work::Edited;
