//! Routers and pipelines, on the embedded engine under virtual time.
#![allow(unreachable_pub, missing_docs, clippy::unwrap_used)]

mod cron;
mod failure;
mod kit;
mod leaving;
mod once;
mod pipeline;
mod routing;
