//! Feeds `anabranch::testing::fuzz::topology_runner_json`, where the body is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch::testing::fuzz::topology_runner_json(bytes));
