//! A customer's machine with the client, a relay, and a real server behind it.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tonic::transport::Channel;
use upkeep::code::Code;
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_client::{
    ActivateOptions, Attester, Build, Client, Credential, Deadlines, LicenseStore, RedeemOptions,
    RetryPolicy, VirtualEnvironment, enroll,
};
use upkeep_server::attest::EndorsementClass;
use upkeep_server::pki::Role;
use upkeep_swtpm::{Ca, SoftwareTpm};
use zeroize::Zeroizing;

use crate::device::request_id;
use crate::relay::Relay;
use crate::world::{World, license, seed};

/// One vendor with one relay.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) relay: Relay,
    admin: AdminServiceClient<Channel>,
    partner: PartnerServiceClient<Channel>,
    pub(crate) support: SupportServiceClient<Channel>,
    bought: &'static str,
}

/// One machine with one license to activate.
pub(crate) struct Machine {
    pub(crate) dir: PathBuf,
    _home: TempDir,
    pub(crate) options: ActivateOptions,
    secret: v1::credential::Secret,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::on(World::new("2026-03-01").await, "2025-09-01").await
    }

    /// A vendor who takes the software TPMs of this CA for chips, on a day when their certificates are valid.
    pub(crate) async fn trusting(ca: &Ca) -> Self {
        let makers = [(ca.root_der(), EndorsementClass::Chip)];
        let world = World::prepared("2040-06-01", Vec::new(), &makers).await;
        Self::on(world, "2040-01-15").await
    }

    async fn on(world: World, bought: &'static str) -> Self {
        let mut admin = world.admin().await;
        seed(&mut admin).await;
        Self {
            relay: Relay::new(world.products().await).await,
            admin,
            partner: PartnerServiceClient::new(world.staff(Role::Partner, "acme").await),
            support: SupportServiceClient::new(world.staff(Role::Support, "eva").await),
            world,
            bought,
        }
    }

    /// A client of the relay that sends each call `attempts` times and waits little.
    pub(crate) fn client(&self, attempts: u32) -> Client {
        self.builder(RetryPolicy::new(attempts, Duration::from_millis(1)))
    }

    fn builder(&self, retry: RetryPolicy) -> Client {
        Client::builder(&self.relay.endpoint())
            .ca_pem(self.relay.ca_pem())
            .server_name("localhost")
            .deadlines(Deadlines {
                cold: Duration::from_secs(2),
                warm: Duration::from_millis(400),
            })
            .retry(retry)
            .build()
            .unwrap()
    }

    /// A machine, enrolled, for a new license with two seats.
    pub(crate) async fn machine(&mut self, serial: &str) -> Machine {
        let wish = license(&mut self.admin, serial, 2, self.bought).await;
        self.second_machine(serial, wish.credential).await
    }

    /// Another machine for a license that exists.
    pub(crate) async fn second_machine(
        &self,
        serial: &str,
        secret: v1::credential::Secret,
    ) -> Machine {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("store");
        let mut store = enroll(
            &dir,
            &self.relay.endpoint(),
            Some("localhost"),
            self.relay.ca_pem(),
        )
        .await
        .unwrap();
        // The TPM of the machine that runs the tests is none of theirs.
        store
            .remember_attester(Some(Attester::Software), None)
            .unwrap();
        let credential = match &secret {
            v1::credential::Secret::Password(text) => {
                Credential::Password(Zeroizing::new(text.clone()))
            }
            v1::credential::Secret::ActivationCode(text) => {
                Credential::ActivationCode(Code::parse(text).unwrap())
            }
            other => panic!("{other:?}"),
        };
        Machine {
            dir,
            _home: home,
            options: ActivateOptions {
                serial: SerialNumber::parse(serial).unwrap(),
                credential,
                product: upkeep::id::ProductId::parse("label-studio").unwrap(),
                version: Version::parse("10.0").unwrap(),
                virtual_environment: VirtualEnvironment::No,
                release_manifest: None,
            },
            secret,
        }
    }

    /// Seats that the server counts as taken.
    pub(crate) async fn seats_taken(&mut self, machine: &Machine) -> u32 {
        self.look_up(machine).await.seats_taken
    }

    pub(crate) async fn look_up(&mut self, machine: &Machine) -> v1::License {
        let asked = v1::LookUpRequest {
            query: machine.options.serial.to_string(),
        };
        let found = self.support.look_up(asked).await.unwrap().into_inner();
        found.licenses.into_iter().next().unwrap()
    }

    /// The upgrade code of a license that is returned, once everything is in order.
    pub(crate) async fn upgrade_code(
        &mut self,
        machine: &Machine,
        device: &str,
    ) -> v1::UpgradeCode {
        let asked = v1::PartnerServiceCreateUpdateRequestRequest {
            request_id: request_id(),
            serial: machine.options.serial.to_string(),
            credential: Some(v1::Credential {
                secret: Some(machine.secret.clone()),
            }),
            details: Some(v1::UpdateRequestDetails {
                email: "it@baker.example".into(),
                virtual_environment: v1::VirtualEnvironment::No.into(),
                license_type: "network".into(),
                target_version: String::new(),
                device_thumbprint: device.to_owned(),
            }),
        };
        let made = self.partner.create_update_request(asked).await.unwrap();
        let update = made.into_inner().update_request.unwrap();
        let asked = v1::PartnerServiceGenerateUpgradeCodeRequest {
            request_id: request_id(),
            update_request_id: update.update_request_id,
        };
        let made = self.partner.generate_upgrade_code(asked).await.unwrap();
        made.into_inner().upgrade_code.unwrap()
    }
}

impl Machine {
    /// The store, as a new process finds it.
    pub(crate) fn open(&self) -> LicenseStore {
        LicenseStore::open(&self.dir).unwrap()
    }

    /// Binds its licenses to this TPM from now on.
    pub(crate) fn use_tpm(&self, tpm: &SoftwareTpm) {
        self.open()
            .remember_attester(Some(Attester::Tpm), Some(tpm.address().parse().unwrap()))
            .unwrap();
    }

    pub(crate) fn redeem_options(&self, code: &str) -> RedeemOptions {
        RedeemOptions {
            serial: self.options.serial.clone(),
            code: Code::parse(code).unwrap(),
            product: Some(self.options.product.clone()),
            version: Version::parse("11.0").unwrap(),
            virtual_environment: VirtualEnvironment::No,
            release_manifest: None,
        }
    }

    pub(crate) fn secret(&self) -> v1::credential::Secret {
        self.secret.clone()
    }
}

/// The build that was activated first.
pub(crate) fn old_build() -> Build {
    build("10.0", "2025-05-01")
}

/// The build of the upgrade.
pub(crate) fn new_build() -> Build {
    build("11.0", "2026-05-01")
}

fn build(version: &str, date: &str) -> Build {
    Build {
        product: None,
        version: Version::parse(version).unwrap(),
        date: upkeep::date::CivilDate::parse(date).unwrap(),
    }
}
