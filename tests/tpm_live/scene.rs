//! A vendor who believes a CA, a license, and machines with TPMs.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tonic::transport::Channel;
use upkeep::artefact::Counter;
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::rpc::v1;
use upkeep::rpc::v1::support_service_client::SupportServiceClient;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_client::{
    ActivateOptions, Activated, Attester, Build, Client, ClientError, Credential, Deadlines,
    LicenseStore, RetryPolicy, State, VirtualEnvironment, activate, check, enroll,
};
use upkeep_server::attest::EndorsementClass;
use upkeep_server::pki::Role;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::device::Wish;
use crate::world::{self, World};

/// The day on which everything happens.
const TODAY: &str = "2040-06-01";

pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) support: SupportServiceClient<Channel>,
    pub(crate) wish: Wish,
}

impl Scene {
    /// A vendor with one license of so many seats, for whom the CA vouches for `class`.
    pub(crate) async fn new(ca: &Ca, class: EndorsementClass, seats: u32) -> Self {
        let world = World::prepared(TODAY, Vec::new(), &[(ca.root_der(), class)]).await;
        let mut admin = world.admin().await;
        world::seed(&mut admin).await;
        let wish = world::license(&mut admin, "LS-1000", seats, "2040-01-15").await;
        Self {
            support: SupportServiceClient::new(world.staff(Role::Support, "eva").await),
            world,
            wish,
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_of(&self.endpoint())
    }

    /// A client that reaches nobody.
    pub(crate) fn nobody(&self) -> Client {
        self.client_of("https://127.0.0.1:1")
    }

    fn client_of(&self, endpoint: &str) -> Client {
        Client::builder(endpoint)
            .ca_pem(self.world.ca())
            .server_name("localhost")
            .deadlines(Deadlines {
                cold: Duration::from_secs(30),
                warm: Duration::from_secs(30),
            })
            .retry(RetryPolicy::new(1, Duration::from_millis(1)))
            .build()
            .unwrap()
    }

    /// Another license of one seat.
    pub(crate) async fn second_license(&self, serial: &str) -> Wish {
        let mut admin = self.world.admin().await;
        world::license(&mut admin, serial, 1, "2040-01-15").await
    }

    /// An installation that uses this TPM and no other key.
    pub(crate) async fn installation(&self, tpm: &SoftwareTpm) -> Installation {
        self.installation_of(&self.wish, tpm).await
    }

    /// The same, for another license.
    pub(crate) async fn installation_of(&self, wish: &Wish, tpm: &SoftwareTpm) -> Installation {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("store");
        enroll(&dir, &self.endpoint(), Some("localhost"), self.world.ca())
            .await
            .unwrap();
        let installation = Installation {
            options: options(wish),
            dir,
            home,
        };
        installation
            .open()
            .remember_attester(Some(Attester::Tpm), Some(tpm.address().parse().unwrap()))
            .unwrap();
        installation
    }

    /// Enrolls it again, at the same server by a name that is written in another way.
    pub(crate) async fn enroll_by_other_name(&self, installation: &Installation) {
        let name = Some("LOCALHOST");
        let store = enroll(&installation.dir, &self.endpoint(), name, self.world.ca()).await;
        assert_eq!(store.unwrap().enrollment().server_name.as_deref(), name);
    }

    /// The same, activated.
    pub(crate) async fn active(&self, tpm: &SoftwareTpm) -> Installation {
        let installation = self.installation(tpm).await;
        installation.activate(&self.client()).await.unwrap();
        installation
    }

    pub(crate) async fn seats_taken(&mut self) -> u32 {
        let asked = v1::LookUpRequest {
            query: self.wish.serial.clone(),
        };
        let found = self.support.look_up(asked).await.unwrap().into_inner();
        found.licenses[0].seats_taken
    }

    /// The activations of the license as staff see them.
    pub(crate) async fn activations(&mut self) -> Vec<v1::Activation> {
        let asked = v1::SupportServiceListActivationsRequest {
            serial: self.wish.serial.clone(),
            ..Default::default()
        };
        let found = self.support.list_activations(asked).await.unwrap();
        found.into_inner().activations
    }

    /// Nothing that is stored contradicts anything else.
    pub(crate) async fn close(self) {
        self.world.check_records().await;
    }

    fn endpoint(&self) -> String {
        format!("https://{}", self.world.running.products_addr())
    }
}

/// A product on a machine: its license store.
pub(crate) struct Installation {
    pub(crate) dir: PathBuf,
    home: TempDir,
    options: ActivateOptions,
}

impl Installation {
    /// The store, as a new process finds it.
    pub(crate) fn open(&self) -> LicenseStore {
        LicenseStore::open(&self.dir).unwrap()
    }

    pub(crate) async fn activate(&self, client: &Client) -> Result<Activated, ClientError> {
        activate(&mut self.open(), client, &self.options).await
    }

    /// Activates with options that are not quite those of the license.
    pub(crate) async fn activate_in(
        &self,
        store: &mut LicenseStore,
        client: &Client,
        change: impl FnOnce(&mut ActivateOptions),
    ) -> Result<Activated, ClientError> {
        let mut options = self.options.clone();
        change(&mut options);
        activate(store, client, &options).await
    }

    /// What the product does at its start.
    pub(crate) fn check(&self) -> Result<(), ClientError> {
        let build = Build {
            product: None,
            version: Version::parse("10.0").unwrap(),
            date: CivilDate::parse("2025-05-01").unwrap(),
        };
        check(&self.open(), &build).map(drop)
    }

    /// The counter that its key is bound to.
    pub(crate) fn counter(&self) -> Counter {
        let State::Active(held) = self.open().state().clone() else {
            panic!("an activation");
        };
        held.device().counter().unwrap()
    }

    /// The same license store on another disk.
    pub(crate) fn copied(&self) -> Self {
        let home = TempDir::new().unwrap();
        let dir = home.path().join("store");
        copy(&self.dir, &dir);
        Self {
            dir,
            home,
            options: self.options.clone(),
        }
    }

    /// The same license store, for another TPM.
    pub(crate) fn stolen(&self, tpm: &SoftwareTpm) -> Self {
        let copy = self.copied();
        copy.uses(tpm);
        copy
    }

    /// From now on it finds this TPM.
    pub(crate) fn uses(&self, tpm: &SoftwareTpm) {
        self.open()
            .remember_attester(None, Some(tpm.address().parse().unwrap()))
            .unwrap();
    }

    /// A fresh store for the same TPM and license: all that this one knew is lost.
    pub(crate) async fn lost(self, scene: &Scene, tpm: &SoftwareTpm) -> Self {
        drop(self.home);
        scene.installation(tpm).await
    }
}

fn options(wish: &Wish) -> ActivateOptions {
    let v1::credential::Secret::ActivationCode(code) = &wish.credential else {
        panic!("a license with an activation code");
    };
    ActivateOptions {
        serial: SerialNumber::parse(&wish.serial).unwrap(),
        credential: Credential::ActivationCode(Code::parse(code).unwrap()),
        product: ProductId::parse(&wish.product).unwrap(),
        version: Version::parse(&wish.version).unwrap(),
        virtual_environment: VirtualEnvironment::No,
        release_manifest: None,
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
