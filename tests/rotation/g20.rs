//! G20: outstanding certificates over two rotations under load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::{ActivationCertificate, Confirmation, Issuer};
use upkeep::date::CivilDate;
use upkeep::id::{ActivationId, Edition, ProductId};
use upkeep::jws::SigningInput;
use upkeep::key::{PublicKey, SigningKey, Thumbprint};
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;
use upkeep::trust::TrustedKeys;
use upkeep::version::Version;
use upkeep_server::clock::Clock;
use upkeep_server::signer::verify_es256;

use crate::vendor::Vendor;

/// One certificate, and the time before and after it was signed.
struct Signed {
    text: String,
    between: (DateTime<Utc>, DateTime<Utc>),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g20_no_certificate_outstanding_at_a_rotation_becomes_invalid() {
    let wanted = std::env::var("UPKEEP_G20_CERTIFICATES").map_or(CI_CERTIFICATES, |text| {
        text.parse().expect("UPKEEP_G20_CERTIFICATES is a number")
    });
    let start = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut vendor = Vendor::new(start).await;
    // Stored before the first rotation, and signed by whichever key signs then.
    let stored = Arc::new(
        vendor
            .deps
            .signing_input(&certificate(vendor.clock.now()))
            .unwrap(),
    );
    let count = Arc::new(AtomicUsize::new(0));
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let (deps, clock) = (Arc::clone(&vendor.deps), Arc::clone(&vendor.clock));
            let (stored, count) = (Arc::clone(&stored), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut signed = Vec::new();
                while count.fetch_add(1, Ordering::Relaxed) < wanted {
                    let before = clock.now();
                    let text = deps.sign(&stored).unwrap();
                    let between = (before, clock.now());
                    signed.push(Signed { text, between });
                }
                signed
            })
        })
        .collect();

    // Two rotations, each while the workers sign.
    for part in [1, 2] {
        reach(&count, wanted * part / 3).await;
        vendor.rotate_with_lead(60).await;
        reach(&count, wanted * part / 3 + wanted / 12).await;
        vendor.pass(TimeDelta::seconds(61));
    }
    let mut signed: Vec<Signed> = Vec::new();
    for worker in workers {
        signed.extend(worker.join().unwrap());
    }
    assert_eq!(signed.len(), wanted, "none is lost");

    // A product that was built with the root in it learns all three keys, and nothing else is trusted.
    let list = vendor.certify().await;
    let mut trusted = TrustedKeys::default().with_root(vendor.root.public_key().clone());
    trusted.learn(&list, fast).unwrap();
    let (trusted, signed) = (Arc::new(trusted), Arc::new(signed));
    let readers: Vec<_> = (0..2)
        .map(|reader| {
            let (trusted, signed) = (Arc::clone(&trusted), Arc::clone(&signed));
            std::thread::spawn(move || {
                let mine = signed.iter().skip(reader).step_by(2);
                mine.map(|one| kid_of(&trusted, one)).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut by_key: BTreeMap<Thumbprint, usize> = BTreeMap::new();
    for reader in readers {
        for kid in reader.join().unwrap() {
            *by_key.entry(kid).or_default() += 1;
        }
    }
    assert_eq!(by_key.len(), 3, "each key signed some of them");
    assert_eq!(by_key.values().sum::<usize>(), wanted);
    println!(
        "G20: {wanted} certificates over 2 rotations, 0 invalid, 0 outside a window; by key: {:?}",
        by_key.values()
    );
    vendor.running.stop().await.unwrap();
}

/// Verifies one certificate, holds its signing time against its key's window, and gives the key's name.
fn kid_of(trusted: &TrustedKeys, one: &Signed) -> Thumbprint {
    let verified = trusted
        .verify::<ActivationCertificate>(&one.text, fast)
        .expect("a certificate from before a rotation verifies after it");
    let key = trusted.list().unwrap().get(&verified.kid()).unwrap();
    let (before, after) = one.between;
    let begins = i64::try_from(key.not_before()).unwrap();
    assert!(begins <= after.timestamp(), "signed before its window");
    if let Some(end) = key.signs_until() {
        let end = i64::try_from(end).unwrap();
        assert!(before.timestamp() < end, "signed after its window");
    }
    verified.kid()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_artefact_keeps_its_claims_byte_for_byte_whichever_key_signs() {
    let start = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut vendor = Vendor::new(start).await;
    let stored = vendor.deps.signing_input(&certificate(start)).unwrap();
    let first = vendor.deps.sign(&stored).unwrap();
    vendor.rotate().await;
    let second = vendor.deps.sign(&stored).unwrap();
    let (a, b) = (parts(&first), parts(&second));
    assert_ne!(a[0], b[0], "the header names the key that signs");
    assert_eq!(a[1], b[1], "the claims are those that are stored");
    let signed = SigningInput::parse(&format!("{}.{}", b[0], b[1])).unwrap();
    assert_eq!(signed.kid().to_string(), vendor.signing().await);
    vendor.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g20_forged_with_a_revoked_key_none_is_accepted() {
    let start = "2026-03-01T12:00:00Z".parse().unwrap();
    let mut vendor = Vendor::new(start).await;
    let list = vendor.publish().await;
    let mut trusted = TrustedKeys::default().with_root(vendor.root.public_key().clone());
    trusted.learn(&list, fast).unwrap();
    let stolen = std::fs::read_to_string(vendor.settings.data_dir.join("keys/signing.key"));
    let stolen = SigningKey::from_pkcs8_pem(&stolen.unwrap()).unwrap();
    let forge = |n: u64| {
        let mut claims = certificate(start);
        // The thief may write any day.
        claims.iat = n * 1_000_000;
        let input = SigningInput::new(stolen.public_key().thumbprint(), &claims).unwrap();
        input.seal(&stolen.sign(input.signing_bytes()))
    };
    let accepted = |trusted: &TrustedKeys| {
        (0..500)
            .filter(|n| {
                trusted
                    .verify::<ActivationCertificate>(&forge(*n), fast)
                    .is_ok()
            })
            .count()
    };
    assert_eq!(
        accepted(&trusted),
        500,
        "the control: before it is revoked they pass"
    );

    let asked = v1_revoke(&stolen);
    vendor.admin.revoke_issuing_key(asked).await.unwrap();
    let list = vendor.publish().await;
    trusted.learn(&list, fast).unwrap();
    assert_eq!(accepted(&trusted), 0);
    // The server signs on, with a key that nobody has seen before.
    let stored = vendor.deps.signing_input(&certificate(start)).unwrap();
    let sound = vendor.deps.sign(&stored).unwrap();
    trusted
        .verify::<ActivationCertificate>(&sound, fast)
        .unwrap();
    vendor.running.stop().await.unwrap();
}

fn v1_revoke(key: &SigningKey) -> upkeep::rpc::v1::RevokeIssuingKeyRequest {
    upkeep::rpc::v1::RevokeIssuingKeyRequest {
        request_id: String::new(),
        key_id: key.public_key().thumbprint().to_string(),
        reason: "backup tape lost".into(),
    }
}

fn parts(text: &str) -> Vec<&str> {
    text.split('.').collect()
}

/// Waits until the workers have come so far.
async fn reach(count: &AtomicUsize, wanted: usize) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while count.load(Ordering::Relaxed) < wanted {
        looks.tick().await;
    }
}

fn certificate(at: DateTime<Utc>) -> ActivationCertificate {
    ActivationCertificate {
        iss: Issuer::parse("https://vendor.example").unwrap(),
        activation_id: ActivationId::parse("0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11").unwrap(),
        iat: u64::try_from(at.timestamp()).unwrap(),
        exp: None,
        serial: SerialNumber::parse("LS-1000").unwrap(),
        cnf: Confirmation {
            jkt: SigningKey::from_seed(&[5; 32])
                .unwrap()
                .public_key()
                .thumbprint(),
        },
        generation: 1,
        product: ProductId::parse("label-studio").unwrap(),
        edition: Edition::parse("pro").unwrap(),
        add_ons: Vec::new(),
        license_type: None,
        seats: 1,
        assurance: AssuranceLevel::Software,
        counter: None,
        maintenance_last_day: Some(CivilDate::parse("2026-08-31").unwrap()),
        virtual_environment: false,
        version: Version::parse("10.0").unwrap(),
        dongle_number: None,
    }
}

/// What a product that has the faster library verifies with.
fn fast(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    verify_es256(key.sec1_bytes(), message, signature)
}

/// A debug build signs and verifies so many in some 15 seconds of CPU; the figure of G20, 100 000, is a matter of seconds in release.
const CI_CERTIFICATES: usize = 30_000;
