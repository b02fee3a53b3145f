//! says: `Opaque` cannot be kept in a run's snapshot
//! says: derive `serde::Serialize` and `serde::Deserialize`
use anabranch::Topology;

struct Opaque;

fn main() {
    let mut t = Topology::builder::<()>("t");
    t.node("charge", (), async |_, ()| Ok(Opaque));
}
