//! What goes wrong, and the plan of it: two lines of faults that a seed decides, one for nodes and one for everything between them
//! and the workers.
//!
//! The plan of a seed is the same for ever: which fault comes after which, for how long, and whom it meets where that is chance. Which
//! node leads at the time is not in it. How a fault is done is in `nemesis`.

use anabranch::testing::Dice;
use clap::ValueEnum;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    /// SIGKILL to the leader of the workload's stream
    KillLeader,
    /// SIGKILL to another node
    KillFollower,
    /// SIGKILL to the leader of the cluster itself
    KillMeta,
    /// SIGSTOP to the leader of the workload's stream, for 1 to 20 s
    PauseLeader,
    /// SIGSTOP to another node, for 1 to 20 s
    PauseFollower,
    /// A node comes back with an empty disk
    Wipe,
    /// A node's disk is full for some seconds, then the node is started again
    DiskFull,
    /// A node hears nothing from the other nodes, while clients reach it
    Partition,
    /// Everything between a node and the others takes up to 300 ms
    Lag,
    /// All nodes are told to end and started again, one after the other
    RollingRestart,
    /// SIGKILL to all nodes at once
    KillAll,
    /// One node, or all, lose what they had not brought to their disks (with `sync_interval: always` only)
    PowerLoss,
    /// Everything between some workers and the nodes takes up to 500 ms
    Slow,
    /// Connections of workers are cut, again and again
    Cut,
    /// What nodes answer is lost, while what workers ask arrives
    LoseAnswers,
    /// Nothing gets through between some workers and some nodes, and connections stay
    Blackhole,
    /// SIGKILL to a worker; another life of it begins, with another clock
    KillWorker,
    /// SIGSTOP to a worker, for 1 to 20 s
    PauseWorker,
}

impl Kind {
    /// Whether it is done to nodes. No two of these happen at once, since each may take a majority's worth of patience.
    pub(crate) fn is_for_nodes(self) -> bool {
        self < Self::Slow
    }

    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// For how long it lasts, in milliseconds: from, to.
    fn lasts(self, dice: &mut Dice) -> (u64, u64) {
        match self {
            Self::KillLeader | Self::KillFollower | Self::KillMeta | Self::KillAll | Self::PowerLoss => (0, 3_000),
            Self::PauseLeader | Self::PauseFollower | Self::PauseWorker if dice.roll(4) == 0 => (8_000, 20_000),
            Self::PauseLeader | Self::PauseFollower | Self::PauseWorker => (1_000, 6_000),
            Self::Wipe | Self::RollingRestart | Self::KillWorker => (0, 1_000),
            Self::DiskFull | Self::Lag | Self::Slow | Self::LoseAnswers | Self::Blackhole => (2_000, 6_000),
            Self::Partition => (3_000, 12_000),
            Self::Cut => (500, 2_000),
        }
    }
}

/// One fault of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Its place in its line.
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    /// How long nothing happens before it.
    pub(crate) after: Duration,
    pub(crate) lasts: Duration,
    /// Whatever else is chance.
    pub(crate) dice: u64,
}

/// The two lines of a seed, for nodes and for workers.
pub(crate) fn decks(seed: u64, kinds: &[Kind]) -> [Deck; 2] {
    let (nodes, workers) = kinds.iter().copied().partition(|kind| kind.is_for_nodes());
    [Deck::new(seed, nodes), Deck::new(!seed, workers)]
}

/// One line of the plan: kinds like a deck of cards, so that each comes before one comes again.
#[derive(Debug)]
pub(crate) struct Deck {
    kinds: Vec<Kind>,
    left: Vec<Kind>,
    dice: Dice,
    dealt: u32,
}

impl Deck {
    fn new(seed: u64, kinds: Vec<Kind>) -> Self {
        Self { kinds, left: Vec::new(), dice: Dice::new(seed), dealt: 0 }
    }

    /// Deals the next fault that is possible; none when no kind is.
    pub(crate) fn next(&mut self, possible: impl Fn(Kind) -> bool) -> Option<Fault> {
        if !self.kinds.iter().any(|kind| possible(*kind)) {
            return None;
        }
        let kind = loop {
            if self.left.is_empty() {
                self.left.clone_from(&self.kinds);
            }
            let at = usize::try_from(self.dice.roll(self.left.len() as u64)).unwrap_or(0);
            let kind = self.left.swap_remove(at);
            if possible(kind) {
                break kind;
            }
        };
        let (from, to) = kind.lasts(&mut self.dice);
        let millis = |dice: &mut Dice, from, to| Duration::from_millis(from + dice.roll(to - from + 1));
        let after = millis(&mut self.dice, 200, 1_500);
        let lasts = millis(&mut self.dice, from, to);
        self.dealt += 1;
        Some(Fault { number: self.dealt, kind, after, lasts, dice: self.dice.number() })
    }
}
