//! Steps 31 to 40: dongles with PIV attestation, on chains of the shape that YubiKeys make.

use chrono::TimeDelta;
use upkeep::key::SigningKey;
use upkeep::level::AssuranceLevel;

use super::forge::*;
use crate::attest::{
    Anchor, AttestedSlot, DenyList, EndorsementClass, Endorsements, EvidenceError, Facts,
    PinPolicy, PivEvidence, PivPolicy, SlotKey, TouchPolicy, appraise_piv, piv_attestation,
};

const FIRMWARE: &str = "1.3.6.1.4.1.41482.3.3";
const SERIAL: &str = "1.3.6.1.4.1.41482.3.7";
const POLICIES: &str = "1.3.6.1.4.1.41482.3.8";
const FORM_FACTOR: &str = "1.3.6.1.4.1.41482.3.9";

const LENIENT: PivPolicy = PivPolicy {
    min_firmware: [5, 4, 3],
    pin_policy_at_least: PinPolicy::Once,
};

/// A root, a dongle and a slot, each to be changed.
struct Dongle {
    root: Draft,
    f9: Draft,
    slot: Draft,
    /// What stands between root and f9, with the seed of each one's signer.
    above: Vec<(Draft, u8)>,
    deny: DenyList,
    class: EndorsementClass,
    /// Who signed f9, and who signed the slot.
    signers: (SigningKey, SigningKey),
}

impl Dongle {
    fn new() -> Self {
        let root = Draft::new("root", "root", key(1).public_key().to_spki_der());
        // As firmware 4.3.7 has it: a root that allows no intermediate, and an f9 without extensions.
        let root = root.with(basic_constraints(true, Some(0)));
        let f9 = Draft::new("f9", "root", key(2).public_key().to_spki_der());
        let slot = Draft::new("slot 9a", "f9", key(3).public_key().to_spki_der());
        Self {
            root,
            f9,
            slot: slot
                .with(extension(FIRMWARE, false, &[5, 4, 3]))
                .with(extension(SERIAL, false, &[2, 4, 0, 0x98, 0x96, 0x7f]))
                .with(extension(POLICIES, false, &[2, 1])),
            above: Vec::new(),
            deny: DenyList::default(),
            class: EndorsementClass::Dongle,
            signers: (key(1), key(2)),
        }
    }

    /// As firmware 5.7 has it: two intermediates between root and f9.
    fn newer() -> Self {
        let mut dongle = Self::new();
        dongle.root = dongle.root.without(BASIC_CONSTRAINTS);
        dongle.root = dongle.root.with(basic_constraints(true, None));
        dongle.f9.issuer = name("lower");
        dongle.f9 = dongle.f9.with(basic_constraints(true, Some(0)));
        dongle.signers.0 = key(6);
        dongle.above = vec![
            (Draft::authority("lower", "upper", &key(6)), 5),
            (Draft::authority("upper", "root", &key(5)), 1),
        ];
        dongle
    }

    fn above(&self) -> Vec<Vec<u8>> {
        let above = self.above.iter();
        above
            .map(|(draft, signer)| draft.by(&key(*signer)))
            .collect()
    }

    fn endorsements(&self) -> Endorsements {
        let root = Anchor::from_der(&self.root.by(&key(1)), self.class).unwrap();
        Endorsements::new(vec![root], self.deny.clone())
    }

    fn certificates(&self) -> (Vec<u8>, Vec<u8>) {
        (self.slot.by(&self.signers.1), self.f9.by(&self.signers.0))
    }

    fn judge(&self, policy: PivPolicy) -> Result<AttestedSlot, EvidenceError> {
        let (slot, f9) = self.certificates();
        let above = self.above();
        piv_attestation(&slot, &f9, &above, &self.endorsements(), now(), policy)
    }

    fn verdict(&self) -> Option<EvidenceError> {
        self.judge(LENIENT).err()
    }

    fn with_slot(change: impl FnOnce(Draft) -> Draft) -> Self {
        let mut dongle = Self::new();
        dongle.slot = change(dongle.slot);
        dongle
    }
}

#[test]
fn a_slot_is_attested() {
    let slot = Dongle::new().judge(LENIENT).unwrap();
    assert_eq!(*slot.key(), SlotKey::P256(key(3).public_key().clone()));
    assert_eq!(slot.serial(), Some(9_999_999));
    assert_eq!(slot.firmware(), [5, 4, 3]);
    assert_eq!(slot.pin_policy(), PinPolicy::Once);
    assert_eq!(slot.touch_policy(), TouchPolicy::Never);
    let newer = Dongle {
        f9: Dongle::new().f9.with(basic_constraints(true, Some(0))),
        ..Dongle::with_slot(|slot| slot.with(extension(FORM_FACTOR, false, &[1])))
    };
    assert_eq!(newer.verdict(), None);
}

/// Chains of two dongles that were sold, as the tests of go-piv (github.com/go-piv/piv-go v2.6.0, piv/key_test.go and key.go) publish
/// them; the roots are Yubico's.
#[test]
fn dongles_from_the_shelf_are_attested() {
    let (root_4, root_5) = (
        &include_bytes!("yubikey/root-457200631.der")[..],
        &include_bytes!("yubikey/root-263751.der")[..],
    );
    let judge = |root: &[u8], f9: &[u8], slot: &[u8]| {
        let root = Anchor::from_der(root, EndorsementClass::Dongle).unwrap();
        let endorsements = Endorsements::new(vec![root], DenyList::default());
        let policy = PivPolicy {
            min_firmware: [4, 3, 0],
            pin_policy_at_least: PinPolicy::Once,
        };
        piv_attestation(slot, f9, &[], &endorsements, now(), policy)
    };
    let f9 = include_bytes!("yubikey/5.4.3-f9.der");
    let slot = include_bytes!("yubikey/5.4.3-9a.der");
    let attested = judge(root_5, f9, slot).unwrap();
    assert_eq!(attested.firmware(), [5, 4, 3]);
    assert_eq!(attested.serial(), Some(0x00f0_0f14));
    assert_eq!(attested.pin_policy(), PinPolicy::Once);
    assert!(matches!(attested.key(), SlotKey::P256(_)));
    let older_f9 = include_bytes!("yubikey/4.3.7-f9.der");
    let older_slot = include_bytes!("yubikey/4.3.7-9a.der");
    let older = judge(root_4, older_f9, older_slot).unwrap();
    assert_eq!((older.firmware(), older.serial()), ([4, 3, 7], None));
    // Each is its own root's and its own slot's.
    let refused = |root, f9, slot| judge(root, f9, slot).err();
    assert_eq!(refused(root_4, f9, slot), Some(EvidenceError::PivNotPinned));
    assert_eq!(
        refused(root_5, f9, older_slot),
        Some(EvidenceError::PivSlot)
    );
}

#[test]
fn step_31_certificates_are_exact_and_known() {
    let form = Some(EvidenceError::PivForm);
    let dongle = Dongle::new();
    let (slot, f9) = dongle.certificates();
    let trail = |bytes: &[u8]| [bytes, &[0]].concat();
    let judge = |slot: &[u8], f9: &[u8]| {
        piv_attestation(slot, f9, &[], &dongle.endorsements(), now(), LENIENT).err()
    };
    assert_eq!(judge(&slot, &f9), None);
    assert_eq!(judge(&trail(&slot), &f9), form);
    assert_eq!(judge(&slot, &trail(&f9)), form);
    assert_eq!(judge(&[], &f9), form);
    let unknown = || extension("1.2.3.4", true, &[5, 0]);
    assert_eq!(
        Dongle::with_slot(|slot| slot.with(unknown())).verdict(),
        form
    );
    let f9 = dongle.f9.with(unknown());
    assert_eq!(
        Dongle {
            f9,
            ..Dongle::new()
        }
        .verdict(),
        form
    );
    let broken = extension(BASIC_CONSTRAINTS, true, &[0x30, 1]);
    let f9 = Dongle::new().f9.with(broken);
    assert_eq!(
        Dongle {
            f9,
            ..Dongle::new()
        }
        .verdict(),
        form
    );
}

#[test]
fn step_32_the_root_is_pinned_by_its_key_and_as_a_dongle_s() {
    let not_pinned = Some(EvidenceError::PivNotPinned);
    let signers = (key(8), key(2));
    assert_eq!(
        Dongle {
            signers,
            ..Dongle::new()
        }
        .verdict(),
        not_pinned
    );
    let class = EndorsementClass::Chip;
    assert_eq!(
        Dongle {
            class,
            ..Dongle::new()
        }
        .verdict(),
        not_pinned
    );
    let f9 = Draft {
        issuer: name("other"),
        ..Dongle::new().f9
    };
    assert_eq!(
        Dongle {
            f9,
            ..Dongle::new()
        }
        .verdict(),
        not_pinned
    );
    let (slot, f9) = Dongle::new().certificates();
    let nothing = Endorsements::default();
    assert_eq!(
        piv_attestation(&slot, &f9, &[], &nothing, now(), LENIENT).err(),
        not_pinned
    );
}

#[test]
fn step_32_intermediates_lead_to_the_root() {
    assert_eq!(Dongle::newer().verdict(), None);
    let mut turned = Dongle::newer();
    turned.above.reverse();
    assert_eq!(turned.verdict(), None);
    let not_pinned = Some(EvidenceError::PivNotPinned);
    for n in 0..2 {
        let mut gap = Dongle::newer();
        gap.above.remove(n);
        assert_eq!(gap.verdict(), not_pinned, "{n}");
        let mut forged = Dongle::newer();
        forged.above[n].1 = 8;
        assert_eq!(forged.verdict(), not_pinned, "{n}");
        for unfit in [
            basic_constraints(false, None),
            key_usage(&[0]),
            extension(BASIC_CONSTRAINTS, true, &[0x30, 0]),
        ] {
            let mut dongle = Dongle::newer();
            let draft = dongle.above[n].0.clone();
            dongle.above[n].0 = draft.with(unfit);
            assert_eq!(dongle.verdict(), not_pinned, "{n}");
        }
        let mut silent = Dongle::newer();
        silent.above[n].0 = silent.above[n].0.clone().without(KEY_USAGE);
        assert_eq!(silent.verdict(), not_pinned, "{n}");
    }
    let mut twice = Dongle::newer();
    twice.above.resize(4, twice.above[0].clone());
    assert_eq!(twice.verdict(), Some(EvidenceError::PivForm));
    let mut three = Dongle::newer();
    three.above.resize(3, three.above[0].clone());
    assert_eq!(three.verdict(), None);
}

#[test]
fn step_32_intermediates_are_no_more_than_allowed() {
    for (most, expected) in [
        (3, None),
        (2, Some(EvidenceError::PivNotPinned)),
        (0, Some(EvidenceError::PivNotPinned)),
    ] {
        let mut dongle = Dongle::newer();
        dongle.root = dongle.root.with(basic_constraints(true, Some(most)));
        assert_eq!(dongle.verdict(), expected, "root {most}");
    }
    for (n, most, fits) in [(0, 1, true), (0, 0, false), (1, 2, true), (1, 1, false)] {
        let mut dongle = Dongle::newer();
        let draft = dongle.above[n].0.clone();
        dongle.above[n].0 = draft.with(basic_constraints(true, Some(most)));
        let expected = (!fits).then_some(EvidenceError::PivNotPinned);
        assert_eq!(dongle.verdict(), expected, "{n} {most}");
    }
}

#[test]
fn step_32_a_slot_s_key_is_no_authority() {
    // The key of an attested slot signs what its holder likes, here a slot with another number.
    let forged = |f9: Draft, slot: Draft| {
        let mut dongle = Dongle::newer();
        dongle.above.insert(0, (f9, 6));
        dongle.f9 = slot;
        dongle.signers = (key(2), key(3));
        dongle.slot = Draft {
            issuer: name("slot 9a"),
            ..dongle.slot
        };
        dongle.slot.spki = key(4).public_key().to_spki_der();
        dongle.verdict()
    };
    let genuine = Dongle::newer();
    let signs = genuine.f9.clone().with(key_usage(&[5]));
    assert_eq!(
        forged(signs.clone(), genuine.slot.clone()),
        Some(EvidenceError::PivNotPinned)
    );
    // Also where the dongle's maker set no bounds.
    let unbound = signs.with(basic_constraints(true, None));
    let refused = Some(EvidenceError::PivSlot);
    let known = genuine.slot.without(FORM_FACTOR);
    assert_eq!(forged(unbound.clone(), known.clone()), refused);
    let leaf = known.with(basic_constraints(false, None));
    assert_eq!(forged(unbound, leaf), refused);
}

#[test]
fn steps_34_and_40_intermediates_are_valid_and_not_denied() {
    for n in 0..2 {
        let mut late = Dongle::newer();
        late.above[n].0.not_after = now() - TimeDelta::seconds(1);
        assert_eq!(late.verdict(), Some(EvidenceError::PivValidity), "{n}");
        let mut denied = Dongle::newer();
        let spki = &denied.above[n].0.spki;
        let id = <sha2::Sha256 as sha2::Digest>::digest(spki);
        denied.deny.authorities.insert(id.into());
        assert_eq!(denied.verdict(), Some(EvidenceError::PivDenied), "{n}");
    }
}

#[test]
fn step_33_the_dongle_signed_the_slot() {
    let wrong = Some(EvidenceError::PivSlot);
    let signers = (key(1), key(8));
    assert_eq!(
        Dongle {
            signers,
            ..Dongle::new()
        }
        .verdict(),
        wrong
    );
    let f9 = Dongle::new().f9.with(basic_constraints(false, None));
    assert_eq!(
        Dongle {
            f9,
            ..Dongle::new()
        }
        .verdict(),
        wrong
    );
}

#[test]
fn step_34_all_three_are_valid_now() {
    let late = Some(EvidenceError::PivValidity);
    for n in 0..3 {
        for past in [true, false] {
            let mut dongle = Dongle::new();
            let draft = match n {
                0 => &mut dongle.root,
                1 => &mut dongle.f9,
                _ => &mut dongle.slot,
            };
            if past {
                draft.not_after = now() - TimeDelta::seconds(1);
            } else {
                draft.not_before = now() + TimeDelta::seconds(1);
            }
            assert_eq!(dongle.verdict(), late, "{n} {past}");
        }
    }
}

#[test]
fn step_35_the_slot_states_what_the_dongle_is() {
    let bad = Some(EvidenceError::PivExtension);
    for id in [FIRMWARE, POLICIES] {
        assert_eq!(
            Dongle::with_slot(|slot| slot.without(id)).verdict(),
            bad,
            "{id}"
        );
    }
    let with = |id: &str, bytes: &[u8]| {
        Dongle::with_slot(|slot| slot.with(extension(id, false, bytes))).verdict()
    };
    for (id, bytes) in [
        (FIRMWARE, &[5, 4][..]),
        (FIRMWARE, &[5, 4, 3, 0]),
        (FIRMWARE, &[4, 3, 5, 4, 3]),
        (SERIAL, &[]),
        (SERIAL, &[2, 1]),
        (SERIAL, &[2, 1, 0x80]),
        (SERIAL, &[2, 2, 0, 1]),
        (SERIAL, &[2, 1, 1, 0]),
        (SERIAL, &[4, 1, 1]),
        (SERIAL, &[2, 9, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        (POLICIES, &[2]),
        (POLICIES, &[2, 1, 1]),
        (POLICIES, &[0, 1]),
        (POLICIES, &[6, 1]),
        (POLICIES, &[2, 0]),
        (POLICIES, &[2, 4]),
        (FORM_FACTOR, &[]),
        (FORM_FACTOR, &[1, 1]),
    ] {
        assert_eq!(with(id, bytes), bad, "{id} {bytes:?}");
    }
    assert_eq!(with(SERIAL, &[2, 9, 0, 0xff, 0, 0, 0, 0, 0, 0, 0]), None);
    for (number, touch) in [(2, TouchPolicy::Always), (3, TouchPolicy::Cached)] {
        let dongle = Dongle::with_slot(|s| s.with(extension(POLICIES, false, &[3, number])));
        let slot = dongle.judge(LENIENT).unwrap();
        assert_eq!(
            (slot.pin_policy(), slot.touch_policy()),
            (PinPolicy::Always, touch)
        );
    }
}

#[test]
fn step_35_a_license_needs_a_dongle_that_tells_its_number() {
    let question = [5; 32];
    let signature = key(3).sign_digest(&question);
    let silent = Dongle::with_slot(|slot| slot.without(SERIAL));
    assert_eq!(silent.judge(LENIENT).unwrap().serial(), None);
    assert!(appraise(&Dongle::newer(), &question, &signature).is_ok());
    let verdict = appraise(&silent, &question, &signature);
    assert_eq!(verdict.err(), Some(EvidenceError::PivExtension));
}

#[test]
fn step_36_the_firmware_is_new_enough() {
    let old = Some(EvidenceError::PivFirmware);
    for (min_firmware, refused) in [
        ([5, 4, 3], false),
        ([5, 4, 4], true),
        ([5, 5, 0], true),
        ([6, 0, 0], true),
        ([4, 9, 9], false),
        ([5, 3, 9], false),
    ] {
        let policy = PivPolicy {
            min_firmware,
            ..LENIENT
        };
        let expected = if refused { old } else { None };
        assert_eq!(
            Dongle::new().judge(policy).err(),
            expected,
            "{min_firmware:?}"
        );
        let mut dongle = Dongle::new();
        dongle.deny.least_dongle_firmware = Some(min_firmware);
        assert_eq!(
            dongle.verdict(),
            expected,
            "the deny list's {min_firmware:?}"
        );
    }
}

#[test]
fn step_37_the_pin_is_asked_for_often_enough() {
    let policies = [PinPolicy::Never, PinPolicy::Once, PinPolicy::Always];
    for (has, number) in policies.into_iter().zip(1..) {
        assert_eq!(PinPolicy::from_number(number), Some(has));
        for least in policies {
            let dongle = Dongle::with_slot(|s| s.with(extension(POLICIES, false, &[number, 1])));
            let policy = PivPolicy {
                pin_policy_at_least: least,
                ..LENIENT
            };
            let expected = (has < least).then_some(EvidenceError::PivPinPolicy);
            assert_eq!(dongle.judge(policy).err(), expected, "{has:?} {least:?}");
        }
    }
    // With a fingerprint in place of the PIN.
    assert_eq!(PinPolicy::from_number(4), Some(PinPolicy::Once));
    assert_eq!(PinPolicy::from_number(5), Some(PinPolicy::Always));
    assert_eq!([0, 6].map(PinPolicy::from_number), [None; 2]);
}

#[test]
fn step_38_the_slot_s_key_is_of_an_accepted_kind() {
    let bad = Some(EvidenceError::PivKey);
    let with = |spki| Dongle::with_slot(|slot| Draft { spki, ..slot });
    assert_eq!(with(rsa_spki(&modulus(2048), &[1, 0, 1])).verdict(), None);
    assert_eq!(with(rsa_spki(&modulus(1024), &[1, 0, 1])).verdict(), bad);
    assert_eq!(with(rsa_spki(&modulus(2048), &[3])).verdict(), bad);
    let weak = rsa_spki(&crate::attest::roca::tests::weak_modulus(), &[1, 0, 1]);
    assert_eq!(with(weak).verdict(), bad);
    let ed25519 = tlv(
        0x30,
        &[&tlv(0x30, &[&oid("1.3.101.112")]), &tlv(3, &[&[0; 33]])],
    );
    assert_eq!(with(ed25519).verdict(), bad);
    // Attested, but no license is bound to it.
    let rsa = with(rsa_spki(&modulus(2048), &[1, 0, 1]));
    assert_eq!(appraise(&rsa, &[1; 32], &[0; 64]).err(), bad);
}

fn appraise(
    dongle: &Dongle,
    question: &[u8; 32],
    signature: &[u8],
) -> Result<crate::attest::AttestationResult, EvidenceError> {
    let (slot, f9) = dongle.certificates();
    let evidence = PivEvidence {
        slot_certificate: &slot,
        attestation_certificate: &f9,
        intermediate_certificates: &dongle.above(),
        signature,
    };
    appraise_piv(&evidence, &dongle.endorsements(), question, now(), LENIENT)
}

#[test]
fn step_39_the_slot_s_key_signed_this_call() {
    let wrong = Some(EvidenceError::PivSignature);
    let (dongle, question) = (Dongle::new(), [5; 32]);
    let signature = key(3).sign_digest(&question);
    let result = appraise(&dongle, &question, &signature).unwrap();
    assert_eq!(result.level(), AssuranceLevel::Dongle);
    assert_eq!(result.endorsement_class(), EndorsementClass::Dongle);
    assert_eq!(result.device_key(), key(3).public_key());
    assert!(matches!(result.facts(), Facts::Dongle(dongle) if dongle.serial() == 9_999_999));
    assert_eq!(appraise(&dongle, &[6; 32], &signature).err(), wrong);
    assert_eq!(appraise(&dongle, &question, &signature[..63]).err(), wrong);
    assert_eq!(appraise(&dongle, &question, &[]).err(), wrong);
    let other = key(4).sign_digest(&question);
    assert_eq!(appraise(&dongle, &question, &other).err(), wrong);
}

#[test]
fn step_40_denied_authorities_vouch_for_nothing() {
    for (seed, refused) in [(1, true), (2, true), (4, false)] {
        let mut dongle = Dongle::new();
        let spki = key(seed).public_key().to_spki_der();
        let id = <sha2::Sha256 as sha2::Digest>::digest(spki);
        dongle.deny.authorities.insert(id.into());
        let expected = refused.then_some(EvidenceError::PivDenied);
        assert_eq!(dongle.verdict(), expected, "{seed}");
    }
}

#[test]
fn every_one_byte_mutant_of_a_dongle_s_certificates_is_refused() {
    let dongle = Dongle::new();
    let (slot, f9) = dongle.certificates();
    let endorsements = dongle.endorsements();
    for n in 0..slot.len().max(f9.len()) {
        let mutate = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            if let Some(byte) = bytes.get_mut(n) {
                *byte ^= 1;
            }
            bytes
        };
        let judge = |slot: &[u8], f9: &[u8]| {
            piv_attestation(slot, f9, &[], &endorsements, now(), LENIENT).is_err()
        };
        assert!(n >= slot.len() || judge(&mutate(&slot), &f9), "slot {n}");
        assert!(n >= f9.len() || judge(&slot, &mutate(&f9)), "f9 {n}");
    }
}
