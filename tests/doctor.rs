//! The doctor on the engine without a server, and the command line around it.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

use anabranch::{
    doctor::{self, Options, Report, Severity, Topic},
    engine::{Engine, Message, OpenError, QueueOptions},
    time::Clock,
};
use std::{fs, path::Path, process::Command, time::Duration};

async fn examine(path: &Path, change: impl FnOnce(&mut Options)) -> Report {
    let mut options = Options::default();
    change(&mut options);
    doctor::examine(&format!("file:{}", path.display()), &options).await.unwrap()
}

fn said(report: &Report, check: &str) -> Vec<(Severity, String)> {
    let all = report.findings.iter().filter(|finding| finding.check == check);
    all.map(|finding| (finding.severity, finding.found.clone())).collect()
}

fn one(report: &Report, check: &str) -> (Severity, String) {
    let mut all = said(report, check);
    assert_eq!(all.len(), 1, "{check}: {report:#?}");
    all.remove(0)
}

#[tokio::test]
async fn a_file_is_examined_without_being_opened_as_an_engine() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("state.redb");
    let (severity, text) = one(&examine(&path, |_| {}).await, "file");
    assert!(severity == Severity::Note && text.contains("not there"), "{text}");
    assert!(!path.exists(), "it was not created");

    let url = format!("file:{}", path.display());
    let engine = Engine::open(&url).await.unwrap();
    let queue = engine.space("shop").await.unwrap().queue("mail", QueueOptions::default()).await.unwrap();
    queue.publish(Message::new("1")).await.unwrap();
    let in_use = examine(&path, |_| {}).await;
    assert!(one(&in_use, "file").1.contains("a process has"), "{in_use:#?}");
    assert_eq!(in_use.exit_code(), 0);
    // What a process leaves that is killed at this moment.
    let left = scratch.path().join("left.redb");
    fs::copy(&path, &left).unwrap();
    let (severity, text) = one(&examine(&left, |_| {}).await, "file");
    assert!(severity == Severity::Note && text.contains("was not closed"), "{text}");
    drop((engine, queue));
    // The file is closed by the thread that wrote last, in a moment.
    let closed = async {
        loop {
            let report = examine(&path, |_| {}).await;
            if !one(&report, "file").1.contains("a process has") {
                break report;
            }
        }
    };
    let report = Clock::system().timeout(Duration::from_secs(60), closed).await.expect("the file is closed in time");
    assert_eq!(one(&report, "file").0, Severity::Ok, "{report:#?}");
    let before = fs::read(&path).unwrap();
    examine(&path, |_| {}).await;
    assert!(fs::read(&path).unwrap() == before, "it was not changed");
}

#[tokio::test]
async fn a_file_that_is_none_of_ours_and_a_directory_that_is_missing_are_problems() {
    let scratch = tempfile::tempdir().unwrap();
    let text = scratch.path().join("text");
    fs::write(&text, "no database at all".repeat(1000)).unwrap();
    let report = examine(&text, |_| {}).await;
    assert_eq!((one(&report, "file").0, report.exit_code()), (Severity::Problem, 2), "{report:#?}");
    let report = examine(&scratch.path().join("missing/state.redb"), |o| o.probe = true).await;
    assert_eq!(one(&report, "directory").0, Severity::Problem);
    assert!(said(&report, "file").is_empty() && said(&report, "open").is_empty(), "{report:#?}");
}

#[tokio::test]
async fn a_probe_of_a_file_has_a_file_of_its_own_and_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let report = examine(&scratch.path().join("state.redb"), |o| o.probe = true).await;
    let probe: Vec<_> = report.findings.iter().filter(|finding| finding.topic == Topic::Probe).collect();
    assert_eq!(probe.len(), 8, "{probe:#?}");
    assert!(probe.iter().all(|finding| finding.severity == Severity::Ok), "{probe:#?}");
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_probe_of_memory_does_the_round() {
    let mut options = Options::default();
    options.probe = true;
    let report = doctor::examine("memory:", &options).await.unwrap();
    assert_eq!(one(&report, "timer").0, Severity::Ok);
    assert_eq!((one(&report, "storage").0, report.exit_code()), (Severity::Warning, 1));
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_without_its_secret() {
    for bad in ["http://u:s3cret@host", "file:", "memory:x"] {
        let error = doctor::examine(bad, &Options::default()).await.unwrap_err();
        assert!(matches!(error, OpenError::Url(_)) && !error.to_string().contains("s3cret"), "{error}");
    }
}

#[test]
fn the_command_line_says_what_it_can_do_and_what_is_wrong() {
    let run = |arguments: &[&str]| {
        let command =
            Command::new(env!("CARGO_BIN_EXE_anabranch")).args(arguments).env_remove("ANABRANCH_URL").output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&command.stdout), String::from_utf8_lossy(&command.stderr));
        (command.status.code(), text)
    };
    let (code, text) = run(&["doctor", "--help"]);
    assert!(code == Some(0) && text.contains("Exit codes:") && text.contains("--probe"), "{text}");
    assert!(run(&["--help"]).1.contains("doctor"));
    assert_eq!(run(&["--version"]), (Some(0), format!("anabranch {}\n", env!("CARGO_PKG_VERSION"))));
    for bad in [&[][..], &["docter"], &["--doctor"], &["doctor"], &["doctor", "--url"], &["doctor", "--url=memory:", "--x"]] {
        let (code, text) = run(bad);
        assert!(code == Some(3) && text.contains("--help"), "{bad:?}: {text}");
    }
    let (code, text) = run(&["doctor", "--url", "memory:"]);
    assert!(code == Some(1) && text.contains("1 warning, 0 notes"), "{text}");
}
