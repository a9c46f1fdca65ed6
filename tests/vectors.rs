//! Artefacts, B and codes against fixed vectors: good ones, bad ones by name, and ones that other programs made.
//!
//! `tests/vectors/*.json` freeze what leaves this crate; `UPKEEP_BLESS=1 cargo test --test vectors` rewrites them (never
//! `outside.json`, which `outside.py` makes), and a review reads the difference. All verification runs twice, by p256 and by aws-lc-rs,
//! and both must agree on every vector.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "vectors/bad.rs"]
mod bad;
#[path = "vectors/offline.rs"]
mod offline;
#[path = "vectors/outside.rs"]
mod outside;
#[path = "vectors/parsers.rs"]
mod parsers;
#[path = "vectors/proofs.rs"]
mod proofs;
#[path = "vectors/samples.rs"]
mod samples;

use std::path::Path;

use serde_json::{Value, json};
use upkeep::armor;
use upkeep::artefact::{
    ActivationCertificate, DeactivationProof, DeactivationReceipt, DeactivationTicket, KeyList,
    ReleaseManifest, UnlockCode, UpgradeCode,
};
use upkeep::binding;
use upkeep::code::Code;
use upkeep::jwks::KeySet;
use upkeep::jws::{self, Claims, JwsError, SigningInput, Typ};
use upkeep::key::{self, PublicKey, VerifyFn};
use upkeep::version::Version;

use crate::samples::{parsed, public, signers, trusted};

#[test]
fn good_artefacts_are_frozen_and_verify() {
    let mut list = Vec::new();
    for sample in samples::samples() {
        for verify in VERIFIERS {
            let claims = open(sample.typ, &sample.text, &signers(), verify)
                .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
            list.push(json!({
                "name": sample.name, "typ": sample.typ.as_str(), "signer": sample.signer, "claims": claims, "text": sample.text,
            }));
        }
        for typ in Typ::ALL.into_iter().filter(|typ| *typ != sample.typ) {
            let refused = open(typ, &sample.text, &signers(), key::verify);
            assert_eq!(refused, Err(JwsError::Typ), "{} as {typ:?}", sample.name);
        }
    }
    list.dedup();
    frozen(
        "artefacts.json",
        &json!({ "keys": key_set(&signers()), "artefacts": list }),
    );
}

#[test]
fn good_files_are_frozen_and_read() {
    for sample in samples::samples() {
        let text = match sample.typ {
            Typ::Activation => armor::read::<ActivationCertificate>(sample.file.as_bytes()),
            Typ::Ticket => armor::read::<DeactivationTicket>(sample.file.as_bytes()),
            Typ::Proof => armor::read::<DeactivationProof>(sample.file.as_bytes()),
            Typ::Receipt => armor::read::<DeactivationReceipt>(sample.file.as_bytes()),
            Typ::Upgrade => armor::read::<UpgradeCode>(sample.file.as_bytes()),
            Typ::Unlock => armor::read::<UnlockCode>(sample.file.as_bytes()),
            Typ::Release => armor::read::<ReleaseManifest>(sample.file.as_bytes()),
            Typ::Keys => armor::read::<KeyList>(sample.file.as_bytes()),
            _ => panic!("a kind without a reader"),
        };
        assert_eq!(text.as_deref(), Ok(sample.text.as_str()), "{}", sample.name);
        frozen_text(&format!("files/{}.txt", sample.name), &sample.file);
    }
}

#[test]
fn bad_artefacts_are_refused_by_name() {
    let mut list = Vec::new();
    for bad in bad::bad() {
        for verify in VERIFIERS {
            let refused = open(bad.wanted, &bad.text, &trusted(), verify).err();
            assert_eq!(
                refused.as_ref().map(variant).as_deref(),
                Some(bad.error),
                "{}: {refused:?}",
                bad.name
            );
        }
        assert!(
            list.iter().all(|other: &Value| other["name"] != bad.name),
            "{} stands twice",
            bad.name
        );
        list.push(json!({"name": bad.name, "wanted": bad.wanted.as_str(), "error": bad.error, "text": bad.text}));
    }
    for error in [
        "Parts",
        "Header",
        "Payload",
        "SignatureForm",
        "Repeated",
        "HeaderMember",
        "Alg",
        "Typ",
        "Kid",
        "UnknownKey",
        "Signature",
        "Claims",
    ] {
        assert!(
            list.iter().any(|bad| bad["error"] == error),
            "nothing is refused as {error}"
        );
    }
    frozen(
        "refused.json",
        &json!({ "keys": key_set(&trusted()), "refused": list }),
    );
}

#[test]
fn high_s_accepted() {
    for sample in samples::samples() {
        let high = bad::high_s(&sample.text);
        assert_ne!(high, sample.text);
        for verify in VERIFIERS {
            assert_eq!(
                open(sample.typ, &high, &signers(), verify),
                open(sample.typ, &sample.text, &signers(), verify),
                "{}",
                sample.name
            );
        }
    }
}

#[test]
fn one_megabyte_is_refused_before_it_is_read() {
    let good = samples::seal(&samples::certificate(), &samples::key("server"));
    let long = format!("{}.{good}", "A".repeat(1 << 20));
    let refused = open(Typ::Activation, &long, &trusted(), |_, _, _| {
        panic!("nothing is verified")
    });
    assert_eq!(refused, Err(JwsError::TooLong));
    assert_eq!(SigningInput::parse(&long).err(), Some(JwsError::TooLong));
    let mut claims = samples::certificate();
    let add_on = claims.add_ons[0].clone();
    claims.add_ons = vec![add_on; 10_000];
    let refused = SigningInput::new(public("server").thumbprint(), &claims);
    assert_eq!(refused.err(), Some(JwsError::TooLong));
}

#[test]
fn every_changed_byte_is_refused() {
    let keys = signers();
    for sample in samples::samples() {
        for index in 0..sample.text.len() {
            for change in [b'A', b'_', b'.', b'=', b'\n', 0, 0x7f] {
                let mut bytes = sample.text.clone().into_bytes();
                if bytes[index] == change {
                    continue;
                }
                bytes[index] = change;
                let text = String::from_utf8(bytes).unwrap();
                let verdict = open(sample.typ, &text, &keys, aws_lc_verify);
                assert!(
                    verdict.is_err(),
                    "{} at {index}: {change:#04x}",
                    sample.name
                );
            }
        }
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let keys = signers();
    let text = samples::seal(&samples::release(), &samples::key("build"));
    for index in 0..text.len() * 7 {
        let mut bytes = text.clone().into_bytes();
        bytes[index / 7] ^= 1 << (index % 7);
        let text = String::from_utf8(bytes).unwrap();
        for verify in VERIFIERS {
            assert!(
                open(Typ::Release, &text, &keys, verify).is_err(),
                "bit {index}"
            );
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let keys = signers();
    for sample in samples::samples() {
        for len in 0..sample.text.len() {
            let verdict = open(sample.typ, &sample.text[..len], &keys, aws_lc_verify);
            assert!(verdict.is_err(), "{} at {len}", sample.name);
        }
        for len in 0..sample.file.trim_end().len() {
            let verdict = armor::read_bytes(&sample.file.as_bytes()[..len]);
            assert!(verdict.is_err(), "the file of {} at {len}", sample.name);
        }
    }
}

#[test]
fn a_stored_signing_input_seals_to_the_same_text() {
    for sample in samples::samples() {
        let (stored, _) = sample.text.rsplit_once('.').unwrap();
        let input = SigningInput::parse(stored).unwrap();
        assert_eq!(input.typ(), sample.typ);
        assert_eq!(input.kid(), public(sample.signer).thumbprint());
        assert_eq!(input.as_str().as_bytes(), input.signing_bytes());
        let signature = samples::key(sample.signer).sign(input.signing_bytes());
        assert_eq!(input.seal(&signature), sample.text, "{}", sample.name);
        assert_eq!(SigningInput::parse(&sample.text), Err(JwsError::Parts));
    }
    let claims = samples::certificate();
    let input = SigningInput::new(public("server").thumbprint(), &claims).unwrap();
    assert_eq!(input.claims(), Ok(claims));
    assert_eq!(input.claims::<DeactivationTicket>(), Err(JwsError::Typ));
}

#[test]
fn a_key_found_under_another_name_is_not_used() {
    let text = samples::seal(&samples::certificate(), &samples::key("stranger"));
    let refused =
        jws::verify::<ActivationCertificate>(&text, |_| Some(public("server")), key::verify);
    assert_eq!(refused.err(), Some(JwsError::UnknownKey));
}

#[test]
fn b_is_frozen() {
    let list: Vec<Value> = bindings()
        .into_iter()
        .map(|(name, digest)| json!({"name": name, "digest_hex": hex(&digest)}))
        .collect();
    frozen("bindings.json", &json!({ "bindings": list }));
}

#[test]
fn codes_are_frozen() {
    let list: Vec<Value> = (0_u8..8)
        .map(|fill| {
            let code = Code::from_mac(&[fill.wrapping_mul(37); 32]);
            assert_eq!(Code::parse(&code.to_string()).as_ref(), Ok(&code));
            json!({"mac_byte": fill.wrapping_mul(37), "code": code.to_string()})
        })
        .collect();
    frozen("codes.json", &json!({ "codes": list }));
}

/// B of every call over the samples.
fn bindings() -> Vec<(&'static str, [u8; 32])> {
    let challenge: Vec<u8> = (0..32).collect();
    let (request, serial, product) = (samples::request_id(), samples::serial(), samples::product());
    let (activation, nonce) = (samples::activation_id(), samples::nonce());
    let subject = activation.to_string();
    let version = parsed(Version::parse("10.2.1"));
    let upgrade = "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a12";
    vec![
        (
            "enroll",
            binding::enroll(&challenge, &serial, &product, true, "client 0.1.0 (linux)"),
        ),
        (
            "activate",
            binding::activate(&challenge, &request, &serial, &product, &version, false),
        ),
        ("verify", binding::verify(&challenge, &request, &subject)),
        (
            "begin_deactivation",
            binding::begin_deactivation(&challenge, &request, &subject),
        ),
        ("redeem", binding::redeem(&challenge, &request, upgrade)),
        ("deactivate", binding::deactivate(&activation, &nonce)),
        (
            "deactivate_offline",
            binding::deactivate_offline(&activation),
        ),
    ]
}

/// Verifies a text as this kind and gives its claims as JSON.
fn open(typ: Typ, text: &str, keys: &KeySet, verify: VerifyFn) -> Result<Value, JwsError> {
    fn claims<C: Claims>(text: &str, keys: &KeySet, verify: VerifyFn) -> Result<Value, JwsError> {
        jws::verify::<C>(text, |kid| keys.get(kid).cloned(), verify)
            .map(|verified| serde_json::to_value(verified.claims()).unwrap())
    }
    match typ {
        Typ::Activation => claims::<ActivationCertificate>(text, keys, verify),
        Typ::Ticket => claims::<DeactivationTicket>(text, keys, verify),
        Typ::Proof => claims::<DeactivationProof>(text, keys, verify),
        Typ::Receipt => claims::<DeactivationReceipt>(text, keys, verify),
        Typ::Upgrade => claims::<UpgradeCode>(text, keys, verify),
        Typ::Unlock => claims::<UnlockCode>(text, keys, verify),
        Typ::Release => claims::<ReleaseManifest>(text, keys, verify),
        Typ::Keys => claims::<KeyList>(text, keys, verify),
        _ => panic!("a kind without claims"),
    }
}

/// What the server verifies with.
fn aws_lc_verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.sec1_bytes())
        .verify(message, signature)
        .is_ok()
}

/// The name of an error's variant.
fn variant(error: &JwsError) -> String {
    let shown = format!("{error:?}");
    shown.split('(').next().unwrap_or_default().to_owned()
}

fn key_set(keys: &KeySet) -> Value {
    serde_json::from_str(&keys.to_json()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Compares with the file of vectors, by meaning, or writes it when `UPKEEP_BLESS=1`.
fn frozen(file: &str, value: &Value) {
    bless(file, &format!("{value:#}\n"));
    let frozen: Value = serde_json::from_str(&on_record(file)).unwrap_or_default();
    assert!(frozen == *value, "{file} {DIFFERS}");
}

/// Compares with the file, byte by byte, or writes it when `UPKEEP_BLESS=1`.
fn frozen_text(file: &str, text: &str) {
    bless(file, text);
    assert!(on_record(file) == text, "{file} {DIFFERS}");
}

fn bless(file: &str, text: &str) {
    if std::env::var_os("UPKEEP_BLESS").is_some_and(|bless| bless == "1") {
        let path = Path::new(VECTORS).join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
}

fn on_record(file: &str) -> String {
    std::fs::read_to_string(Path::new(VECTORS).join(file)).unwrap_or_default()
}

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
const DIFFERS: &str =
    "differs from what the code makes: UPKEEP_BLESS=1 rewrites it, then read the difference";
const VERIFIERS: [VerifyFn; 2] = [key::verify, aws_lc_verify];
