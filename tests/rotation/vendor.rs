//! A vendor with a server in this process, whose insides can be reached, and an offline root.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Channel;
use upkeep::artefact::{CertifiedKey, Issuer, KeyList, KeyState};
use upkeep::jws::SigningInput;
use upkeep::key::{PublicKey, SigningKey};
use upkeep::rpc::v1;
use upkeep::rpc::v1::admin_service_client::AdminServiceClient;
use upkeep_server::clock::{Clock, ManualClock, SystemClock};
use upkeep_server::config::Settings;
use upkeep_server::flow::Deps;
use upkeep_server::keys::Keys;
use upkeep_server::pki::{Identity, Role, TrustDomain};
use upkeep_server::random::SystemRandom;
use upkeep_server::serve::{Running, Server};
use upkeep_server::store::{Options, Store};

use crate::dial::{self, dial};

pub(crate) struct Vendor {
    _dir: TempDir,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) deps: Arc<Deps>,
    pub(crate) running: Running,
    pub(crate) admin: AdminServiceClient<Channel>,
    pub(crate) root: SigningKey,
}

impl Vendor {
    /// A fresh server whose clock stands at `now`.
    pub(crate) async fn new(now: DateTime<Utc>) -> Self {
        let dir = TempDir::new().unwrap();
        let settings = Settings {
            data_dir: dir.path().join("data"),
            ..Settings::default()
        };
        let names = ["localhost".to_owned()];
        let domain = TrustDomain::local();
        // Certificates are checked against the machine's own clock.
        let data = &settings.data_dir;
        let keys = Keys::create(data, &domain, &names, &SystemClock, &SystemRandom).unwrap();
        Store::open(Options::new(data).create(true))
            .unwrap()
            .close()
            .unwrap();
        let clock = Arc::new(ManualClock::at(now));
        let (deps, running, admin) = serve(&settings, &keys, &clock).await;
        Self {
            _dir: dir,
            settings,
            keys,
            clock,
            deps,
            running,
            admin,
            root: SigningKey::from_seed(&[77; 32]).unwrap(),
        }
    }

    /// Stops the server and starts it again on the same data.
    pub(crate) async fn restart(self) -> Self {
        self.running.stop().await.unwrap();
        drop(self.deps);
        let (deps, running, admin) = serve(&self.settings, &self.keys, &self.clock).await;
        Self {
            deps,
            running,
            admin,
            ..self
        }
    }

    pub(crate) fn ca(&self) -> &str {
        self.keys.authority().certificate_pem()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.running.products_addr())
    }

    pub(crate) async fn channel(&self, role: Role, name: &str) -> Channel {
        let identity = identity(&self.keys, role, name);
        dial(self.running.staff_addr(), self.ca(), Some(&identity)).await
    }

    /// Lets so much time pass.
    pub(crate) fn pass(&self, time: TimeDelta) {
        self.clock.set(self.clock.now() + time);
    }

    /// A rotation that takes effect within this call.
    pub(crate) async fn rotate(&mut self) {
        self.rotate_with_lead(60).await;
        self.pass(TimeDelta::seconds(61));
    }

    pub(crate) async fn rotate_with_lead(&mut self, lead_seconds: i64) -> Vec<v1::IssuingKey> {
        let asked = v1::RotateIssuingKeyRequest {
            request_id: String::new(),
            lead_seconds,
        };
        let done = self.admin.rotate_issuing_key(asked).await.unwrap();
        done.into_inner().keys
    }

    pub(crate) async fn issuing_keys(&mut self) -> v1::ListIssuingKeysResponse {
        let asked = v1::ListIssuingKeysRequest {};
        self.admin
            .list_issuing_keys(asked)
            .await
            .unwrap()
            .into_inner()
    }

    /// The name of the key that signs now.
    pub(crate) async fn signing(&mut self) -> String {
        let signing = i32::from(v1::IssuingKeyState::Signing);
        let keys = self.issuing_keys().await.keys;
        let mut signing = keys.into_iter().filter(|key| key.state == signing);
        let one = signing.next().unwrap().key_id;
        assert!(signing.next().is_none(), "one key signs");
        one
    }

    /// What the root certifies on this day.
    pub(crate) async fn certify(&mut self) -> String {
        let found = self.issuing_keys().await;
        self.certify_as(&found, u64::try_from(found.list_sequence).unwrap() + 1)
    }

    pub(crate) fn certify_as(&self, found: &v1::ListIssuingKeysResponse, sequence: u64) -> String {
        let keys = found.keys.iter().map(certified).collect();
        let issuer = Issuer::parse(&found.issuer).unwrap();
        let list = KeyList::new(issuer, 1_000, sequence, keys).unwrap();
        let input = SigningInput::new(self.root.public_key().thumbprint(), &list).unwrap();
        input.seal(&self.root.sign(input.signing_bytes()))
    }

    /// Certifies and hands the list to the server.
    pub(crate) async fn publish(&mut self) -> String {
        let key_list = self.certify().await;
        let asked = v1::PublishKeyListRequest {
            request_id: String::new(),
            key_list: key_list.clone(),
            root_spki: self.root.public_key().to_spki_der(),
        };
        self.admin.publish_key_list(asked).await.unwrap();
        key_list
    }
}

async fn serve(
    settings: &Settings,
    keys: &Keys,
    clock: &Arc<ManualClock>,
) -> (Arc<Deps>, Running, AdminServiceClient<Channel>) {
    let clock: Arc<ManualClock> = Arc::clone(clock);
    let server = Server::open(settings, clock, Arc::new(SystemRandom)).unwrap();
    let deps = Arc::clone(server.deps());
    let any = || TcpListener::bind("127.0.0.1:0");
    let running = server
        .start(any().await.unwrap(), any().await.unwrap())
        .await
        .unwrap();
    let admin = identity(keys, Role::Admin, "root");
    let ca = keys.authority().certificate_pem();
    let admin = dial(running.staff_addr(), ca, Some(&admin)).await;
    (deps, running, AdminServiceClient::new(admin))
}

pub(crate) fn identity(keys: &Keys, role: Role, name: &str) -> dial::Identity {
    let identity = Identity::new(role, name).unwrap();
    let issued = keys.authority().issue_client(&identity, Utc::now(), 30);
    let issued = issued.unwrap();
    dial::Identity {
        certificate: issued.certificate_pem().to_owned(),
        key: issued.key_pem().to_owned(),
    }
}

pub(crate) fn certified(key: &v1::IssuingKey) -> CertifiedKey {
    let state = match v1::IssuingKeyState::try_from(key.state).unwrap() {
        v1::IssuingKeyState::Next => KeyState::Next,
        v1::IssuingKeyState::Signing => KeyState::Signing,
        v1::IssuingKeyState::Verifying => KeyState::Verifying,
        v1::IssuingKeyState::Retired => KeyState::Retired,
        v1::IssuingKeyState::Revoked => KeyState::Revoked,
        v1::IssuingKeyState::Unspecified => panic!("a key without a state"),
    };
    let at = |at: prost_types::Timestamp| u64::try_from(at.seconds).unwrap();
    CertifiedKey::new(
        PublicKey::from_spki_der(&key.public_key_spki).unwrap(),
        state,
        key.sign_start_time.map(at).unwrap(),
        key.sign_end_time.map(at),
    )
}
