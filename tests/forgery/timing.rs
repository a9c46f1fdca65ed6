//! G12: what a stranger learns from how long a refusal takes, and from its bytes: nothing.
//!
//! Two serials that differ only in what is on record are asked for in turn, as the dice fall, and the times are compared by Welch's t
//! after cropping (SECURITY F7: the slow ones are the machine's doing, and alike for both). A little work that is
//! planted on the way of one class must be found in the same way: else the test could see nothing.
//!
//! CI calls the server's routes in this process, and reads the time that the process spent computing: a leak is work that is done for one
//! and not for the other, and what else the machine does disturbs it little. The gate of SECURITY 5, over TLS and by the clock on the
//! wall, needs a machine that is idle:
//! `UPKEEP_G12_OVER=loopback UPKEEP_G12_CLOCK=wall UPKEEP_G12_SAMPLES=20_000 UPKEEP_G12_RUNS=3 UPKEEP_G12_PLANTED_NS=5_000
//! cargo test --release --workspace --test forgery g12`.

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
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
use crate::{Dice, size};

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
enum Held {
    Within(Opened),
    Serving(World),
}

impl Held {
    async fn end(self) {
        match self {
            Self::Within(opened) => opened.check_records(),
            Self::Serving(world) => world.running.stop().await.unwrap(),
        }
    }
}

/// Who asks, and what for.
struct Asker {
    api: ActivationServiceClient<Way>,
    customer: CustomerServiceClient<Way>,
    partner: PartnerServiceClient<Way>,
    key: v1::DeviceKey,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    ActivateByPassword,
    ActivateByCode,
    GetLicense,
    CreateUpdateRequest,
    RedeemUpgradeCode,
    VerifyActivation,
    PartnerGetLicense,
    PartnerCreateUpdateRequest,
}

/// What is compared: the same call about the one and about the other.
struct Pair {
    method: Method,
    what: &'static str,
    one: String,
    other: String,
}

const UNKNOWN_ACTIVATION: &str = "0198f1c2-5b7e-7cc0-8a36-000000000000";
const WRONG_CODE: [u8; 32] = [0x77; 32];

impl Asker {
    /// One refused call.
    async fn ask(&mut self, method: Method, about: &str) -> Status {
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

    /// Asks about both, `samples` times each; gives the times in nanoseconds. Every answer is the same to the byte.
    async fn times(
        &mut self,
        pair: &Pair,
        samples: usize,
        planted: Duration,
        dice: &mut Dice,
    ) -> [Vec<f64>; 2] {
        let mut times = [Vec::new(), Vec::new()];
        let mut first = None;
        // The first calls fill caches and connections.
        for _ in 0..50 {
            self.ask(pair.method, &pair.one).await;
            self.ask(pair.method, &pair.other).await;
        }
        while times.iter().any(|of| of.len() < samples) {
            let class = dice.below(2);
            if times[class].len() == samples {
                continue;
            }
            let about = [&pair.one, &pair.other][class];
            let from = spent();
            if class == 1 {
                spin(planted);
            }
            let answer = self.ask(pair.method, about).await;
            times[class].push(spent() - from);
            let shown = shown(&answer);
            match &first {
                None => first = Some(shown),
                Some(first) => assert_eq!(*first, shown, "{:?}: {}", pair.method, pair.what),
            }
        }
        times
    }
}

/// Work that is done for one class alone.
fn spin(planted: Duration) {
    let from = Instant::now();
    while from.elapsed() < planted {
        std::hint::spin_loop();
    }
}

/// The clock that is read: of this process's work, or with `UPKEEP_G12_CLOCK=wall` the one on the wall. In nanoseconds.
fn spent() -> f64 {
    let clock = match &*CLOCK {
        Some(wall) if wall == "wall" => ClockId::Monotonic,
        _ => ClockId::ProcessCPUTime,
    };
    let now = clock_gettime(clock);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

static CLOCK: LazyLock<Option<OsString>> = LazyLock::new(|| std::env::var_os("UPKEEP_G12_CLOCK"));

/// All that a caller can see of a refusal, but the number of the call.
fn shown(status: &Status) -> (Code, String, Vec<u8>, Vec<String>) {
    let headers = status.metadata().clone().into_headers();
    let mut headers: Vec<String> = headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|header| format!("{header:?}"))
        .collect();
    headers.sort();
    (
        status.code(),
        status.message().to_owned(),
        status.details().to_vec(),
        headers,
    )
}

/// Welch's t of the times below the percentile `crop` of both together.
fn welch(times: &[Vec<f64>; 2], crop: usize) -> f64 {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let limit = all[all.len() * crop / 100];
    let [one, other] = times.each_ref().map(|times| {
        let kept: Vec<f64> = times
            .iter()
            .copied()
            .filter(|time| *time <= limit)
            .collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

/// The larger of both crops.
fn leak(times: &[Vec<f64>; 2]) -> f64 {
    let found = [75, 90].map(|crop| welch(times, crop).abs());
    found[0].max(found[1])
}

async fn scene() -> (Held, Asker, Vec<Pair>) {
    let mut world = World::new("2026-01-15").await;
    let mut admin = world.admin().await;
    seed(&mut admin).await;
    for serial in ["NSP-0001", "TK-0002", "TK-0003"] {
        license(&mut admin, serial, 3, "2026-01-15").await;
    }
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
        (Held::Serving(world), anyone, partner)
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
        (Held::Within(opened), anyone, partner)
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

/// In a process of its own, so that no other test stands in its way, and with its data in memory: a disk is alike for both and far
/// noisier than what is looked for.
#[test]
fn g12_time_tells_nothing_of_a_serial() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["timing::alone", "--exact", "--nocapture"]);
    alone.env(ALONE, "1");
    if Path::new(MEMORY).is_dir() {
        alone.env("TMPDIR", MEMORY);
    }
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.starts_with("g12:")) {
        println!("{line}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("g12:"), "nothing was measured: {said}");
}

#[tokio::test]
async fn alone() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let samples = size("UPKEEP_G12_SAMPLES", 1_200);
    let runs = size("UPKEEP_G12_RUNS", 1);
    let planted = Duration::from_nanos(size("UPKEEP_G12_PLANTED_NS", 200_000) as u64);
    let (held, mut asker, pairs) = scene().await;
    let mut dice = Dice(12);
    let mut leaks = Vec::new();
    for pair in &pairs {
        let name = format!("{:?}: {}", pair.method, pair.what);
        let mut found = Vec::new();
        // A busy machine may look like a leak once; a leak looks like one every time.
        while found.len() < runs + SPARE {
            let t = leak(&asker.times(pair, samples, Duration::ZERO, &mut dice).await);
            found.push(t);
            if found.iter().filter(|t| **t < LIMIT).count() >= runs {
                break;
            }
        }
        // What is planted is plain: fewer samples show it, and a busy machine may hide it once.
        let mut t = 0.0;
        for _ in 0..=SPARE {
            if t < LIMIT {
                t = leak(&asker.times(pair, samples / 2, planted, &mut dice).await);
            }
        }
        println!("g12: {name}: t {found:.2?}; with {planted:?} planted {t:.1}");
        if found.iter().filter(|t| **t < LIMIT).count() < runs {
            leaks.push(format!("{name}: {found:.1?}"));
        }
        assert!(
            t > LIMIT,
            "{name}: {planted:?} were planted and not found: {t:.1}"
        );
    }
    assert!(leaks.is_empty(), "it takes longer:\n{}", leaks.join("\n"));
    held.end().await;
}

const ALONE: &str = "UPKEEP_G12_ALONE";
const OVER: &str = "UPKEEP_G12_OVER";
const MEMORY: &str = "/dev/shm";
/// Above this the difference is no accident: 1 in 150,000.
const LIMIT: f64 = 4.5;
/// How many runs may be the machine's fault.
const SPARE: usize = 2;
