//! Who calls: the role and id of the client certificate, else a product or customer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tonic::Request;
use upkeep::id::RequestId;

use crate::domain::machine::Role;
use crate::domain::refusal::{Reason, Refusal};
use crate::flow::{Call, Caller, Deps};
use crate::listener::Peer;
use crate::pki;

/// The caller of ActivationService and CustomerService: the secret or the device key in the message says who it is, and a
/// certificate adds nothing.
pub(super) fn anyone<T>(request: &Request<T>) -> Caller {
    Caller {
        role: Role::EndUser,
        id: None,
        ip: ip(request),
    }
}

/// The caller of MaintenanceService: what the client certificate says, and without one the customer, whose secret is in the message.
pub(super) fn whoever<T>(request: &Request<T>) -> Caller {
    let certified = request.extensions().get::<Peer>().and_then(Peer::identity);
    match certified {
        None => anyone(request),
        Some(identity) => Caller {
            role: role(identity.role()),
            id: Some(identity.id().to_owned()),
            ip: ip(request),
        },
    }
}

/// The caller of a service for some roles.
///
/// # Errors
/// CLIENT_CERTIFICATE_REQUIRED, ROLE_NOT_ALLOWED.
pub(super) fn one_of<T>(request: &Request<T>, allowed: &[Role]) -> Result<Caller, Refusal> {
    let identity = request.extensions().get::<Peer>().and_then(Peer::identity);
    let identity = identity.ok_or(Reason::ClientCertificateRequired)?;
    let role = role(identity.role());
    if !allowed.contains(&role) {
        return Err(Refusal::new(Reason::RoleNotAllowed).with("role", role));
    }
    Ok(Caller {
        role,
        id: Some(identity.id().to_owned()),
        ip: ip(request),
    })
}

/// What flows need to know of a call.
pub(super) fn call(
    deps: &Arc<Deps>,
    action: &'static str,
    caller: Caller,
    request: Option<RequestId>,
) -> Call {
    Call {
        action,
        caller,
        request,
        now: deps.clock.now(),
    }
}

fn role(certified: pki::Role) -> Role {
    match certified {
        pki::Role::Partner => Role::Partner,
        pki::Role::Support => Role::Support,
        pki::Role::Admin => Role::Admin,
    }
}

fn ip<T>(request: &Request<T>) -> IpAddr {
    // Without a peer (a test that calls the service directly) everybody shares one address, which only limits more.
    request
        .extensions()
        .get::<Peer>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
            peer.remote_addr().ip()
        })
}
