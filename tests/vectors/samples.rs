//! Fixed keys and one artefact of every shape, for the vectors and for the programs of other languages.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fmt::Debug;

use sha2::{Digest, Sha256};
use upkeep::armor;
use upkeep::artefact::{
    ActivationCertificate, ArtefactId, BoundTo, CertifiedKey, Confirmation, Counter,
    DeactivationProof, DeactivationReceipt, DeactivationTicket, Issuer, KeyList, KeyState,
    Readable, ReleaseManifest, TicketNonce, TpmName, UnlockCode, UpgradeCode,
};
use upkeep::date::CivilDate;
use upkeep::id::{
    ActivationId, AddOn, DongleNumber, Edition, LicenseType, ProductId, RequestId, UpgradeId,
};
use upkeep::jwks::KeySet;
use upkeep::jws::{Claims, SigningInput, Typ};
use upkeep::key::{PublicKey, SigningKey};
use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

/// The names of the fixed keys.
pub(crate) const KEYS: [&str; 7] = [
    "server",
    "server_before",
    "build",
    "device",
    "other_device",
    "stranger",
    "root",
];

/// The key whose secret is the SHA-256 of `upkeep test key: <name>`: worthless on purpose.
pub(crate) fn key(name: &str) -> SigningKey {
    assert!(KEYS.contains(&name), "{name}");
    SigningKey::from_seed(&seed(name)).expect("test key")
}

pub(crate) fn seed(name: &str) -> [u8; 32] {
    Sha256::digest(format!("upkeep test key: {name}")).into()
}

pub(crate) fn public(name: &str) -> PublicKey {
    key(name).public_key().clone()
}

/// What a product would carry: the server's keys and the build key.
pub(crate) fn trusted() -> KeySet {
    KeySet::new([public("server"), public("server_before"), public("build")])
}

/// Every key that signs a good artefact.
pub(crate) fn signers() -> KeySet {
    KeySet::new(
        ["server", "server_before", "build", "device", "root"]
            .into_iter()
            .map(public),
    )
}

pub(crate) fn seal<C: Claims>(claims: &C, key: &SigningKey) -> String {
    let input = SigningInput::new(key.public_key().thumbprint(), claims).expect("claims");
    input.seal(&key.sign(input.signing_bytes()))
}

/// A good artefact.
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    pub(crate) typ: Typ,
    pub(crate) signer: &'static str,
    pub(crate) text: String,
    pub(crate) file: String,
}

pub(crate) fn samples() -> Vec<Sample> {
    let mut all = vec![
        sample("activation_software", "server", &certificate()),
        sample("activation_by_retired_key", "server_before", &certificate()),
        sample("ticket", "server", &ticket()),
        sample("proof", "device", &proof()),
        sample("receipt_software", "server", &receipt(ProofGrade::Software)),
        sample("receipt_waived", "server", &receipt(ProofGrade::Waived)),
        sample(
            "upgrade_for_a_device",
            "server",
            &upgrade(BoundTo::DeviceKey(public("device").thumbprint())),
        ),
        sample(
            "upgrade_for_a_dongle",
            "server",
            &upgrade(BoundTo::Dongle(parsed(DongleNumber::parse("d-4711")))),
        ),
        sample("unlock", "server", &unlock()),
        sample("release", "build", &release()),
        sample("key_list", "root", &key_list()),
    ];
    let mut hardware = certificate();
    hardware.assurance = AssuranceLevel::Hardware;
    hardware.counter = Some(Counter {
        name: parsed(TpmName::parse(&format!("000b{}", "5a".repeat(32)))),
        value: u64::from(u32::MAX) + 7,
    });
    all.push(sample("activation_hardware", "server", &hardware));
    let mut dongle = certificate();
    dongle.assurance = AssuranceLevel::Dongle;
    dongle.dongle_number = Some(parsed(DongleNumber::parse("d-4711")));
    dongle.license_type = None;
    all.push(sample("activation_dongle", "server", &dongle));
    let mut lease = certificate();
    lease.exp = Some(1_800_000_000);
    lease.virtual_environment = true;
    all.push(sample("activation_lease", "server", &lease));
    let mut never = certificate();
    never.maintenance_last_day = None;
    never.add_ons = Vec::new();
    all.push(sample("activation_without_maintenance", "server", &never));
    all
}

fn sample<C: Readable>(name: &'static str, signer: &'static str, claims: &C) -> Sample {
    let text = seal(claims, &key(signer));
    let file = armor::write(claims, &text);
    Sample {
        name,
        typ: C::TYP,
        signer,
        text,
        file,
    }
}

pub(crate) fn certificate() -> ActivationCertificate {
    ActivationCertificate {
        iss: issuer(),
        activation_id: activation_id(),
        iat: 1_767_225_600,
        exp: None,
        serial: serial(),
        cnf: device(),
        generation: 1,
        product: product(),
        edition: parsed(Edition::parse("enterprise")),
        add_ons: vec![parsed(AddOn::parse("mapi")), parsed(AddOn::parse("eas"))],
        license_type: Some(parsed(LicenseType::parse("network"))),
        seats: 5,
        assurance: AssuranceLevel::Software,
        counter: None,
        maintenance_last_day: Some(day("2026-08-31")),
        virtual_environment: false,
        version: parsed(Version::parse("10.2.1")),
        dongle_number: None,
    }
}

pub(crate) fn ticket() -> DeactivationTicket {
    DeactivationTicket {
        iss: issuer(),
        nonce: nonce(),
        iat: 1_770_000_000,
        exp: 1_770_086_400,
        serial: serial(),
        activation_id: activation_id(),
        cnf: device(),
    }
}

pub(crate) fn proof() -> DeactivationProof {
    DeactivationProof {
        iat: 1_770_000_100,
        serial: serial(),
        activation_id: activation_id(),
        nonce: nonce(),
        ticket: seal(&ticket(), &key("server")),
        cnf: device(),
    }
}

pub(crate) fn receipt(grade: ProofGrade) -> DeactivationReceipt {
    DeactivationReceipt {
        iss: issuer(),
        jti: parsed(ArtefactId::parse("r-0198f1c2-1")),
        iat: 1_770_000_200,
        serial: serial(),
        activation_id: activation_id(),
        generation: 1,
        grade,
        cnf: device(),
    }
}

pub(crate) fn upgrade(bound_to: BoundTo) -> UpgradeCode {
    UpgradeCode {
        iss: issuer(),
        upgrade_id: parsed(UpgradeId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a12")),
        iat: 1_770_000_300,
        serial: serial(),
        generation: 2,
        product: product(),
        license_type: Some(parsed(LicenseType::parse("single-user"))),
        virtual_environment: true,
        target_version: parsed(Version::parse("11.0")),
        target_build_date: day("2026-08-31"),
        maintenance_last_day: day("2026-08-31"),
        edition: parsed(Edition::parse("enterprise")),
        add_ons: Vec::new(),
        seats: 5,
        bound_to,
    }
}

pub(crate) fn unlock() -> UnlockCode {
    UnlockCode {
        iss: issuer(),
        jti: parsed(ArtefactId::parse("d-4711.5")),
        iat: 1_770_000_350,
        dongle_number: parsed(DongleNumber::parse("d-4711")),
        counter: 5,
        maintenance_last_day: day("2026-08-31"),
    }
}

pub(crate) fn release() -> ReleaseManifest {
    ReleaseManifest {
        iss: issuer(),
        jti: parsed(ArtefactId::parse("label-studio-11.0+4711")),
        iat: 1_770_000_400,
        product: product(),
        version: parsed(Version::parse("11.0")),
        build_date: day("2026-08-31"),
    }
}

pub(crate) fn key_list() -> KeyList {
    let begun = 1_769_000_000;
    let keys = vec![
        CertifiedKey::new(public("server_before"), KeyState::Verifying, 0, Some(begun)),
        CertifiedKey::new(public("server"), KeyState::Signing, begun, None),
        CertifiedKey::new(public("stranger"), KeyState::Revoked, 0, None),
    ];
    parsed(KeyList::new(issuer(), 1_770_000_450, 7, keys))
}

pub(crate) fn activation_id() -> ActivationId {
    parsed(ActivationId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11"))
}

pub(crate) fn request_id() -> RequestId {
    parsed(RequestId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a13"))
}

pub(crate) fn serial() -> SerialNumber {
    parsed(SerialNumber::parse("NSP-0042"))
}

pub(crate) fn product() -> ProductId {
    parsed(ProductId::parse("label-studio"))
}

pub(crate) fn nonce() -> TicketNonce {
    TicketNonce::from_bytes([0xa5; 32])
}

pub(crate) fn day(text: &str) -> CivilDate {
    parsed(CivilDate::parse(text))
}

pub(crate) fn parsed<T, E: Debug>(result: Result<T, E>) -> T {
    result.expect("a good sample")
}

fn issuer() -> Issuer {
    parsed(Issuer::parse("https://licenses.vendor.example"))
}

fn device() -> Confirmation {
    Confirmation {
        jkt: public("device").thumbprint(),
    }
}
