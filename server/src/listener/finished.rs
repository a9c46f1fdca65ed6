//! One log line for each call, when it is over: method, code, reason, time, peer. Never anything from inside a message.
//!
//! The fields are an interface to whoever collects them (docs/operating.md). There is no sampling: a line is what is looked
//! for when a customer asks about his call. `log.filter` can leave them out by their own target.
//!
//! The code of an answer stands in its trailers, after the body; so the line is written when the body has been sent or
//! given up, and a call that its caller gave up before has one too.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tracing::Span;

use crate::listener::guard::ERROR_DOMAIN;
use crate::metrics::ListenerMetrics;
use crate::telemetry::{self, TraceId};

/// A call on its way. Dropped, it writes its line.
pub(super) struct Finished {
    metrics: Arc<ListenerMetrics>,
    span: Span,
    trace: Option<TraceId>,
    listener: &'static str,
    method: String,
    peer: String,
    request_id: String,
    started: Instant,
    code: Option<Code>,
    reason: Cow<'static, str>,
}

impl Finished {
    /// A call that has just come in.
    pub(super) fn start(
        metrics: &Arc<ListenerMetrics>,
        listener: &'static str,
        method: &str,
        peer: String,
        request_id: &str,
        trace: Option<TraceId>,
    ) -> Self {
        metrics.call_started();
        Self {
            metrics: Arc::clone(metrics),
            span: Span::current(),
            trace,
            listener,
            method: method.chars().take(telemetry::PATH_CHARS).collect(),
            peer,
            request_id: request_id.to_owned(),
            started: Instant::now(),
            code: None,
            reason: Cow::Borrowed(""),
        }
    }

    /// Notes a refusal of this listener's own, so that its details need not be read back.
    pub(super) fn refused(&mut self, reason: &'static str) {
        self.reason = Cow::Borrowed(reason);
    }

    /// Follows `response` to its end.
    pub(super) fn follow(mut self, response: Response<Body>) -> Response<Body> {
        let (head, body) = response.into_parts();
        self.note(&head.headers);
        if self.code.is_none() && !head.status.is_success() {
            // Not gRPC at all: refused before any service saw it, as with a wrong content type.
            self.code = Some(Code::InvalidArgument);
        }
        let body = body.map_frame(move |frame| {
            if let Some(trailers) = frame.trailers_ref() {
                self.note(trailers);
            }
            frame
        });
        Response::from_parts(head, Body::new(body))
    }

    fn note(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.code = Some(Code::from_bytes(status.as_bytes()));
        }
        if self.reason.is_empty() && headers.contains_key(DETAILS) {
            self.reason = reason(headers).map_or(Cow::Borrowed(""), Cow::Owned);
        }
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // An answer without a status was never finished: the caller, or the connection, has gone.
        let code = self.code.unwrap_or(Code::Cancelled);
        let (listener, method, peer) = (self.listener, &*self.method, &*self.peer);
        let (request_id, code_name) = (&*self.request_id, name(code));
        let took = self.started.elapsed();
        let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.metrics
            .call_ended(method, code_name, &self.reason, took);
        telemetry::leave(&self.span, code, &self.reason);
        // Left out where there is none.
        let reason = Some(&*self.reason).filter(|reason| !reason.is_empty());
        let trace_id = self.trace.as_ref().map(TraceId::as_str);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    parent: &self.span,
                    listener,
                    method,
                    code = code_name,
                    reason,
                    duration_us,
                    peer,
                    request_id,
                    trace_id,
                    "call finished"
                )
            };
        }
        match code {
            Code::Internal | Code::Unknown | Code::DataLoss => line!(error),
            _ if method.starts_with("/grpc.") => line!(debug),
            _ => line!(info),
        }
    }
}

/// The reason in this server's own error details, which are in the answer's trailers.
fn reason(headers: &HeaderMap) -> Option<String> {
    let status = Status::from_header_map(headers)?;
    let info = status.get_details_error_info()?;
    (info.domain == ERROR_DOMAIN).then_some(info.reason)
}

const DETAILS: &str = "grpc-status-details-bin";
/// The target of the lines, for filters.
const TARGET: &str = "upkeep_server::calls";

/// The name of a code as the gRPC documents write it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
