//! Feeds `anabranch::testing::fuzz::keys`, where the body is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch::testing::fuzz::keys(bytes));
