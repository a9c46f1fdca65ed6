//! The exporter: spans of calls, transactions and syncs to an OpenTelemetry collector, over OTLP and gRPC.
//!
//! It has a thread and a small runtime of its own. A call hands its span to a bounded queue and goes on; when the collector is
//! slow or gone the queue fills and spans are dropped, which the collector's own counters show, and nothing else.
//!
//! Attributes are those of the semantic conventions for RPC.

use std::time::Duration;

use http::HeaderMap;
use opentelemetry::trace::{
    SpanContext, SpanId, Status as SpanStatus, TraceContextExt, TraceFlags, TraceState,
    TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Runtime;
use tonic::Code;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::{TelemetryError, TraceId, TraceParent};

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
    /// * `sample_percent` - of the traces that begin here; a caller's trace is continued as the caller decided.
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
        let share = Sampler::TraceIdRatioBased(f64::from(sample_percent) / 100.0);
        let resource = Resource::builder()
            .with_service_name("upkeep-server")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(share)))
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

/// Puts a call into its caller's trace, or begins one; gives the trace's identity.
pub(crate) fn enter(call: &Span, headers: &HeaderMap, path: &str) -> Option<TraceId> {
    let parent = TraceParent::of(headers);
    if let Some(parent) = parent.as_ref().and_then(remote) {
        // Refused only where nobody exports.
        let _ = call.set_parent(Context::new().with_remote_span_context(parent));
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
/// A stranger may ask for a path as long as a header.
const PATH_CHARS: usize = 128;
