//! The algebra of the coordination objects: who holds what, how much is left, who waits.
//!
//! Each object is one value and some functions on it, so that the store's compare-and-set makes every one of them a transaction.
//! A function may be applied many times, on whatever value is found, and its caller's identity is in its arguments: what is
//! repeated is recognized. Nothing here knows stores, tasks or clocks.

pub mod barrier;
pub mod counter;
pub mod group;
pub mod latch;
pub mod lease;
mod marks;
pub mod metric;
pub mod once;
pub mod permits;
mod quota;
mod range;
mod stored;
mod token;
mod window;

pub use lease::Lease;
pub use marks::Mark;
pub use quota::{Block, Limit, Quota, QuotaError, Reserved, Verdict};
pub use range::OutOfRange;
pub use stored::NotThis;
pub use token::{FencingToken, Lost};
pub use window::{Window, WindowQuota};
