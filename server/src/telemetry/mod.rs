//! Traces: the caller's trace is taken up from `traceparent` (W3C Trace Context), named in the log line of the call, and, with
//! the cargo feature `otel` and `[telemetry] otlp_endpoint`, continued to an OpenTelemetry collector.
//!
//! Spans say which method, code and reason, how long, and how many transactions one sync served: never anything from inside a
//! message. Nothing waits for a collector: what cannot be handed over in time is dropped.

#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod otel;

use std::fmt;

use http::HeaderMap;

#[cfg(not(feature = "otel"))]
pub use crate::telemetry::off::Exporter;
#[cfg(not(feature = "otel"))]
pub(crate) use crate::telemetry::off::{enter, leave};
#[cfg(feature = "otel")]
pub use crate::telemetry::otel::Exporter;
#[cfg(feature = "otel")]
pub(crate) use crate::telemetry::otel::{enter, leave};

/// Whether this build can export traces.
pub const BUILT_IN: bool = cfg!(feature = "otel");

/// What a configuration that asks for it is told otherwise.
pub(crate) const NOT_BUILT_IN: &str =
    "this build exports no traces; build it with `--features otel`, or leave the key empty";

/// The identity of a trace: 32 lower-case hexadecimal digits, not all zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(String);

impl TraceId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a call stands in its caller's trace.
///
/// Source: W3C Trace Context, `traceparent` of version 00, and of later versions as far as they continue it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TraceParent {
    trace: TraceId,
    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "the exporter's"))]
    span: String,
    #[cfg_attr(not(feature = "otel"), allow(dead_code, reason = "the exporter's"))]
    sampled: bool,
}

impl TraceParent {
    /// Reads the header; one that is not proper counts as absent, as the standard has it.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = text.splitn(5, '-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (span, flags) = (parts.next()?, parts.next()?);
        let more = parts.next().is_some();
        let proper = hex(version, 2)
            && version != "ff"
            && !(version == "00" && more)
            && hex(trace, 32)
            && trace.bytes().any(|b| b != b'0')
            && hex(span, 16)
            && span.bytes().any(|b| b != b'0')
            && hex(flags, 2);
        let flags = u8::from_str_radix(flags, 16).ok().filter(|_| proper)?;
        Some(Self {
            trace: TraceId(trace.to_owned()),
            span: span.to_owned(),
            sampled: flags & 1 == 1,
        })
    }
}

/// A stranger may ask for a path as long as a header: as much of it is told.
pub(crate) const PATH_CHARS: usize = 128;

fn hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint: traces cannot be exported: {why}; correct it, or leave it empty")]
pub struct TelemetryError {
    why: String,
}

impl TelemetryError {
    fn new(why: impl fmt::Display) -> Self {
        Self {
            why: why.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &'static str) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", text.parse().unwrap());
        TraceParent::of(&headers)
    }

    #[test]
    fn only_a_proper_traceparent_counts() {
        let parent = of("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(parent.trace.as_str(), "0af7651916cd43dd8448eb211c80319c");
        assert!(parent.sampled);
        let later = of("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes");
        assert!(!later.unwrap().sampled);
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
            "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-001",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
