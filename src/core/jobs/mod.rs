//! What becomes of a job: whether a delivery is run, what its end means, and what is kept of it.
//!
//! The queue counts deliveries, and a [`Record`] corrects the count by those that used no attempt up. So an attempt counts before
//! it begins, without a write, and a kill in the middle of it counts too. [`admit`] looks at a delivery, [`settle`] at its end;
//! both are functions of what is known, so either can be asked again after a lost answer. This file does not know where records
//! are kept, nor how a queue is told.

mod lanes;
mod pb;
mod record;
mod verdict;
mod wire;

pub use lanes::Lanes;
pub use record::{Failure, How, MOST_FAILURES, Progress, Record, State};
pub use verdict::{Admission, Decision, Delivered, Outcome, Verdict, admit, settle};
pub use wire::Letter;
