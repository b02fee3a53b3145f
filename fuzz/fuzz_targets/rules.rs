//! Feeds `anabranch::testing::fuzz::rules`, where the body is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch::testing::fuzz::rules(bytes));
