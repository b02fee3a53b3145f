//! A branch, what it skips, and a join behind it: a candidate is invited or declined, and the decision is filed either way.
//!
//! ```text
//! cargo run --example branching
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example branching
//! ```
//!
//! ```text
//!                       +-- qualified ------> invite ------------+
//! lookup --> assess ----+                                        +--> file
//!                       +-- not_qualified --> decline -> remove -+
//! ```
//!
//! Each arm carries a value of its own type to the nodes behind it. What stands behind an arm that is not taken is skipped, in
//! the same write that records the decision; `file` depends on both sides optionally, so it runs in any case, also for somebody
//! who is not in the database, for whom no arm is taken. The example fails if a node is not as it should be.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    Arm, BuildError, Choice, Ctx, NodeResult, Topology, arm,
    core::snapshot::NodeStatus::{self, Completed, Skipped},
    engine::Engine,
    runtime::Runtime,
    time::unique,
};
use serde::{Deserialize, Serialize};
use std::{env, error::Error};

#[derive(Serialize, Deserialize)]
struct Candidate {
    name: String,
    years: u32,
}

/// From an address to what was filed about it.
fn hiring() -> Result<Topology<String, String>, BuildError> {
    let mut t = Topology::builder::<String>("hiring");
    let address = t.input();
    let candidate = t.node("lookup", address, lookup);
    let (qualified, not_qualified) = t.branch("assess", candidate, (arm("qualified"), arm("not_qualified")), assess);
    let invited = t.node("invite", qualified, async |_, Candidate { name, .. }: Candidate| Ok(format!("{name} is invited")));
    let declined = t.node("decline", not_qualified, async |_, missing: u32| Ok(format!("{missing} more years, please")));
    let removed = t.node("remove", declined, async |_, letter: String| Ok(format!("removed after the letter `{letter}`")));
    let filed = t.node("file", (invited.optional(), removed.optional()), file);
    t.build(filed)
}

/// Stands for a query of a database.
async fn lookup(_: Ctx, address: String) -> NodeResult<Option<Candidate>> {
    let (name, years) = match address.as_str() {
        "bob@example.com" => ("bob", 5),
        "tom@example.com" => ("tom", 2),
        _ => return Ok(None),
    };
    Ok(Some(Candidate { name: name.into(), years }))
}

/// A branch takes one of its arms, or none, and may say why.
async fn assess(_: Ctx, arms: (Arm<Candidate>, Arm<u32>), candidate: Option<Candidate>) -> NodeResult<Choice> {
    let (qualified, not_qualified) = arms;
    Ok(match candidate {
        None => Choice::none().because("nobody has this address"),
        Some(candidate) if candidate.years > 3 => qualified.take(candidate).because("more than 3 years of experience"),
        Some(candidate) => not_qualified.take(4 - candidate.years).because("too little experience"),
    })
}

async fn file(_: Ctx, (invited, removed): (Option<String>, Option<String>)) -> NodeResult<String> {
    Ok(invited.or(removed).unwrap_or("nothing is known".into()))
}

/// Who applies, what is filed, and what becomes of `invite`, `decline` and `remove`.
const CASES: [(&str, &str, [NodeStatus; 3]); 3] = [
    ("bob@example.com", "bob is invited", [Completed, Skipped, Skipped]),
    ("tom@example.com", "removed after the letter `2 more years, please`", [Skipped, Completed, Completed]),
    ("eve@example.com", "nothing is known", [Skipped, Skipped, Skipped]),
];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("branching").await?;
    let start = unique(space.clock()); // on a server, the runs of earlier starts are still there
    let runtime = Runtime::start(space).await?;
    let runs = runtime.host(hiring()?, ())?;

    for (address, filed, statuses) in CASES {
        let run = runs.start(&format!("{address}-{start}"), address.into()).await?;
        let output = run.outcome().await?;
        let snapshot = run.snapshot().await?;
        let assess = snapshot.node("assess").ok_or("the graph has a branch")?;
        let arm = assess.selected.as_ref().map_or("no arm", |arm| arm.name.as_str());
        println!("{address}: {arm}, because: {}", assess.because.as_deref().unwrap_or_default());
        for node in &snapshot.nodes {
            println!("  {:<8} {}", node.name, node.status);
        }
        println!("  filed: {output}");

        let found = ["invite", "decline", "remove"].map(|name| snapshot.node(name).map(|node| node.status));
        if output != filed || found != statuses.map(Some) {
            return Err(format!("{address} was to be `{filed}`, with {statuses:?}").into());
        }
    }
    Ok(runtime.drain().await?)
}
