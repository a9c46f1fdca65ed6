//! One match from a gRPC status to this crate's errors: what the server refused, what it failed at, and what never reached it.

use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::error::{ClientError, Refusal};
use crate::retry::Asked;
use crate::tls::ConnectFailure;

/// How one attempt of a call ended without an answer.
pub(crate) struct Failed {
    /// What the caller gets unless the call is sent again.
    pub(crate) error: ClientError,
    /// Whether the call may be sent again, and what was asked for the pause.
    pub(crate) again: Option<Asked>,
    /// Whether the connection stands.
    pub(crate) link: Link,
}

/// Whether the connection stands after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Up,
    Down,
}

/// The attempt that ended with this status.
///
/// * `after` - the deadline that the attempt had.
/// * `attempts` - how often the call was sent, from 1.
pub(crate) fn failed(status: &Status, endpoint: &str, after: Duration, attempts: u32) -> Failed {
    if is_timeout(status) {
        return deadline(endpoint, after);
    }
    // tonic keeps a source for what happened on this side, and none for what the server sent.
    if status.source().is_some() {
        return on_the_way(status, endpoint);
    }
    let refusal = || Box::new(refusal(status, attempts));
    let error = match status.code() {
        Code::Unavailable => {
            let asked = Asked::by(status);
            return Failed {
                error: ClientError::Unreachable {
                    endpoint: endpoint.to_owned(),
                    why: status.message().to_owned(),
                    retry_after: asked.wait(),
                },
                again: Some(asked),
                link: Link::Up,
            };
        }
        Code::DeadlineExceeded => return deadline(endpoint, after),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => ClientError::Refused(refusal()),
        Code::Internal | Code::Unknown | Code::DataLoss | Code::Cancelled => {
            ClientError::ServerFailed(refusal())
        }
        Code::Unimplemented | Code::Ok => ClientError::Answer(format!(
            "it does not offer this call ({})",
            status.message()
        )),
    };
    Failed {
        error,
        again: None,
        link: Link::Up,
    }
}

/// The attempt that got no answer in time.
pub(crate) fn deadline(endpoint: &str, after: Duration) -> Failed {
    Failed {
        error: ClientError::Deadline {
            endpoint: endpoint.to_owned(),
            after,
        },
        again: None,
        link: Link::Down,
    }
}

fn on_the_way(status: &Status, endpoint: &str) -> Failed {
    let endpoint = endpoint.to_owned();
    let (error, again) = match connect_failure(status) {
        Some(ConnectFailure::Identity(why)) => (
            ClientError::Tls {
                endpoint,
                why: why.clone(),
            },
            None,
        ),
        found => {
            let why = found.map_or_else(|| innermost(status), ToString::to_string);
            let error = ClientError::Unreachable {
                endpoint,
                why,
                retry_after: None,
            };
            (error, Some(Asked::Nothing))
        }
    };
    Failed {
        error,
        again,
        link: Link::Down,
    }
}

/// tonic's own deadline arrives as CANCELLED with this text and nothing else to tell it by.
fn is_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}

fn connect_failure(status: &Status) -> Option<&ConnectFailure> {
    causes(status).find_map(|cause| cause.downcast_ref())
}

fn innermost(status: &Status) -> String {
    causes(status)
        .last()
        .map_or_else(|| status.message().to_owned(), ToString::to_string)
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |&cause| cause.source())
}

fn refusal(status: &Status, attempts: u32) -> Refusal {
    let details = status.get_error_details();
    let info = details.error_info();
    let violations = details.bad_request().map_or_else(Vec::new, |bad| {
        bad.field_violations
            .iter()
            .map(|found| (found.field.clone(), found.description.clone()))
            .collect()
    });
    Refusal {
        code: code_name(status.code()),
        reason: info.map(|info| info.reason.clone()),
        message: status.message().to_owned(),
        metadata: info
            .map(|info| info.metadata.clone().into_iter().collect())
            .unwrap_or_default(),
        violations,
        retry_after: Asked::by(status).wait(),
        attempts,
        software_because: None,
    }
}

fn code_name(code: Code) -> &'static str {
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
