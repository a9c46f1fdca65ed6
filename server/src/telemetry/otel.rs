//! The exporter: spans of calls, transactions and syncs to an OpenTelemetry collector, over OTLP and gRPC.
//!
//! It has a thread and a small runtime of its own. A call hands its span to a bounded queue and goes on; when the collector is
//! slow or gone the queue fills and spans are dropped, which the collector's own counters show, and nothing else.
//!
//! Attributes are those of the semantic conventions for RPC.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderMap;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status as SpanStatus, TraceContextExt, TraceFlags,
    TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample,
};
use tokio::runtime::Runtime;
use tonic::Code;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::{PATH_CHARS, TelemetryError, TraceId, TraceParent};

/// An exporter at work. When dropped it hands over what it has, within two seconds.
#[derive(Debug)]
pub struct Exporter {
    provider: SdkTracerProvider,
    /// Where the connection to the collector lives; `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Exporter {
    /// Exports to the collector at `endpoint`, such as `http://127.0.0.1:4317`. It need not be there.
    ///
    /// * `sample_percent` - of the traces that begin here, and of the calls in a stranger's trace; the trace of a peer with a client certificate is
    ///   continued as the peer decided.
    ///
    /// # Errors
    /// [`TelemetryError`] when the endpoint is no address, or threads cannot be started.
    pub fn start(endpoint: &str, sample_percent: u8) -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp")
            .enable_all()
            .build()
            .map_err(TelemetryError::new)?;
        let exporter = {
            let _entered = runtime.enter();
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_TIMEOUT)
                .build()
                .map_err(TelemetryError::new)?
        };
        let resource = Resource::builder()
            .with_service_name("upkeep-server")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Share::new(sample_percent))
            .with_resource(resource)
            .build();
        Ok(Self {
            provider,
            runtime: Some(runtime),
        })
    }

    /// What hears of spans: of this server's own ones, and of no log line.
    pub(crate) fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let own = filter_fn(|of| of.is_span() && of.target().starts_with(env!("CARGO_CRATE_NAME")));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("upkeep-server"))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(own)
            .boxed()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // A collector that is gone loses the last spans; that is no reason to stop otherwise.
        let _ = self.provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Which traces are exported: as a named caller decided, else a share.
#[derive(Clone, Debug)]
struct Share {
    decided: Sampler,
    percent: u64,
    /// Calls in traces of strangers so far.
    strangers: Arc<AtomicU64>,
}

impl Share {
    fn new(percent: u8) -> Self {
        let ratio = Sampler::TraceIdRatioBased(f64::from(percent) / 100.0);
        Self {
            decided: Sampler::ParentBased(Box::new(ratio)),
            percent: percent.into(),
            strangers: Arc::default(),
        }
    }

    /// The share by count: a stranger chooses the trace's identity too, so nothing may hang on it.
    fn takes_stranger(&self) -> bool {
        let before = self.strangers.fetch_add(1, Ordering::Relaxed) % 100;
        (before * self.percent) % 100 < self.percent
    }
}

impl ShouldSample for Share {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: opentelemetry::TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let stranger = parent.filter(|parent| {
            parent.get::<Stranger>().is_some() && parent.span().span_context().is_remote()
        });
        if stranger.is_none() {
            let decided = &self.decided;
            return decided.should_sample(parent, trace, name, kind, attributes, links);
        }
        SamplingResult {
            decision: match self.takes_stranger() {
                true => SamplingDecision::RecordAndSample,
                false => SamplingDecision::Drop,
            },
            attributes: Vec::new(),
            trace_state: TraceState::default(),
        }
    }
}

/// Marks the context of a call whose peer showed no certificate.
#[derive(Clone, Copy, Debug)]
struct Stranger;

/// Puts a call into its caller's trace, or begins one; gives the trace's identity.
///
/// * `is_named` - whether the peer showed a client certificate; only then its word on sampling counts.
pub(crate) fn enter(
    call: &Span,
    headers: &HeaderMap,
    path: &str,
    is_named: bool,
) -> Option<TraceId> {
    let parent = TraceParent::of(headers);
    if let Some(parent) = parent.as_ref().and_then(remote) {
        // Refused only where nobody exports.
        let _ = call.set_parent(within(parent, is_named));
    }
    let method: String = path
        .trim_start_matches('/')
        .chars()
        .take(PATH_CHARS)
        .collect();
    call.set_attribute("rpc.system.name", "grpc");
    call.set_attribute("rpc.method", method);
    let own = call.context().span().span_context().trace_id();
    match own == opentelemetry::TraceId::INVALID {
        true => parent.map(|parent| parent.trace),
        false => Some(TraceId(own.to_string())),
    }
}

/// Notes how a call ended.
pub(crate) fn leave(call: &Span, code: Code, reason: &str) {
    call.set_attribute("rpc.response.status_code", i64::from(i32::from(code)));
    if !reason.is_empty() {
        call.set_attribute("error.type", reason.to_owned());
    }
    if matches!(code, Code::Internal | Code::Unknown | Code::DataLoss) {
        call.set_status(SpanStatus::error(""));
    }
}

fn within(parent: SpanContext, is_named: bool) -> Context {
    let context = match is_named {
        true => Context::new(),
        false => Context::new().with_value(Stranger),
    };
    context.with_remote_span_context(parent)
}

fn remote(parent: &TraceParent) -> Option<SpanContext> {
    let flags = match parent.sampled {
        true => TraceFlags::SAMPLED,
        false => TraceFlags::default(),
    };
    Some(SpanContext::new(
        opentelemetry::TraceId::from_hex(parent.trace.as_str()).ok()?,
        SpanId::from_hex(&parent.span).ok()?,
        flags,
        true,
        TraceState::default(),
    ))
}

const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of 200 calls with this flag are exported at 10 percent.
    fn exported(sampled: bool, is_named: bool) -> usize {
        let share = Share::new(10);
        let parent = TraceParent {
            trace: TraceId("00000000000000000000000000000001".to_owned()),
            span: "b7ad6b7169203331".to_owned(),
            sampled,
        };
        let calls = (0..200).filter(|_| {
            let parent = within(remote(&parent).unwrap(), is_named);
            let trace = parent.span().span_context().trace_id();
            let kind = SpanKind::Internal;
            let result = share.should_sample(Some(&parent), trace, "call", &kind, &[], &[]);
            result.decision == SamplingDecision::RecordAndSample
        });
        calls.count()
    }

    #[test]
    fn strangers_do_not_decide_what_is_exported() {
        assert_eq!((exported(true, true), exported(false, true)), (200, 0));
        assert_eq!((exported(true, false), exported(false, false)), (20, 20));
    }
}
