//! A vendor with a mail server: a license server in this process on a movable clock, and the calls to fill it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use upkeep::jwks::KeySet;
use upkeep::rpc::v1;
use upkeep::rpc::v1::activation_service_client::ActivationServiceClient;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::maintenance_service_client::MaintenanceServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep_server::clock::{Clock, ManualClock, SystemClock};
use upkeep_server::config::{MailSettings, Settings};
use upkeep_server::keys::Keys;
use upkeep_server::pki::{self, TrustDomain};
use upkeep_server::random::{SystemRandom, uuid_v7};
use upkeep_server::serve::{Running, Server};
use upkeep_server::store::{Options, Store};

use crate::dial::{Identity, dial};
use crate::smtpd::until;

pub(crate) const SERIAL: &str = "NSP-000001";
pub(crate) const TO: &str = "it@baker.example";

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) settings: Settings,
    running: Option<Running>,
    ca: String,
}

impl World {
    pub(crate) async fn new(mail: MailSettings) -> Self {
        let dir = TempDir::new().unwrap();
        let data = dir.path().join("data");
        let names = ["localhost".to_owned()];
        // Certificates are checked against the machine's own clock.
        Keys::create(
            &data,
            &TrustDomain::local(),
            &names,
            &SystemClock,
            &SystemRandom,
        )
        .unwrap();
        Store::open(Options::new(&data).create(true))
            .unwrap()
            .close()
            .unwrap();
        let mut world = Self {
            clock: Arc::new(ManualClock::at("2026-06-01T12:00:00Z".parse().unwrap())),
            settings: Settings {
                data_dir: data,
                mail,
                ..Settings::default()
            },
            dir,
            running: None,
            ca: String::new(),
        };
        world.start().await;
        world
    }

    pub(crate) async fn start(&mut self) {
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let server = Server::open(&self.settings, clock, Arc::new(SystemRandom)).unwrap();
        let products = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let staff = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.running = Some(server.start(products, staff).await.unwrap());
        let keys = Keys::open(&self.settings.data_dir, &TrustDomain::local()).unwrap();
        keys.authority().certificate_pem().clone_into(&mut self.ca);
    }

    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop().await.unwrap();
    }

    pub(crate) fn advance(&self, step: TimeDelta) {
        self.clock.advance(step);
    }

    pub(crate) fn set(&self, at: &str) {
        self.clock.set(at.parse().unwrap());
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// `localhost:port` of the staff's listener.
    pub(crate) fn staff_address(&self) -> String {
        let running = self.running.as_ref().unwrap();
        format!("localhost:{}", running.staff_addr().port())
    }

    async fn staff(&self, role: pki::Role, name: &str) -> Channel {
        let keys = Keys::open(&self.settings.data_dir, &TrustDomain::local()).unwrap();
        let identity = pki::Identity::new(role, name).unwrap();
        let issued = keys
            .authority()
            .issue_client(&identity, SystemClock.now(), 1)
            .unwrap();
        let identity = Identity {
            certificate: issued.certificate_pem().to_owned(),
            key: issued.key_pem().to_owned(),
        };
        let running = self.running.as_ref().unwrap();
        dial(running.staff_addr(), &self.ca, Some(&identity)).await
    }

    pub(crate) async fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.staff(pki::Role::Admin, "root").await)
    }

    pub(crate) async fn support(&self) -> SupportServiceClient<Channel> {
        SupportServiceClient::new(self.staff(pki::Role::Support, "eva").await)
    }

    /// Maintenance calls as the reseller.
    pub(crate) async fn maintenance(&self) -> MaintenanceServiceClient<Channel> {
        MaintenanceServiceClient::new(self.staff(pki::Role::Partner, "acme").await)
    }

    /// A label-printing vendor in the manner of the first source document; the customer reads `language`.
    pub(crate) async fn sell(&self, language: &str) {
        let mut admin = self.admin().await;
        let product = v1::CreateProductRequest {
            product_id: "label-studio".into(),
            display_name: "Label Studio".into(),
            programme_id: "teklynx-sma".into(),
            ..Default::default()
        };
        admin.create_product(product).await.unwrap();
        for (version, build_date) in [("10.0", "2025-05-01"), ("11.0", "2026-05-01")] {
            let release = v1::CreateReleaseRequest {
                product_id: "label-studio".into(),
                version: version.into(),
                build_date: build_date.into(),
                ..Default::default()
            };
            admin.create_release(release).await.unwrap();
        }
        let partner = v1::CreatePartnerRequest {
            partner_id: "acme".into(),
            display_name: "Acme, \"Labels\" & Söhne".into(),
            email: "renewals@acme.example".into(),
            language: "fr".into(),
            ..Default::default()
        };
        admin.create_partner(partner).await.unwrap();
        let customer = v1::CreateCustomerRequest {
            customer_id: "baker".into(),
            display_name: "株式会社ベーカリー".into(),
            email: TO.into(),
            partner_id: "acme".into(),
            language: language.into(),
            ..Default::default()
        };
        admin.create_customer(customer).await.unwrap();
        let license = v1::CreateLicenseRequest {
            serial: SERIAL.into(),
            product_id: "label-studio".into(),
            customer_id: "baker".into(),
            protection: v1::Protection::SoftwareKey.into(),
            license_type: "single-user".into(),
            edition: "pro".into(),
            seats: 2,
            purchase_date: "2025-09-01".into(),
            password: PASSWORD.into(),
            ..Default::default()
        };
        admin.create_license(license).await.unwrap();
    }

    /// Requests an update for a device of the customer's and has its code generated; gives the update request and the code.
    pub(crate) async fn generate_code(&self, to: &str) -> (String, v1::UpgradeCode) {
        let id = self.request_update(to).await;
        let code = self
            .support()
            .await
            .generate_upgrade_code(v1::SupportServiceGenerateUpgradeCodeRequest {
                request_id: request_id(),
                update_request_id: id.clone(),
            })
            .await
            .unwrap();
        (id, code.into_inner().upgrade_code.unwrap())
    }

    /// The server's verification keys, as products get them.
    pub(crate) async fn server_keys(&self) -> KeySet {
        let running = self.running.as_ref().unwrap();
        let channel = dial(running.products_addr(), &self.ca, None).await;
        let mut products = ActivationServiceClient::new(channel);
        let request = v1::GetVerificationKeysRequest {};
        let answer = products.get_verification_keys(request).await.unwrap();
        KeySet::parse(answer.into_inner().jwks.as_bytes()).unwrap()
    }

    async fn request_update(&self, to: &str) -> String {
        let running = self.running.as_ref().unwrap();
        let channel = dial(running.products_addr(), &self.ca, None).await;
        let mut customer = v1::customer_service_client::CustomerServiceClient::new(channel);
        let answer = customer
            .create_update_request(v1::CreateUpdateRequestRequest {
                request_id: request_id(),
                serial: SERIAL.into(),
                credential: Some(v1::Credential {
                    secret: Some(v1::credential::Secret::Password(PASSWORD.into())),
                }),
                details: Some(v1::UpdateRequestDetails {
                    email: to.into(),
                    virtual_environment: v1::VirtualEnvironment::No.into(),
                    license_type: "single-user".into(),
                    // A device key that nobody holds: the code then has a file form, too.
                    device_thumbprint: "A".repeat(43),
                    ..Default::default()
                }),
            })
            .await
            .unwrap();
        let update = answer.into_inner().update_request.unwrap();
        update.update_request_id
    }

    /// The outbox, in any state or one.
    pub(crate) async fn outbox(&self, state: v1::MailState) -> Vec<v1::Mail> {
        let request = v1::ListMailsRequest {
            state: state.into(),
            ..Default::default()
        };
        let answer = self.admin().await.list_mails(request).await.unwrap();
        answer.into_inner().mails
    }

    /// Waits until the one mail of the outbox satisfies `good`.
    pub(crate) async fn mail(&self, what: &str, good: impl Fn(&v1::Mail) -> bool) -> v1::Mail {
        until(what, async || {
            let mut mails = self.outbox(v1::MailState::Unspecified).await;
            assert!(mails.len() <= 1, "one mail: {mails:?}");
            mails.pop().filter(|mail| good(mail))
        })
        .await
    }

    /// A configuration file for commands about this server.
    pub(crate) fn config_file(&self) -> std::path::PathBuf {
        let mail = &self.settings.mail;
        let text = format!(
            "data_dir = {:?}\n[mail]\nserver = \"localhost\"\nport = {}\nsecurity = {:?}\nuser = \"licenses\"\n\
             password_file = {:?}\nfrom = \"licenses@vendor.example\"\nca_file = {:?}\n",
            self.settings.data_dir,
            mail.port,
            mail.security.as_str(),
            mail.password_file.as_ref().unwrap(),
            mail.ca_file.as_ref().unwrap(),
        );
        let path = self.dir.path().join("mail.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
}

pub(crate) fn request_id() -> String {
    uuid_v7(&SystemClock, &SystemRandom).to_string()
}

const PASSWORD: &str = "correct horse battery";
