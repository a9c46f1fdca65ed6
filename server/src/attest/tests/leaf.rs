//! Steps 3 to 6: the leaf of an endorsement chain.

use super::chain::{ek, root, root_key, under_root};
use super::forge::*;
use crate::attest::{
    Anchor, DenyList, EndorsementClass, Endorsements, EvidenceError, claimed_ek_id, ek_chain,
};

#[test]
fn step_03_the_leaf_is_for_an_endorsement_key_only() {
    for usages in [
        &["1.3.6.1.5.5.7.3.2"][..],
        &["2.5.29.37.0"],
        &[EK_USAGE, "2.23.133.8.3"],
        &[EK_USAGE, "2.23.133.8.2"],
        &["1.3.6.1.5.5.7.3.1", EK_USAGE],
        &[EK_USAGE, "1.3.6.1.5.5.7.3.2"],
        &[EK_USAGE, "1.3.6.1.5.5.7.3.3"],
        &[EK_USAGE, "2.5.29.37.0"],
    ] {
        let verdict = under_root(&ek().with(extended_key_usage(usages)));
        assert_eq!(verdict.err(), Some(EvidenceError::EkPurpose), "{usages:?}");
    }
    assert!(under_root(&ek().with(extended_key_usage(&["1.2.3", EK_USAGE]))).is_ok());
    let none = ek().without(EXTENDED_KEY_USAGE);
    assert_eq!(under_root(&none).err(), Some(EvidenceError::EkPurpose));
}

#[test]
fn step_03_the_leaf_is_no_authority() {
    let authority = ek().with(basic_constraints(true, None));
    assert_eq!(
        under_root(&authority).err(),
        Some(EvidenceError::EkIsAuthority)
    );
    assert!(under_root(&ek().without(BASIC_CONSTRAINTS)).is_ok());
}

#[test]
fn step_03_the_key_decrypts() {
    let wrong = Some(EvidenceError::EkKeyUsage);
    for bits in [&[2][..], &[0], &[4, 5]] {
        assert_eq!(under_root(&ek().with(key_usage(bits))).err(), wrong);
    }
    assert_eq!(under_root(&ek().without(KEY_USAGE)).err(), wrong);
    let rsa = |bits: &[u8]| {
        let spki = rsa_spki(&modulus(2048), &[1, 0, 1]);
        under_root(&Draft {
            spki,
            ..ek().with(key_usage(bits))
        })
        .err()
    };
    assert_eq!(rsa(&[4]), wrong);
    assert_eq!(rsa(&[2, 5]), wrong);
    assert_eq!(rsa(&[2]), None);
}

#[test]
fn step_04_the_key_is_of_an_accepted_kind() {
    let with_key = |spki: Vec<u8>, usage: u8| {
        under_root(&Draft {
            spki,
            ..ek().with(key_usage(&[usage]))
        })
        .err()
    };
    let bad = Some(EvidenceError::EkKey);
    for (bits, exponent, verdict) in [
        (2048, &[1, 0, 1][..], None),
        (3072, &[1, 0, 1], None),
        (4096, &[1, 0, 1], None),
        (4104, &[1, 0, 1], bad),
        (2040, &[1, 0, 1], bad),
        (1024, &[1, 0, 1], bad),
        (2048, &[3], bad),
        (2048, &[1], bad),
        (2048, &[1, 0, 3], bad),
    ] {
        assert_eq!(
            with_key(rsa_spki(&modulus(bits), exponent), 2),
            verdict,
            "{bits} {exponent:?}"
        );
    }
    let mut small = modulus(2048);
    small[0] = 0x7f;
    let integer = tlv(0x02, &[&small]);
    let key_of_2047 = tlv(0x30, &[&integer, &[2, 3, 1, 0, 1]]);
    assert_eq!(
        with_key(spki("1.2.840.113549.1.1.1", &[5, 0], &key_of_2047), 2),
        bad
    );
    let oaep = {
        let key = tlv(
            0x30,
            &[&tlv(0x02, &[&[0], &modulus(2048)]), &[2, 3, 1, 0, 1]],
        );
        spki("1.2.840.113549.1.1.7", &[0x30, 0], &key)
    };
    assert_eq!(with_key(oaep, 2), None);

    let (p256, p384, p521) = ("1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35");
    let ec = |curve: &str, point: &[u8]| with_key(spki("1.2.840.10045.2.1", &oid(curve), point), 4);
    let good = *key(9).public_key().sec1_bytes();
    assert_eq!(ec(p256, &good), None);
    assert_eq!(ec(p384, &point(&aws_lc_rs::agreement::ECDH_P384)), None);
    assert_eq!(ec(p521, &point(&aws_lc_rs::agreement::ECDH_P521)), bad);
    assert_eq!(ec(p384, &good), bad);
    assert_eq!(ec("1.3.132.0.10", &good), bad);
    let mut off_curve = good;
    off_curve[64] ^= 1;
    assert_eq!(ec(p256, &off_curve), bad);
    let compressed = [&[2 + (good[64] & 1)], &good[1..33]].concat();
    assert_eq!(ec(p256, &compressed), bad);
    assert_eq!(ec(p256, &[0]), bad);
    assert_eq!(ec(p256, &[]), bad);
}

fn point(curve: &'static aws_lc_rs::agreement::Algorithm) -> Vec<u8> {
    let key = aws_lc_rs::agreement::PrivateKey::generate(curve).unwrap();
    key.compute_public_key().unwrap().as_ref().to_vec()
}

#[test]
fn step_04_the_tpm_has_a_name() {
    let bad = Some(EvidenceError::EkIdentity);
    let named = |names: &[(u8, &str)]| under_root(&ek().with(tpm_names(names)));
    assert_eq!(under_root(&ek().without(ALTERNATIVE_NAME)).err(), bad);
    for missing in 0..3 {
        let mut names = TPM.to_vec();
        names.remove(missing);
        assert_eq!(named(&names).err(), bad);
        let mut twice = TPM.to_vec();
        twice.push(TPM[missing]);
        assert_eq!(named(&twice).err(), bad);
        let mut empty = TPM.to_vec();
        empty[missing].1 = "";
        assert_eq!(named(&empty).err(), bad);
        let long = "x".repeat(65);
        empty[missing].1 = &long;
        assert_eq!(named(&empty).err(), bad);
        empty[missing].1 = "line\nbreak";
        assert_eq!(named(&empty).err(), bad);
    }
    for id in [
        "49465800",
        "id:4946580",
        "id:494658000",
        "id:+9465800",
        "IFX",
    ] {
        assert_eq!(named(&[(1, id), TPM[1], TPM[2]]).err(), bad, "{id}");
    }
    let ek = named(&[(1, "id:49465800"), TPM[1], TPM[2]]).unwrap();
    assert_eq!(ek.identity().manufacturer(), 0x4946_5800);
    // Text is text by its tag, too.
    let octets = |id: u8, tag: u8| {
        let value = tlv(tag, &[b"model"]);
        let attribute = tlv(0x30, &[&oid(&format!("2.23.133.2.{id}")), &value]);
        tlv(0x31, &[&attribute])
    };
    let manufacturer = {
        let value = tlv(0x0c, &[b"id:00001014"]);
        let attribute = tlv(0x30, &[&oid("2.23.133.2.1"), &value]);
        tlv(0x31, &[&attribute])
    };
    for (tag, verdict) in [
        (0x0c, None),
        (0x13, None),
        (0x16, None),
        (0x04, bad),
        (0x1e, bad),
    ] {
        let sets = [manufacturer.clone(), octets(2, tag), octets(3, 0x0c)].concat();
        let names = tlv(0x30, &[&tlv(0xa4, &[&tlv(0x30, &[&sets])])]);
        let leaf = self::ek().with(extension(ALTERNATIVE_NAME, true, &names));
        assert_eq!(under_root(&leaf).err(), verdict, "{tag:#x}");
    }
    // A name of another kind is none, and one beside the directory name does no harm.
    let dns = tlv(0x82, &[b"tpm.example"]);
    let only_dns = extension(ALTERNATIVE_NAME, false, &tlv(0x30, &[&dns]));
    assert_eq!(under_root(&self::ek().with(only_dns)).err(), bad);
}

#[test]
fn step_05_a_denied_endorsement_key_is_refused() {
    let leaf = ek().by(&root_key());
    let mut deny = DenyList::default();
    deny.endorsement_keys.insert(claimed_ek_id(&leaf).unwrap());
    let anchor = Anchor::from_der(&root().by(&root_key()), EndorsementClass::Chip).unwrap();
    let denied = Endorsements::new(vec![anchor], deny);
    assert_eq!(
        ek_chain(&leaf, &[], &denied, now()).err(),
        Some(EvidenceError::EkDenied)
    );
    let other = Draft::ek("root", &key(8)).by(&root_key());
    assert!(ek_chain(&other, &[], &denied, now()).is_ok());
}

#[test]
fn step_05_weak_primes_are_refused() {
    let spki = rsa_spki(&crate::attest::roca::tests::weak_modulus(), &[1, 0, 1]);
    let leaf = Draft {
        spki,
        ..ek().with(key_usage(&[2]))
    };
    assert_eq!(under_root(&leaf).err(), Some(EvidenceError::WeakPrimes));
}

#[test]
fn step_06_the_key_is_the_certificate_s() {
    let ek = under_root(&ek()).unwrap();
    let point = key(9).public_key().sec1_bytes().to_vec();
    assert_eq!(*ek.key(), crate::attest::ek::EkKey::P256(point));
    let modulus = modulus(2048);
    let spki = rsa_spki(&modulus, &[1, 0, 1]);
    let leaf = Draft {
        spki,
        ..self::ek().with(key_usage(&[2]))
    };
    let ek = under_root(&leaf).unwrap();
    assert_eq!(*ek.key(), crate::attest::ek::EkKey::Rsa(modulus));
}

#[test]
fn names_of_anchors_are_for_people() {
    let anchor = Anchor::from_der(&root().by(&root_key()), EndorsementClass::Chip).unwrap();
    assert_eq!(anchor.name(), "CN=root");
    let spki = anchor.certificate().key_id();
    assert_eq!(anchor.key_id(), spki);
}
