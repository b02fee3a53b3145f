//! says: error[E0631]
use anabranch::{Ctx, NodeResult, Topology};

async fn ship(_: Ctx, (_, _): (String, u64)) -> NodeResult<()> {
    Ok(())
}

fn main() {
    let mut t = Topology::builder::<()>("t");
    let receipt = t.node("charge", (), async |_, ()| Ok("receipt".to_string()));
    let boxes = t.node("pick", (), async |_, ()| Ok(3_u64));
    t.node("ship", (boxes, receipt), ship);
}
