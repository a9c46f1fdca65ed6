//! One log line for each call, when it is over: method, code, time, peer. Never anything from inside a message.
//!
//! The code of an answer stands in its trailers, after the body; so the line is written when the body has been sent or
//! given up, and a call that its caller gave up before has one too.

use std::time::Instant;

use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use tonic::Code;
use tonic::body::Body;

/// A call on its way. Dropped, it writes its line.
pub(super) struct Finished {
    listener: &'static str,
    method: String,
    peer: String,
    request_id: String,
    started: Instant,
    code: Option<Code>,
}

impl Finished {
    /// A call that has just come in.
    pub(super) fn start(
        listener: &'static str,
        method: &str,
        peer: String,
        request_id: &str,
    ) -> Self {
        Self {
            listener,
            method: method.to_owned(),
            peer,
            request_id: request_id.to_owned(),
            started: Instant::now(),
            code: None,
        }
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
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // An answer without a status was never finished: the caller, or the connection, has gone.
        let code = self.code.unwrap_or(Code::Cancelled);
        let (listener, method, peer) = (self.listener, &*self.method, &*self.peer);
        let (request_id, code_name) = (&*self.request_id, name(code));
        let duration_us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    listener,
                    method,
                    code = code_name,
                    duration_us,
                    peer,
                    request_id,
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
