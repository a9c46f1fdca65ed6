//! Steps 7 to 9 and 15 to 18: attestation keys and device keys.

use upkeep::tpm::{
    Attested, Attributes, PublicKeyArea, Scheme, Symmetric, alg, curve, policy, template,
};

use super::forge::modulus;
use super::scene::{QUESTION, Scene, VALUE, flip, no_change, rsa_ak};
use crate::attest::{EvidenceError, ak_public, key_certify};

#[test]
fn step_07_ak_is_restricted_to_its_tpm() {
    for bit in [
        Attributes::FIXED_TPM,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::RESTRICTED,
        Attributes::SIGN,
        Attributes::DECRYPT,
    ] {
        let mut scene = Scene::new();
        scene.ak.attributes = flip(scene.ak.attributes, bit);
        let verdict = scene.judge_ak();
        assert_eq!(verdict.err(), Some(EvidenceError::AkAttributes), "{bit:?}");
    }
    for bit in [Attributes::USER_WITH_AUTH, Attributes::NO_DA] {
        let mut scene = Scene::new();
        scene.ak.attributes = flip(scene.ak.attributes, bit);
        assert!(scene.judge_ak().is_ok(), "{bit:?}");
    }
    let mut trailing = Scene::new().ak.to_bytes();
    trailing.push(0);
    for bytes in [&trailing[..], &[], &trailing[..40], &[0; 9000]] {
        assert_eq!(ak_public(bytes).err(), Some(EvidenceError::AkForm));
    }
}

#[test]
fn step_08_ak_signs_by_an_accepted_scheme() {
    let scheme_of = |wanted| {
        let mut scene = Scene::new();
        if let PublicKeyArea::Ecc { scheme, .. } = &mut scene.ak.key {
            *scheme = wanted;
        }
        scene.judge_ak().err()
    };
    let refused = Some(EvidenceError::AkScheme);
    assert_eq!(scheme_of(Scheme::Null), refused);
    for hash in [alg::SHA1, alg::SHA384] {
        assert_eq!(scheme_of(Scheme::Ecdsa(hash)), refused);
    }
    assert_eq!(scheme_of(Scheme::Rsassa(alg::SHA256)), refused);
    let mut name = Scene::new();
    name.ak.name_alg = alg::SHA384;
    assert_eq!(name.judge_ak().err(), refused);
    for scheme in [
        Scheme::Null,
        Scheme::Rsassa(alg::SHA1),
        Scheme::Rsapss(alg::SHA384),
        Scheme::Ecdsa(alg::SHA256),
    ] {
        let ak = rsa_ak(scheme, modulus(2048));
        assert_eq!(ak_public(&ak.to_bytes()).err(), refused, "{scheme:?}");
    }
}

#[test]
fn step_08_ak_is_a_sound_key() {
    let bad = Some(EvidenceError::AkKey);
    let ecc = |change: fn(&mut u16, &mut Vec<u8>, &mut Vec<u8>)| {
        let mut scene = Scene::new();
        if let PublicKeyArea::Ecc { curve, x, y, .. } = &mut scene.ak.key {
            change(curve, x, y);
        }
        scene.judge_ak().err()
    };
    assert_eq!(ecc(|curve, _, _| *curve = curve::P384), bad);
    assert_eq!(ecc(|_, x, _| x[31] ^= 1), bad);
    assert_eq!(ecc(|_, x, y| std::mem::swap(x, y)), bad);
    assert_eq!(ecc(|_, x, y| (*x, *y) = (vec![], vec![])), bad);
    assert_eq!(ecc(|_, x, _| x.insert(0, 0)), bad);
    let rsa = |change: fn(&mut u16, &mut u32, &mut Vec<u8>)| {
        let mut ak = rsa_ak(Scheme::Rsassa(alg::SHA256), modulus(2048));
        if let PublicKeyArea::Rsa {
            key_bits,
            exponent,
            modulus,
            ..
        } = &mut ak.key
        {
            change(key_bits, exponent, modulus);
        }
        ak_public(&ak.to_bytes()).err()
    };
    assert_eq!(rsa(|_, _, _| {}), None);
    assert_eq!(rsa(|_, exponent, _| *exponent = 65537), None);
    assert_eq!(rsa(|_, exponent, _| *exponent = 3), bad);
    assert_eq!(rsa(|bits, _, _| *bits = 3072), bad);
    assert_eq!(
        rsa(|bits, _, modulus| (*bits, *modulus) = (1024, self::modulus(1024))),
        bad
    );
    assert_eq!(rsa(|_, _, modulus| modulus[0] = 0x7f), bad);
    assert_eq!(
        rsa(|_, _, modulus| *modulus = crate::attest::roca::tests::weak_modulus()),
        bad
    );
    let mut aes = Scene::new();
    if let PublicKeyArea::Ecc { symmetric, .. } = &mut aes.ak.key {
        *symmetric = Symmetric::AES_128_CFB;
    }
    assert_eq!(aes.judge_ak().err(), bad);
}

#[test]
fn step_09_ak_name_is_recomputed() {
    let scene = Scene::new();
    assert_eq!(scene.judge_ak().unwrap().name(), scene.ak.name());
    let mut other = Scene::new();
    other.ak.attributes = flip(other.ak.attributes, Attributes::NO_DA);
    assert_ne!(other.judge_ak().unwrap().name(), scene.ak.name());
}

#[test]
fn step_15_the_certified_key_is_this_one() {
    let wrong = Some(EvidenceError::CertifiedName);
    let scene = Scene::new();
    let named = |bytes: Vec<u8>| {
        scene
            .key(|attest| {
                attest.body = Attested::Certify {
                    name: bytes,
                    qualified_name: vec![],
                };
            })
            .err()
    };
    let own = scene.device.name().as_bytes().to_vec();
    assert_eq!(named(own.clone()), None);
    assert_eq!(named(scene.ak.name().as_bytes().to_vec()), wrong);
    assert_eq!(named(own[..33].to_vec()), wrong);
    assert_eq!(named(vec![]), wrong);
    assert_eq!(named([&[0, 0x0c], &own[2..]].concat()), wrong);
}

#[test]
fn step_16_the_device_key_signs_and_never_leaves() {
    for bit in [
        Attributes::FIXED_TPM,
        Attributes::FIXED_PARENT,
        Attributes::SENSITIVE_DATA_ORIGIN,
        Attributes::SIGN,
        Attributes::RESTRICTED,
        Attributes::DECRYPT,
    ] {
        let mut scene = Scene::new();
        scene.device.attributes = flip(scene.device.attributes, bit);
        let verdict = scene.key(no_change).err();
        assert_eq!(verdict, Some(EvidenceError::DeviceAttributes), "{bit:?}");
    }
    for bit in [Attributes::NO_DA, Attributes::ADMIN_WITH_POLICY] {
        let mut scene = Scene::new();
        scene.device.attributes = flip(scene.device.attributes, bit);
        assert!(scene.key(no_change).is_ok(), "{bit:?}");
    }
}

#[test]
fn step_16_the_device_key_is_on_p256() {
    let bad = Some(EvidenceError::DeviceKey);
    let ecc = |change: fn(&mut Scheme, &mut u16, &mut Vec<u8>)| {
        let mut scene = Scene::new();
        if let PublicKeyArea::Ecc {
            scheme, curve, x, ..
        } = &mut scene.device.key
        {
            change(scheme, curve, x);
        }
        scene.key(no_change).err()
    };
    assert_eq!(ecc(|_, _, _| {}), None);
    assert_eq!(ecc(|scheme, _, _| *scheme = Scheme::Null), None);
    assert_eq!(
        ecc(|scheme, _, _| *scheme = Scheme::Ecdsa(alg::SHA384)),
        bad
    );
    assert_eq!(
        ecc(|scheme, _, _| *scheme = Scheme::Rsassa(alg::SHA256)),
        bad
    );
    assert_eq!(ecc(|_, curve, _| *curve = curve::P384), bad);
    assert_eq!(ecc(|_, _, x| x[0] ^= 1), bad);
    let mut rsa = Scene::new();
    rsa.device.key = rsa_ak(Scheme::Rsassa(alg::SHA256), modulus(2048)).key;
    assert_eq!(rsa.key(no_change).err(), bad);
    let mut name = Scene::new();
    name.device.name_alg = alg::SHA384;
    assert_eq!(name.key(no_change).err(), bad);
    let scene = Scene::new();
    let mut device = scene.device.to_bytes();
    device.push(0);
    let attest = scene
        .statement(Attested::Certify {
            name: upkeep::tpm::name_of(&device).as_bytes().to_vec(),
            qualified_name: vec![],
        })
        .to_bytes();
    let (ak, nv) = (scene.judge_ak().unwrap(), scene.nv.to_bytes());
    let signature = scene.sign(&attest);
    let verdict = key_certify(&ak, &device, &nv, &attest, &signature, &QUESTION, VALUE);
    assert_eq!(verdict.err(), Some(EvidenceError::DeviceForm));
}

#[test]
fn step_17_the_device_key_s_policy_is_the_counter_at_its_value() {
    let wrong = Some(EvidenceError::DevicePolicy);
    let nv = Scene::new().nv;
    let other_index = template::counter(0x0180_0002, true).name();
    let unwritten = template::counter(0x0180_0001, false).name();
    for policy in [
        vec![],
        vec![0; 32],
        policy::nv_equal(VALUE + 1, &nv.name()).to_vec(),
        policy::nv_equal(VALUE, &other_index).to_vec(),
        policy::nv_equal(VALUE, &unwritten).to_vec(),
        policy::secret_endorsement().to_vec(),
    ] {
        let mut scene = Scene::new();
        scene.device.auth_policy = policy;
        assert_eq!(scene.key(no_change).err(), wrong);
    }
}

#[test]
fn step_18_no_password_goes_round_the_policy() {
    let mut scene = Scene::new();
    scene.device.attributes = flip(scene.device.attributes, Attributes::USER_WITH_AUTH);
    let verdict = scene.key(no_change).err();
    assert_eq!(verdict, Some(EvidenceError::DeviceUserWithAuth));
}
