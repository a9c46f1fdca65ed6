//! Outcomes to gRPC statuses: the one exhaustive match (DESIGN 7, AIP-193).

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt};

use crate::audit::AuditError;
use crate::domain::refusal::{Class, Refusal};
use crate::flow::{Fault, Outcome};
use crate::listener::ERROR_DOMAIN;
use crate::store::StoreError;

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Refused(refusal) => refused(&refusal),
            Outcome::Failed(fault) => failed(&fault),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        refused(&refusal)
    }
}

/// A refusal: code, reason, metadata, violations, when to retry, and a message that says what, why and what next.
fn refused(refusal: &Refusal) -> Status {
    let mut details = ErrorDetails::new();
    let metadata: HashMap<String, String> = refusal
        .metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    details.set_error_info(refusal.reason.as_str(), ERROR_DOMAIN, metadata);
    if !refusal.violations.is_empty() {
        let violations: Vec<_> = refusal
            .violations
            .iter()
            .take(MAX_VIOLATIONS)
            .map(|violation| FieldViolation::new(&violation.field, &violation.description))
            .collect();
        details.set_bad_request(violations);
    }
    if let Some(wait) = refusal.retry_after {
        details.set_retry_info(Some(wait));
    }
    add_standard_details(&mut details, refusal);
    Status::with_error_details(code(refusal.reason.class()), refusal.message(), details)
}

/// The detail that AIP-193 asks for by code, for clients that read those rather than our reasons.
fn add_standard_details(details: &mut ErrorDetails, refusal: &Refusal) {
    let (reason, why) = (refusal.reason.as_str(), refusal.reason.meaning());
    let named = |key: &str| refusal.metadata.get(key).cloned().unwrap_or_default();
    match refusal.reason.class() {
        Class::FailedPrecondition => {
            details.set_precondition_failure(vec![PreconditionViolation::new(
                reason,
                named("serial"),
                why,
            )]);
        }
        // A rate limit says when to come back; a quota says what is used up.
        Class::ResourceExhausted if refusal.retry_after.is_none() => {
            details.set_quota_failure(vec![QuotaViolation::new(reason, why)]);
        }
        Class::NotFound | Class::AlreadyExists => {
            let (kind, name) = refusal
                .metadata
                .first_key_value()
                .map_or(("", ""), |(kind, name)| (*kind, name));
            details.set_resource_info(kind, name, "", why);
        }
        Class::InvalidArgument
        | Class::Unauthenticated
        | Class::PermissionDenied
        | Class::ResourceExhausted
        | Class::OutOfRange
        | Class::Aborted
        | Class::Unavailable => {}
    }
}

fn code(class: Class) -> Code {
    match class {
        Class::InvalidArgument => Code::InvalidArgument,
        Class::Unauthenticated => Code::Unauthenticated,
        Class::PermissionDenied => Code::PermissionDenied,
        Class::NotFound => Code::NotFound,
        Class::AlreadyExists => Code::AlreadyExists,
        Class::ResourceExhausted => Code::ResourceExhausted,
        Class::OutOfRange => Code::OutOfRange,
        Class::FailedPrecondition => Code::FailedPrecondition,
        Class::Aborted => Code::Aborted,
        Class::Unavailable => Code::Unavailable,
    }
}

/// A fault: the log says what, the caller learns only that it was not its fault and whether to try again.
fn failed(fault: &Fault) -> Status {
    tracing::error!(error = %fault, "a call failed");
    match fault {
        Fault::Store(StoreError::Stopped { .. })
        | Fault::Audit(AuditError::Store(StoreError::Stopped { .. })) => {
            Status::with_error_details(
                Code::Unavailable,
                "the server stopped writing after a fault and has to be restarted; try again later",
                ErrorDetails::with_error_info("STORE_STOPPED", ERROR_DOMAIN, []),
            )
        }
        Fault::Store(_)
        | Fault::Record(_)
        | Fault::Sign(_)
        | Fault::Artefact(_)
        | Fault::Key(_)
        | Fault::Personal(_)
        | Fault::Audit(_)
        | Fault::Inconsistent(_) => Status::with_error_details(
            Code::Internal,
            FAILED,
            ErrorDetails::with_error_info("INTERNAL", ERROR_DOMAIN, []),
        ),
    }
}

/// What a caller learns of a fault.
pub(super) const FAILED: &str =
    "the server failed; nothing is wrong with the request. Tell the vendor the time of the call";

/// Details travel in a header: they must stay small.
const MAX_VIOLATIONS: usize = 32;
