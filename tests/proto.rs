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

#[test]
fn the_code_of_jobs_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/job.proto", "src/core/jobs/pb.rs");
}

#[test]
fn the_metrics_code_is_generated_from_the_go_librarys_proto() {
    check("nats_jetstream_flow.metrics.v1", "flow/v1/metric.proto", "src/core/coordination/metric/pb.rs");
}

/// The messages of the Go library nats-jetstream-flow, v1: what a Rust service that joins a flow has to keep to. A map is a repeated
/// entry on the wire.
#[test]
fn the_protos_of_the_go_library_keep_their_numbers() {
    let files = ["flow/v1/message.proto", "flow/v1/metric.proto", "flow/v1/search.proto"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut found = Vec::new();
    for file in protox::compile(files, [root]).unwrap().file {
        let messages = file.message_type.iter().filter(|_| file.package().starts_with("nats_jetstream_flow."));
        for message in messages {
            for field in &message.field {
                let kind = if field.type_name().is_empty() { field.r#type().as_str_name() } else { field.type_name() };
                let (label, name) = (field.label().as_str_name(), message.name());
                found.push(format!("{}.{name} {} {} {label} {kind}", file.package(), field.number(), field.name()));
            }
        }
    }
    let wanted = [
        "message.v1.Message 1 uuid LABEL_OPTIONAL TYPE_STRING",
        "message.v1.Message 2 metadata LABEL_REPEATED .nats_jetstream_flow.message.v1.Message.MetadataEntry",
        "message.v1.Message 5 payload LABEL_OPTIONAL .google.protobuf.Any",
        "message.v1.Messages 1 messages LABEL_REPEATED .nats_jetstream_flow.message.v1.Message",
        "metrics.v1.BaseMetric 1 processed LABEL_OPTIONAL TYPE_UINT64",
        "metrics.v1.BaseMetric 2 in_flight LABEL_OPTIONAL TYPE_INT64",
        "metrics.v1.BaseMetric 3 failed LABEL_OPTIONAL TYPE_UINT64",
        "metrics.v1.MapMetric 1 overall LABEL_OPTIONAL .nats_jetstream_flow.metrics.v1.BaseMetric",
        "metrics.v1.MapMetric 2 boards LABEL_REPEATED .nats_jetstream_flow.metrics.v1.MapMetric.BoardsEntry",
        "search.v1.Search 1 id LABEL_OPTIONAL TYPE_INT32",
        "search.v1.Search 2 created_at LABEL_OPTIONAL .google.protobuf.Timestamp",
        "search.v1.Search 3 updated_at LABEL_OPTIONAL .google.protobuf.Timestamp",
        "search.v1.Search 4 client_id LABEL_OPTIONAL TYPE_INT64",
        "search.v1.Search 5 company_id LABEL_OPTIONAL TYPE_INT64",
        "search.v1.Search 6 user_id LABEL_OPTIONAL TYPE_INT64",
        "search.v1.Search 7 boards LABEL_REPEATED TYPE_STRING",
    ];
    assert_eq!(found, wanted.map(|line| format!("nats_jetstream_flow.{line}")));
}

#[test]
fn the_limits_code_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/limit.proto", "src/core/coordination/quota/pb.rs");
}

#[test]
fn the_windows_code_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/window.proto", "src/core/coordination/window/pb.rs");
}

#[test]
fn the_permits_code_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/permits.proto", "src/core/coordination/permits/pb.rs");
}

#[test]
fn the_onces_code_is_generated_from_its_proto() {
    check("anabranch.v1", "anabranch/v1/once.proto", "src/core/coordination/once/pb.rs");
}
