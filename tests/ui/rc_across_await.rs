//! says: future cannot be sent between threads safely
use anabranch::{Ctx, NodeResult, Topology};
use std::rc::Rc;

async fn charge(_: Ctx, (): ()) -> NodeResult<u64> {
    let shared = Rc::new(1);
    std::future::ready(()).await;
    Ok(*shared)
}

fn main() {
    let mut t = Topology::builder::<()>("t");
    t.node("charge", (), charge);
}
