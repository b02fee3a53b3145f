//! How often something goes wrong by chance.

use std::time::Duration;

/// How often calls fail by chance, in calls of a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Odds {
    /// Writes whose answer is lost; of every two, one happened.
    pub unknown: u16,
    /// Writes that are refused for no reason; those that expect nothing are unavailable instead.
    pub conflict: u16,
    /// Calls that find the store away.
    pub unavailable: u16,
    /// The longest delay of a call; each call draws its own, so they overtake each other.
    pub latency: Duration,
}

/// What else goes wrong by chance, in calls of a thousand unless it says otherwise. A call that [`Odds`] fail meets nothing of this.
///
/// ```
/// use anabranch::testing::faulty::Mishaps;
/// use std::time::Duration;
///
/// let mishaps = Mishaps { disconnect: 5, gap: 20, outage: Duration::from_secs(3), ..Mishaps::default() };
/// assert_eq!(mishaps.stale, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mishaps {
    /// Reads that are stale, but never behind what this process has read or written of the key. Several processes of one
    /// [`FaultyEngine`](super::FaultyEngine) see each other late by this; one alone sees nothing of it. The engines of this crate are
    /// never more stale than that.
    pub stale: u16,
    /// Reads that are as stale as the contract allows: also behind what this process has written itself.
    pub forgetful: u16,
    /// Writes that find no room.
    pub full: u16,
    /// Writes whose value is suddenly too large. A caller that gives up on that is right.
    pub too_large: u16,
    /// Calls right before or right after which the keys with a TTL expire.
    pub expiry: u16,
    /// Calls that happen and are never answered.
    pub hang: u16,
    /// Calls for messages that get one that was delivered before.
    pub duplicate: u16,
    /// Calls at which the process is disconnected, for as long as `outage` at most. Of every two outages, one makes its watches miss
    /// what happened meanwhile.
    pub disconnect: u16,
    /// Changes of a thousand at which a watch has a gap, for as long as `outage` at most.
    pub gap: u16,
    /// Changes of a thousand at which a watch falls silent, for as long as `outage` at most.
    pub silence: u16,
    /// The longest outage, gap and silence; each draws its own.
    pub outage: Duration,
    /// The longest delay of a change of a watch; each change draws its own, so changes of several keys overtake each other.
    pub lag: Duration,
    /// The longest delay of an answer, after the call happened; each call draws its own.
    pub late: Duration,
}
