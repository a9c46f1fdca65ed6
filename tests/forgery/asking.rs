//! Who asks, over which way, and about what: a server with licenses of every kind of past, and pairs that nobody may tell apart.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceExt};
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::credential::Secret;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep_server::config::{GuessLimits, Settings};
use upkeep_server::listener::Peer;
use upkeep_server::pki::{Identity, Role};
use upkeep_server::random::SystemRandom;
use upkeep_server::serve::Server;
use upkeep_server::transport::{Audience, Reflection, RouteOptions, routes};

use crate::device::Device;
use crate::world::{Opened, World, license, seed};

/// The way to the server: its routes in this process, or a connection.
type Way = BoxCloneService<http::Request<Body>, http::Response<Body>, BoxError>;

/// The routes as one peer sees them.
#[derive(Clone)]
struct Within {
    routes: Routes,
    peer: Peer,
}

impl Service<http::Request<Body>> for Within {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = <Routes as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.routes.call(request)
    }
}

/// What is kept alive while it is asked.
pub(crate) enum Held {
    Within(Box<Opened>),
    Serving(Box<World>),
}

impl Held {
    pub(crate) async fn end(self) {
        match self {
            Self::Within(opened) => opened.check_records(),
            Self::Serving(world) => world.running.stop().await.unwrap(),
        }
    }
}

/// Who asks, and what for.
pub(crate) struct Asker {
    api: ActivationServiceClient<Way>,
    customer: CustomerServiceClient<Way>,
    partner: PartnerServiceClient<Way>,
    key: v1::DeviceKey,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Method {
    ActivateByPassword,
    ActivateByCode,
    GetLicense,
    GetMaintenanceStatus,
    CreateUpdateRequest,
    RedeemUpgradeCode,
    VerifyActivation,
    PartnerGetLicense,
    PartnerCreateUpdateRequest,
}

/// What is compared: the same call about the one and about the other.
pub(crate) struct Pair {
    pub(crate) method: Method,
    pub(crate) what: &'static str,
    pub(crate) one: String,
    pub(crate) other: String,
}

const UNKNOWN_ACTIVATION: &str = "0198f1c2-5b7e-7cc0-8a36-000000000000";
const WRONG_CODE: [u8; 32] = [0x77; 32];

impl Asker {
    /// One refused call; or one that is answered with no, as a status of its own.
    pub(crate) async fn ask(&mut self, method: Method, about: &str) -> Status {
        let wrong = upkeep::code::Code::from_mac(&WRONG_CODE).to_string();
        let credential = |secret| {
            Some(v1::Credential {
                secret: Some(secret),
            })
        };
        let by_code = credential(Secret::ActivationCode(wrong.clone()));
        let serial = about.to_owned();
        // The secret is judged before challenge and signature.
        let (challenge, signature) = (vec![1; 42], vec![1; 64]);
        let request_id = "0198f1c2-5b7e-4cc0-8a36-3f0d3f6f2a13".to_owned();
        let details = Some(v1::UpdateRequestDetails {
            email: "it@buyer.example".to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "single-user".to_owned(),
            ..Default::default()
        });
        let refused = match method {
            Method::ActivateByPassword | Method::ActivateByCode => {
                let secret = match method {
                    Method::ActivateByCode => by_code,
                    _ => credential(Secret::Password("a wrong one, and long".to_owned())),
                };
                let request = v1::ActivateRequest {
                    request_id,
                    challenge,
                    serial,
                    credential: secret,
                    device_key: Some(self.key.clone()),
                    product_id: "label-studio".to_owned(),
                    version: "10.0".to_owned(),
                    virtual_environment: v1::VirtualEnvironment::No.into(),
                    signature,
                    ..Default::default()
                };
                self.api.activate(request).await.map(drop)
            }
            Method::GetLicense => {
                let request = v1::GetLicenseRequest {
                    serial,
                    credential: by_code,
                };
                self.customer.get_license(request).await.map(drop)
            }
            Method::GetMaintenanceStatus => {
                let request = v1::GetMaintenanceStatusRequest { serial };
                let answer = self.customer.get_maintenance_status(request).await;
                let (headers, answer, _) = answer.expect("it is answered").into_parts();
                Err(Status::with_metadata(
                    Code::Ok,
                    format!("{answer:?}"),
                    headers,
                ))
            }
            Method::CreateUpdateRequest => {
                let request = v1::CreateUpdateRequestRequest {
                    request_id,
                    serial,
                    credential: by_code,
                    details,
                };
                self.customer.create_update_request(request).await.map(drop)
            }
            Method::RedeemUpgradeCode => {
                let request = v1::RedeemUpgradeCodeRequest {
                    request_id,
                    serial,
                    code: wrong,
                    version: "11.0".to_owned(),
                    virtual_environment: v1::VirtualEnvironment::No.into(),
                    device_key: Some(self.key.clone()),
                    challenge,
                    signature,
                    ..Default::default()
                };
                self.api.redeem_upgrade_code(request).await.map(drop)
            }
            Method::VerifyActivation => {
                let request = v1::VerifyActivationRequest {
                    request_id,
                    challenge,
                    activation_id: about.to_owned(),
                    signature,
                    heartbeat: None,
                };
                self.api.verify_activation(request).await.map(drop)
            }
            Method::PartnerGetLicense => {
                let request = v1::PartnerServiceGetLicenseRequest { serial };
                self.partner.get_license(request).await.map(drop)
            }
            Method::PartnerCreateUpdateRequest => {
                let request = v1::PartnerServiceCreateUpdateRequestRequest {
                    request_id,
                    serial,
                    credential: by_code,
                    details,
                };
                self.partner.create_update_request(request).await.map(drop)
            }
        };
        refused.expect_err("a wrong secret")
    }
}

pub(crate) async fn scene() -> (Held, Asker, Vec<Pair>) {
    let mut world = World::new("2026-01-15").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    for serial in ["NSP-0001", "TK-0002", "TK-0003"] {
        license(&mut admin, serial, 3, "2026-01-15").await;
    }
    // Covered no more, and so like one that there is not.
    license(&mut admin, "TK-0005", 3, "2024-01-15").await;
    // One with a life behind it: a seat, and requests that were withdrawn.
    let wish = license(&mut admin, "TK-0004", 3, "2026-01-15").await;
    let device = Device::new();
    let mut api = world.api().await;
    let seat = device
        .activate(&mut api, &wish, &crate::device::request_id())
        .await
        .unwrap();
    let mut customer = CustomerServiceClient::new(world.products().await);
    for _ in 0..20 {
        withdrawn(&mut customer, &wish.credential).await;
    }
    drop((admin, api, customer));
    // The same server with guesses free: what is measured is the answer, not the lock-out.
    world.settings.guesses = GuessLimits {
        per_serial_per_hour: u32::MAX,
        per_network_per_hour: u32::MAX,
        per_minute: u32::MAX,
        ..world.settings.guesses
    };
    let clock = Arc::clone(&world.clock);
    let open = |settings: &Settings| Server::open(settings, clock, Arc::new(SystemRandom)).unwrap();
    let (held, anyone, partner) = if std::env::var_os(OVER).is_some_and(|over| over == "loopback") {
        let world = world.restarted_with(open).await;
        let anyone = over(world.products().await);
        let partner = over(world.staff(Role::Partner, "other").await);
        (Held::Serving(Box::new(world)), anyone, partner)
    } else {
        let opened = world.opened_with(open).await;
        let (_, health) = tonic_health::server::health_reporter();
        let options = RouteOptions {
            audience: Audience::Staff,
            max_message_bytes: 1 << 16,
            reflection: Reflection::Off,
        };
        let routes = routes(opened.server.deps(), health, options).unwrap();
        let address = SocketAddr::from(([192, 0, 2, 1], 40_000));
        let other = Identity::new(Role::Partner, "other").unwrap();
        let peers = [
            Peer::anonymous(address),
            Peer::named(address, other, [0; 32]),
        ];
        let [anyone, partner] = peers.map(|peer| {
            let routes = routes.clone();
            over(Within { routes, peer })
        });
        (Held::Within(Box::new(opened)), anyone, partner)
    };
    let asker = Asker {
        api: ActivationServiceClient::new(anyone.clone()),
        customer: CustomerServiceClient::new(anyone),
        partner: PartnerServiceClient::new(partner),
        key: device.wire_key(),
    };
    let pair = |method, what, one: &str, other: &str| Pair {
        method,
        what,
        one: one.to_owned(),
        other: other.to_owned(),
    };
    let unknown = "unknown, and a wrong secret";
    let pairs = vec![
        pair(Method::ActivateByPassword, unknown, "NSP-9999", "NSP-0001"),
        pair(Method::ActivateByCode, unknown, "TK-9999", "TK-0002"),
        pair(Method::GetLicense, unknown, "TK-9999", "TK-0004"),
        pair(
            Method::GetMaintenanceStatus,
            "unknown, and expired",
            "TK-9999",
            "TK-0005",
        ),
        pair(Method::CreateUpdateRequest, unknown, "TK-9999", "TK-0004"),
        pair(Method::RedeemUpgradeCode, unknown, "TK-9999", "TK-0003"),
        pair(
            Method::RedeemUpgradeCode,
            "without requests, and with",
            "TK-0003",
            "TK-0004",
        ),
        pair(
            Method::VerifyActivation,
            "unknown, and another's signature",
            UNKNOWN_ACTIVATION,
            &seat.activation_id,
        ),
        pair(
            Method::PartnerGetLicense,
            "absent, and another partner's",
            "TK-9999",
            "TK-0004",
        ),
        pair(
            Method::PartnerCreateUpdateRequest,
            "absent, and another partner's",
            "TK-9999",
            "TK-0004",
        ),
    ];
    (held, asker, pairs)
}

fn over<S>(service: S) -> Way
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    BoxCloneService::new(service.map_err(Into::into))
}

async fn withdrawn(customer: &mut CustomerServiceClient<Channel>, secret: &Secret) {
    let credential = Some(v1::Credential {
        secret: Some(secret.clone()),
    });
    let request = v1::CreateUpdateRequestRequest {
        request_id: String::new(),
        serial: "TK-0004".to_owned(),
        credential: credential.clone(),
        details: Some(v1::UpdateRequestDetails {
            email: "it@buyer.example".to_owned(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "single-user".to_owned(),
            target_version: "10.0".to_owned(),
            ..Default::default()
        }),
    };
    let asked = customer.create_update_request(request).await.unwrap();
    let request = v1::WithdrawUpdateRequestRequest {
        request_id: String::new(),
        serial: "TK-0004".to_owned(),
        credential,
        update_request_id: asked.into_inner().update_request.unwrap().update_request_id,
    };
    customer.withdraw_update_request(request).await.unwrap();
}

/// `loopback` for a connection over TLS; else the routes are called in this process.
const OVER: &str = "UPKEEP_G12_OVER";
