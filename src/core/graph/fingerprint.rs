//! A graph's identity: two graphs with one fingerprint can continue each other's runs.

use super::{Node, NodeKind, TriggerRule, Upstream};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Identifies the shape of a graph: the first 16 bytes of a SHA-256 over names, kinds, edges and trigger rules.
///
/// Code, timeouts and retry policies are not part of it: they may change under a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// Reads a fingerprint that [`as_bytes`](Self::as_bytes) gave; `None` unless it has 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Hashes a canonical text of the nodes. Every part is preceded by its length or by a tag, so that no two shapes share one.
    pub(super) fn of(nodes: &[Node]) -> Self {
        let mut hash = Canonical(Sha256::new());
        hash.number(nodes.len());
        for node in nodes {
            hash.text(&node.name);
            match &node.kind {
                NodeKind::Work => hash.tag(b'w'),
                NodeKind::Branch { arms } => {
                    hash.tag(b'b');
                    hash.number(arms.len());
                    for arm in arms {
                        hash.text(arm);
                    }
                }
                NodeKind::Wait { signal } => {
                    hash.tag(b's');
                    hash.text(signal);
                }
            }
            hash.tag(match node.rule {
                TriggerRule::AllSuccess => b'a',
                TriggerRule::NoneFailedOneSuccess => b'j',
                TriggerRule::AllDone => b'd',
                TriggerRule::OneSuccess => b'o',
            });
            hash.number(node.edges.len());
            for edge in &node.edges {
                hash.tag(if edge.optional { b'?' } else { b'!' });
                match edge.upstream {
                    Upstream::Input => hash.tag(b'i'),
                    Upstream::Node(id) => {
                        hash.tag(b'n');
                        hash.number(id.index());
                    }
                    Upstream::Arm(id, arm) => {
                        hash.tag(b'r');
                        hash.number(id.index());
                        hash.number(arm.index());
                    }
                }
            }
        }
        let digest = hash.0.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(bytes)
    }
}

struct Canonical(Sha256);

impl Canonical {
    fn tag(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len());
        self.0.update(text);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
