//! says: no field `price` on type `Order`
use anabranch::Topology;

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    cents: u64,
}

fn main() {
    let mut t = Topology::builder::<Order>("t");
    let order = t.input();
    t.node("charge", order, async |_, order| Ok(order.price));
}
