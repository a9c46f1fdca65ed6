//! What the tests of this crate share: a vendor that signs, a store in a temporary directory, and the walk over kill points.

use std::path::Path;

use tempfile::TempDir;
use upkeep::artefact::{
    ActivationCertificate, ArtefactId, BoundTo, Confirmation, DeactivationReceipt,
    DeactivationTicket, Issuer, TicketNonce, UpgradeCode,
};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::{ActivationId, Edition, ProductId, UpgradeId};
use upkeep::jwks::KeySet;
use upkeep::jws::{Claims, SigningInput};
use upkeep::key::{SigningKey, Thumbprint};
use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use crate::activate::{ActivateOptions, Credential, accept_activation, activate_request};
use crate::device::Device;
use crate::store::{Enrollment, LicenseStore, VirtualEnvironment};

pub(crate) const ACTIVATION: &str = "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11";

/// The vendor's signing side.
pub(crate) struct Vendor {
    key: SigningKey,
}

impl Vendor {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            key: SigningKey::from_seed(&[seed; 32]).expect("key"),
        }
    }

    pub(crate) fn enrollment(&self) -> Enrollment {
        Enrollment {
            endpoint: "https://127.0.0.1:1".to_owned(),
            server_name: None,
            ca_pem: String::new(),
            jwks: KeySet::new([self.key.public_key().clone()]).to_json(),
            root: None,
            key_list: None,
            ended_keys: Vec::new(),
        }
    }

    pub(crate) fn certificate(&self, device: Thumbprint) -> ActivationCertificate {
        ActivationCertificate {
            iss: Issuer::parse("https://vendor.example").expect("issuer"),
            activation_id: ActivationId::parse(ACTIVATION).expect("id"),
            iat: 1_000,
            exp: None,
            serial: serial(),
            cnf: Confirmation { jkt: device },
            generation: 1,
            product: product(),
            edition: Edition::parse("enterprise").expect("edition"),
            add_ons: Vec::new(),
            license_type: None,
            seats: 2,
            assurance: AssuranceLevel::Software,
            counter: None,
            maintenance_last_day: Some(date("2026-08-31")),
            virtual_environment: false,
            version: version(),
            dongle_number: None,
        }
    }

    pub(crate) fn answer(&self, device: Thumbprint) -> v1::ActivateResponse {
        self.answer_with(&self.certificate(device))
    }

    /// The answer for any key; a TPM's certificate names its counter.
    pub(crate) fn answer_to(&self, device: &Device) -> v1::ActivateResponse {
        self.answer_with(&ActivationCertificate {
            counter: device.counter(),
            ..self.certificate(device.thumbprint())
        })
    }

    pub(crate) fn answer_with(&self, certificate: &ActivationCertificate) -> v1::ActivateResponse {
        v1::ActivateResponse {
            activation_id: ACTIVATION.to_owned(),
            certificate: self.sign(certificate),
            product_code: code(3).to_string(),
            license: None,
        }
    }

    /// A ticket that does not end in this century.
    pub(crate) fn ticket(&self, device: Thumbprint, nonce: u8) -> String {
        self.ticket_until(device, nonce, 4_000_000_000)
    }

    pub(crate) fn ticket_until(&self, device: Thumbprint, nonce: u8, exp: u64) -> String {
        self.sign(&DeactivationTicket {
            iss: Issuer::parse("https://vendor.example").expect("issuer"),
            nonce: TicketNonce::from_bytes([nonce; 32]),
            iat: 1_000,
            exp,
            serial: serial(),
            activation_id: ActivationId::parse(ACTIVATION).expect("id"),
            cnf: Confirmation { jkt: device },
        })
    }

    pub(crate) fn receipt(&self, device: Thumbprint) -> String {
        self.sign(&DeactivationReceipt {
            iss: Issuer::parse("https://vendor.example").expect("issuer"),
            jti: ArtefactId::parse("r-1").expect("id"),
            iat: 1_500,
            serial: serial(),
            activation_id: ActivationId::parse(ACTIVATION).expect("id"),
            generation: 1,
            grade: ProofGrade::Software,
            cnf: Confirmation { jkt: device },
        })
    }

    pub(crate) fn upgrade(&self, device: Thumbprint, generation: u32) -> String {
        self.sign(&UpgradeCode {
            iss: Issuer::parse("https://vendor.example").expect("issuer"),
            upgrade_id: UpgradeId::parse(ACTIVATION).expect("id"),
            iat: 1_600,
            serial: serial(),
            generation,
            product: product(),
            license_type: None,
            virtual_environment: false,
            target_version: version(),
            target_build_date: date("2026-01-31"),
            maintenance_last_day: date("2026-08-31"),
            edition: Edition::parse("enterprise").expect("edition"),
            add_ons: Vec::new(),
            seats: 2,
            bound_to: BoundTo::DeviceKey(device),
        })
    }

    pub(crate) fn sign<C: Claims>(&self, claims: &C) -> String {
        let input = SigningInput::new(self.key.public_key().thumbprint(), claims).expect("claims");
        input.seal(&self.key.sign(input.signing_bytes()))
    }
}

pub(crate) fn options() -> ActivateOptions {
    ActivateOptions {
        serial: serial(),
        credential: Credential::ActivationCode(code(1)),
        product: product(),
        version: version(),
        virtual_environment: VirtualEnvironment::No,
        release_manifest: None,
    }
}

/// An enrolled store with nothing in it.
pub(crate) fn enrolled(dir: &Path, vendor: &Vendor) -> LicenseStore {
    LicenseStore::create(dir, vendor.enrollment()).expect("create")
}

/// A store with an active license.
pub(crate) fn active(dir: &Path, vendor: &Vendor) -> LicenseStore {
    let mut store = enrolled(dir, vendor);
    activate_request(&mut store, b"challenge", &options()).expect("request");
    let answer = vendor.answer(store.device_thumbprint());
    accept_activation(&mut store, answer).expect("accept");
    store
}

/// Runs `act` on a fresh store again and again; the k-th time the machine stops after k file operations. `then` sees the store as it
/// is found after each stop and after the run that no stop interrupted. Gives the number of kill points.
pub(crate) fn kill_points<T>(
    prepare: impl Fn(&Path) -> LicenseStore,
    act: impl Fn(&mut LicenseStore) -> T,
    then: impl Fn(LicenseStore, Option<T>),
) -> u32 {
    for operations in 0..100 {
        let home = TempDir::new().expect("directory");
        let dir = home.path().join("store");
        let mut store = prepare(&dir);
        store.disk().stop_after(operations);
        let done = act(&mut store);
        let stopped = store.disk().has_stopped();
        drop(store);
        let found = LicenseStore::open(&dir).expect("a valid store after every stop");
        then(found, (!stopped).then_some(done));
        if !stopped {
            return operations;
        }
    }
    panic!("it never ends");
}

pub(crate) fn serial() -> SerialNumber {
    SerialNumber::parse("LS10-000042").expect("serial")
}

pub(crate) fn product() -> ProductId {
    ProductId::parse("label-studio").expect("product")
}

pub(crate) fn version() -> Version {
    Version::parse("10.2").expect("version")
}

pub(crate) fn date(text: &str) -> CivilDate {
    CivilDate::parse(text).expect("date")
}

pub(crate) fn code(seed: u8) -> Code {
    Code::from_mac(&[seed; 32])
}
