//! Models of the objects that are most often asked about.

mod counter;
mod lock;
mod register;

pub use counter::{Counter, CounterOp};
pub use lock::{Lock, LockOp, LockRet};
pub use register::{Expected, Register, RegisterOp, RegisterRet};
