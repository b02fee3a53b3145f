//! What the bodies of `testing::fuzz` reach of this room: the trail that is read from a label. It asserts nothing.

use super::trail::Trail;

/// Reads a label as the trail of a write, and writes it again.
pub(crate) fn trail(label: Option<&str>) -> String {
    Trail::parse(label).label()
}
