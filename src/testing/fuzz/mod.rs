//! What is done with bytes that somebody else made: one function a door, for the fuzzer and for the tests of its corpora.
//!
//! A body takes any bytes at all. It panics when the library does, and when something that was read is not the same after it
//! was written and read again. It knows no fuzzer: `fuzz/` feeds it with whatever finds new ways through the code, and
//! `tests/fuzz_corpus.rs` with what was found so far.

mod envelopes;
mod headers;
mod keys;
mod router;
mod rules;
mod snapshot;
mod topology_runner;

pub use self::{
    envelopes::envelopes, headers::headers, keys::keys, router::router, rules::rules, snapshot::snapshot,
    topology_runner::topology_runner_json,
};

use crate::time::Timestamp;
use bytes::Bytes;

/// A body.
pub type Body = fn(&[u8]);

/// All bodies, by the names of their targets and of the folders of their corpora.
pub const TARGETS: [(&str, Body); 7] = [
    ("envelopes", envelopes),
    ("headers", headers),
    ("keys", keys),
    ("router", router),
    ("rules", rules),
    ("snapshot", snapshot),
    ("topology_runner_json", topology_runner_json),
];

/// When it is while bytes are looked at.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A message as text: lines of `name: value`, an empty line, and the payload. So a corpus can be read and written by hand.
fn message(bytes: &[u8]) -> (Vec<(String, String)>, Bytes) {
    let (mut headers, mut rest) = (Vec::new(), bytes);
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(line);
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        headers.push((name.to_owned(), value.trim_start_matches(' ').to_owned()));
    }
    (headers, Bytes::copy_from_slice(rest))
}
