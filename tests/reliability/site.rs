//! A server in this process on the simulated disk: what the simulation and the races run against.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tonic::codegen::{Body, Bytes, StdError};
use tonic::service::Routes;
use tower::Service;
use upkeep::artefact::Issuer;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::attest::Endorsements;
use upkeep_server::audit::log::Log;
use upkeep_server::clock::{Clock, SystemClock};
use upkeep_server::config::Settings;
use upkeep_server::domain::guess::{Backoff, GuessLimits};
use upkeep_server::domain::programme::Programmes;
use upkeep_server::endorsement::Bundle;
use upkeep_server::flow::Deps;
use upkeep_server::flow::parts::{Parts, PasswordRule};
use upkeep_server::keys::Keys;
use upkeep_server::keys::log::LogKey;
use upkeep_server::listener::Peer;
use upkeep_server::mail::Stationery;
use upkeep_server::pki::{Identity, Role, TrustDomain};
use upkeep_server::random::{SeededRandom, SystemRandom};
use upkeep_server::store::{Options, Store, StoreError, Writer};
use upkeep_server::transport::{Audience, Reflection, RouteOptions, routes};

use crate::coin::Coin;
use crate::damage::damage;
use crate::disk::Disk;
use crate::machine::open_store;
use crate::power::place;

/// The clock of a simulation: it shows simulated time, and stands still outside of it.
#[derive(Default)]
pub(crate) struct SimClock(AtomicI64);

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        if let Some(elapsed) = turmoil::sim_elapsed() {
            self.0.store(elapsed.as_millis() as i64, Ordering::SeqCst);
        }
        let begin: DateTime<Utc> = "2025-01-15T12:00:00Z".parse().unwrap();
        begin + TimeDelta::milliseconds(self.0.load(Ordering::SeqCst))
    }
}

/// Where a server runs, again and again.
pub(crate) struct Site {
    place: TempDir,
    pub(crate) disk: Disk,
    clock: Arc<SimClock>,
    seed: u64,
    runs: u64,
    running: Option<Store>,
}

/// One run of the server.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) deps: Arc<Deps>,
    routes: Routes,
}

impl Site {
    pub(crate) fn new(seed: u64) -> Self {
        let place = place();
        std::fs::create_dir(place.path().join("customers")).unwrap();
        Self {
            place,
            disk: Disk::new(seed),
            clock: Arc::default(),
            seed,
            runs: 0,
            running: None,
        }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    pub(crate) fn options(&self) -> Options {
        let clock = Arc::clone(&self.clock);
        Options::new(&self.data())
            .create(true)
            .cache_bytes(4 << 20)
            .segment_bytes(32 << 10)
            .reserve_bytes(4096)
            .fs(Arc::new(self.disk.clone()))
            .clock(move || clock.now().timestamp_millis())
            .writer(Writer::Caller)
    }

    /// It lies beside the disk that fails: its file is made once and never written again.
    fn log_key(&self) -> LogKey {
        std::fs::create_dir_all(self.place.path().join("keys")).unwrap();
        let random = SeededRandom::new(self.seed);
        let issuer = "https://licenses.vendor.example";
        LogKey::open_or_create(self.place.path(), issuer, &random).unwrap()
    }

    pub(crate) fn start(&mut self) -> Result<Running, StoreError> {
        let store = open_store(|| self.options())?;
        self.running = Some(store.clone());
        self.runs += 1;
        let parts = Parts {
            store,
            personal_dir: self.place.path().join("customers"),
            clock: Arc::<SimClock>::clone(&self.clock),
            // A server that starts again must not draw the same bytes again.
            random: Arc::new(SeededRandom::new(self.seed << 16 | self.runs)),
            programmes: Programmes::built_in().unwrap(),
            stationery: Stationery::default(),
            guess_limits: generous(),
            passwords: PasswordRule::Strong,
            issuer: Issuer::parse("https://licenses.vendor.example").unwrap(),
            endorsements: endorsements(),
            log: Arc::new(Log::new(&self.data(), self.log_key())),
        };
        let deps = Arc::new(Deps::new(keys(), parts).unwrap());
        let (_reporter, health) = tonic_health::server::health_reporter();
        let options = RouteOptions {
            audience: Audience::Staff,
            max_message_bytes: 1 << 16,
            reflection: Reflection::Off,
        };
        let routes = routes(&deps, health, options).unwrap();
        Ok(Running { deps, routes })
    }

    /// The process is gone from here on; its tasks may be dropped after this.
    pub(crate) fn kill(&mut self) {
        self.disk.kill();
        if let Some(store) = self.running.take() {
            // It cannot do anything any more, but lets go of the directory.
            drop(store.close());
        }
    }

    /// After [`kill`](Self::kill): the machine is as a power cut leaves it.
    pub(crate) fn cut_power(&mut self) {
        self.disk.cut();
        // A coin of its own: how many sled's files are and how long, is not from the seed.
        let mut coin = Coin::new(self.seed << 16 | self.runs);
        damage(&self.data(), &mut coin, None);
    }

    /// After [`kill`](Self::kill): only the process has ended.
    pub(crate) fn end_process(&self) {
        self.disk.end_process();
    }
}

/// The routes as one peer sees them, without a socket.
#[derive(Clone)]
pub(crate) struct As {
    routes: Routes,
    peer: Peer,
}

impl Running {
    /// A product, or a customer.
    pub(crate) fn anyone(&self) -> As {
        As {
            routes: self.routes.clone(),
            peer: Peer::anonymous(address()),
        }
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<As> {
        let identity = Identity::new(Role::Admin, "root").unwrap();
        AdminServiceClient::new(As {
            routes: self.routes.clone(),
            peer: Peer::named(address(), identity, [0; 32]),
        })
    }

    /// One product with a release, one customer, and licenses with so many seats; answers their activation codes.
    pub(crate) async fn stock(&self, licenses: &[(String, u32)]) -> Vec<String> {
        let mut admin = self.admin();
        let product = v1::CreateProductRequest {
            product_id: "label".into(),
            display_name: "Label".into(),
            programme_id: "teklynx-sma".into(),
            ..Default::default()
        };
        admin.create_product(product).await.unwrap();
        let release = v1::CreateReleaseRequest {
            product_id: "label".into(),
            version: "1.0".into(),
            build_date: "2024-06-01".into(),
            ..Default::default()
        };
        admin.create_release(release).await.unwrap();
        let customer = v1::CreateCustomerRequest {
            customer_id: "buyer".into(),
            display_name: "Buyer GmbH".into(),
            email: "it@buyer.example".into(),
            ..Default::default()
        };
        admin.create_customer(customer).await.unwrap();
        let mut codes = Vec::new();
        for (serial, seats) in licenses {
            let license = v1::CreateLicenseRequest {
                serial: serial.clone(),
                product_id: "label".into(),
                customer_id: "buyer".into(),
                protection: v1::Protection::SoftwareKey.into(),
                license_type: "single-user".into(),
                edition: "pro".into(),
                seats: *seats,
                purchase_date: "2025-01-15".into(),
                ..Default::default()
            };
            let made = admin.create_license(license).await.unwrap();
            codes.push(made.into_inner().activation_code);
        }
        codes
    }

    pub(crate) async fn seats_taken(&self, serial: &str) -> usize {
        let asked = v1::AdminServiceGetLicenseRequest {
            serial: serial.to_owned(),
        };
        let found = self.admin().get_license(asked).await.unwrap();
        found.into_inner().license.unwrap().seats_taken as usize
    }
}

impl<B> Service<http::Request<B>> for As
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = <Routes as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.routes.call(request.map(tonic::body::Body::new))
    }
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

/// Guessing is not what is tested here.
fn generous() -> GuessLimits {
    let free = Backoff {
        free: u32::MAX,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(1),
    };
    GuessLimits {
        serial: free,
        network: free,
        global_per_minute: u32::MAX,
        forget_after: Duration::from_secs(1),
        tracked: 1,
    }
}

/// Made once: it is slow.
fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let dir = TempDir::new().unwrap();
        let domain = TrustDomain::parse("vendor.example").unwrap();
        let names = ["localhost".to_owned()];
        Keys::create(dir.path(), &domain, &names, &SystemClock, &SystemRandom).unwrap()
    })
}

fn endorsements() -> Arc<Endorsements> {
    static BUILT_IN: OnceLock<Arc<Endorsements>> = OnceLock::new();
    let read = || Arc::new(Bundle::read(&Settings::default()).unwrap().endorsements());
    Arc::clone(BUILT_IN.get_or_init(read))
}
