//! says: error[E0308]
use anabranch::Topology;

fn main() {
    let mut t = Topology::builder::<()>("t");
    t.node("charge", (), async |_, ()| 1_u64);
}
