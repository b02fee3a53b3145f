//! says: error[E0631]
use anabranch::{Ctx, NodeResult, Topology};

struct Shop;
struct Bank;

async fn charge(_: Ctx<Bank>, (): ()) -> NodeResult<()> {
    Ok(())
}

fn main() {
    let mut t = Topology::builder::<()>("t").app::<Shop>();
    t.node("charge", (), charge);
}
