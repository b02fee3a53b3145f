//! A run that waits for a human: it is suspended until a signal with a typed payload arrives.
//!
//! ```text
//! cargo run --example approval
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example approval
//! ```
//!
//! `credit` and `risk` look an applicant up, side by side; then `authorize` waits, and `email` writes what was decided. A
//! suspended run is a value in the store and nothing else: no task, no timer, no worker. So the worker that started it is drained,
//! and the decision is sent, days later, through another one, which goes on with the run. Nothing but the signal moves it,
//! neither a second start nor a resume, and a second decision is refused: the example fails if any of this is not so.

#![expect(clippy::print_stdout, reason = "it talks to whoever started it")]

use anabranch::{
    BuildError, Ctx, NodeResult, Signal, Topology,
    core::snapshot::RunStatus,
    engine::{Engine, Space},
    runtime::{RunError, Runs, Runtime},
    time::unique,
};
use serde::{Deserialize, Serialize};
use std::{env, error::Error};

/// What the applicant asks for.
#[derive(Clone, Serialize, Deserialize)]
struct Loan {
    applicant: String,
    amount: u64,
}

/// What a human says.
#[derive(Serialize, Deserialize)]
struct Decision {
    by: String,
    granted: bool,
}

/// A name and a type: whoever sends the signal uses the same constant as the topology, so they cannot disagree.
const DECISION: Signal<Decision> = Signal::new("decision");

fn lending() -> Result<Topology<Loan, String>, BuildError> {
    let mut t = Topology::builder::<Loan>("lending");
    let loan = t.input();
    let score = t.node("credit", loan, async |_, _: Loan| Ok(750_u32));
    let risk = t.node("risk", loan, async |_, loan: Loan| Ok(if loan.amount > 10_000 { "high" } else { "low" }.to_string()));
    let decision = t.wait_for("authorize", (score, risk), DECISION);
    let letter = t.node("email", (loan, score, risk, decision), email);
    t.build(letter)
}

async fn email(_: Ctx, (loan, score, risk, decision): (Loan, u32, String, Decision)) -> NodeResult<String> {
    let Loan { applicant, amount } = loan;
    let verb = if decision.granted { "grants" } else { "refuses" };
    Ok(format!("dear {applicant}, {} {verb} you {amount} (score {score}, risk {risk})", decision.by))
}

/// A worker that hosts the topology. Any number of them may do so, in any number of processes.
async fn worker(space: &Space) -> Result<Runs<Loan, String, ()>, Box<dyn Error>> {
    Ok(Runtime::start(space.clone()).await?.host(lending()?, ())?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or("memory:".into());
    let space = Engine::open(&url).await?.space("approval").await?;
    let id = format!("loan-{}", unique(space.clock())); // on a server, the runs of earlier starts are still there
    let loan = Loan { applicant: "ann".into(), amount: 25_000 };

    let runs = worker(&space).await?;
    let run = runs.start(&id, loan.clone()).await?;
    let suspended = run.wait_for(|run| run.status == RunStatus::Suspended).await?;
    let owner = suspended.owner.as_ref().map_or("nobody", |owner| &owner.worker);
    println!("{id} is {}, and {owner} has it", suspended.status);
    runs.runtime().drain().await?;
    println!("the worker is gone");

    let runs = worker(&space).await?;
    runs.start(&id, loan).await?; // joins the run that is there
    let run = runs.resume(&id).await?; // for runs that failed; this one waits
    let waiting = run.snapshot().await?;
    println!("started again and resumed, it is still {}", waiting.status);
    if waiting.status != RunStatus::Suspended || suspended.owner.is_some() || waiting.owner.is_some() {
        return Err("somebody works on it, without the human".into());
    }

    runs.signal(&id, DECISION, Decision { by: "bob".into(), granted: true }).await?;
    println!("decided: {}", run.outcome().await?);
    match runs.signal(&id, DECISION, Decision { by: "eve".into(), granted: false }).await {
        Err(RunError::Refused(why)) => println!("a second decision is refused: {why}"),
        other => return Err(format!("a second decision was taken: {other:?}").into()),
    }
    Ok(runs.runtime().drain().await?)
}
