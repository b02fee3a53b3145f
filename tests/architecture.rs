//! Holds the source to the house plan: which room may import which, which crates stay behind which door, how a file looks.
//!
//! A rule is a function from a path and a text to complaints, so that each one is tested here on texts that break it; the
//! tests at the end of this file run all of them over the tree. A complaint says what to do, and the rules are data at the
//! top of `architecture/rules.rs`.

#[path = "architecture/dependencies.rs"]
mod dependencies;
#[path = "architecture/guarantees.rs"]
mod guarantees;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/tokens.rs"]
mod tokens;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A file of the tree: its path from the top, with `/`, and what it holds.
struct File {
    path: String,
    text: String,
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Returns every text file that git knows, or would know after `git add --all`: a rule speaks before the commit.
fn tree() -> Vec<File> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(top())
        .output()
        .expect("these rules are about what git tracks: put git on the PATH");
    assert!(
        listed.status.success(),
        "these rules are about what git tracks: run them in a checkout ({})",
        String::from_utf8_lossy(&listed.stderr).trim()
    );
    let names = String::from_utf8(listed.stdout).expect("names of files are UTF-8");
    let read = |path: &str| -> Option<File> {
        // Binary files are none of our business; a file may also be deleted and not yet staged.
        let text = String::from_utf8(fs::read(top().join(path)).ok()?).ok()?;
        Some(File { path: path.to_owned(), text })
    };
    let files: Vec<File> = names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect();
    assert!(files.iter().any(|f| f.path == "src/lib.rs"), "git lists no src/lib.rs: the rules would hold of nothing");
    files
}

fn report(rule: &str, complaints: &[String]) {
    assert!(complaints.is_empty(), "{rule}:\n  {}\n", complaints.join("\n  "));
}

#[test]
fn the_source_keeps_to_the_house_plan() {
    let complaints: Vec<String> = tree().iter().flat_map(|f| rules::violations(&f.path, &f.text)).collect();
    report("the source leaves the house plan", &complaints);
}

#[test]
fn every_stated_guarantee_names_a_test_that_exists() {
    let files = tree();
    let mut names = guarantees::Names::default();
    for file in &files {
        names.read(&file.path, &file.text);
    }
    for path in guarantees::PAGES {
        let page = files.iter().find(|f| f.path == path).unwrap_or_else(|| panic!("{path} is missing: it states what holds"));
        report("a guarantee is not held by a test", &guarantees::violations(path, &page.text, &names));
    }
}

#[test]
fn every_test_that_is_left_out_is_run_by_somebody() {
    let files = tree();
    let files: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.text.as_str())).collect();
    report("a test is run by nobody", &guarantees::run_by_nobody(&files));
}

#[test]
fn every_defect_of_the_origins_has_a_row_and_a_test_that_knows_its_number() {
    let files = tree();
    for defect in (1..=20).chain([22]).map(|number| format!("D{number}")) {
        let row = format!("| {defect} |");
        let listed = files.iter().any(|f| f.path == "docs/origins.md" && f.text.lines().any(|line| line.starts_with(&row)));
        assert!(listed, "docs/origins.md has no row for {defect}");
        let comment = format!("{defect}: ");
        let tests = files.iter().filter(|f| f.path.starts_with("tests/"));
        let known = tests.flat_map(|f| f.text.lines()).any(|line| line.starts_with("///") && line.contains(&comment));
        assert!(known, "no test says above its name that it holds {defect}");
    }
}

#[test]
fn no_dependency_needs_a_newer_compiler_than_we_promise() {
    report("`rust-version` in Cargo.toml is not true", &dependencies::violations(&dependencies::metadata()));
}
