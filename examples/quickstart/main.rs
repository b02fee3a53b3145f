//! A run that survives the death of its process. Needs a Rust toolchain, and no server:
//!
//! ```text
//! cargo run --example quickstart
//! ANABRANCH_URL=nats://localhost:4222 cargo run --example quickstart
//! ```
//!
//! This process starts a second one, which starts a run and owns it. In the middle of the run the second process is killed with
//! SIGKILL, so it has no chance to clean up, and this one takes the run over: what was completed is not run again, and the node
//! that was interrupted goes on where it had saved its progress. Every node notes in a journal that it ran, and the example
//! fails if the journal says that a completed node ran twice.
//!
//! Read it from here: the topology, the process that is killed, the process that takes over. `journal.rs` and `screen.rs` only
//! record and show.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it talks to whoever started it")]

mod journal;
mod screen;

use anabranch::{
    BuildError, Ctx, NodeResult, Saved, Topology,
    core::snapshot::NodeStatus,
    engine::Engine,
    runtime::{Runs, Runtime, RuntimeOptions},
    time::{Clock, unique},
};
use futures_util::{Stream, TryStreamExt as _, stream};
use journal::{Entry, Journal};
use screen::{Screen, View};
use serde::{Deserialize, Serialize};
use std::{
    env,
    path::Path,
    pin::pin,
    process::{ExitCode, Stdio, id as pid},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

// ---- The topology: a diamond, `reserve` -> (`charge`, `pack`) -> `ship` ----

const ITEMS: [&str; 6] = ["lamp", "desk", "chair", "sofa", "rug", "vase"];

/// What a run is started with.
#[derive(Serialize, Deserialize)]
struct Order {
    customer: String,
    items: Vec<String>,
}

/// An item in a parcel, and the process that put it there.
#[derive(Clone, Serialize, Deserialize)]
struct Packed {
    item: String,
    by: u32,
}

/// What a run returns.
#[derive(Serialize, Deserialize)]
struct Shipment {
    customer: String,
    receipt: String,
    parcel: Vec<Packed>,
}

/// Each node takes handles of the nodes that it depends on, so what would be wired wrongly does not compile.
fn fulfilment() -> Result<Topology<Order, Shipment, App>, BuildError> {
    let mut t = Topology::builder::<Order>("fulfilment").app::<App>();
    let order = t.input();
    let reserved = t.node("reserve", order, reserve);
    let receipt = t.node("charge", reserved, charge);
    let parcel = t.resumable("pack", reserved, pack);
    let shipment = t.node("ship", (order, receipt, parcel), ship);
    t.build(shipment)
}

async fn reserve(ctx: Ctx<App>, order: Order) -> NodeResult<Order> {
    ctx.app().begins(&ctx, String::new())?;
    ctx.app().takes(700).await;
    Ok(order)
}

async fn charge(ctx: Ctx<App>, order: Order) -> NodeResult<String> {
    ctx.app().begins(&ctx, String::new())?;
    ctx.app().takes(1200).await;
    Ok(format!("{} items paid", order.items.len()))
}

/// A resumable node is handed what it saved last, by whatever attempt in whatever process.
async fn pack(ctx: Ctx<App>, mut saved: Saved<Vec<Packed>>, order: Order) -> NodeResult<Vec<Packed>> {
    let mut parcel = saved.last().cloned().unwrap_or_default();
    let from = if parcel.is_empty() { String::new() } else { format!("resumed at {} of {}", parcel.len(), order.items.len()) };
    ctx.app().begins(&ctx, from)?;
    for item in order.items.into_iter().skip(parcel.len()) {
        ctx.app().takes(800).await;
        parcel.push(Packed { item, by: pid() });
        saved.save(parcel.clone()).await?; // once this returns, a crash goes on from here
    }
    Ok(parcel)
}

async fn ship(ctx: Ctx<App>, (order, receipt, parcel): (Order, String, Vec<Packed>)) -> NodeResult<Shipment> {
    ctx.app().begins(&ctx, String::new())?;
    ctx.app().takes(900).await;
    Ok(Shipment { customer: order.customer, receipt, parcel })
}

/// What all nodes share.
struct App {
    clock: Clock,
    journal: Journal,
}

impl App {
    /// Notes that a node's code begins. It is not asked whether it should: that is the runtime's promise.
    fn begins(&self, ctx: &Ctx<Self>, remark: String) -> NodeResult<()> {
        Ok(self.journal.note(self.clock.now(), ctx.node(), ctx.attempt(), remark)?)
    }

    /// Stands for work.
    async fn takes(&self, millis: u64) {
        self.clock.sleep(Duration::from_millis(millis)).await;
    }
}

// ---- What both processes do: open the engine, start a worker, host the topology ----

/// On an engine that processes share, a worker that is silent for this long is dead. The default is 10 seconds.
const LEASE: Duration = Duration::from_secs(2);

async fn open(url: &str, journal: &Path) -> Result<Runs<Order, Shipment, App>> {
    let space = Engine::open(url).await?.space("quickstart").await?;
    let app = App { clock: space.clock().clone(), journal: Journal::at(journal) };
    let runtime = Runtime::start_with(space, RuntimeOptions::default().lease(LEASE)).await?;
    Ok(runtime.host(fulfilment()?, app)?)
}

// ---- The process that is killed ----

/// Starts the run and drives it, and prints each of its states as a line for the parent.
async fn victim(url: &str, journal: &Path, id: &str) -> Result<()> {
    let order = Order { customer: "ann".into(), items: ITEMS.map(String::from).to_vec() };
    let runs = open(url, journal).await?; // a worker lives as long as its handles
    let run = runs.start(id, order).await?;
    let mut states = pin!(run.progress());
    while let Some(state) = states.try_next().await? {
        println!("{}", serde_json::to_string(&View::of(&state, pid()))?);
    }
    Ok(())
}

// ---- The process that takes over ----

async fn tour() -> Result<ExitCode> {
    let clock = Clock::system();
    let place = tempfile::tempdir()?;
    let journal = place.path().join("journal");
    let file = format!("file:{}", place.path().join("quickstart.db").display());
    let url = env::var("ANABRANCH_URL").ok().filter(|url| !url.is_empty()).unwrap_or(file);
    let id = format!("order-{}", unique(&clock));
    let mut screen = Screen::new(clock.clone());

    // Another process starts the run. It is killed once `charge` is completed and `pack` has saved half of its work.
    let mut child = Command::new(env::current_exe()?);
    let child = child.args(["victim", &url, &id]).arg(&journal).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = child.spawn()?;
    let victim = child.id().unwrap_or_default();
    screen.say(&format!("process {victim} starts run {id}"));
    let last = follow(&mut screen, printed_by(&mut child)?, |view| view.completed("charge") && view.saved("pack") >= 3).await?;
    child.kill().await?;
    screen.show(last.after_death());
    screen.say(&format!("killed process {victim} with SIGKILL, in the middle of `pack`"));
    clock.sleep(Duration::from_secs(1)).await; // for the eyes only

    // This process opens the engine, and takes over what the dead one had.
    let runs = open(&url, &journal).await?;
    let me = runs.runtime().worker_id();
    let engine = runs.runtime().space().store().capabilities();
    screen.say(&format!("opened the engine again: {}", engine.engine));
    if engine.exclusive {
        screen.say("one process has it at a time, so the run's last owner is dead");
    } else {
        screen.say(&format!("others use it too, so the last owner's lease of {LEASE:?} has to run out"));
    }
    runs.recover().await?;
    let run = runs.get(&id).await?;
    let adopted = run.wait_for(|state| state.owner.as_ref().is_some_and(|owner| owner.worker == me)).await?;
    screen.say(&format!("adopted by process {}", pid()));
    follow(&mut screen, run.progress().map_ok(|state| View::of(&state, pid())).err_into(), View::has_ended).await?;
    let shipment = run.outcome().await?;
    runs.runtime().drain().await?;

    let completed = adopted.nodes.iter().filter(|node| node.status == NodeStatus::Completed);
    let completed: Vec<&str> = completed.map(|node| node.name.as_str()).collect();
    Ok(account(&shipment, &completed, &Journal::at(&journal).read()?))
}

/// Reads the states that the other process prints.
fn printed_by(child: &mut Child) -> Result<impl Stream<Item = Result<View>> + use<>> {
    let lines = BufReader::new(child.stdout.take().ok_or("the process has no output to read")?).lines();
    Ok(stream::try_unfold(lines, |mut lines| async move {
        let Some(line) = lines.next_line().await? else { return Ok(None) };
        Ok(Some((serde_json::from_str(&line)?, lines)))
    }))
}

/// Shows states as they come, and returns the first that is as `wanted`.
async fn follow(screen: &mut Screen, views: impl Stream<Item = Result<View>>, wanted: impl Fn(&View) -> bool) -> Result<View> {
    let mut views = pin!(views);
    loop {
        let Some(next) = screen.while_waiting_for(views.try_next()).await? else {
            return Err("the process that drives the run has ended before the run".into());
        };
        screen.show(next.clone());
        if wanted(&next) {
            return Ok(next);
        }
    }
}

/// Says what came of it, and fails if a node that was `completed` when its process died ran again.
fn account(shipment: &Shipment, completed: &[&str], journal: &[Entry]) -> ExitCode {
    println!("\nresult: {} for {}", shipment.receipt, shipment.customer);
    for packed in shipment.parcel.chunk_by(|a, b| a.by == b.by) {
        let items: Vec<&str> = packed.iter().map(|packed| packed.item.as_str()).collect();
        println!("  packed by process {}: {}", packed[0].by, items.join(", "));
    }
    println!("\nwho ran what, as the nodes themselves noted it:");
    for entry in journal {
        let seconds = entry.at.since(journal[0].at).as_secs_f64();
        let line = format!("process {}  {:<8} attempt {}  {}", entry.process, entry.node, entry.attempt, entry.remark);
        println!("  {seconds:4.1} s  {}", line.trim_end());
    }
    let again: Vec<&str> =
        completed.iter().copied().filter(|node| journal.iter().filter(|e| e.node == *node).count() != 1).collect();
    if !again.is_empty() || shipment.parcel.len() != ITEMS.len() {
        println!("\nFAILED: completed before the kill, and not run exactly once: {}", again.join(", "));
        return ExitCode::FAILURE;
    }
    println!("\ncompleted before the kill, and not run again: {}", completed.join(", "));
    ExitCode::SUCCESS
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => tour().await,
        ["victim", url, id, journal] => victim(url, Path::new(journal), id).await.map(|()| ExitCode::SUCCESS),
        _ => Err("the quickstart takes no arguments; ANABRANCH_URL names another engine".into()),
    };
    outcome.unwrap_or_else(|error| {
        let causes = std::iter::successors(Some(&*error as &dyn std::error::Error), |cause| cause.source());
        eprintln!("error: {}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        ExitCode::FAILURE
    })
}
