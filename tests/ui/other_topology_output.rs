//! says: error[E0308]
use anabranch::{BuildError, Topology};

fn topology() -> Result<Topology<(), String>, BuildError> {
    let mut t = Topology::builder::<()>("t");
    let boxes = t.node("pick", (), async |_, ()| Ok(3_u64));
    t.build(boxes)
}

fn main() {
    let _ = topology();
}
