//! The rules about a single file, and the tables that they read.

use super::tokens::{Token, at, is_word, tokens};

/// The rooms: the modules at the top of `src`, each with the rooms that it may use beside itself.
const ROOMS: &[(&str, &[&str])] = &[
    // Pure: of time it may name the point in time only, see `violations_of_a_path`.
    ("core", &["time"]),
    ("error", &[]),
    ("time", &["error"]),
    ("newest", &[]),
    ("gather", &[]),
    ("codec", &["error", "time", "core"]),
    ("telemetry", &["error", "time", "core"]),
    ("engine", &["error", "time", "gather", "codec", "telemetry"]),
    ("cell", &["error", "time", "gather", "codec", "telemetry", "core", "engine"]),
    ("topology", &["error", "time", "codec", "telemetry", "core"]),
    ("coordination", &["error", "time", "newest", "codec", "telemetry", "core", "engine", "cell"]),
    ("flow", &["error", "time", "codec", "telemetry", "core", "engine", "cell", "coordination"]),
    ("jobs", &["error", "time", "newest", "codec", "telemetry", "core", "engine", "cell", "coordination", "topology"]),
    ("schedule", &["error", "time", "codec", "telemetry", "core", "engine", "cell", "coordination", "topology", "jobs"]),
    ("runtime", ANY),
    ("doctor", &["error", "time", "engine"]),
    ("testing", ANY),
];
const ANY: &[&str] = &["*"];

/// Crates that only one place in `src` may name.
const DOORS: &[(&str, &str)] = &[
    ("async_nats", "engine/nats"),
    ("nkeys", "engine/nats"),
    ("redb", "engine/embedded"),
    ("ractor", "runtime"),
    ("rand", "time"),
    ("ulid", "time"),
    ("croner", "core/schedule"),
    ("lexopt", "bin/anabranch"),
    ("minreq", "doctor"),
];

/// Crates and keywords that a room does without.
const ABSENT: &[(&str, &str, &[&str])] = &[
    (
        "core",
        "decides and does not wait or perform: return an effect, and let the shell perform it",
        &["async", "await", "tokio", "tokio_util", "async_trait", "futures_util", "tracing"],
    ),
    ("topology", "describes and does not run: put it into `runtime`", &["tokio", "tokio_util"]),
];

const MOST_LINES: usize = 600;

/// Where a machine keeps what is its own. In pieces, since this file is searched too.
const MACHINE_PATHS: &[&str] = &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// Hosts of package registries.
const REGISTRIES: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npm", "js.org"),
    concat!("npm", "js.com"),
    concat!("proxy.go", "lang.org"),
    concat!("deb.deb", "ian.org"),
];

/// Returns what is wrong with a file, each complaint with the place and what to do.
pub(crate) fn violations(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    // Written by cargo, and full of its registry.
    if std::path::Path::new(path).file_name().is_none_or(|name| name != "Cargo.lock") {
        found.extend(foreign_places(path, text));
    }
    if std::path::Path::new(path).extension().is_none_or(|e| e != "rs") {
        return found;
    }
    if let Some((line, bad)) = text.lines().enumerate().find_map(|(n, l)| Some((n + 1, l.chars().find(|c| !c.is_ascii())?))) {
        found.push(format!(
            "{path}:{line}: {bad:?} is not ASCII: write it as \"\\u{{{:x}}}\", or in plain words",
            u32::from(bad)
        ));
    }
    let tokens = tokens(text);
    found.extend(sleeps(path, &tokens));
    if let Some(module) = path.strip_prefix("src/") {
        found.extend(shape(path, text));
        found.extend(doors(path, module, &tokens));
        found.extend(imports(path, module, &tokens));
    }
    if path.starts_with("examples/") {
        for i in 0..tokens.len() {
            if at(&tokens, i) == "#" && at(&tokens, i + 1) == "[" && at(&tokens, i + 2) == "test" {
                let line = tokens[i].line;
                found.push(format!(
                    "{path}:{line}: the tests of an example are not run: move it to tests/, and run the example there"
                ));
            }
        }
    }
    found
}

fn foreign_places(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{path}:{}", number + 1);
        for folder in MACHINE_PATHS {
            // Only where a path begins: `src/home/` is nobody's.
            let begins = |at: usize| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '.' | '_' | '-' | '~' | '}' | ')' | '*'))
            };
            if line.match_indices(folder).any(|(at, _)| begins(at)) {
                found.push(format!(
                    "{place}: `{folder}` is a path of one machine: use one relative to the repository, or a variable"
                ));
            }
        }
        for host in REGISTRIES.iter().filter(|host| line.contains(**host)) {
            found.push(format!(
                "{place}: `{host}` is a registry's host: name the package and its manager, which knows where to look"
            ));
        }
    }
    found
}

/// Where tests may sleep by a clock: in a simulation nobody waits for one, and chaos is a program whose faults last (it is there
/// since cargo gives the dependencies of tests to nobody else).
const CLOCKED: &[&str] = &["tests/chaos/", "tests/sim/", "tests/simulation/", "tests/simulated_day.rs", "tests/rehearsal/"];

fn sleeps(path: &str, tokens: &[Token]) -> Vec<String> {
    let in_tests = path.starts_with("tests/");
    let by_a_clock = CLOCKED.iter().any(|folder| path.starts_with(folder));
    let in_src = path.starts_with("src/") && path != "src/time.rs";
    let mut found = Vec::new();
    for i in 0..tokens.len() {
        let before = if i == 0 { "" } else { at(tokens, i - 1) };
        let call = matches!(at(tokens, i), "sleep" | "sleep_until") && at(tokens, i + 1) == "(" && before != "fn";
        let method = before == ".";
        let place = format!("{path}:{}", tokens[i].line);
        if call && in_tests && !(by_a_clock && method) {
            found.push(format!(
                "{place}: tests do not sleep: await what the test is about (a watch, a channel), or advance a paused clock"
            ));
        } else if call && in_src && !method {
            found.push(format!("{place}: this sleeps past virtual time: take `Clock::{}` of `time`", at(tokens, i)));
        }
    }
    found
}

fn shape(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !text.starts_with("//!") {
        found.push(format!("{path}: open it with `//!`: what it is, then what it promises or deliberately does not know"));
    }
    let lines = text.lines().count();
    let generated = text.lines().take(5).any(|line| line.contains("@generated"));
    if lines > MOST_LINES && !generated {
        found
            .push(format!("{path}: {lines} lines, and {MOST_LINES} is the limit: it holds more than one concept, so split it"));
    }
    found
}

/// Whether `module` (`engine/nats/watch.rs`) is `place` (`engine/nats`) or inside it.
fn is_within(module: &str, place: &str) -> bool {
    module.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn doors(path: &str, module: &str, tokens: &[Token]) -> Vec<String> {
    let mut found = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let before = if i == 0 { "" } else { at(tokens, i - 1) };
        let inside_a_path = before == "::" && i >= 2 && is_word(at(tokens, i - 2));
        let names_a_crate = (at(tokens, i + 1) == "::" || before == "use" || before == "crate") && !inside_a_path;
        let place = format!("{path}:{}", token.line);
        for (name, place_of) in DOORS.iter().filter(|(name, _)| *name == token.text) {
            if names_a_crate && !is_within(module, place_of) {
                found.push(format!("{place}: only `{place_of}` names `{name}`: go through what it offers, or add that there"));
            }
        }
        for (room, why, names) in ABSENT.iter().filter(|(room, ..)| is_within(module, room)) {
            let keyword = matches!(token.text.as_str(), "async" | "await");
            if names.contains(&token.text.as_str()) && (keyword || names_a_crate) && !token.test {
                found.push(format!("{place}: no `{}` in `{room}`, which {why}", token.text));
            }
        }
    }
    found
}

/// Returns the modules that a file is, from the top: `engine/nats/mod.rs` is `["engine", "nats"]`.
fn modules(module: &str) -> Vec<&str> {
    let module = module.strip_suffix(".rs").unwrap_or(module);
    module.strip_suffix("/mod").unwrap_or(module).split('/').collect()
}

fn imports(path: &str, module: &str, tokens: &[Token]) -> Vec<String> {
    let own = modules(module);
    let room = own[0];
    if matches!(room, "lib" | "main" | "bin") {
        return Vec::new();
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!(
            "{path}: `{room}` is no room of the house plan: add it to ROOMS in tests/architecture/rules.rs, with what it may use"
        )];
    };
    let test_file = own.contains(&"tests");
    let mut found = Vec::new();
    for (token, target) in paths(tokens, own.len()) {
        let complaint = violations_of_a_path(room, allowed, &target, token.test || test_file);
        found.extend(complaint.map(|c| format!("{path}:{}: {c}", token.line)));
    }
    found
}

fn violations_of_a_path(room: &str, allowed: &[&str], target: &[String], test: bool) -> Option<String> {
    let name = target.first().map_or("", String::as_str);
    let written = format!("crate::{}", target.join("::"));
    if name == room || (test && name == "testing") {
        return None;
    }
    if !ROOMS.iter().any(|(known, _)| *known == name) {
        return Some(format!(
            "`{written}` is no room: import it from the room that defines it, not from the crate's front door"
        ));
    }
    if allowed != ANY && !allowed.contains(&name) {
        let may = if allowed.is_empty() { "nothing".to_owned() } else { format!("only {}", allowed.join(", ")) };
        return Some(format!(
            "`{room}` must not use `{written}`: it may use {may}; move what both need down, or hand it in as a value or a trait"
        ));
    }
    if room == "core" && name == "time" && target.get(1).map(String::as_str) != Some("Timestamp") {
        return Some(format!(
            "`core` has no clock, so not `{written}` but only `crate::time::Timestamp`: take the time as a value"
        ));
    }
    None
}

/// Returns every path into this crate, from the crate's top, with the token it starts at; `own` is how deep the file's module
/// is. A path that stays inside the file's room by `self` or `super` is left out.
fn paths(tokens: &[Token], own: usize) -> Vec<(&Token, Vec<String>)> {
    let mut found = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let start = i;
        i += 1;
        // How many modules are between the path's start and the top.
        let mut height = match at(tokens, start) {
            "crate" => 0,
            "super" => (own + tokens[start].depth).saturating_sub(1),
            _ => continue,
        };
        let before = if start == 0 { "" } else { at(tokens, start - 1) };
        if before == "::" && at(tokens, start.saturating_sub(2)) != "self" {
            continue;
        }
        while at(tokens, i) == "::" && at(tokens, i + 1) == "super" {
            height = height.saturating_sub(1);
            i += 2;
        }
        if height == 0 && at(tokens, i) == "::" {
            let mut targets = Vec::new();
            expand(tokens, i + 1, &[], &mut targets);
            // A macro of the crate is at its top, wherever it was defined.
            let is_macro = |t: &Vec<String>| t.len() == 1 && at(tokens, i + 2) == "!";
            found.extend(targets.into_iter().filter(|t| !is_macro(t)).map(|t| (&tokens[start], t)));
        }
    }
    found
}

/// Reads a path or a tree of paths that starts at `i`, and returns where it ends.
fn expand(tokens: &[Token], mut i: usize, prefix: &[String], out: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match at(tokens, i) {
            "{" => {
                i += 1;
                while i < tokens.len() && at(tokens, i) != "}" {
                    i = if at(tokens, i) == "," { i + 1 } else { expand(tokens, i, &path, out) };
                }
                return i + 1;
            }
            word if word == "*" || is_word(word) => {
                // `use crate::time::{self}` is the room itself.
                if word != "self" {
                    path.push(word.to_owned());
                }
                i += 1;
            }
            _ => {
                out.push(path);
                return i + 1;
            }
        }
        if at(tokens, i) == "as" {
            i += 2;
        }
        let goes_on = at(tokens, i + 1) == "{" || at(tokens, i + 1) == "*" || is_word(at(tokens, i + 1));
        if at(tokens, i) == "::" && goes_on {
            i += 1;
        } else {
            out.push(path);
            return i;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file in `src` with a heading, so that only what a test is about can be wrong.
    fn complaints(path: &str, body: &str) -> Vec<String> {
        violations(path, &format!("//! A sample.\n{body}\n"))
    }

    #[track_caller]
    fn refused(path: &str, body: &str, because: &str) {
        let found = complaints(path, body);
        assert!(found.len() == 1 && found[0].contains(because), "{path}: {body}: {found:?}");
        assert!(found[0].starts_with(path), "a complaint names the place: {found:?}");
    }

    #[track_caller]
    fn fine(path: &str, body: &str) {
        assert_eq!(complaints(path, body), Vec::<String>::new(), "{path}: {body}");
    }

    #[test]
    fn a_file_opens_with_what_it_is() {
        assert!(violations("src/core/a.rs", "use std::fmt;\n")[0].contains("open it with `//!`"));
        assert!(violations("src/core/a.rs", "// A\n//! B\n")[0].contains("open it with `//!`"));
        assert!(violations("tests/a.rs", "use std::fmt;\n").is_empty());
    }

    #[test]
    fn a_long_file_is_split_unless_it_was_generated() {
        let lines = "\n".repeat(MOST_LINES - 1);
        fine("src/core/a.rs", &lines[1..]);
        refused("src/core/a.rs", &lines, "split it");
        fine("src/core/pb.rs", &format!("// @generated by a test\n{lines}"));
    }

    #[test]
    fn source_is_ascii() {
        refused("src/core/a.rs", "// na\u{ef}ve", "u{ef}");
        refused("tests/a.rs", "// na\u{ef}ve", ":2:");
        fine("README.md", "na\u{ef}ve");
    }

    #[test]
    fn imports_point_downwards() {
        refused("src/engine/store.rs", "use crate::core::graph;", "`engine` must not use `crate::core::graph`");
        refused("src/engine/nats/mod.rs", "use crate::{error::BoxError, runtime::Run};", "crate::runtime::Run");
        refused("src/engine/nats/mod.rs", "fn f() { crate::topology::Node::new() }", "crate::topology::Node::new");
        refused("src/topology/mod.rs", "use crate::engine::Store;", "it may use only");
        refused("src/codec.rs", "use crate::engine::Headers;", "`codec`");
        refused("src/telemetry.rs", "use crate::{core::graph::{Graph, Id}, engine::{Headers as H}};", "`telemetry`");
        refused("src/error.rs", "use crate::time;", "it may use nothing");
        refused("src/core/run.rs", "use crate::codec::Payload;", "`core`");
        fine("src/engine/store.rs", "use crate::{error::BoxError, time::{Clock, Timestamp}};\n// crate::runtime is above");
        fine("src/runtime/mod.rs", "use crate::{engine::Store, topology::Node, core::graph, testing::Faults};");
        fine("src/lib.rs", "pub use runtime::Run; use crate::engine::Engine;");
        refused("src/doctor/mod.rs", "use crate::runtime::Runtime;", "`doctor` must not use");
        fine("src/bin/anabranch.rs", "use anabranch::runtime::Runtime;");
    }

    #[test]
    fn imports_by_super_point_downwards_too() {
        refused("src/engine/nats/mod.rs", "use super::super::core::graph;", "crate::core::graph");
        refused("src/codec.rs", "use super::{error::BoxError, engine::Key};", "crate::engine::Key");
        refused("src/codec.rs", "mod a { use super::super::engine::Key; }", "crate::engine::Key");
        fine("src/codec.rs", "mod engine {} mod a { use super::engine::Key; }");
        fine("src/engine/nats/mod.rs", "use super::{core, Store}; pub(super) struct A; pub(crate) struct B;");
    }

    #[test]
    fn core_knows_no_clock_and_does_not_wait() {
        fine("src/core/run.rs", "use crate::time::Timestamp;");
        refused("src/core/run.rs", "use crate::time::{Clock, Timestamp};", "crate::time::Clock");
        refused("src/core/run.rs", "use crate::time;", "take the time as a value");
        refused("src/core/run.rs", "async fn f() {}", "no `async` in `core`");
        refused("src/core/run.rs", "use tokio::sync::Mutex;", "no `tokio` in `core`");
        refused("src/topology/mod.rs", "fn f() { tokio::spawn(g()); }", "no `tokio` in `topology`");
        fine("src/topology/mod.rs", "async fn f() {}");
    }

    #[test]
    fn only_tests_reach_for_the_test_kit() {
        refused("src/engine/store.rs", "use crate::testing::Faults;", "`engine` must not use");
        fine("src/engine/store.rs", "#[cfg(test)]\nmod tests { use crate::testing::Faults; }");
        fine("src/engine/tests.rs", "use crate::testing::Faults;");
        refused("src/engine/store.rs", "#[cfg(test)]\nmod tests { use crate::runtime::Run; }", "`engine` must not use");
    }

    #[test]
    fn rooms_are_known_and_named() {
        refused("src/helpers.rs", "", "`helpers` is no room");
        refused("src/engine/store.rs", "use crate::Payload;", "import it from the room");
        refused("src/engine/store.rs", "use crate::*;", "`crate::*` is no room");
        fine("src/engine/store.rs", "crate::macros!(); $crate::engine::f();");
    }

    #[test]
    fn a_crate_stays_behind_its_door() {
        refused("src/engine/embedded/mod.rs", "use async_nats::Client;", "only `engine/nats` names `async_nats`");
        refused("src/engine/nats.rs", "use {bytes::Bytes, redb::Database};", "only `engine/embedded` names `redb`");
        refused("src/jobs/mod.rs", "fn f(a: ractor::ActorRef<()>) {}", "only `runtime` names `ractor`");
        refused("src/jobs/mod.rs", "let x = ::rand::random();", "only `time` names `rand`");
        refused("src/jobs/mod.rs", "use ulid as u;", "only `time` names `ulid`");
        refused("src/doctor/mod.rs", "use lexopt::Parser;", "only `bin/anabranch` names `lexopt`");
        fine("src/bin/anabranch/main.rs", "use lexopt::Parser;");
        refused("src/engine/natsy.rs", "use async_nats::Client;", "only `engine/nats`");
        fine("src/engine/nats/kv.rs", "use async_nats::Client;");
        fine("src/engine/nats.rs", "use async_nats::Client;");
        fine("src/time.rs", "use rand::RngExt as _; fn f() { ulid::Ulid::new() }");
        fine("src/jobs/mod.rs", "let rand = 1; f(rand, self.redb, crate::jobs::ulid::f); // ractor::Actor");
        fine("tests/nats.rs", "use async_nats::Client;");
    }

    #[test]
    fn nothing_sleeps_past_the_clock() {
        refused("tests/a.rs", "tokio::time::sleep(d).await;", "tests do not sleep");
        refused("tests/ui/a.rs", "clock.sleep(d).await;", "tests do not sleep");
        refused("tests/chaos.rs", "clock.sleep(d).await;", "tests do not sleep");
        fine("tests/chaos/nemesis.rs", "clock.sleep(fault.lasts).await;");
        fine("tests/sim/hosts.rs", "host.clock().sleep(d).await;");
        refused("tests/sim/hosts.rs", "tokio::time::sleep(d).await;", "tests do not sleep");
        refused("src/jobs/mod.rs", "thread::sleep(d);", "past virtual time");
        refused("src/jobs/mod.rs", "sleep_until(d).await;", "Clock::sleep_until");
        fine("src/jobs/mod.rs", "clock.sleep(d).await; fn sleep(d: D) {} // sleep(1)");
        fine("src/time.rs", "tokio::time::sleep(d).await;");
    }

    #[test]
    fn nothing_names_one_machine_or_a_registry() {
        for folder in MACHINE_PATHS {
            refused("README.md", &format!("cd {folder}someone"), "a path of one machine");
            refused("src/core/a.rs", &format!("const A: &str = \"{folder}x\";"), ":2:");
            fine("README.md", &format!("src{folder}mod.rs and ~{folder}mod.rs and ..{folder}"));
        }
        for host in REGISTRIES {
            refused("Cargo.toml", &format!("homepage = \"https://{host}/x\""), "a registry's host");
            fine("Cargo.lock", host);
            fine("fuzz/Cargo.lock", host);
        }
    }

    #[test]
    fn an_example_holds_no_test() {
        refused("examples/a.rs", "#[test]\nfn f() {}", "move it to tests/");
        fine("examples/a.rs", "fn main() {}");
    }
}
