//! Messages that are no message: tonic answers them with INTERNAL, as if this server had failed (I14).
//!
//! What tonic refuses before a handler runs (a broken frame, no protobuf, no message at all) becomes INVALID_FIELD; its limit on
//! sizes keeps its own OUT_OF_RANGE. Faults of this server are told apart by the one message that they all have.

use http::Response;
use tonic::service::Routes;
use tonic::{Code, Status};
use tower::util::MapResponseLayer;

use super::status::FAILED;
use crate::domain::refusal::{Reason, Refusal};

/// The same routes, with a defined answer to what can't be read.
pub(super) fn answered(routes: Routes) -> Routes {
    let router = routes.into_axum_router();
    router.layer(MapResponseLayer::new(judge)).into()
}

fn judge<B: Default>(response: Response<B>) -> Response<B> {
    match Status::from_header_map(response.headers()) {
        Some(status) if is_unreadable(&status) => explained(&status).into_http(),
        _ => response,
    }
}

/// The same for a message in the middle of a stream, which a handler reads itself.
pub(super) fn of_stream(status: Status) -> Status {
    if is_unreadable(&status) {
        explained(&status)
    } else {
        status
    }
}

fn is_unreadable(status: &Status) -> bool {
    status.code() == Code::Internal && status.message() != FAILED
}

fn explained(status: &Status) -> Status {
    // tonic's text names the field and what is wrong with its encoding, never the value.
    let refusal = Refusal::new(Reason::InvalidField)
        .detail(format!("The message can't be read: {}", status.message()));
    Status::from(refusal)
}
