//! Objects that processes share: limiters, locks, semaphores, counters, groups and elections, each at one key.
//!
//! Every object is a thin shell: what it decides is in `core::coordination`, how it is written in `cell`. It waits, renews and
//! wakes up; it does not know which engine is below.

mod barrier;
mod certain;
mod counter;
mod election;
mod error;
mod follow;
mod holding;
mod ids;
mod latch;
mod lock;
mod metrics;
mod once;
mod rate_limiter;
mod rw_lock;
mod semaphore;
mod wait_group;
mod window_limiter;

pub use barrier::{Arrived, Barrier};
pub use counter::{Counted, Counter};
pub use election::{Election, Leader, Leadership};
pub use error::CoordinationError;
pub use holding::{Guard, Holder};
pub use latch::Latch;
pub use lock::Lock;
pub use metrics::{Metrics, MetricsBatch};
pub use once::{Once, OnceError};
pub use rate_limiter::{Decision, Outage, RateLimiter, Reservation};
pub use rw_lock::RwLock;
pub use semaphore::Semaphore;
pub use wait_group::{Ended, WaitGroup};
pub use window_limiter::WindowLimiter;

use ids::{checked_id, checked_ttl};
