//! A message that waits for its time.

use super::Letter;
use crate::time::Timestamp;

/// A delayed message as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// When it is due.
    pub due: Timestamp,
    /// What whoever scheduled it recognizes it by.
    pub token: u64,
    /// What it is.
    pub letter: Letter,
    /// It is being sent, on an engine that cannot do so together with removing this: nobody can stop it any more.
    pub leaving: bool,
}

impl Waiting {
    /// Returns the id under which it is sent: its own, or one that no other message has.
    #[must_use]
    pub fn message_id(&self, key: &str) -> String {
        self.letter.id.clone().unwrap_or_else(|| format!("{key}@{}+{:016x}", self.due, self.token))
    }
}
