//! Runs a built example as a program, and reads what it says.

use anabranch::time::Clock;
use std::{env, process::Stdio, time::Duration};
use tokio::process::Command;

/// What an example said, and with which exit code it ended.
pub(crate) struct Said {
    text: String,
    code: Option<i32>,
}

/// Runs an example to its end; `url` names the engine, its own default without one.
pub(crate) async fn run(example: &str, url: Option<&str>) -> Said {
    let binary = env::current_exe().expect("a test knows its own path");
    let built = binary.ancestors().nth(2).expect("tests are built below the profile's directory");
    let program = built.join("examples").join(format!("{example}{}", env::consts::EXE_SUFFIX));
    assert!(program.exists(), "the example `{example}` is not built: run `cargo build --examples`, or ./scripts/test");
    let mut command = Command::new(program);
    command.env_remove("ANABRANCH_URL").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(url) = url {
        command.env("ANABRANCH_URL", url);
    }
    let output = Clock::system().timeout(Duration::from_secs(120), command.output()).await;
    let output = output.unwrap_or_else(|| panic!("`{example}` does not end")).expect("the example starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Said { text, code: output.status.code() }
}

impl Said {
    /// Checks that it ended well.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.text);
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

    /// Checks the orders: three shipped, two given up with a reason.
    #[track_caller]
    pub(crate) fn tells_of_dead_letters(&self) {
        for customer in ["ann paid 1999", "bob paid 500", "dan paid 12000"] {
            self.after(customer);
        }
        assert!(self.after("\"cents\":0}: ").contains("there is nothing to charge"), "{}", self.text);
        assert!(self.after("eight lamps, please: ").contains("the payload does not match"), "{}", self.text);
        self.after("drained");
    }
}
