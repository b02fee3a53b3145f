//! says: `&str` is not a dependency
//! says: expected a handle, or a tuple of handles
use anabranch::Topology;

fn main() {
    let mut t = Topology::builder::<u64>("t");
    t.node("charge", "order", async |_, _| Ok(()));
}
