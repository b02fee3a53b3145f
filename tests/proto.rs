//! The generated protobuf code in the tree is what the files under `proto/` say.
//!
//! Users compile no protos: the generated files are checked in. `ANABRANCH_UPDATE=1 cargo test --test proto` writes them anew.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, path::Path};

fn generate(package: &str, proto: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = tempfile::tempdir().unwrap();
    let descriptors = protox::compile([proto], [root.join("proto")]).unwrap();
    prost_build::Config::new()
        .out_dir(out.path())
        .bytes(["."])
        .btree_map(["."])
        .format(false)
        .compile_fds(descriptors)
        .unwrap();
    let code = fs::read_to_string(out.path().join(format!("{package}.rs"))).unwrap();
    let head = format!("//! @generated from `proto/{proto}`: plain data, no rules. See `tests/proto.rs`.\n");
    let allow = "#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]\n\n";
    let code: Vec<&str> = code.lines().filter(|l| !l.starts_with("// This file is @generated")).collect();
    format!("{head}{allow}{}\n", code.join("\n"))
}

fn check(package: &str, proto: &str, target: &str) {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
    let expected = generate(package, proto);
    if std::env::var_os("ANABRANCH_UPDATE").is_some() {
        fs::write(&target, &expected).unwrap();
    }
    let found = fs::read_to_string(&target).unwrap_or_default();
    assert!(found == expected, "`{}` is not what `{proto}` generates: run with ANABRANCH_UPDATE=1", target.display());
}

#[test]
fn the_snapshots_code_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/snapshot.proto", "src/core/snapshot/pb.rs");
}

#[test]
fn the_runtimes_code_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/runtime.proto", "src/runtime/pb.rs");
}

#[test]
fn the_code_of_what_counts_is_generated_from_its_protos() {
    for concept in ["counter", "group", "latch", "barrier"] {
        let target = format!("src/core/coordination/{concept}/pb.rs");
        check("anabranch.v1", &format!("anabranch/v1/{concept}.proto"), &target);
    }
}
