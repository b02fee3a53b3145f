//! The checkers of the test kit: right histories pass, each way to be wrong is found, and what is told of it is short.
#![allow(clippy::unwrap_used, reason = "a test that finds nothing fails")]

mod groups;
mod holds;
mod limits;
mod linear;
mod messages;
mod objects;
mod random;
mod runs;
mod schedules;

use anabranch::testing::check::Violation;

/// Asserts that a rule is broken, and that what is told shows it: the events that it names break the same rule alone.
#[track_caller]
fn caught<E: Clone>(events: &[E], rule: &str, check: impl Fn(&[E]) -> Result<(), Violation>) -> Violation {
    let violation = check(events).expect_err("nobody found it");
    assert_eq!(violation.rule(), rule, "{violation}");
    let mut evidence = violation.evidence().to_vec();
    evidence.sort_unstable();
    let alone: Vec<E> = evidence.into_iter().map(|at| events[at].clone()).collect();
    assert_eq!(check(&alone).expect_err("it is not shown").rule(), rule, "{violation}");
    violation
}

/// A rule that nothing breaks is one that cannot fail.
#[test]
fn every_rule_is_broken_by_a_test() {
    let read = |folder: &str| -> String {
        let files = std::fs::read_dir(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        let files = files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "rs"));
        files.map(|path| std::fs::read_to_string(path).unwrap()).collect()
    };
    let tests = read("tests/check");
    let is_rule = |text: &&str| {
        let parts: Vec<&str> = text.split('.').collect();
        parts.len() == 2
            && parts.iter().all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let source = read("src/testing/check");
    let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
    let rules: std::collections::BTreeSet<&str> =
        code.flat_map(|line| line.split('"').skip(1).step_by(2)).filter(is_rule).collect();
    assert!(rules.len() >= 18, "{rules:?}");
    for rule in rules.into_iter().chain(["limiter", "semaphore"]) {
        assert!(tests.contains(&format!("\"{rule}\"")), "no test breaks {rule}");
    }
}
