//! says: error[E0631]
use anabranch::{Arm, Ctx, NodeResult, Topology, arm};

async fn tag(_: Ctx, _: String) -> NodeResult<()> {
    Ok(())
}

fn main() {
    let mut t = Topology::builder::<()>("t");
    let (small,) = t.branch("size", (), (arm("small"),), async |_, (small,): (Arm<u64>,), ()| Ok(small.take(1)));
    t.node("tag", small, tag);
}
