//! Steps 1, 2 and 5: paths of certificates to a pinned key.

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
};
use chrono::TimeDelta;
use upkeep::key::SigningKey;
use upkeep::level::AssuranceLevel;

use super::forge::*;
use super::scene::rsa_key;
use crate::attest::path::to_anchor;
use crate::attest::x509::{Certificate, algorithm};
use crate::attest::{
    Anchor, DenyList, EndorsedEk, EndorsementClass, Endorsements, EvidenceError, claimed_ek_id,
    ek_chain,
};

type Verdict = Result<EndorsedEk, EvidenceError>;

pub(super) fn root_key() -> SigningKey {
    key(1)
}

pub(super) fn root() -> Draft {
    Draft::authority("root", "root", &root_key())
}

pub(super) fn ek() -> Draft {
    Draft::ek("root", &key(9))
}

fn pinned(der: &[u8]) -> Endorsements {
    pinned_as(der, EndorsementClass::Chip)
}

fn pinned_as(der: &[u8], class: EndorsementClass) -> Endorsements {
    Endorsements::new(
        vec![Anchor::from_der(der, class).unwrap()],
        DenyList::default(),
    )
}

/// The verdict on a leaf under the usual root.
pub(super) fn under_root(leaf: &Draft) -> Verdict {
    ek_chain(
        &leaf.by(&root_key()),
        &[],
        &pinned(&root().by(&root_key())),
        now(),
    )
}

/// A leaf, two intermediates and the root, each to be changed.
struct Chain {
    leaf: Draft,
    lower: Draft,
    upper: Draft,
    root: Draft,
}

impl Chain {
    fn new() -> Self {
        Self {
            leaf: Draft::ek("lower", &key(9)),
            lower: Draft::authority("lower", "upper", &key(3)),
            upper: Draft::authority("upper", "root", &key(2)),
            root: root(),
        }
    }

    /// Leaf, lower, upper or root.
    fn nth(&mut self, n: usize) -> &mut Draft {
        match n {
            0 => &mut self.leaf,
            1 => &mut self.lower,
            2 => &mut self.upper,
            _ => &mut self.root,
        }
    }

    fn leaf(&self) -> Vec<u8> {
        self.leaf.by(&key(3))
    }

    fn intermediates(&self) -> Vec<Vec<u8>> {
        vec![self.lower.by(&key(2)), self.upper.by(&root_key())]
    }

    fn verdict(&self) -> Verdict {
        let root = self.root.by(&root_key());
        ek_chain(&self.leaf(), &self.intermediates(), &pinned(&root), now())
    }
}

#[test]
fn a_leaf_under_a_pinned_root_is_endorsed() {
    let ek = under_root(&ek()).unwrap();
    assert_eq!(ek.class(), EndorsementClass::Chip);
    assert_eq!(ek.class().level(), AssuranceLevel::Hardware);
    assert_eq!(ek.identity().manufacturer(), 0x1014);
    assert_eq!(ek.identity().model(), "model");
    assert_eq!(ek.identity().version(), "id:00010002");
    let leaf = self::ek().by(&root_key());
    assert_eq!(claimed_ek_id(&leaf), Some(ek.ek_id()));
    assert_eq!(claimed_ek_id(&leaf[1..]), None);
}

#[test]
fn a_path_is_found_in_any_order_and_beside_strangers() {
    let chain = Chain::new();
    let root = chain.root.by(&root_key());
    let mut sent = chain.intermediates();
    sent.push(root.clone());
    for _ in 0..sent.len() {
        sent.rotate_left(1);
        assert!(ek_chain(&chain.leaf(), &sent, &pinned(&root), now()).is_ok());
    }
    sent.reverse();
    assert!(ek_chain(&chain.leaf(), &sent, &pinned(&root), now()).is_ok());
}

#[test]
fn a_pinned_intermediate_ends_the_path_and_decides_the_class() {
    let chain = Chain::new();
    let [lower, upper] = chain.intermediates().try_into().unwrap();
    let alone = pinned_as(&lower, EndorsementClass::CloudVtpm);
    let ek = ek_chain(&chain.leaf(), &[], &alone, now()).unwrap();
    assert_eq!(ek.class().level(), AssuranceLevel::CloudVtpm);
    let root = Anchor::from_der(&chain.root.by(&root_key()), EndorsementClass::Chip).unwrap();
    let lower_class = Anchor::from_der(&lower, EndorsementClass::Software).unwrap();
    let both = Endorsements::new(vec![root, lower_class], DenyList::default());
    let ek = ek_chain(&chain.leaf(), &[lower, upper], &both, now()).unwrap();
    assert_eq!(ek.class(), EndorsementClass::Software);
}

#[test]
fn a_key_that_is_pinned_twice_counts_for_the_weaker_class() {
    let root = root().by(&root_key());
    for classes in [
        [EndorsementClass::Chip, EndorsementClass::Software],
        [EndorsementClass::Software, EndorsementClass::Chip],
    ] {
        let anchors = classes.map(|class| Anchor::from_der(&root, class).unwrap());
        let endorsements = Endorsements::new(anchors.to_vec(), DenyList::default());
        let ek = ek_chain(&ek().by(&root_key()), &[], &endorsements, now()).unwrap();
        assert_eq!(ek.class(), EndorsementClass::Software);
    }
}

#[test]
fn step_01_the_key_is_pinned_and_not_the_name() {
    let impostor = Draft::authority("root", "root", &key(7)).by(&key(7));
    let genuine = root().by(&root_key());
    let forged = ek().by(&key(7));
    let verdict = ek_chain(
        &forged,
        std::slice::from_ref(&impostor),
        &pinned(&genuine),
        now(),
    );
    assert_eq!(verdict.err(), Some(EvidenceError::NotPinned));
    // Two pinned authorities of one name: each vouches for its own, with its own class.
    let anchors = vec![
        Anchor::from_der(&impostor, EndorsementClass::Software).unwrap(),
        Anchor::from_der(&genuine, EndorsementClass::Chip).unwrap(),
    ];
    let both = Endorsements::new(anchors, DenyList::default());
    let class = |leaf: &[u8]| ek_chain(leaf, &[], &both, now()).unwrap().class();
    assert_eq!(class(&forged), EndorsementClass::Software);
    assert_eq!(class(&ek().by(&root_key())), EndorsementClass::Chip);
}

#[test]
fn step_01_a_path_is_of_signatures_and_names() {
    let not_pinned = Some(EvidenceError::NotPinned);
    let stranger = Draft {
        issuer: name("other"),
        ..ek()
    };
    assert_eq!(under_root(&stranger).err(), not_pinned);
    let chain = Chain::new();
    let root = pinned(&chain.root.by(&root_key()));
    let upper_only = &chain.intermediates()[1..];
    assert_eq!(
        ek_chain(&chain.leaf(), upper_only, &root, now()).err(),
        not_pinned
    );
    let nothing = Endorsements::default();
    let verdict = ek_chain(&chain.leaf(), &chain.intermediates(), &nothing, now());
    assert_eq!(verdict.err(), not_pinned);
    let dongle = pinned_as(&self::root().by(&root_key()), EndorsementClass::Dongle);
    assert_eq!(
        ek_chain(&ek().by(&root_key()), &[], &dongle, now()).err(),
        not_pinned
    );
}

/// A leaf under a root of this key, signed in this way.
fn under(root_spki: Vec<u8>, signer: &Signer<'_>) -> Option<EvidenceError> {
    let root = Draft {
        spki: root_spki,
        ..root()
    };
    let leaf = ek().sign(signer);
    ek_chain(&leaf, &[], &pinned(&root.by(&root_key())), now()).err()
}

#[test]
fn step_01_authorities_sign_with_rsa() {
    let public: PublicKeyX509Der<'_> = rsa_key().public_key().as_der().unwrap();
    let spki = public.as_ref().to_vec();
    let signed = |encoding: &'static dyn RsaEncoding, message: &[u8]| {
        let mut signature = vec![0; 256];
        let random = SystemRandom::new();
        rsa_key()
            .sign(encoding, &random, message, &mut signature)
            .unwrap();
        signature
    };
    let pkcs1 = |last: u8| {
        tlv(
            0x30,
            &[&oid(&format!("1.2.840.113549.1.1.{last}")), &[5, 0]],
        )
    };
    let pss = |hash: u8, salt: u8| {
        let hash = tlv(
            0x30,
            &[&oid(&format!("2.16.840.1.101.3.4.2.{hash}")), &[5, 0]],
        );
        let mask = tlv(0x30, &[&oid("1.2.840.113549.1.1.8"), &hash]);
        let parts = [
            tlv(0xa0, &[&hash]),
            tlv(0xa1, &[&mask]),
            tlv(0xa2, &[&[2, 1, salt]]),
        ];
        let parameters = tlv(0x30, &[&parts.concat()]);
        tlv(0x30, &[&oid("1.2.840.113549.1.1.10"), &parameters])
    };
    let cases: [(Vec<u8>, &'static dyn RsaEncoding, bool); 10] = [
        (pkcs1(11), &RSA_PKCS1_SHA256, true),
        (pkcs1(12), &RSA_PKCS1_SHA384, true),
        (pkcs1(13), &RSA_PKCS1_SHA512, true),
        (pss(1, 32), &RSA_PSS_SHA256, true),
        (pss(2, 48), &RSA_PSS_SHA384, true),
        (pss(3, 64), &RSA_PSS_SHA512, true),
        (pss(1, 20), &RSA_PSS_SHA256, false),
        (pss(1, 32), &RSA_PKCS1_SHA256, false),
        (pkcs1(5), &RSA_PKCS1_SHA256, false),
        (
            tlv(0x30, &[&oid("1.2.840.113549.1.1.11")]),
            &RSA_PKCS1_SHA256,
            false,
        ),
    ];
    for (n, (algorithm, encoding, accepted)) in cases.into_iter().enumerate() {
        let sign = |message: &[u8]| signed(encoding, message);
        let signer = Signer {
            algorithm,
            sign: &sign,
        };
        let expected = (!accepted).then_some(EvidenceError::NotPinned);
        assert_eq!(under(spki.clone(), &signer), expected, "{n}");
    }
}

#[test]
fn step_01_an_algorithm_has_its_own_parameters() {
    let sign = |message: &[u8]| {
        let signature = p256::ecdsa::Signature::from_slice(&root_key().sign(message)).unwrap();
        signature.to_der().as_bytes().to_vec()
    };
    for (parameters, expected) in [(&[][..], None), (&[5, 0], Some(EvidenceError::NotPinned))] {
        let signer = Signer {
            algorithm: tlv(0x30, &[&oid("1.2.840.10045.4.3.2"), parameters]),
            sign: &sign,
        };
        let spki = root_key().public_key().to_spki_der();
        assert_eq!(under(spki, &signer), expected);
    }
}

#[test]
fn step_01_authorities_sign_on_larger_curves() {
    let cases: [(&str, u8, &'static EcdsaSigningAlgorithm); 2] = [
        ("1.3.132.0.34", 3, &ECDSA_P384_SHA384_ASN1_SIGNING),
        ("1.3.132.0.35", 4, &ECDSA_P521_SHA512_ASN1_SIGNING),
    ];
    for (curve, hash, algorithm) in cases {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let spki = spki("1.2.840.10045.2.1", &oid(curve), pair.public_key().as_ref());
        let sign = |message: &[u8]| {
            let random = SystemRandom::new();
            pair.sign(&random, message).unwrap().as_ref().to_vec()
        };
        let signer = Signer {
            algorithm: tlv(0x30, &[&oid(&format!("1.2.840.10045.4.3.{hash}"))]),
            sign: &sign,
        };
        assert_eq!(under(spki, &signer), None, "{curve}");
    }
}

#[test]
fn step_01_a_loop_of_intermediates_ends() {
    let one = Draft::authority("one", "two", &key(2)).by(&key(3));
    let two = Draft::authority("two", "one", &key(3)).by(&key(2));
    let own = Draft::authority("one", "one", &key(2)).by(&key(2));
    let leaf = Draft::ek("one", &key(9)).by(&key(2));
    let verdict = ek_chain(
        &leaf,
        &[one, two, own],
        &pinned(&root().by(&root_key())),
        now(),
    );
    assert_eq!(verdict.err(), Some(EvidenceError::NotPinned));
}

#[test]
fn step_01_the_work_does_not_grow_with_the_number_of_paths() {
    // Any of the eight may have signed any other, and none is pinned.
    let same = |n: i64| Draft {
        not_after: now() + TimeDelta::days(n + 1),
        ..Draft::authority("loop", "loop", &key(2))
    };
    let sent: Vec<_> = (0..8).map(|n| same(n).by(&key(2))).collect();
    let certificate = |der: &[u8]| Certificate::parse(der).unwrap();
    let leaf = certificate(&Draft::ek("loop", &key(9)).by(&key(2)));
    let intermediates: Vec<_> = sent.iter().map(|der| certificate(der)).collect();
    let anchor = Anchor::from_der(&root().by(&root_key()), EndorsementClass::Chip).unwrap();
    let asked = std::cell::Cell::new(0);
    let path = to_anchor(&leaf, &intermediates, &[&anchor], |_, _| {
        asked.set(asked.get() + 1);
        Ok(())
    });
    assert!(path.is_err());
    assert_eq!(asked.get(), 8, "each is reached once");
}

#[test]
fn step_01_what_the_leaf_says_by_itself_comes_before_its_path() {
    let stranger = Draft::ek("stranger", &key(9)).with(key_usage(&[0]));
    assert_eq!(under_root(&stranger).err(), Some(EvidenceError::EkKeyUsage));
}

#[test]
fn step_01_rsa_keys_of_authorities_are_bounded() {
    // The signature is no signature, but the size alone decides: nothing of 8192 bits is ever computed.
    let large = Draft {
        spki: rsa_spki(&modulus(4104), &[1, 0, 1]),
        ..root()
    };
    let large = Certificate::parse(&large.by(&root_key())).unwrap();
    let identifier = |der: &[u8]| x509_cert::der::Decode::from_der(der).unwrap();
    let sha256 = tlv(0x30, &[&oid("1.2.840.113549.1.1.11"), &[5, 0]]);
    assert!(algorithm(&large.key().unwrap(), &identifier(&sha256)).is_none());
    let fits = Draft {
        spki: rsa_spki(&modulus(4096), &[1, 0, 1]),
        ..root()
    };
    let fits = Certificate::parse(&fits.by(&root_key())).unwrap();
    assert!(algorithm(&fits.key().unwrap(), &identifier(&sha256)).is_some());
}

#[test]
fn a_weak_class_does_not_end_with_its_certificate() {
    // The intermediate is pinned as software; its certificate ends, and a newer one of the same key leads to the root of chips.
    let chain = Chain::new();
    let ended = Draft {
        not_after: now() - TimeDelta::seconds(1),
        ..chain.lower.clone()
    };
    let anchors = vec![
        Anchor::from_der(&chain.root.by(&root_key()), EndorsementClass::Chip).unwrap(),
        Anchor::from_der(&ended.by(&key(2)), EndorsementClass::Software).unwrap(),
    ];
    let endorsements = Endorsements::new(anchors, DenyList::default());
    let sent = chain.intermediates();
    let ek = ek_chain(&chain.leaf(), &sent, &endorsements, now()).unwrap();
    assert_eq!(ek.class(), EndorsementClass::Software);
}

#[test]
fn step_02_every_certificate_is_valid_now() {
    assert!(Chain::new().verdict().is_ok());
    for n in 0..4 {
        for past in [true, false] {
            let mut chain = Chain::new();
            let draft = chain.nth(n);
            if past {
                draft.not_after = now() - TimeDelta::seconds(1);
            } else {
                draft.not_before = now() + TimeDelta::seconds(1);
            }
            assert_eq!(
                chain.verdict().err(),
                Some(EvidenceError::Validity),
                "{n} {past}"
            );
        }
        let mut chain = Chain::new();
        let draft = chain.nth(n);
        (draft.not_before, draft.not_after) = (now(), now());
        assert!(chain.verdict().is_ok(), "both ends count");
    }
}

#[test]
fn step_02_no_unknown_extension_is_critical() {
    for n in 0..4 {
        for critical in [true, false] {
            let mut chain = Chain::new();
            let draft = chain.nth(n);
            *draft = draft.clone().with(extension("1.2.3.4", critical, &[5, 0]));
            let expected = critical.then_some(EvidenceError::CriticalExtension);
            assert_eq!(chain.verdict().err(), expected, "{n} {critical}");
        }
    }
    // Name constraints are not computed here, so an authority that has them is none.
    let mut chain = Chain::new();
    chain.upper = chain.upper.with(extension("2.5.29.30", true, &[0x30, 0]));
    assert_eq!(
        chain.verdict().err(),
        Some(EvidenceError::CriticalExtension)
    );
}

#[test]
fn step_02_only_authorities_issue() {
    let unfit: [fn(Draft) -> Draft; 7] = [
        |draft| draft.with(basic_constraints(false, None)),
        |draft| draft.without(BASIC_CONSTRAINTS),
        |draft| draft.with(key_usage(&[0, 6])),
        |draft| draft.without(KEY_USAGE),
        |draft| draft.with(extended_key_usage(&["1.3.6.1.5.5.7.3.1"])),
        |draft| draft.with(extended_key_usage(&["2.23.133.8.3"])),
        |draft| draft.with(extension(BASIC_CONSTRAINTS, true, &[0x30, 3, 1, 1, 1])),
    ];
    for n in 1..4 {
        for (nth, unfit) in unfit.iter().enumerate() {
            let mut chain = Chain::new();
            let draft = chain.nth(n);
            *draft = unfit(draft.clone());
            // Whoever pins an authority may pin one that is silent about usage.
            let silent = draft.extensions.iter().all(|(id, _)| id != KEY_USAGE);
            let expected = (n < 3 || !silent).then_some(EvidenceError::Authority);
            assert_eq!(chain.verdict().err(), expected, "{n} {nth}");
        }
        for usage in [EK_USAGE, "2.5.29.37.0"] {
            let mut chain = Chain::new();
            let draft = chain.nth(n);
            *draft = draft.clone().with(extended_key_usage(&[usage]));
            assert!(chain.verdict().is_ok(), "{n} {usage}");
        }
    }
}

#[test]
fn step_02_paths_are_no_longer_than_allowed() {
    for (n, most) in [(1, 0), (2, 1), (3, 2)] {
        let mut chain = Chain::new();
        let draft = chain.nth(n);
        *draft = draft.clone().with(basic_constraints(true, Some(most)));
        assert!(chain.verdict().is_ok(), "{n} {most}");
        if let Some(fewer) = most.checked_sub(1) {
            let draft = chain.nth(n);
            *draft = draft.clone().with(basic_constraints(true, Some(fewer)));
            assert_eq!(
                chain.verdict().err(),
                Some(EvidenceError::PathLength),
                "{n}"
            );
        }
    }
}

#[test]
fn step_02_sizes_and_counts_are_bounded() {
    let chain = Chain::new();
    let root = pinned(&chain.root.by(&root_key()));
    let mut sent = chain.intermediates();
    sent.resize(8, chain.lower.by(&key(2)));
    assert!(ek_chain(&chain.leaf(), &sent, &root, now()).is_ok());
    sent.resize(9, chain.lower.by(&key(2)));
    let verdict = ek_chain(&chain.leaf(), &sent, &root, now());
    assert_eq!(verdict.err(), Some(EvidenceError::CertificateCount));
    let sized = |length| ek().with(extension("1.2.3.4", false, &vec![7; length]));
    let small = sized(3000).by(&root_key()).len();
    let most = sized(3000 + 4096 - small);
    assert!(most.by(&root_key()).len().abs_diff(4096) < 4);
    assert!(under_root(&sized(3000 + 4090 - small)).is_ok());
    assert_eq!(
        under_root(&sized(3000 + 4100 - small)).err(),
        Some(EvidenceError::CertificateForm)
    );
}

#[test]
fn step_02_certificates_are_exact_der() {
    let form = Some(EvidenceError::CertificateForm);
    let mut trailing = ek().by(&root_key());
    trailing.push(0);
    let root = pinned(&root().by(&root_key()));
    assert_eq!(ek_chain(&trailing, &[], &root, now()).err(), form);
    for garbage in [&[][..], &[0x30], &[0x30, 0x80, 0, 0], &[0xff; 4096]] {
        assert_eq!(ek_chain(garbage, &[], &root, now()).err(), form);
        let sent = [garbage.to_vec()];
        assert_eq!(
            ek_chain(&ek().by(&root_key()), &sent, &root, now()).err(),
            form
        );
        assert!(Anchor::from_der(garbage, EndorsementClass::Chip).is_err());
    }
    let explicit_default = tlv(0x30, &[&oid("1.2.3.4"), &[1, 1, 0], &[4, 2, 5, 0]]);
    let long_length = [&[0x30, 0x81, 9][..], &oid("1.2.3.4"), &[4, 2, 5, 0]].concat();
    let loose_true = tlv(0x30, &[&oid("1.2.3.4"), &[1, 1, 1], &[4, 2, 5, 0]]);
    for der in [explicit_default, long_length, loose_true] {
        let leaf = ek().with(("1.2.3.4".to_owned(), der));
        assert_eq!(under_root(&leaf).err(), form);
    }
    // The same holds inside the extensions that are read.
    for (id, value) in [
        (BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0][..]),
        (BASIC_CONSTRAINTS, &[0x30, 0, 0]),
        (KEY_USAGE, &[3, 2, 8, 0x08]),
        (KEY_USAGE, &[3, 0x81, 2, 3, 0x08]),
        (
            EXTENDED_KEY_USAGE,
            &[0x30, 0x81, 7, 6, 5, 0x67, 0x81, 5, 8, 1],
        ),
    ] {
        let leaf = ek().with(extension(id, true, value));
        assert_eq!(under_root(&leaf).err(), form, "{id}");
    }
}

#[test]
fn step_02_zero_bits_at_the_end_of_a_key_usage_are_borne_in_a_pinned_certificate() {
    let usage = |byte| extension(KEY_USAGE, true, &[3, 2, 0, byte]);
    for (n, byte, expected) in [
        (0, 0x08, Some(EvidenceError::CertificateForm)),
        (1, 0x06, Some(EvidenceError::Authority)),
        (2, 0x06, Some(EvidenceError::Authority)),
        (3, 0x06, None),
    ] {
        let mut chain = Chain::new();
        let draft = chain.nth(n);
        *draft = draft.clone().with(usage(byte));
        assert_eq!(chain.verdict().err(), expected, "{n}");
    }
}

#[test]
fn step_02_a_certificate_says_each_thing_once() {
    let form = Some(EvidenceError::CertificateForm);
    let mut twice = ek();
    twice.extensions.push(key_usage(&[4]));
    assert_eq!(under_root(&twice).err(), form);
    let mut algorithm = ek();
    algorithm.inner_algorithm = Some(tlv(0x30, &[&oid("1.2.840.10045.4.3.3")]));
    assert_eq!(under_root(&algorithm).err(), form);
    for version in [&[][..], &[0xa0, 3, 2, 1, 1], &[0xa0, 3, 2, 1, 0]] {
        let mut old = ek();
        old.version = version.to_vec();
        assert_eq!(
            under_root(&old).err(),
            form,
            "only version 3 has extensions"
        );
    }
    // An authority that has no extensions at all reads well, and is none.
    let mut bare = Draft::new("root", "root", root_key().public_key().to_spki_der());
    bare.version = vec![];
    let verdict = ek_chain(
        &ek().by(&root_key()),
        &[],
        &pinned(&bare.by(&root_key())),
        now(),
    );
    assert_eq!(verdict.err(), Some(EvidenceError::Authority));
}

#[test]
fn every_one_byte_mutant_of_a_certificate_is_refused() {
    let root = pinned(&root().by(&root_key()));
    let leaf = ek().by(&root_key());
    for at in 0..leaf.len() {
        for bit in [1, 0x80] {
            let mut mutant = leaf.clone();
            mutant[at] ^= bit;
            assert!(ek_chain(&mutant, &[], &root, now()).is_err(), "{at} {bit}");
        }
    }
}

#[test]
fn step_05_a_denied_authority_anywhere_in_the_path_is_refused() {
    let chain = Chain::new();
    let anchor = Anchor::from_der(&chain.root.by(&root_key()), EndorsementClass::Chip).unwrap();
    for (seed, refused) in [(1, true), (2, true), (3, true), (4, false)] {
        let mut deny = DenyList::default();
        let spki = key(seed).public_key().to_spki_der();
        deny.authorities
            .insert(<sha2::Sha256 as sha2::Digest>::digest(spki).into());
        let denied = Endorsements::new(vec![anchor.clone()], deny);
        let verdict = ek_chain(&chain.leaf(), &chain.intermediates(), &denied, now());
        assert_eq!(
            verdict.err(),
            refused.then_some(EvidenceError::AuthorityDenied),
            "{seed}"
        );
    }
}
