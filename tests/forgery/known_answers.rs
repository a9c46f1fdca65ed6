//! G10: Wycheproof's verdicts on P-256 with SHA-256, over what the product verifies with (p256) and what the server does (aws-lc).
//!
//! Artefacts carry `r || s`, 64 bytes (P1363). DER stands in certificates alone, which aws-lc reads; those vectors hold that library to
//! its word and, where a DER signature is good, its two numbers must be good in our form too.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use p256::ecdsa::Signature;
use upkeep::key::{self, PublicKey};
use upkeep_server::signer;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

#[test]
fn g10_wycheproof_p1363() {
    let mut counted = (0, 0);
    each(
        TestName::EcdsaSecp256r1Sha256P1363,
        |key, message, signature, good| {
            let found = match <[u8; 64]>::try_from(signature) {
                Ok(signature) => verdicts(key, message, &signature),
                // Another length is no signature of ours: it stops at the reader of the artefact.
                Err(_) => [false; 2],
            };
            assert_eq!(found, [good; 2], "{signature:02x?}");
            count(&mut counted, good);
        },
    );
    assert!(counted.0 > 150 && counted.1 > 80, "{counted:?}");
}

#[test]
fn g10_wycheproof_der() {
    let mut counted = (0, 0);
    each(
        TestName::EcdsaSecp256r1Sha256,
        |key, message, signature, good| {
            let library = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.sec1_bytes());
            assert_eq!(
                library.verify(message, signature).is_ok(),
                good,
                "{signature:02x?}"
            );
            if good {
                let fixed = Signature::from_der(signature).unwrap().to_bytes();
                assert_eq!(verdicts(key, message, &fixed.into()), [true; 2]);
            }
            count(&mut counted, good);
        },
    );
    assert!(counted.0 > 150 && counted.1 > 250, "{counted:?}");
}

fn verdicts(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> [bool; 2] {
    [
        key::verify(key, message, signature),
        signer::verify_es256(key.sec1_bytes(), message, signature),
    ]
}

fn each(name: TestName, mut test: impl FnMut(&PublicKey, &[u8], &[u8], bool)) {
    for group in TestSet::load(name).unwrap().test_groups {
        let key = PublicKey::from_sec1(&group.key.key).unwrap();
        for vector in group.tests {
            let good = match vector.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => panic!("P-256 has no vector of two minds"),
            };
            test(&key, &vector.msg, &vector.sig, good);
        }
    }
}

fn count((good, bad): &mut (usize, usize), is_good: bool) {
    if is_good {
        *good += 1;
    } else {
        *bad += 1;
    }
}
