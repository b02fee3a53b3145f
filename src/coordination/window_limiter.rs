//! A counter for each minute of the clock that all processes share, or for the last minute, roughly.
//!
//! `core::coordination` says what it counts and how exact that is. Nobody passes when the store does not answer.

use super::{CoordinationError, rate_limiter::Decision};
use crate::{
    cell::{Cell, Cells},
    codec::{Codec, CodecError},
    core::coordination::{Verdict, Window, WindowQuota},
    engine::{Key, Space},
};
use std::{num::NonZeroU32, sync::Arc, time::Duration};

/// How much longer a state is kept than it matters, for clocks that differ.
const MARGIN: Duration = Duration::from_secs(60);

/// Lets so many pass in each window of the clock, in all processes together.
///
/// It counts as many providers do. Who wants a bound for every span of time, or to wait, takes a
/// [`RateLimiter`](super::RateLimiter).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use anabranch::{coordination::WindowLimiter, core::coordination::WindowQuota, engine::Engine};
/// use std::time::Duration;
///
/// let space = Engine::open("memory:").await?.space("shop").await?;
/// let daily = WindowQuota::fixed(1000, Duration::from_secs(24 * 3600))?;
/// let exports = WindowLimiter::new(&space, "exports", daily)?.key("customer-7")?;
/// assert!(exports.check_one().await?.is_allowed());
/// assert_eq!(exports.count().await?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct WindowLimiter {
    limiter: Arc<str>,
    /// The limiter, and the key if it is at one.
    name: Arc<str>,
    quota: WindowQuota,
    cell: Cell<Window>,
    keys: Cells<Window>,
}

fn codec() -> Codec<Window> {
    let encode = |window: &Window| Ok(window.encode().into());
    Codec::new("anabranch.window", encode, |bytes| Window::decode(bytes).map_err(CodecError::new::<Window>))
}

impl WindowLimiter {
    /// Takes the limiter of a name, which is stored at the first call that it admits. Every process has to give the same quota.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the name is empty, or too long for a key.
    pub fn new(space: &Space, name: &str, quota: WindowQuota) -> Result<Self, CoordinationError> {
        let fail = |error: crate::engine::NameError| CoordinationError::at(name)(error.into());
        let all = Key::new("window").map_err(fail)?;
        let cell = Cells::below(space, &all, codec()).cell(name).map_err(fail)?;
        let keys = Cells::below(space, cell.key(), codec());
        let limiter = Arc::<str>::from(name);
        Ok(Self { name: Arc::clone(&limiter), limiter, quota, cell, keys })
    }

    /// Returns the limiter at one of its keys: any text. Keys of a key are keys of the limiter.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Cell`] when the text is empty, or too long for a key.
    pub fn key(&self, key: &str) -> Result<Self, CoordinationError> {
        let name: Arc<str> = format!("{}/{key}", self.limiter).into();
        let cell = self.keys.cell(key).map_err(|error| CoordinationError::at(&*name)(error.into()))?;
        Ok(Self { name, cell, ..self.clone() })
    }

    /// Asks for one cell, see [`check`](Self::check).
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    ///
    /// # Cancel safety
    ///
    /// As [`check`](Self::check).
    pub async fn check_one(&self) -> Result<Decision, CoordinationError> {
        self.check(1).await
    }

    /// Asks for `n` cells, all of them or none, at once. A denial changes nothing.
    ///
    /// # Errors
    ///
    /// [`CoordinationError::Invalid`] for no cells, or more than a window has. [`CoordinationError::Mismatch`] when the stored quota
    /// is another. [`CoordinationError::Cell`] when the store does not answer, does not know whether it was written, or has something
    /// at the key that is no window: do not pass.
    ///
    /// # Cancel safety
    ///
    /// A call that is dropped may have spent its cells.
    pub async fn check(&self, n: u32) -> Result<Decision, CoordinationError> {
        let n = NonZeroU32::new(n).ok_or(CoordinationError::Invalid("a limiter is asked for at least one cell"))?;
        if n > self.quota.most() {
            return Err(TOO_MANY);
        }
        let (quota, clock) = (self.quota, self.cell.clock().clone());
        let edited = self.cell.edit(move |draft| {
            // The time of the decision and not of the call: whoever stood in line during an outage counts in the window after it.
            let now = clock.now();
            let mut window = draft.get().copied().unwrap_or_else(|| Window::new(quota, now));
            if window.quota() != quota {
                return Err(window.quota());
            }
            let before = window;
            let verdict = window.check(n, now);
            if window != before {
                draft.set(window);
                draft.expire_after(window.matters_for() + MARGIN);
            }
            Ok(verdict)
        });
        let edited = edited.await.map_err(CoordinationError::at(&*self.name))?;
        match edited.result.map_err(|stored| self.mismatch(stored))? {
            Verdict::Allowed { remaining } => Ok(Decision::Allowed { remaining, failed_open: false }),
            Verdict::Denied { retry_in } => Ok(Decision::Denied { retry_in }),
            Verdict::TooMany { .. } => Err(TOO_MANY),
        }
    }

    /// Returns how many cells count at this moment.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub async fn count(&self) -> Result<u32, CoordinationError> {
        let stored = self.cell.read().await.map_err(CoordinationError::at(&*self.name))?;
        let Some(window) = stored.map(|stored| stored.value) else { return Ok(0) };
        if window.quota() == self.quota {
            Ok(window.count(self.cell.clock().now()))
        } else {
            Err(self.mismatch(window.quota()))
        }
    }

    fn mismatch(&self, stored: WindowQuota) -> CoordinationError {
        let (stored, wanted) = (stored.to_string(), self.quota.to_string());
        CoordinationError::Mismatch { object: self.name.to_string(), what: "quota", stored, wanted }
    }
}

const TOO_MANY: CoordinationError = CoordinationError::Invalid("more cells were asked for at once than a window has");
