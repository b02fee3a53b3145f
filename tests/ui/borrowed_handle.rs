//! says: is not a dependency
//! says: handles are `Copy`: pass them by value, not by reference
use anabranch::Topology;

fn main() {
    let mut t = Topology::builder::<u64>("t");
    let order = t.input();
    t.node("charge", &order, async |_, _| Ok(()));
}
