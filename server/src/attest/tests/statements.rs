//! Steps 10 to 14: statements, whatever they are about.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaPssSaltLength,
    RsaSignatureEncoding,
};
use proptest::prelude::*;
use upkeep::tpm::{Attest, Scheme, Signature, alg};

use super::forge::key;
use super::scene::{QUESTION, Scene, VALUE, ecdsa, no_change, rsa_ak, rsa_key};
use crate::attest::{EvidenceError, Relation, ak_public, key_certify, nv_certify};

#[test]
fn sound_statements_are_accepted() {
    let scene = Scene::new();
    let device = scene.key(no_change).unwrap();
    assert_eq!(device.key(), key(21).public_key());
    assert_eq!(device.name(), scene.device.name());
    assert_eq!(device.nv_name(), scene.nv.name());
    let reading = scene.counter(no_change).unwrap();
    assert_eq!(
        (reading.value(), reading.nv_name()),
        (VALUE, scene.nv.name())
    );
}

/// Both kinds of statement, as bytes that the attestation key signs whatever they are.
fn signed_bytes(change: impl Fn(&mut Vec<u8>)) -> [Option<EvidenceError>; 2] {
    let scene = Scene::new();
    let (mut about_key, mut about_counter) = (
        scene.about_key().to_bytes(),
        scene.about_counter().to_bytes(),
    );
    change(&mut about_key);
    change(&mut about_counter);
    let key = scene.judge_key(&about_key, &scene.sign(&about_key));
    let any = Relation::AtLeast(0);
    let counter = scene.judge_counter(&about_counter, &scene.sign(&about_counter), any);
    [key.err(), counter.err()]
}

#[test]
fn step_10_the_statement_is_made_by_a_tpm() {
    assert_eq!(signed_bytes(|_| {}), [None; 2]);
    let magic = [Some(EvidenceError::Magic); 2];
    assert_eq!(
        signed_bytes(|bytes| bytes[..4].copy_from_slice(b"XTCG")),
        magic
    );
    assert_eq!(signed_bytes(|bytes| bytes[3] ^= 1), magic);
    let form = [Some(EvidenceError::AttestForm); 2];
    assert_eq!(signed_bytes(|bytes| bytes.push(0)), form);
    assert_eq!(signed_bytes(|bytes| bytes.truncate(60)), form);
    assert_eq!(signed_bytes(|bytes| bytes.resize(9000, 0)), form);
}

#[test]
fn step_11_the_statement_is_of_the_type_asked_for() {
    let types = [Some(EvidenceError::Type); 2];
    for other in [0x1c, 0x18, 0x19, 0x1a] {
        assert_eq!(signed_bytes(|bytes| bytes[5] = other), types, "{other:#x}");
    }
    let scene = Scene::new();
    let (key, counter) = (
        scene.about_key().to_bytes(),
        scene.about_counter().to_bytes(),
    );
    let any = Relation::AtLeast(0);
    let verdict = scene.judge_key(&counter, &scene.sign(&counter)).err();
    assert_eq!(verdict, Some(EvidenceError::Type));
    let verdict = scene.judge_counter(&key, &scene.sign(&key), any).err();
    assert_eq!(verdict, Some(EvidenceError::Type));
}

#[test]
fn step_12_the_statement_answers_this_question() {
    let wrong = Some(EvidenceError::QualifyingData);
    let long = [&QUESTION[..], &[0]].concat();
    for answer in [&[][..], &QUESTION[..31], &long, &[0x52; 32]] {
        let change = |attest: &mut Attest| attest.extra_data = answer.to_vec();
        let scene = Scene::new();
        assert_eq!(scene.key(change).err(), wrong);
        assert_eq!(scene.counter(change).err(), wrong);
    }
    // An empty question has no answer, not even an empty one.
    let scene = Scene::new();
    let mut attest = scene.about_counter();
    attest.extra_data = vec![];
    let attest = attest.to_bytes();
    let (ak, nv) = (scene.judge_ak().unwrap(), scene.nv.to_bytes());
    let any = Relation::AtLeast(0);
    let verdict = nv_certify(&ak, &nv, &attest, &scene.sign(&attest), &[], any);
    assert_eq!(verdict.err(), wrong);
}

#[test]
fn step_13_the_signature_is_the_key_s_by_its_own_scheme() {
    let scene = Scene::new();
    let attest = scene.about_counter().to_bytes();
    let any = Relation::AtLeast(0);
    let judge = |signature: &Signature| {
        let bytes = signature.to_bytes();
        scene.judge_counter(&attest, &bytes, any).err()
    };
    let rs = scene.ak_key.sign(&attest);
    assert_eq!(judge(&ecdsa(rs)), None);
    let (r, s) = (rs[..32].to_vec(), rs[32..].to_vec());
    let hash = alg::SHA256;
    let scheme = Some(EvidenceError::SignatureScheme);
    for other in [
        Signature::Rsassa {
            hash,
            signature: r.clone(),
        },
        Signature::Rsapss {
            hash,
            signature: r.clone(),
        },
        Signature::Ecdsa {
            hash: alg::SHA384,
            r: r.clone(),
            s: s.clone(),
        },
        Signature::Ecdsa {
            hash: alg::SHA1,
            r: r.clone(),
            s: s.clone(),
        },
    ] {
        assert_eq!(judge(&other), scheme, "{other:?}");
    }
    let wrong = Some(EvidenceError::Signature);
    let order = p256_order();
    for (r, s) in [
        (vec![0; 32], s.clone()),
        (r.clone(), vec![0; 32]),
        (vec![], vec![]),
        (order.clone(), s.clone()),
        (r.clone(), order.clone()),
        (vec![0xff; 32], vec![0xff; 32]),
        ([&[0], &r[..]].concat(), s.clone()),
        (s.clone(), r.clone()),
    ] {
        assert_eq!(judge(&Signature::Ecdsa { hash, r, s }), wrong);
    }
    // Half of all TPM signatures have a high s.
    let high = p256::ecdsa::Signature::from_slice(&rs).unwrap();
    let high_s = (-*high.s()).to_bytes().to_vec();
    assert_eq!(judge(&Signature::Ecdsa { hash, r, s: high_s }), None);
    let mut trailing = ecdsa(rs).to_bytes();
    trailing.push(0);
    for bytes in [&trailing[..], &[], &trailing[..20], &[0, 0x10]] {
        let verdict = scene.judge_counter(&attest, bytes, any).err();
        assert_eq!(verdict, Some(EvidenceError::SignatureForm));
    }
}

fn p256_order() -> Vec<u8> {
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap()
}

static PSS_LONG: RsaSignatureEncoding = RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
static PSS_SHORT: RsaSignatureEncoding =
    RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(8));

#[test]
fn step_13_rsa_keys_sign_by_their_own_scheme_too() {
    let hash = alg::SHA256;
    let public = rsa_key().public_key().modulus();
    let modulus = public.big_endian_without_leading_zero().to_vec();
    let mut scene = Scene::new();
    let sign = |message: &[u8], encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; 256];
        rsa_key()
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    };
    let any = Relation::AtLeast(0);
    let pss = |signature| Signature::Rsapss { hash, signature };
    let pkcs1 = |signature| Signature::Rsassa { hash, signature };
    let (rsassa, rsapss) = (Scheme::Rsassa(hash), Scheme::Rsapss(hash));
    let scheme = Some(EvidenceError::SignatureScheme);
    let wrong = Some(EvidenceError::Signature);
    let attest = scene.about_counter().to_bytes();
    for (own, signature, expected) in [
        (rsassa, pkcs1(sign(&attest, &RSA_PKCS1_SHA256)), None),
        (rsapss, pss(sign(&attest, &RSA_PSS_SHA256)), None),
        (rsapss, pss(sign(&attest, &PSS_LONG)), None),
        (rsapss, pss(sign(&attest, &PSS_SHORT)), wrong),
        (rsapss, pkcs1(sign(&attest, &RSA_PKCS1_SHA256)), scheme),
        (rsassa, pss(sign(&attest, &RSA_PSS_SHA256)), scheme),
        (rsassa, pkcs1(sign(&attest, &RSA_PSS_SHA256)), wrong),
        (rsassa, pkcs1(sign(b"another", &RSA_PKCS1_SHA256)), wrong),
        (rsassa, pkcs1(vec![]), wrong),
        (
            rsassa,
            Signature::Rsassa {
                hash: alg::SHA384,
                signature: sign(&attest, &RSA_PKCS1_SHA256),
            },
            scheme,
        ),
        (
            rsapss,
            Signature::Rsapss {
                hash: alg::SHA1,
                signature: sign(&attest, &RSA_PSS_SHA256),
            },
            scheme,
        ),
    ] {
        scene.ak = rsa_ak(own, modulus.clone());
        let verdict = scene.judge_counter(&attest, &signature.to_bytes(), any);
        assert_eq!(verdict.err(), expected, "{own:?}");
    }
}

#[test]
fn step_14_only_the_enrolled_ak_counts() {
    // A second TPM has an index of the same Name; its own attestation key signs for nobody else.
    let mut other = Scene::new();
    other.ak_key = key(22);
    let attest = other.about_counter().to_bytes();
    let signature = other.sign(&attest);
    let enrolled = Scene::new();
    let any = Relation::AtLeast(0);
    let verdict = enrolled.judge_counter(&attest, &signature, any).err();
    assert_eq!(verdict, Some(EvidenceError::Signature));
    let attest = other.about_key().to_bytes();
    let verdict = enrolled.judge_key(&attest, &other.sign(&attest)).err();
    assert_eq!(verdict, Some(EvidenceError::Signature));
}

/// Whether a statement with this signature is accepted.
type Accepts<'a> = &'a dyn Fn(&[u8], &[u8]) -> bool;

#[test]
fn every_one_byte_mutant_of_a_statement_or_signature_is_refused() {
    let scene = Scene::new();
    let ak = scene.judge_ak().unwrap();
    let (device, nv) = (scene.device.to_bytes(), scene.nv.to_bytes());
    let any = Relation::AtLeast(0);
    let key_accepted = |attest: &[u8], signature: &[u8]| {
        key_certify(&ak, &device, &nv, attest, signature, &QUESTION, VALUE).is_ok()
    };
    let counter_accepted = |attest: &[u8], signature: &[u8]| {
        nv_certify(&ak, &nv, attest, signature, &QUESTION, any).is_ok()
    };
    let cases: [(Attest, Accepts<'_>); 2] = [
        (scene.about_key(), &key_accepted),
        (scene.about_counter(), &counter_accepted),
    ];
    for (attest, accepted) in cases {
        let attest = attest.to_bytes();
        let signature = scene.sign(&attest);
        assert!(accepted(&attest, &signature));
        for bit in 0..8 {
            for at in 0..attest.len() {
                let mut mutant = attest.clone();
                mutant[at] ^= 1 << bit;
                assert!(!accepted(&mutant, &signature), "attest {at} {bit}");
            }
            for at in 0..signature.len() {
                let mut mutant = signature.clone();
                mutant[at] ^= 1 << bit;
                assert!(!accepted(&attest, &mutant), "signature {at} {bit}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_verifier_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let scene = Scene::new();
        let ak = scene.judge_ak().unwrap();
        let any = Relation::AtLeast(0);
        let (device, nv) = (scene.device.to_bytes(), scene.nv.to_bytes());
        let attest = scene.about_counter().to_bytes();
        prop_assert!(ak_public(&bytes).is_err());
        prop_assert!(nv_certify(&ak, &nv, &bytes, &bytes, &QUESTION, any).is_err());
        prop_assert!(nv_certify(&ak, &nv, &attest, &bytes, &QUESTION, any).is_err());
        prop_assert!(key_certify(&ak, &bytes, &nv, &bytes, &bytes, &bytes, VALUE).is_err());
        prop_assert!(key_certify(&ak, &device, &bytes, &attest, &bytes, &bytes, VALUE).is_err());
    }
}
