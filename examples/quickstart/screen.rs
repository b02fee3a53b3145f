//! Shows a run: as a drawing that moves in a terminal, as plain lines everywhere else.

use super::ITEMS;
use anabranch::{
    Payload as _,
    core::snapshot::{NodeState, NodeStatus, Snapshot, Value},
    time::{Clock, Instant, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    env,
    fmt::Write as _,
    io::{IsTerminal as _, Write as _, stdout},
    time::Duration,
};

/// What is shown of a run. It travels as JSON from the process that drives the run to the one that shows it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct View {
    process: u32,
    ended: bool,
    nodes: Vec<NodeView>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct NodeView {
    name: String,
    status: String,
    attempt: u32,
    saved: usize,
    started: Option<i64>,
    finished: Option<i64>,
}

impl View {
    /// Takes out of a run's state what is shown of it; `process` drives it.
    pub(crate) fn of(run: &Snapshot, process: u32) -> Self {
        Self { process, ended: run.status.is_terminal(), nodes: run.nodes.iter().map(NodeView::of).collect() }
    }

    fn node(&self, name: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.name == name)
    }

    pub(crate) fn completed(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| node.status == NodeStatus::Completed.name())
    }

    /// How many items a node has saved.
    pub(crate) fn saved(&self, name: &str) -> usize {
        self.node(name).map_or(0, |node| node.saved)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What is left when the process is gone.
    pub(crate) fn after_death(mut self) -> Self {
        for node in self.nodes.iter_mut().filter(|node| node.status == NodeStatus::Running.name()) {
            "killed".clone_into(&mut node.status);
        }
        self
    }
}

impl NodeView {
    fn of(node: &NodeState) -> Self {
        let saved = match &node.saved {
            Some(Value::Inline(bytes)) => Vec::<serde_json::Value>::decode(bytes).map_or(0, |items| items.len()),
            Some(Value::Stored(_)) | None => 0,
        };
        let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
        let (started, finished) = (micros(node.started_at), micros(node.finished_at));
        Self { name: node.name.clone(), status: node.status.name().into(), attempt: node.attempt, saved, started, finished }
    }

    /// Such as `running  attempt 1   2.4 s  [###...] 3 of 6`; without what keeps changing when it is not `ticking`.
    fn line(&self, now: Timestamp, ticking: bool) -> String {
        let mut line = format!("{:<9}", self.status);
        if self.attempt > 0 {
            let _ = write!(line, "  attempt {}", self.attempt);
        }
        let end = self.finished.or((ticking && self.status == "running").then_some(now.as_micros()));
        if let (Some(started), Some(end)) = (self.started, end) {
            let took = Timestamp::from_micros(end).since(Timestamp::from_micros(started));
            let _ = write!(line, "  {:4.1} s", took.as_secs_f64());
        }
        if self.saved > 0 {
            let (done, all) = (self.saved, ITEMS.len());
            let _ = write!(line, "  [{}{}] {done} of {all}", "#".repeat(done), ".".repeat(all - done));
        }
        line
    }
}

/// Where a run is shown.
pub(crate) struct Screen {
    clock: Clock,
    started: Instant,
    /// Whether drawings can be replaced and coloured.
    live: bool,
    /// How many lines the drawing on the screen has.
    drawn: usize,
    view: Option<View>,
}

impl Screen {
    pub(crate) fn new(clock: Clock) -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let live = stdout().is_terminal() && !plain;
        Self { started: clock.instant(), clock, live, drawn: 0, view: None }
    }

    /// Says something, above the drawing.
    pub(crate) fn say(&mut self, text: &str) {
        self.replace(&format!("{:4.1} s  {text}\n", self.started.elapsed().as_secs_f64()));
    }

    /// Shows a state.
    pub(crate) fn show(&mut self, view: View) {
        let before = self.view.replace(view);
        let mut news = String::new();
        if let (false, Some(view)) = (self.live, &self.view) {
            let now = self.clock.now();
            for node in &view.nodes {
                if before.as_ref().and_then(|view| view.node(&node.name)) != Some(node) {
                    let seconds = self.started.elapsed().as_secs_f64();
                    let line = node.line(now, false);
                    let _ = writeln!(news, "{seconds:4.1} s    process {}  {:<8} {}", view.process, node.name, line.trim_end());
                }
            }
        }
        self.replace(&news);
    }

    /// Waits, and keeps the drawing moving meanwhile.
    pub(crate) async fn while_waiting_for<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = std::pin::pin!(future);
        let clock = self.clock.clone();
        loop {
            match clock.timeout(Duration::from_millis(100), &mut future).await {
                Some(value) => return value,
                None => self.replace(""),
            }
        }
    }

    /// Puts `text` where the drawing was, and a new drawing below it.
    fn replace(&mut self, text: &str) {
        let mut out = String::new();
        if self.drawn > 0 {
            let _ = write!(out, "\x1b[{}A\x1b[J", self.drawn);
        }
        out.push_str(text);
        let drawing = match &self.view {
            Some(view) if self.live => drawing(view, self.clock.now()),
            _ => String::new(),
        };
        self.drawn = drawing.lines().count();
        if self.drawn > 0 {
            // Lines that are too long are cut instead of wrapped, so that their number is known.
            let _ = write!(out, "\x1b[?7l{drawing}\x1b[?7h");
        }
        let mut stdout = stdout().lock();
        // Nobody to show it to is no reason to fail.
        let _ = stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush());
    }
}

fn drawing(view: &View, now: Timestamp) -> String {
    let paint = |name: &str, text: &str| {
        let colour = match view.node(name).map_or("", |node| node.status.as_str()) {
            "completed" => "32",
            "running" => "1;33",
            "killed" | "errored" => "1;31",
            _ => "2",
        };
        format!("\x1b[{colour}m{text}\x1b[0m")
    };
    let [reserve, charge, pack, ship] = ["reserve", "charge", "pack", "ship"].map(|name| paint(name, name));
    let mut out =
        format!("\n             +-- {charge} --+\n   {reserve} --+            +-- {ship}\n             +-- {pack} ----+\n\n");
    for node in &view.nodes {
        let _ = writeln!(out, "   {}", paint(&node.name, &format!("{:<8} {}", node.name, node.line(now, true))));
    }
    out
}
