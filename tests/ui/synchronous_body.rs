//! says: is not a future
use anabranch::Topology;

fn main() {
    let mut t = Topology::builder::<()>("t");
    t.node("charge", (), |_, ()| Ok(1_u64));
}
