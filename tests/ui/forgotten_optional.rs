//! says: error[E0631]
use anabranch::{Ctx, NodeResult, Signal, Topology};

async fn ship(_: Ctx, _: Option<bool>) -> NodeResult<()> {
    Ok(())
}

fn main() {
    let mut t = Topology::builder::<()>("t");
    let approval = t.wait_for("approve", (), Signal::<bool>::new("approval"));
    t.node("ship", approval, ship);
}
