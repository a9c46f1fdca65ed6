//! A server in this process, what a vendor sells with it, and the people and devices that call it.
//!
//! Calls go through the generated clients into the same routes that the listeners serve; only TLS and sockets are left out.
//! Whoever has a certificate is played by putting its [`Peer`] into the request.

mod device;
mod hardware;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tonic::Status;
use tonic::service::Routes;
use tonic_types::StatusExt;
use tower::Service;
use upkeep::artefact::{Confirmation, DeactivationProof, DeactivationTicket, Issuer};
use upkeep::binding;
use upkeep::jws::{Claims, SigningInput};
use upkeep::key::SigningKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::customer_service_client::CustomerServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::attest::Endorsements;
use upkeep_server::audit::log::Log;
use upkeep_server::clock::{Clock, ManualClock};
use upkeep_server::domain::guess::{Backoff, GuessLimits};
use upkeep_server::domain::programme::Programmes;
use upkeep_server::flow::Deps;
use upkeep_server::flow::check::verify_records;
use upkeep_server::flow::parts::{Parts, PasswordRule};
use upkeep_server::keys::Keys;
use upkeep_server::keys::log::LogKey;
use upkeep_server::listener::Peer;
use upkeep_server::mail::Stationery;
use upkeep_server::pki::{Identity, Role, TrustDomain};
use upkeep_server::random::SeededRandom;
use upkeep_server::store::{Options, Store, StoreError};
use upkeep_server::transport::{Audience, Reflection, RouteOptions, routes};

pub(crate) use self::device::Device;
pub(crate) use self::hardware::new_chip;
use crate::rig::{Flavour, Rig};

/// What a test sells: one license of each kind.
pub(crate) const NSP: &str = "NSP-0001";
pub(crate) const CODED: &str = "TK-0002";
pub(crate) const MAIL: &str = "SM-0003";
pub(crate) const DONGLE: &str = "VL-0004";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const DONGLE_NUMBER: &str = "d-1001";
/// The releases of every product: the first is covered, the last is not unless maintenance is renewed.
pub(crate) const OLD: &str = "1.0";
pub(crate) const NEW: &str = "2.0";

/// A server, its directory and its clock. The keys are shared by all worlds of the process: making them is slow.
pub(crate) struct World {
    temp: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) rig: Rig,
    seed: u64,
    runs: u64,
    programmes: Programmes,
    guesses: GuessLimits,
    max_message_bytes: usize,
    endorsements: Arc<Endorsements>,
    server: Option<Server>,
}

struct Server {
    deps: Arc<Deps>,
    routes: Routes,
}

impl World {
    /// A server without any record, and file calls that fail as `rig` says.
    pub(crate) fn empty(rig: Rig) -> Self {
        Self::with(rig, Programmes::built_in().unwrap(), generous(), 1 << 16)
    }

    pub(crate) fn with(
        rig: Rig,
        programmes: Programmes,
        guesses: GuessLimits,
        max_message_bytes: usize,
    ) -> Self {
        let mut world = Self {
            temp: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(day_one())),
            rig,
            seed: 1,
            runs: 0,
            programmes,
            guesses,
            max_message_bytes,
            endorsements: hardware::endorsements(),
            server: None,
        };
        // Its own, since it may rotate them.
        copy(key_home(), &world.vendor_dir());
        let personal = world.personal_dir();
        std::fs::create_dir(personal).unwrap();
        world.start().unwrap();
        world
    }

    /// A server that sells: three vendors, a license of each kind, two partners, no faults.
    pub(crate) async fn selling() -> Self {
        let world = Self::empty(no_faults());
        world.sell().await;
        world
    }

    /// The catalogue, the parties and the four licenses.
    pub(crate) async fn sell(&self) {
        for (product, programme) in [
            ("label", "teklynx-sma"),
            ("mail", "smartertools-ms"),
            ("volocity", "perkinelmer-sma"),
        ] {
            self.create_product(product, programme).await;
        }
        for partner in ["acme", "other"] {
            let request = v1::CreatePartnerRequest {
                partner_id: partner.to_owned(),
                display_name: partner.to_owned(),
                ..Default::default()
            };
            self.admin().create_partner(request).await.unwrap();
        }
        let request = v1::CreateCustomerRequest {
            customer_id: "buyer".to_owned(),
            display_name: "Buyer GmbH".to_owned(),
            email: "it@buyer.example".to_owned(),
            partner_id: "acme".to_owned(),
            ..Default::default()
        };
        self.admin().create_customer(request).await.unwrap();
        self.create_license(license(NSP, "label", 1)).await.unwrap();
        self.create_license(license(CODED, "label", 3))
            .await
            .unwrap();
        let mail = v1::CreateLicenseRequest {
            partner_id: "other".to_owned(),
            ..license(MAIL, "mail", 2)
        };
        self.create_license(mail).await.unwrap();
        self.create_license(license(DONGLE, "volocity", 1))
            .await
            .unwrap();
    }

    pub(crate) async fn create_product(&self, product: &str, programme: &str) {
        let request = v1::CreateProductRequest {
            product_id: product.to_owned(),
            display_name: product.to_owned(),
            programme_id: programme.to_owned(),
            ..Default::default()
        };
        self.admin().create_product(request).await.unwrap();
        for (version, build_date) in [(OLD, "2024-06-01"), (NEW, "2026-03-01")] {
            let request = v1::CreateReleaseRequest {
                product_id: product.to_owned(),
                version: version.to_owned(),
                build_date: build_date.to_owned(),
                ..Default::default()
            };
            self.admin().create_release(request).await.unwrap();
        }
    }

    /// Adds a license and returns its activation code.
    pub(crate) async fn create_license(
        &self,
        request: v1::CreateLicenseRequest,
    ) -> Result<String, Status> {
        let answer = self.admin().create_license(request).await?;
        Ok(answer.into_inner().activation_code)
    }

    /// The activation code of a serial now, or the password.
    pub(crate) async fn credential(&self, serial: &str) -> v1::Credential {
        match serial {
            _ if serial.starts_with("NSP") => password(PASSWORD),
            DONGLE => secret(v1::credential::Secret::DongleNumber(
                DONGLE_NUMBER.to_owned(),
            )),
            _ => {
                let request = v1::GetActivationCodeRequest {
                    serial: serial.to_owned(),
                    reason: "test".to_owned(),
                };
                let answer = self.support().get_activation_code(request).await.unwrap();
                activation_code(&answer.into_inner().activation_code)
            }
        }
    }

    pub(crate) fn product_of(serial: &str) -> &'static str {
        match serial {
            MAIL => "mail",
            DONGLE => "volocity",
            _ => "label",
        }
    }
}

/// Starting, stopping and looking inside.
impl World {
    /// The key of the ledger's log: made at the first start.
    fn log_key(&self) -> LogKey {
        std::fs::create_dir_all(self.data_dir().join("keys")).unwrap();
        let random = SeededRandom::new(self.seed);
        LogKey::open_or_create(&self.data_dir(), "https://licenses.vendor.example", &random)
            .unwrap()
    }

    pub(crate) fn options(&self) -> Options {
        let clock = Arc::clone(&self.clock);
        Options::new(&self.data_dir())
            .create(true)
            .cache_bytes(4 << 20)
            .segment_bytes(64 << 10)
            .reserve_bytes(8 << 10)
            .fs(Arc::new(self.rig.clone()))
            .clock(move || clock.now().timestamp_millis())
    }

    pub(crate) fn start(&mut self) -> Result<(), StoreError> {
        let store = Store::open(self.options())?;
        self.runs += 1;
        let parts = Parts {
            store,
            personal_dir: self.personal_dir(),
            clock: Arc::<ManualClock>::clone(&self.clock),
            // A server that starts again must not draw the same bytes again.
            random: Arc::new(SeededRandom::new(self.seed << 16 | self.runs)),
            programmes: self.programmes.clone(),
            stationery: Stationery::default(),
            guess_limits: self.guesses,
            passwords: PasswordRule::Strong,
            issuer: Issuer::parse("https://licenses.vendor.example").unwrap(),
            endorsements: Arc::clone(&self.endorsements),
            log: Arc::new(Log::new(&self.data_dir(), self.log_key())),
        };
        let deps = Arc::new(
            Deps::new(&Keys::open(&self.vendor_dir(), &domain()).unwrap(), parts).unwrap(),
        );
        let (_reporter, health) = tonic_health::server::health_reporter();
        let options = RouteOptions {
            audience: Audience::Staff,
            max_message_bytes: self.max_message_bytes,
            reflection: Reflection::Off,
        };
        let routes = routes(&deps, health, options).unwrap();
        self.server = Some(Server { deps, routes });
        Ok(())
    }

    /// Starts again, and believes those who vouch for hardware.
    pub(crate) fn believe(&mut self, endorsements: Endorsements) {
        self.stop().unwrap();
        self.endorsements = Arc::new(endorsements);
        self.start().unwrap();
    }

    /// Stops in order.
    pub(crate) fn stop(&mut self) -> Result<(), StoreError> {
        let Server { deps, routes } = self.server.take().unwrap();
        drop(routes);
        deps.store().clone().close()
    }

    /// Ends as `kill -9` does, or with the machine: nothing that the server would still write reaches the disk.
    pub(crate) fn crash(&mut self, how: Crash) {
        self.rig.kill();
        // A call on its way still holds the store: closing waits for it, as the end of a process does.
        let stopped = self.store().clone().close();
        drop((self.server.take(), stopped));
        if how == Crash::PowerCut {
            self.rig.cut_power();
        }
        self.rig.heal();
    }

    pub(crate) fn deps(&self) -> &Arc<Deps> {
        &self.server.as_ref().unwrap().deps
    }

    pub(crate) fn store(&self) -> &Store {
        self.deps().store()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    fn vendor_dir(&self) -> PathBuf {
        self.temp.path().join("vendor")
    }

    fn personal_dir(&self) -> PathBuf {
        self.temp.path().join("customers")
    }

    /// Fails the test unless every record is sound.
    pub(crate) fn check_records(&self) {
        let violations = verify_records(self.deps()).unwrap();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "records:\n{}", lines.join("\n"));
    }

    /// All records but the traces of calls: history and spent challenges.
    pub(crate) fn substance(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = self.store().scan(b"\0", &[0xFF], usize::MAX).unwrap();
        all.retain(|(key, _)| !matches!(key.first(), Some(b'x' | b'n')));
        all
    }

    /// Every value that ever entered the ledger, as text; what is no text is left out.
    pub(crate) fn ledger_values(&self) -> BTreeSet<String> {
        let entries = self.store().entries(1, usize::MAX).unwrap();
        let changes = entries.iter().flat_map(|entry| entry.changes());
        let values = changes.filter_map(|change| change.value());
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The outcome of the newest event.
    pub(crate) fn last_event(&self) -> upkeep_server::record::event::Event {
        let head = self.store().head().sequence();
        let entries = self.store().entries(head, 1).unwrap();
        let event = entries.first().and_then(|entry| entry.event()).unwrap();
        // Byte 0 is the record format.
        prost::Message::decode(&event[1..]).unwrap()
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub(crate) fn pass_days(&self, days: i64) {
        self.clock.advance(TimeDelta::days(days));
    }
}

/// Who calls.
impl World {
    pub(crate) fn anyone(&self) -> As {
        self.peer(Peer::anonymous(address()))
    }

    pub(crate) fn named(&self, role: Role, id: &str) -> As {
        let identity = Identity::new(role, id).unwrap();
        self.peer(Peer::named(address(), identity, [0; 32]))
    }

    fn peer(&self, peer: Peer) -> As {
        As {
            routes: self.server.as_ref().unwrap().routes.clone(),
            peer,
        }
    }

    pub(crate) fn device(&self) -> ActivationServiceClient<As> {
        let limit = 64 << 20;
        ActivationServiceClient::new(self.anyone()).max_encoding_message_size(limit)
    }

    pub(crate) fn customer(&self) -> CustomerServiceClient<As> {
        CustomerServiceClient::new(self.anyone())
    }

    pub(crate) fn partner(&self, id: &str) -> PartnerServiceClient<As> {
        PartnerServiceClient::new(self.named(Role::Partner, id))
    }

    pub(crate) fn support(&self) -> SupportServiceClient<As> {
        SupportServiceClient::new(self.named(Role::Support, "eva"))
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<As> {
        AdminServiceClient::new(self.named(Role::Admin, "root"))
    }
}

/// The routes as one peer sees them.
#[derive(Clone)]
pub(crate) struct As {
    routes: Routes,
    peer: Peer,
}

impl Service<http::Request<tonic::body::Body>> for As {
    type Response = http::Response<tonic::body::Body>;
    type Error = <Routes as Service<http::Request<tonic::body::Body>>>::Error;
    type Future = <Routes as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.routes.call(request)
    }
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    Process,
    PowerCut,
}

/// Reads an identifier that the test itself wrote.
pub(crate) trait ParseId {
    fn parse_id(&self) -> upkeep::id::RequestId;
}

impl<T: AsRef<str>> ParseId for T {
    fn parse_id(&self) -> upkeep::id::RequestId {
        upkeep::id::RequestId::parse(self.as_ref()).unwrap()
    }
}

/// A license of a test: bought on the first day, with the customer's partner.
pub(crate) fn license(serial: &str, product: &str, seats: u32) -> v1::CreateLicenseRequest {
    let on_dongle = serial == DONGLE;
    v1::CreateLicenseRequest {
        serial: serial.to_owned(),
        product_id: product.to_owned(),
        customer_id: "buyer".to_owned(),
        protection: if on_dongle {
            v1::Protection::HardwareKey
        } else {
            v1::Protection::SoftwareKey
        }
        .into(),
        dongle_number: if on_dongle { DONGLE_NUMBER } else { "" }.to_owned(),
        license_type: "single-user".to_owned(),
        edition: "pro".to_owned(),
        seats,
        purchase_date: "2025-01-15".to_owned(),
        password: if serial.starts_with("NSP") {
            PASSWORD
        } else {
            ""
        }
        .to_owned(),
        ..Default::default()
    }
}

pub(crate) fn details() -> v1::UpdateRequestDetails {
    v1::UpdateRequestDetails {
        email: "it@buyer.example".to_owned(),
        virtual_environment: v1::VirtualEnvironment::No.into(),
        license_type: "single-user".to_owned(),
        ..Default::default()
    }
}

pub(crate) fn secret(secret: v1::credential::Secret) -> v1::Credential {
    v1::Credential {
        secret: Some(secret),
    }
}

pub(crate) fn password(text: &str) -> v1::Credential {
    secret(v1::credential::Secret::Password(text.to_owned()))
}

pub(crate) fn activation_code(text: &str) -> v1::Credential {
    secret(v1::credential::Secret::ActivationCode(text.to_owned()))
}

pub(crate) fn product_code(text: &str) -> v1::Credential {
    secret(v1::credential::Secret::ProductCode(text.to_owned()))
}

/// The stable text of a refusal; the test fails when it is a fault, or a status that no table lists.
pub(crate) fn reason(status: &Status) -> String {
    defined(status).unwrap_or_else(|why| panic!("{why}: {status:?}"))
}

/// The reason of a refusal, or why it is none.
pub(crate) fn defined(status: &Status) -> Result<String, String> {
    let details = status.get_error_details();
    let info = details.error_info().ok_or("it has no ErrorInfo")?;
    let known = upkeep_server::domain::refusal::Reason::parse(&info.reason);
    let known = known.ok_or("its reason is in no table")?;
    let (code, class) = (format!("{:?}", status.code()), known.class().as_str());
    if code.to_uppercase() != class.replace('_', "") {
        return Err(format!("{code} does not go with {}", info.reason));
    }
    if info.domain != upkeep_server::listener::ERROR_DOMAIN {
        return Err(format!("the domain is {}", info.domain));
    }
    Ok(info.reason.clone())
}

/// The signed part of an artefact, as the store must hold it.
pub(crate) fn signing_input(sealed: &str) -> &str {
    sealed.rsplit_once('.').unwrap().0
}

/// What an artefact says, unverified.
pub(crate) fn claims<C: Claims>(sealed: &str) -> C {
    let input = SigningInput::parse(signing_input(sealed)).unwrap();
    input.claims().unwrap()
}

/// What an artefact of the server says, verified with the server's key.
pub(crate) fn verified<C: Claims>(sealed: &str) -> C {
    let key = upkeep::key::PublicKey::from_sec1(&keys().signer().public_key_sec1()).unwrap();
    upkeep::jws::verify::<C>(sealed, |_| Some(key), upkeep::key::verify)
        .unwrap()
        .into_claims()
}

/// A request id that no other call has.
pub(crate) fn fresh_id() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!(
        "00000000-0000-4000-8000-{:012x}",
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Noon, so that it is the same day for every vendor.
pub(crate) fn day_one() -> DateTime<Utc> {
    "2025-01-15T12:00:00Z".parse().unwrap()
}

pub(crate) fn no_faults() -> Rig {
    Rig::new(0, Flavour::NotPersisted, 1)
}

/// Guessing is free where it is not what is tested.
pub(crate) fn generous() -> GuessLimits {
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

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys::open(key_home(), &domain()).unwrap())
}

/// The keys that every world begins with.
fn key_home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap().keep();
        let clock = ManualClock::at(day_one());
        let names = ["localhost".to_owned()];
        let random = SeededRandom::new(7);
        Keys::create(&dir, &domain(), &names, &clock, &random).unwrap();
        dir
    })
}

fn domain() -> TrustDomain {
    TrustDomain::parse("vendor.example").unwrap()
}

/// Copies a directory with all that is in it; modes stay as they are.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let new = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &new);
        } else {
            std::fs::copy(&path, &new).unwrap();
        }
    }
}

pub(crate) fn remove_index(data_dir: &Path) {
    std::fs::remove_dir_all(data_dir.join("index")).unwrap();
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 40_000))
}

/// Runs a future to its end on this thread alone.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
