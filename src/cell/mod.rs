//! Typed shared state at a key, and the only read-modify-write loop of the library.
//!
//! It knows revisions, conflicts and lost answers, and does not know what the values mean.

mod error;

pub use error::{CellError, UpdateError};
