//! How many may pass in a time: the generic cell rate algorithm (GCRA), which is a leaky bucket that needs one number.
//!
//! (ITU-T recommendation I.371, annex A: virtual scheduling algorithm; Brandur Leach, "Rate limiting, cells, and GCRA", 2015.)
//!
//! # What is admitted
//!
//! Let `T` be the time from one cell to the next, `period / amount`, and `b` the burst. The state is the theoretical arrival time
//! `tat` of the next cell. Who asks for `n` cells at the time `a` gets the slots `s = max(tat, a) + j*T` for `j` from 0 to `n - 1`
//! if the last of them is at most `(b - 1)*T` away, and `tat` becomes the slot after them. So no two slots are closer than `T`,
//! and whoever was admitted at `a` for the slot `s` has
//!
//! ```text
//! a <= s <= a + (b - 1)*T        (1)
//! ```
//!
//! **Bound.** In any span of time from `x` to `y`, both included, at most `b + (y - x)/T` cells are admitted: by (1) their slots
//! lie between `x` and `y + (b - 1)*T`, and slots that are at least `T` apart are at most `(y - x)/T + (b - 1) + 1` in there.
//! No more than that are admitted by a bucket of `b` tokens that gets one each `T`, which is what users ask for.
//!
//! **Reservations** are dated at the moment at which their wait ends, `a' = max(a, s_last - (b - 1)*T)`, for which (1) holds as
//! well, since `n` is at most `b`. Whoever comes `D` after its wait has ended is dated in a span that is longer by `D`, so `D`
//! is added to the span in the bounds; it is below a microsecond for who comes when it was told to, since waits are rounded up.
//!
//! **Blocks.** A process may take more slots than it needs at the moment, if they satisfy (1), and hand them out later without
//! coming back, each until its slot has come: at a later time `a <= s`, (1) still holds. So a block over-admits nothing. And it
//! loses nothing that a bucket would have kept: the cells that have not expired, and what the bucket has without them, are
//! together within one cell of what it would have if the others had never been taken. A process that dies loses the rest of its
//! block: less is admitted, never more.
//!
//! **Clocks.** The participants' clocks differ. Let the clock of process `p` show `t + e_p(t)` at the true time `t`, and let all
//! `e_p(t)`, of every process and at every time, lie within a span of length `S`, the *skew*; so `S` includes drift, and steps
//! forward and back. Who asks is dated `a = max(seen, clock)`, where `seen` is the greatest date of those before it. Each of
//! those was a clock's at a true time not after now, hence `a` lies between `t + e_min` and `t + e_max`. The dates of all that are
//! admitted in a span of true time of length `W` therefore lie in a span of length `W + S`, and
//!
//! ```text
//! in any span of true time of length W, at most b + (W + S)/T are admitted;
//! if all clocks are equal, at most b + W/T
//! ```
//!
//! An excess is paid for only once: the schedule itself never runs faster than the fastest clock. In the other direction, a
//! clock that is ahead makes others wait by `S` at most.
//!
//! **Forgetting.** Once `tat` has passed on every clock, the state says what no state says; so it may be removed `S` after that,
//! and earlier removal would admit up to one burst more.

mod block;
mod limit;
mod rate;
mod wire;

#[rustfmt::skip]
mod pb;

pub use block::Block;
pub use limit::{Limit, Reserved, Verdict};
pub use rate::{Quota, QuotaError};
