//! What goes wrong again and again, by chance.

use std::time::Duration;

/// A kind of trouble, and how often it comes.
///
/// ```
/// use anabranch::testing::sim::Trouble;
/// use std::time::Duration;
///
/// let kills = Trouble::crash(Duration::from_secs(60)).lasting(Duration::from_secs(5)).of(["shop-1", "shop-2"]);
/// ```
#[derive(Debug, Clone)]
pub struct Trouble {
    pub(super) what: What,
    pub(super) every: Duration,
    pub(super) lasting: Duration,
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Crash,
    PowerLoss,
    Pause,
    Cut,
    Break,
}

impl Trouble {
    fn new(what: What, every: Duration) -> Self {
        Self { what, every, lasting: Duration::from_secs(1), hosts: Vec::new() }
    }

    /// A host is killed about once in `every`, wherever its tasks are.
    #[must_use]
    pub fn crash(every: Duration) -> Self {
        Self::new(What::Crash, every)
    }

    /// A host is killed, and its disk loses what was not synced.
    #[must_use]
    pub fn power_loss(every: Duration) -> Self {
        Self::new(What::PowerLoss, every)
    }

    /// A host stands still and goes on later, as after `SIGSTOP`, or in a long pause of a virtual machine.
    #[must_use]
    pub fn pause(every: Duration) -> Self {
        Self::new(What::Pause, every)
    }

    /// Nothing gets through between a host and the server.
    #[must_use]
    pub fn cut(every: Duration) -> Self {
        Self::new(What::Cut, every)
    }

    /// A host's connections break, and what is under way is lost; it can connect again at once.
    #[must_use]
    pub fn broken_connection(every: Duration) -> Self {
        Self::new(What::Break, every)
    }

    /// Sets how long it lasts on average: until the host is started again, goes on, or is reached again. One second otherwise.
    #[must_use]
    pub fn lasting(mut self, lasting: Duration) -> Self {
        self.lasting = lasting;
        self
    }

    /// Sets whom it strikes, one at a time; all hosts but the server otherwise.
    #[must_use]
    pub fn of<N: Into<String>>(mut self, hosts: impl IntoIterator<Item = N>) -> Self {
        self.hosts = hosts.into_iter().map(Into::into).collect();
        self
    }
}
