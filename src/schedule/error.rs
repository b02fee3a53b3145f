//! Why a schedule or a delayed message is not as it was asked for.

use crate::{
    coordination::CoordinationError,
    core::{coordination::NotThis, schedule::RuleError},
    engine::{Key, NameError, Rejection, StoreError},
    error::BoxError,
    time::Timestamp,
};

/// Why a schedule or a delayed message is not as it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// It is no rule: correct it.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// There is a schedule of this name with another definition, which was left as it is: update it, or take another name.
    #[error("there is a schedule `{0}` with another definition")]
    Exists(String),
    /// There is nothing of this name: it was never there, was deleted, or has been sent.
    #[error("there is no `{0}`")]
    NotFound(String),
    /// Nothing was scheduled, since its time is over and that was not to be: send it at once, or take another time.
    #[error("{due} is over, it is {now}")]
    Past {
        /// When it was to be sent.
        due: Timestamp,
        /// What time it is.
        now: Timestamp,
    },
    /// An argument is out of its range: correct it.
    #[error("{0}")]
    Invalid(&'static str),
    /// What is stored is something else, or of a newer version. It is left as it is.
    #[error("what is stored at `{key}` cannot be read")]
    Corrupt {
        /// Where it is.
        key: Key,
        /// What is wrong with it.
        source: NotThis,
    },
    /// It is not known whether the firing before goes on, or it could not be cancelled: it is asked again.
    #[error("`{firing}` could not be asked about, or cancelled")]
    Running {
        /// Which firing.
        firing: String,
        /// Why not.
        source: BoxError,
    },
    /// This process cannot cancel what goes on: give its scheduler somebody who can, by `SchedulerBuilder::running`.
    #[error("nobody here can cancel what was sent to `{0}`")]
    NobodyCancels(String),
    /// Others changed it each time, until the deadline: try again.
    #[error("others changed `{0}` until the deadline")]
    Contended(String),
    /// The store did not do it, or may not have; the source says what to do.
    #[error("schedules cannot be kept")]
    Store(#[from] StoreError),
    /// Nobody could be elected to do what is due; the source says what to do.
    #[error("no leader can be elected")]
    Election(#[from] CoordinationError),
}

impl From<NameError> for ScheduleError {
    fn from(error: NameError) -> Self {
        Self::Store(error.into())
    }
}

impl From<Rejection> for ScheduleError {
    fn from(error: Rejection) -> Self {
        Self::Store(error.into())
    }
}
