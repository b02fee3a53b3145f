//! says: `ArmSpec<u64>` does not declare the arms of a branch
//! says: pass a tuple of up to eight arms
use anabranch::{Choice, Topology, arm};

fn main() {
    let mut t = Topology::builder::<()>("t");
    t.branch("size", (), arm::<u64>("small"), async |_, _, ()| Ok(Choice::none()));
}
