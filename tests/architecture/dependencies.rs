//! The rule about the compiler: what `rust-version` promises holds for everything that a user of the crate compiles.
//!
//! Clippy's `incompatible_msrv` watches the standard library's side of that promise; dependencies are watched here.

use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    process::Command,
};

/// Asks cargo for the graph of dependencies, without the network: what the tests were built from is at hand.
pub(crate) fn metadata() -> Value {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("-vV").output().expect("rustc runs");
    let version = String::from_utf8(version.stdout).expect("rustc prints UTF-8");
    let host = version.lines().find_map(|l| l.strip_prefix("host: ")).expect("rustc names its host");
    let answer = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--all-features", "--locked", "--offline", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        answer.status.success(),
        "cargo metadata failed; if Cargo.lock is behind Cargo.toml, build once and commit it:\n{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    serde_json::from_slice(&answer.stdout).expect("cargo metadata prints JSON")
}

/// Returns each package that users compile along with ours and that needs a newer compiler than ours says.
pub(crate) fn violations(metadata: &Value) -> Vec<String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: HashMap<String, Value> = list(&metadata["packages"]).into_iter().map(|p| (text(&p["id"]), p)).collect();
    let nodes: HashMap<String, Value> = list(&metadata["resolve"]["nodes"]).into_iter().map(|n| (text(&n["id"]), n)).collect();
    let root = text(&metadata["resolve"]["root"]);
    let Some(ours) = packages.get(&root).and_then(|p| number(&p["rust_version"])) else {
        return vec!["Cargo.toml has no `rust-version`: say which compiler is enough".to_owned()];
    };

    let mut found = Vec::new();
    let mut seen = HashSet::from([root.clone()]);
    let mut queue = vec![root];
    while let Some(id) = queue.pop() {
        let package = &packages[&id];
        if let Some(theirs) = number(&package["rust_version"]).filter(|theirs| *theirs > ours) {
            found.push(format!(
                "{} {} needs Rust {}.{}, and `rust-version` in Cargo.toml is {}.{}: raise it (a line in CHANGELOG.md), or hold the \
                 dependency back",
                text(&package["name"]),
                text(&package["version"]),
                theirs.0,
                theirs.1,
                ours.0,
                ours.1,
            ));
        }
        for dependency in list(&nodes[&id]["deps"]) {
            // Tests of ours may need more; `null` is a normal dependency.
            let used = list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
            let id = text(&dependency["pkg"]);
            if used && seen.insert(id.clone()) {
                queue.push(id);
            }
        }
    }
    found.sort();
    found
}

/// Reads `1.90` or `1.90.0`.
fn number(version: &Value) -> Option<(u32, u32)> {
    let mut parts = version.as_str()?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Ours uses `a`, which uses `b`; and `c` for its tests.
    fn graph(ours: &Value, b: &str, c: &str) -> Value {
        let package = |name: &str, rust: Value| json!({"id": name, "name": name, "version": "1.0.0", "rust_version": rust});
        let uses = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [
                package("ours", ours.clone()), package("a", Value::Null), package("b", json!(b)), package("c", json!(c)),
            ],
            "resolve": {"root": "ours", "nodes": [
                {"id": "ours", "deps": [uses("a", Value::Null), uses("c", json!("dev"))]},
                {"id": "a", "deps": [uses("b", Value::Null)]}, {"id": "b", "deps": []}, {"id": "c", "deps": []},
            ]},
        })
    }

    #[test]
    fn a_dependency_that_needs_a_newer_compiler_is_refused() {
        let found = violations(&graph(&json!("1.90"), "1.100.1", "1.0"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("b 1.0.0 needs Rust 1.100, and `rust-version` in Cargo.toml is 1.90"), "{found:?}");
        assert!(violations(&graph(&Value::Null, "1.0", "1.0"))[0].contains("no `rust-version`"));
    }

    #[test]
    fn an_older_one_and_one_of_our_tests_are_fine() {
        assert_eq!(violations(&graph(&json!("1.90.0"), "1.90", "1.99")), Vec::<String>::new());
    }
}
