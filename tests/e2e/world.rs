//! A vendor's world: keys, a data directory, a server on free ports, a movable clock, and the calls to fill it.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use upkeep::jwks::KeySet;
use upkeep::key::PublicKey;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::attest::EndorsementClass;
use upkeep_server::clock::ManualClock;
use upkeep_server::config::Settings;
use upkeep_server::endorsement::{self, Addition, EndorsementSettings};
use upkeep_server::flow::check::verify_records;
use upkeep_server::keys::Keys;
use upkeep_server::pki::{self, TrustDomain};
use upkeep_server::random::SystemRandom;
use upkeep_server::serve::{Running, Server};
use upkeep_server::store::{Options, Store, StoreError, Tx};

use crate::device::{Api, Wish};
use crate::dial::{Identity, dial};

pub(crate) struct World {
    /// Removed when the world ends.
    dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) running: Running,
    pub(crate) settings: Settings,
    ca: String,
}

impl World {
    /// A fresh server whose clock stands at `now`.
    pub(crate) async fn new(now: &str) -> Self {
        Self::serving(now, Vec::new()).await
    }

    /// The same with programme files of the vendor's own; none means the built-in ones.
    pub(crate) async fn serving(now: &str, programmes: Vec<PathBuf>) -> Self {
        Self::prepared(now, programmes, &[]).await
    }

    /// The same with makers of hardware, by certificate, each believed as the class says.
    pub(crate) async fn prepared(
        now: &str,
        programmes: Vec<PathBuf>,
        makers: &[(&[u8], EndorsementClass)],
    ) -> Self {
        let dir = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::at(instant(now)));
        let data = dir.path().join("data");
        let names = ["localhost".to_owned()];
        // Certificates are checked against the machine's own clock.
        Keys::create(
            &data,
            &TrustDomain::local(),
            &names,
            &upkeep_server::clock::SystemClock,
            &SystemRandom,
        )
        .unwrap();
        Store::open(Options::new(&data).create(true))
            .unwrap()
            .close()
            .unwrap();
        let settings = Settings {
            data_dir: data,
            programmes,
            endorsements: EndorsementSettings {
                built_in: makers.is_empty(),
                // A software TPM's CA is believed like any other that a test names.
                allow_test_roots: !makers.is_empty(),
                ..EndorsementSettings::default()
            },
            ..Settings::default()
        };
        for (bytes, class) in makers {
            let addition = Addition {
                bytes,
                class: *class,
                source: "made for this test",
                name: None,
            };
            endorsement::add(&settings, &addition).unwrap();
        }
        let (running, ca) = start(&settings, &clock).await;
        Self {
            dir,
            clock,
            running,
            settings,
            ca,
        }
    }

    /// Stops the server and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.running.stop().await.unwrap();
        let (running, ca) = start(&self.settings, &self.clock).await;
        Self {
            running,
            ca,
            ..self
        }
    }

    /// Stops the server and starts another on the same data: opened as the test wants it.
    #[allow(dead_code, reason = "tests/forgery shares this world and uses it")]
    pub(crate) async fn restarted_with(self, open: impl FnOnce(&Settings) -> Server) -> Self {
        self.running.stop().await.unwrap();
        let (running, ca) = serve(open(&self.settings), &self.settings).await;
        Self {
            running,
            ca,
            ..self
        }
    }

    /// Stops the server, changes what is stored, and starts it again: data that no server of today would write.
    pub(crate) async fn rewritten(
        self,
        change: impl Fn(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    ) -> Self {
        self.running.stop().await.unwrap();
        let store = Store::open(Options::new(&self.settings.data_dir)).unwrap();
        store.transact("rewritten", change).await.unwrap();
        store.close().unwrap();
        let (running, ca) = start(&self.settings, &self.clock).await;
        Self {
            running,
            ca,
            ..self
        }
    }

    /// Stops the server and opens what it left: for looking at it, and for what runs beside the calls.
    pub(crate) async fn opened(self) -> Opened {
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        self.opened_with(|settings| Server::open(settings, clock, Arc::new(SystemRandom)).unwrap())
            .await
    }

    /// As [`Self::opened`], as the test wants it.
    pub(crate) async fn opened_with(self, open: impl FnOnce(&Settings) -> Server) -> Opened {
        self.running.stop().await.unwrap();
        Opened {
            server: open(&self.settings),
            _dir: self.dir,
        }
    }

    /// Nothing that is stored contradicts anything else.
    pub(crate) async fn check_records(self) {
        self.opened().await.check_records();
    }

    /// Where installations of the product keep their license stores.
    pub(crate) fn installations(&self) -> PathBuf {
        self.dir.path().join("installations")
    }

    /// The CA of the server, PEM.
    pub(crate) fn ca(&self) -> &str {
        &self.ca
    }

    pub(crate) fn set_day(&self, day: &str) {
        self.clock.set(instant(day));
    }

    pub(crate) async fn products(&self) -> Channel {
        dial(self.running.products_addr(), &self.ca, None).await
    }

    pub(crate) async fn api(&self) -> Api {
        ActivationServiceClient::new(self.products().await)
    }

    pub(crate) async fn staff(&self, role: pki::Role, name: &str) -> Channel {
        let keys = Keys::open(&self.settings.data_dir, &TrustDomain::local()).unwrap();
        let identity = pki::Identity::new(role, name).unwrap();
        let issued = keys
            .authority()
            .issue_client(&identity, Utc::now(), 1)
            .unwrap();
        let identity = Identity {
            certificate: issued.certificate_pem().to_owned(),
            key: issued.key_pem().to_owned(),
        };
        dial(self.running.staff_addr(), &self.ca, Some(&identity)).await
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.staff(pki::Role::Admin, "root").await)
    }

    /// The server's verification key, as a product compiles it in.
    pub(crate) async fn server_key(&self) -> PublicKey {
        server_key(&mut self.api().await).await
    }
}

/// A server that is not serving.
pub(crate) struct Opened {
    pub(crate) server: Server,
    _dir: TempDir,
}

impl Opened {
    pub(crate) fn check_records(&self) {
        let violations = verify_records(self.server.deps()).unwrap();
        let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "records:\n{}", lines.join("\n"));
    }
}

/// The verification key of the server that is asked.
pub(crate) async fn server_key(api: &mut Api) -> PublicKey {
    let answer = api
        .get_verification_keys(v1::GetVerificationKeysRequest {})
        .await
        .unwrap();
    KeySet::parse(answer.into_inner().jwks.as_bytes())
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone()
}

/// A label-printing vendor in the manner of the first source document: product, two releases, partner, customer.
pub(crate) async fn seed(admin: &mut AdminServiceClient<Channel>) {
    let name = "Label Studio".to_owned();
    admin
        .create_product(v1::CreateProductRequest {
            product_id: "label-studio".into(),
            display_name: name,
            programme_id: "teklynx-sma".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    for (version, build_date) in [("10.0", "2025-05-01"), ("11.0", "2026-05-01")] {
        admin
            .create_release(v1::CreateReleaseRequest {
                product_id: "label-studio".into(),
                version: version.into(),
                build_date: build_date.into(),
                ..Default::default()
            })
            .await
            .unwrap();
    }
    for partner in ["acme", "other"] {
        admin
            .create_partner(v1::CreatePartnerRequest {
                partner_id: partner.into(),
                display_name: partner.into(),
                ..Default::default()
            })
            .await
            .unwrap();
    }
    admin
        .create_customer(v1::CreateCustomerRequest {
            customer_id: "baker".into(),
            display_name: "Bäckerei Müller".into(),
            email: "it@baker.example".into(),
            partner_id: "acme".into(),
            ..Default::default()
        })
        .await
        .unwrap();
}

/// A software-key license bought on `purchased`; answers what to activate it with.
pub(crate) async fn license(
    admin: &mut AdminServiceClient<Channel>,
    serial: &str,
    seats: u32,
    purchased: &str,
) -> Wish {
    let password = "correct horse battery";
    let takes_password = serial.starts_with("NSP");
    let made = admin
        .create_license(v1::CreateLicenseRequest {
            serial: serial.into(),
            product_id: "label-studio".into(),
            customer_id: "baker".into(),
            protection: v1::Protection::SoftwareKey.into(),
            license_type: "single-user".into(),
            edition: "pro".into(),
            seats,
            purchase_date: purchased.into(),
            password: if takes_password {
                password.into()
            } else {
                String::new()
            },
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let credential = if takes_password {
        v1::credential::Secret::Password(password.into())
    } else {
        v1::credential::Secret::ActivationCode(made.activation_code)
    };
    Wish {
        serial: serial.into(),
        credential,
        product: "label-studio".into(),
        version: "10.0".into(),
    }
}

/// A built binary of this workspace.
pub(crate) fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not built: run `cargo build --workspace` first",
        path.display()
    );
    path
}

pub(crate) fn instant(day: &str) -> DateTime<Utc> {
    format!("{day}T12:00:00Z").parse().unwrap()
}

async fn start(settings: &Settings, clock: &Arc<ManualClock>) -> (Running, String) {
    let clock: Arc<ManualClock> = Arc::clone(clock);
    let server = Server::open(settings, clock, Arc::new(SystemRandom)).unwrap();
    serve(server, settings).await
}

async fn serve(server: Server, settings: &Settings) -> (Running, String) {
    let products = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let staff = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let running = server.start(products, staff).await.unwrap();
    let keys = Keys::open(&settings.data_dir, &TrustDomain::local()).unwrap();
    (running, keys.authority().certificate_pem().to_owned())
}
