//! The benchmarks, run in small: that they run at all, that their own checks hold, and that what they leave can be read. What they
//! measure here says nothing.
#![cfg(feature = "nats")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use anabranch::testing::server::NatsServer;
use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

/// Runs a benchmark as somebody would who measures, compiled as the tests are. Without a URL it takes what it takes by itself.
fn bench(name: &str, arguments: &[&str], url: Option<&str>) -> Output {
    let mut command = Command::new(env::var_os("CARGO").unwrap());
    command.args(["bench", "--profile", "dev", "--all-features", "--bench", name, "--"]).args(arguments);
    // What cargo tells a test of this package other packages would take for news, and be compiled again each time.
    let is_of_a_package = |name: &String| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|begin| name.starts_with(begin));
    for name in env::vars().map(|(name, _)| name).filter(is_of_a_package) {
        command.env_remove(name);
    }
    match url {
        Some(url) => command.env("ANABRANCH_URL", url),
        None => command.env_remove("ANABRANCH_URL"),
    };
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    let [said, wrong] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{}\n{said}\n{wrong}", output.status);
    said
}

fn file(name: &str) -> PathBuf {
    [env!("CARGO_TARGET_TMPDIR"), name].iter().collect()
}

#[test]
fn contention_measures_every_strategy_and_loses_no_update() {
    let (json, svg) = (file("contention.json"), file("contention.svg"));
    let mut arguments = vec!["--writers", "2,4", "--processes", "2", "--keys", "3", "--distribution", "zipf"];
    arguments.extend(["--seconds", "0.1", "--rounds", "1"]);
    arguments.extend(["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()]);
    let said = succeeded(&bench("contention", &arguments, None));
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&json).unwrap()).unwrap();
    let rows = told["rows"].as_array().unwrap();
    let of = |writers: u64| -> Vec<&str> {
        let rows = rows.iter().filter(|row| row["shape"]["writers"] == writers);
        rows.map(|row| row["strategy"].as_str().unwrap()).collect()
    };
    let strategies = ["naive", "marked", "go", "cached", "combining", "counter"];
    assert_eq!((of(2), of(4)), (strategies.to_vec(), strategies.to_vec()));
    for row in rows {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(row["lost_updates"] == 0 && row["gave_up"] == 0 && row["unknown"] == 0, "{row}");
        assert!(number("per_second") > 0.0 && number("attempts") > 0.0 && number("bytes") > 0.0, "{row}");
        assert!(number("p50") <= number("p99") && number("p99") <= number("p999"), "{row}");
    }
    assert_eq!(said.matches("all there").count(), rows.len(), "{said}");
    let drawn = fs::read_to_string(&svg).unwrap();
    // As far as an apostrophe, which a plot spells in another way.
    for title in ["naive read + CAS", "naive with ids", "Go origin", "cached revision", "combining (ours)", "server counter"] {
        assert!(said.contains(title) && drawn.contains(title), "`{title}` is missing");
    }
}

#[test]
fn contention_with_fewer_writers_than_processes_is_refused() {
    let output = bench("contention", &["--writers", "1", "--processes", "2"], None);
    let wrong = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && wrong.contains("fewer writers (1) than processes (2)"), "{wrong}");
}

#[tokio::test]
async fn runs_are_measured_beside_their_floors() {
    let url = NatsServer::shared().await.url();
    for (url, sides) in [(None, &["library", "floor"][..]), (Some(&*url), &["library", "floor", "bare"])] {
        let said = succeeded(&bench("runs", &["200", "16"], url));
        assert!(sides.iter().all(|side| said.contains(&format!("{side}, median"))), "{said}");
    }
}

#[test]
fn jobs_are_measured_beside_their_floors() {
    let throughput = succeeded(&bench("jobs", &["throughput", "200", "16"], None));
    for side in ["library", "engine by hand", "client alone"] {
        assert!(throughput.contains(side), "{throughput}");
    }
    succeeded(&bench("jobs", &["latency", "100"], None));
    succeeded(&bench("jobs", &["delayed", "200"], None));
}
