//! Feeds `anabranch::testing::fuzz::headers`, where the body is.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anabranch::testing::fuzz::headers(bytes));
