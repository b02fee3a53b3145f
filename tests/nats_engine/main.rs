//! What only the JetStream engine can get wrong: lost acknowledgements, dead and paused servers, foreign clients, versions.
//!
//! Tests run on the nats-server of `ANABRANCH_NATS_SERVER` or of the path; what a version lacks has to be refused.
#![cfg(feature = "nats")]
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod bucket;
mod commit;
mod expiry;
mod kit;
mod opening;
mod queue;
mod replicated;
mod requests;
mod ring;
mod store;
mod tally;
mod watch;
