//! says: error[E0308]
use anabranch::{Node, Signal, Topology};

const APPROVAL: Signal<bool> = Signal::new("approval");

fn main() {
    let mut t = Topology::builder::<()>("t");
    let _: Node<String> = t.wait_for("approve", (), APPROVAL);
}
