//! Runs a built example as a program, and reads what it says.
#![allow(dead_code, reason = "each test target uses some of it")]

use anabranch::time::Clock;
use std::{env, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

/// What an example said, and with which exit code it ended.
pub(crate) struct Said {
    text: String,
    code: Option<i32>,
}

/// Runs an example to its end; `url` names the engine, its own default without one.
pub(crate) async fn run(example: &str, url: Option<&str>) -> Said {
    run_with(example, &[], url).await
}

/// Runs an example with arguments to its end.
pub(crate) async fn run_with(example: &str, arguments: &[&str], url: Option<&str>) -> Said {
    let mut command = prepared(example, arguments, url);
    let output = Clock::system().timeout(Duration::from_secs(120), command.output()).await;
    let output = output.unwrap_or_else(|| panic!("`{example}` does not end")).expect("the example starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { text, code: output.status.code() }
}

/// Runs an example until it has said `words`, then tells it to end by SIGTERM.
pub(crate) async fn stop_at(example: &str, arguments: &[&str], url: &str, words: &str) -> Said {
    stop_when(example, arguments, url, |line| line.contains(words)).await
}

/// Runs an example until it has done so many jobs, then tells it to end by SIGTERM.
pub(crate) async fn stop_after(example: &str, arguments: &[&str], url: &str, jobs: usize) -> Said {
    let mut left = jobs;
    stop_when(example, arguments, url, move |line| {
        left -= usize::from(is_done(line));
        left == 0
    })
    .await
}

async fn stop_when(example: &str, arguments: &[&str], url: &str, mut enough: impl FnMut(&str) -> bool) -> Said {
    let mut command = prepared(example, arguments, Some(url));
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the example starts");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let talk = async {
        let (mut text, mut told) = (String::new(), false);
        while let Some(line) = lines.next_line().await.expect("it is text") {
            if !told && enough(&line) {
                told = true;
                let process = child.id().expect("it runs").to_string();
                let sent = Command::new("kill").args(["-TERM", &process]).status().await;
                assert!(sent.is_ok_and(|status| status.success()), "it could not be told to end");
            }
            text.push_str(&line);
            text.push('\n');
        }
        Said { text, code: child.wait().await.expect("it ends").code() }
    };
    Clock::system().timeout(Duration::from_secs(120), talk).await.unwrap_or_else(|| panic!("`{example}` does not end"))
}

/// Tells whether a line of the example `jobs` says that a job is done.
fn is_done(line: &str) -> bool {
    line.starts_with("email to ") || line.contains(" is 64 pixels wide") || line.contains(" owes ")
}

fn prepared(example: &str, arguments: &[&str], url: Option<&str>) -> Command {
    let binary = env::current_exe().expect("a test knows its own path");
    let built = binary.ancestors().nth(2).expect("tests are built below the profile's directory");
    let program = built.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    assert!(program.exists(), "the example `{example}` is not built: run `cargo build --examples`, or ./scripts/test");
    let mut command = Command::new(program);
    command.args(arguments).env_remove("ANABRANCH_URL").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(url) = url {
        command.env("ANABRANCH_URL", url);
    }
    command
}

impl Said {
    /// Checks that it ended well.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.text);
        self
    }

    /// Checks that it ended with an error.
    #[track_caller]
    pub(crate) fn failed(self) -> Self {
        assert_eq!(self.code, Some(1), "{}", self.text);
        self
    }

    /// Returns what stands behind `words`, up to the end of the line.
    #[track_caller]
    pub(crate) fn after(&self, words: &str) -> &str {
        let found = self.text.lines().find_map(|line| line.split_once(words));
        found.unwrap_or_else(|| panic!("nobody said `{words}`:\n{}", self.text)).1.trim()
    }

    /// Checks the tour: killed, taken over, gone on in the middle, nothing that was completed run again.
    #[track_caller]
    pub(crate) fn tells_of_a_takeover(&self) {
        let victim = self.after("killed process ").split(' ').next().unwrap_or_default();
        let heir = self.after("adopted by process ");
        assert_ne!(victim, heir, "{}", self.text);
        let line = |process: &str, node: &str, attempt: u32, remark: &str| {
            let line = format!("process {process}  {node:<8} attempt {attempt}  {remark}");
            let count = self.text.lines().filter(|l| l.ends_with(line.trim_end())).count();
            assert!(count > 0, "the journal lacks `{line}`:\n{}", self.text);
        };
        line(victim, "reserve", 1, "");
        line(victim, "charge", 1, "");
        line(victim, "pack", 1, "");
        line(heir, "pack", 2, "resumed at 3 of 6");
        line(heir, "ship", 1, "");
        assert_eq!(self.after(&format!("packed by process {victim}: ")), "lamp, desk, chair");
        assert_eq!(self.after(&format!("packed by process {heir}: ")), "sofa, rug, vase");
        assert_eq!(self.after("completed before the kill, and not run again: "), "reserve, charge");
    }

    /// Checks the scrape: the second attachment fails, and after the resume nothing is fetched that was there already.
    #[track_caller]
    pub(crate) fn tells_of_a_resume(&self) {
        assert!(self.after("failed: run `lamps-").contains("is errored: `attachments` after 1 attempts"), "{}", self.text);
        assert_eq!(
            self.after("asked for so far: "),
            "attachments/1, attachments/2, details/1, details/2, details/3, lamps",
            "{}",
            self.text
        );
        assert_eq!(self.after("`attachments` had saved "), r#"{"1":"page attachments/1"}"#);
        assert_eq!(self.after("asked for since: "), "attachments/2, attachments/3");
        for item in 1..=3 {
            assert_eq!(self.after(&format!("row {item}: ")), format!("page details/{item}, page attachments/{item}"));
        }
        assert_eq!(self.after("completed: "), "3 rows");
    }

    /// Checks the candidates: for each the arm, the reason, what was skipped and what the join made of it.
    #[track_caller]
    pub(crate) fn tells_of_three_candidates(&self) {
        assert_eq!(self.after("bob@example.com: "), "qualified, because: more than 3 years of experience");
        assert_eq!(self.after("tom@example.com: "), "not_qualified, because: too little experience");
        assert_eq!(self.after("eve@example.com: "), "no arm, because: nobody has this address");
        let behind = ["invite", "decline", "remove", "file", "filed:"];
        let ends: Vec<_> =
            self.text.lines().filter(|line| behind.iter().any(|b| line.starts_with(&format!("  {b} ")))).collect();
        let wanted = [
            "  invite   completed",
            "  decline  skipped",
            "  remove   skipped",
            "  file     completed",
            "  filed: bob is invited",
            "  invite   skipped",
            "  decline  completed",
            "  remove   completed",
            "  file     completed",
            "  filed: removed after the letter `2 more years, please`",
            "  invite   skipped",
            "  decline  skipped",
            "  remove   skipped",
            "  file     completed",
            "  filed: nothing is known",
        ];
        assert_eq!(ends, wanted, "{}", self.text);
    }

    /// Checks the loan: suspended in nobody's hands, moved by one decision and by nothing else.
    #[track_caller]
    pub(crate) fn tells_of_a_decision(&self) {
        assert!(self.after("loan-").ends_with("is suspended, and nobody has it"), "{}", self.text);
        self.after("the worker is gone");
        assert_eq!(self.after("started again and resumed, it is still "), "suspended");
        assert_eq!(self.after("decided: "), "dear ann, bob grants you 25000 (score 750, risk high)");
        assert!(self.after("a second decision is refused: ").contains("completed"), "{}", self.text);
    }

    /// Checks the orders: each charged and shipped once, and two messages given up with a reason.
    #[track_caller]
    pub(crate) fn tells_of_orders(&self, count: usize) {
        for act in [" charges ", " ships to "] {
            let lines = self.text.lines().filter(|line| line.starts_with("orders-") && line.contains(act));
            assert_eq!(lines.count(), count, "{act}: {}", self.text);
        }
        assert!(self.after("\"cents\":0}: ").contains("there is nothing to charge"), "{}", self.text);
        assert!(self.after("\"eight lamps, please\": ").contains("the payload does not match"), "{}", self.text);
        self.after(&format!("{count} orders are fulfilled, and 2 messages given up"));
    }

    /// Checks the batch: each job is done, some a second time for nothing, and both waiters see all of it.
    #[track_caller]
    pub(crate) fn tells_of_a_batch(&self, count: usize) {
        for n in 1..=count {
            let lines = self.text.lines().filter(|l| l.starts_with("worker ") && l.contains(&format!(" did job-{n} ")));
            let twice = lines.clone().filter(|l| l.ends_with("(it came twice)")).count();
            assert_eq!((lines.count(), twice), if n % 4 == 0 { (2, 1) } else { (1, 0) }, "job-{n}: {}", self.text);
        }
        for waiter in 1..=2 {
            assert_eq!(self.after(&format!("waiter {waiter} sees the end: ")), format!("Zero, {count} jobs are done"));
        }
        self.after(&format!("{count} jobs counted once each, and none of them enters again"));
        assert_eq!(self.after("a batch that is called off ends as "), "Closed");
    }

    /// Checks the searches: the totals by user and client, and that what came twice did not count.
    #[track_caller]
    pub(crate) fn tells_of_metrics(&self, count: usize) {
        let totals = |what: &str| {
            let lines = self.text.lines().filter_map(|l| l.strip_prefix(what)?.split_once(": ")?.1.split_once(" processed"));
            lines.map(|(number, _)| number.parse::<usize>().expect("a number is a number")).sum::<usize>()
        };
        assert_eq!((totals("user."), totals("client.")), (count, count), "{}", self.text);
        assert_ne!(self.after("wish "), "", "{}", self.text);
        let (repeated, metrics) = (count / 3, 6 + 5 + 3 + count);
        self.after(&format!("{count} searches are counted in {metrics} metrics, and {repeated} that came twice were not"));
    }

    /// Checks the callers: all were let through, one was killed if there are processes, and the quota was kept. Returns how
    /// many calls there were.
    #[track_caller]
    pub(crate) fn tells_of_a_kept_quota(&self, processes: bool) -> u32 {
        self.after("no span of time has more than the quota");
        assert_eq!(self.text.contains("with SIGKILL; what it had at hand is lost"), processes, "{}", self.text);
        let before = " calls were let through";
        let line = self.text.lines().find_map(|line| line.strip_suffix(before));
        let count = line.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{}", self.text));
        assert!(count > 30, "{}", self.text);
        let first = self.after("second 0: ").split_once("by caller ").map_or("", |(_, callers)| callers);
        let callers: Vec<&str> = first.split_whitespace().collect();
        assert!(callers.len() == 4 && (processes || !callers.contains(&"0")), "{}", self.text);
        count
    }

    /// Checks the jobs: one report by one of two, and one whose worker was replaced.
    #[track_caller]
    pub(crate) fn tells_of_an_exclusive_job(&self) {
        let makers = self.text.lines().filter(|line| line.contains(" makes the report ")).count();
        assert_eq!(makers, 1, "{}", self.text);
        self.after("the report is made once");
        self.after("ann makes the audit ");
        self.after("ann has lost the lock, and stops");
        self.after("bob makes the audit ");
        assert!(self.after("a late write with token ").ends_with("was here"), "{}", self.text);
        self.after("the result is the one of the worker that held the lock last");
    }

    /// Checks the election: ann first, each term greater, and the observer saw each.
    #[track_caller]
    pub(crate) fn tells_of_three_leaders(&self) {
        let terms: Vec<u64> = self
            .text
            .lines()
            .filter(|line| !line.starts_with("observed"))
            .filter_map(|line| line.split_once(" leads, in term ")?.1.parse().ok())
            .collect();
        assert!(terms.len() == 3 && terms.is_sorted_by(|a, b| a < b), "{}", self.text);
        self.after("ann stops to lead");
        for who in ["ann", "bob", "cleo", "nobody"] {
            self.after(&format!("observed: {who} leads"));
        }
        self.after("the terms grew, and nobody led beside another");
    }

    /// Checks the printers: eight workers printed, three at a time, and a name had one permit.
    #[track_caller]
    pub(crate) fn tells_of_printers(&self) {
        let printed = self.text.lines().filter(|line| line.contains(" prints, ")).count();
        assert_eq!(printed, 8, "{}", self.text);
        assert!(["1 printed", "2 printed", "3 printed"].contains(&self.after("never more than ")), "{}", self.text);
        self.after("its earlier self has lost the permit, and it holds 1 of 3");
        self.after("all 3 printers are free");
    }

    /// Checks the reports: each second one, one by hand, and the nights that were missed.
    #[track_caller]
    pub(crate) fn tells_of_firings(&self) {
        self.after("scheduler 2 is killed");
        assert!(self.after("paused, and fired by hand: ").ends_with("+1"), "{}", self.text);
        assert_eq!(self.after("its run says: "), "live report: 3 rows");
        let line = self.text.lines().find(|line| line.ends_with(" firings, one second apart, each a run of its own"));
        let count = line.and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
        assert!(count >= Some(6), "{}", self.text);
        assert_eq!(self.after("made up for: ").split(", ").filter(|id| id.starts_with("nightly@")).count(), 5);
        self.after("drained");
    }

    /// Checks the reminders: one once, one in time, a thousand at once, and who still waits.
    #[track_caller]
    pub(crate) fn tells_of_newsletters(&self) {
        self.after("ann asks twice, and is reminded once");
        assert_eq!(self.after("came in time: "), "hello cleo");
        self.after("1000 newsletters came, each once");
        assert_eq!(self.after("still waiting: "), "ann");
    }

    /// Checks the fan club: three jobs a fan, each done once, a jam that was tried again, and two dead letters.
    #[track_caller]
    pub(crate) fn tells_of_fans(&self, count: usize) {
        let lines = |end: &str| self.text.lines().filter(|line| line.ends_with(end)).count();
        assert_eq!(lines("becomes 3 jobs"), count, "{}", self.text);
        for topic in ["welcome", "badge", "census"] {
            assert_eq!(lines(&format!("{topic}: done")), count, "{}", self.text);
        }
        assert!(lines("badge: the printer is jammed") > 0 && lines("badge: 50% `b`") > 1, "{}", self.text);
        self.after("error at route: given up: a fan has a name");
        self.after("dead letter: \"let me in\": the payload does not match");
        assert_eq!(self.after("the first letter: "), "dear ann, welcome to the fans of the Rivers; badge [ann]");
        self.after(&format!("{count} fans are counted, {} jobs are done, 2 events given up", 3 * count));
    }
    /// Counts what the example `jobs` has done.
    pub(crate) fn done_jobs(&self) -> usize {
        self.text.lines().filter(|line| is_done(line)).count()
    }

    /// Checks the jobs: each done once, and every third email at its second attempt.
    #[track_caller]
    pub(crate) fn tells_of_jobs(&self, count: usize) {
        assert_eq!(self.done_jobs(), 3 * count, "{}", self.text);
        assert_eq!(self.after("email to ann3, "), "attempt 2");
        assert_eq!(self.after("email to ann1, "), "attempt 1");
        self.after("failed (the mail server is busy), again in 100ms");
        self.after(&format!("all {} jobs are done", 3 * count));
    }

    /// Checks the payment: dropped twice by its id, left alone by its state, and made once.
    #[track_caller]
    pub(crate) fn tells_of_one_charge(&self) {
        let dropped = self.text.lines().filter(|line| line.ends_with("and dropped: the queue has it already")).count();
        assert_eq!(dropped, 2, "{}", self.text);
        assert_eq!(self.after("done: "), "receipt for 4200 cents");
        self.after("it came again, had ended, and was only acknowledged");
        self.after("the customer is charged once");
    }

    /// Checks the films: one goes on beyond the queue's patience, one is told that its time is over, one that nobody wants it.
    #[track_caller]
    pub(crate) fn tells_of_films(&self) {
        self.after("short takes longer than the expected 2s");
        self.after("short is encoded");
        assert_eq!(self.after("endless stops: "), "the attempt timed out");
        assert!(self.after("given up: ").contains("took longer than 4s"), "{}", self.text);
        assert_eq!(self.after("unwanted stops: "), "it was cancelled");
        self.after("each ran once, and the queue was told that they go on");
    }

    /// Checks the labels: three letters with their errors, one thrown away, and two printed.
    #[track_caller]
    pub(crate) fn tells_of_labels(&self) {
        let letters = self.text.lines().filter(|line| line.ends_with("the last: the printer is out of paper")).count();
        assert_eq!(letters, 3, "{}", self.text);
        assert_eq!(self.after("there is paper: "), "2 are put back");
        self.after("printed: label for ann");
        self.after("printed: label for bob");
        self.after("no letter is left");
    }
}
