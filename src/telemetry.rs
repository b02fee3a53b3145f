//! Spans and trace context: every name that telemetry shows is written here, and nowhere else.
//!
//! A trace comes in with a message's W3C headers or with the caller's span, is kept in the run's snapshot, and is the parent of
//! every span of that run, also in the process that resumes it. With the feature `otel` the spans of `tracing` get it as their
//! OpenTelemetry parent; without, it travels on unchanged. Exporters are the application's.
//!
//! | span | fields |
//! |---|---|
//! | `anabranch.run` | `topology`, `run`, `epoch`, `traceparent` |
//! | `anabranch.node` | `node`, `attempt` |
//! | `anabranch.message` | `queue`, `sequence`, `delivery` |
//! | `anabranch.job` | `queue`, `topic`, `sequence`, `delivery` |
//! | `anabranch.cell.update` | `key`, `closures` |
//!
//! | event | level | fields |
//! |---|---|---|
//! | `anabranch.limiter.wait` | debug | `limiter`, `cells`, `wait_us` |
//! | `anabranch.limiter.failed_open` | warn at the begin of an outage, then debug | `limiter`, `error` |

use crate::core::snapshot::Trace;
use std::{fmt::Display, time::Duration};
use tracing::{Span, debug, debug_span, info_span, warn};

/// The header of the W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The header of the W3C trace state.
pub const TRACESTATE: &str = "tracestate";

/// Opens the span of a run in this process.
pub(crate) fn run_span(topology: &str, run: &str, epoch: u64, trace: Option<&Trace>) -> Span {
    let traceparent = trace.map(|t| t.parent.as_str());
    let span = info_span!(parent: None, "anabranch.run", topology, run, epoch, traceparent);
    if let Some(trace) = trace {
        adopt(&span, trace);
    }
    span
}

/// Opens the span of one attempt of a node.
pub(crate) fn node_span(run: &Span, node: &str, attempt: u32) -> Span {
    info_span!(parent: run, "anabranch.node", node, attempt)
}

/// Opens the span of one delivery.
pub(crate) fn message_span(queue: &str, sequence: u64, delivery: u32, trace: Option<&Trace>) -> Span {
    let span = info_span!(parent: None, "anabranch.message", queue, sequence, delivery);
    if let Some(trace) = trace {
        adopt(&span, trace);
    }
    span
}

/// Opens the span of one delivery of a job.
pub(crate) fn job_span(queue: &str, topic: &str, sequence: u64, delivery: u32, trace: Option<&Trace>) -> Span {
    let span = info_span!(parent: None, "anabranch.job", queue, topic, sequence, delivery);
    if let Some(trace) = trace {
        adopt(&span, trace);
    }
    span
}

/// Opens the span of one write of a cell, which `closures` share.
pub(crate) fn cell_span(key: &impl Display, closures: usize) -> Span {
    debug_span!(parent: None, "anabranch.cell.update", %key, closures)
}

/// Says that somebody waits for a limiter, and how long.
pub(crate) fn limiter_waits(limiter: &str, cells: u32, wait: Duration) {
    let wait_us = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
    debug!(name: "anabranch.limiter.wait", limiter, cells, wait_us, "anabranch.limiter.wait");
}

/// Says that a limiter let somebody pass without its store.
pub(crate) fn limiter_fails_open(limiter: &str, error: &(dyn std::error::Error + 'static), first: bool) {
    if first {
        warn!(name: "anabranch.limiter.failed_open", limiter, error, "anabranch.limiter.failed_open");
    } else {
        debug!(name: "anabranch.limiter.failed_open", limiter, error, "anabranch.limiter.failed_open");
    }
}

/// Takes the trace context out of a message's headers; what is no valid `traceparent` is no context.
pub(crate) fn extract<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Trace> {
    let parent = get(TRACEPARENT).filter(|p| is_traceparent(p))?.to_owned();
    Some(Trace { parent, state: get(TRACESTATE).unwrap_or_default().to_owned() })
}

/// Puts a trace context into a message's headers.
pub(crate) fn inject(trace: &Trace, mut set: impl FnMut(&'static str, &str)) {
    set(TRACEPARENT, &trace.parent);
    if !trace.state.is_empty() {
        set(TRACESTATE, &trace.state);
    }
}

/// Tells whether a text is a `traceparent` of version 00: `00-<32 hex>-<16 hex>-<2 hex>`, the ids not all zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let [version, trace, span, flags] = parts[..] else { return false };
    let some = |id: &str| id.bytes().any(|b| b != b'0');
    version == "00" && hex(trace, 32) && hex(span, 16) && hex(flags, 2) && some(trace) && some(span)
}

#[cfg(feature = "otel")]
mod bridge {
    use super::{Span, Trace};
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
    use std::str::FromStr as _;
    use tracing_opentelemetry::OpenTelemetrySpanExt as _;

    pub(super) fn adopt(span: &Span, trace: &Trace) {
        let Some(remote) = remote(trace) else { return };
        // Fails only where no OpenTelemetry layer is installed, and then nobody looks.
        let _ = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
    }

    fn remote(trace: &Trace) -> Option<SpanContext> {
        let mut parts = trace.parent.split('-').skip(1);
        let trace_id = TraceId::from_hex(parts.next()?).ok()?;
        let span_id = SpanId::from_hex(parts.next()?).ok()?;
        let flags = u8::from_str_radix(parts.next()?, 16).ok()?;
        let state = TraceState::from_str(&trace.state).unwrap_or_default();
        Some(SpanContext::new(trace_id, span_id, TraceFlags::new(flags), true, state))
    }

    pub(super) fn context(span: &Span) -> Option<Trace> {
        let context = span.context();
        let span_context = context.span().span_context().clone();
        let (trace_id, span_id, flags) = (span_context.trace_id(), span_context.span_id(), span_context.trace_flags());
        span_context.is_valid().then(|| Trace {
            parent: format!("00-{trace_id}-{span_id}-{:02x}", flags.to_u8()),
            state: span_context.trace_state().header(),
        })
    }
}

#[cfg(feature = "otel")]
use bridge::adopt;

#[cfg(not(feature = "otel"))]
fn adopt(_: &Span, _: &Trace) {}

/// Returns the trace that the caller is in, as far as OpenTelemetry knows one.
pub(crate) fn current() -> Option<Trace> {
    of(&Span::current())
}

/// Returns a span's own trace context, for what it starts.
pub(crate) fn of(span: &Span) -> Option<Trace> {
    #[cfg(feature = "otel")]
    return bridge::context(span);
    #[cfg(not(feature = "otel"))]
    return {
        let _ = span;
        None
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_valid_traceparent_is_taken_from_headers() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let get = |parent: &'static str| extract(move |name| (name == TRACEPARENT).then_some(parent));
        assert_eq!(get(good).map(|t| t.parent).as_deref(), Some(good));
        for bad in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "ff-x-y-z"] {
            assert_eq!(get(bad), None, "{bad}");
        }
    }
}
