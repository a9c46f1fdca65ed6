//! The whole appraisal of a TPM: steps 5, 23 and 24, and that no step is left out.

use upkeep::key::SigningKey;
use upkeep::level::AssuranceLevel;
use upkeep::tpm::{Attest, Attested, Attributes, policy};

use super::forge::{Draft, key, now};
use super::scene::{QUESTION, Scene, VALUE};
use crate::attest::{
    Anchor, Appraised, AttestationResult, Certification, DeniedFirmware, DenyList,
    EndorsementClass, Endorsements, EvidenceError, Facts, TpmEvidence, Warning, appraise_software,
    appraise_tpm,
};

/// Evidence of a TPM under a pinned root, each part to be changed.
struct Enrollment {
    scene: Scene,
    ek_certificates: Vec<Vec<u8>>,
    about_key: Attest,
    about_counter: Attest,
    deny: DenyList,
}

impl Enrollment {
    fn new(scene: Scene) -> Self {
        Self {
            about_key: scene.about_key(),
            about_counter: scene.about_counter(),
            ek_certificates: vec![Draft::ek("root", &key(9)).by(&root_key())],
            scene,
            deny: DenyList::default(),
        }
    }

    fn verdict(&self) -> Result<AttestationResult, EvidenceError> {
        let root = Draft::authority("root", "root", &root_key()).by(&root_key());
        let anchor = Anchor::from_der(&root, EndorsementClass::Chip).unwrap();
        let endorsements = Endorsements::new(vec![anchor], self.deny.clone());
        let (key, counter) = (self.about_key.to_bytes(), self.about_counter.to_bytes());
        let evidence = TpmEvidence {
            ek_certificates: &self.ek_certificates,
            ak_public: &self.scene.ak.to_bytes(),
            device_public: &self.scene.device.to_bytes(),
            nv_public: &self.scene.nv.to_bytes(),
            key_certification: Certification {
                attest: &key,
                signature: &self.scene.sign(&key),
            },
            counter_certification: Certification {
                attest: &counter,
                signature: &self.scene.sign(&counter),
            },
        };
        appraise_tpm(&evidence, &endorsements, &QUESTION, now())
    }
}

/// What is wrong with an enrollment.
type Change = fn(&mut Enrollment);

fn root_key() -> SigningKey {
    key(1)
}

#[test]
fn the_result_says_what_was_proved() {
    let enrollment = Enrollment::new(Scene::new());
    let result = enrollment.verdict().unwrap();
    assert_eq!(result.level(), AssuranceLevel::Hardware);
    assert_eq!(result.endorsement_class(), EndorsementClass::Chip);
    assert_eq!(result.device_key(), key(21).public_key());
    assert_eq!(result.warnings(), []);
    let Facts::Tpm(facts) = result.facts() else {
        panic!("a TPM");
    };
    assert_eq!(facts.ek.identity().manufacturer(), 0x1014);
    assert_eq!(facts.ak_name, enrollment.scene.ak.name());
    assert_eq!(facts.device_name, enrollment.scene.device.name());
    assert_eq!(facts.nv_name, enrollment.scene.nv.name());
    assert_eq!(facts.counter, VALUE);
    assert_eq!((facts.clock.reset_count, facts.clock.clock), (3, 1000));
    assert_eq!(facts.firmware, 0x0001_0002_0003_0004);
}

#[test]
fn step_05_denied_firmware_of_this_manufacturer_is_refused() {
    let own = 0x0001_0002_0003_0004;
    for (manufacturer, versions, refused) in [
        (0x1014, own..=own, true),
        (0x1014, 0..=u64::MAX, true),
        (0x1014, own + 1..=u64::MAX, false),
        (0x1014, 0..=own - 1, false),
        (0x4946_5800, 0..=u64::MAX, false),
    ] {
        let mut enrollment = Enrollment::new(Scene::new());
        enrollment.deny.firmware.push(DeniedFirmware {
            manufacturer,
            versions,
        });
        let expected = refused.then_some(EvidenceError::FirmwareDenied);
        assert_eq!(enrollment.verdict().err(), expected);
    }
}

#[test]
fn step_23_the_key_is_bound_to_the_value_of_this_evidence() {
    // A key for the next value would wake up by its own deactivation; one for the last is dead already.
    for bound_to in [VALUE + 1, VALUE - 1] {
        let mut scene = Scene::new();
        scene.device.auth_policy = policy::nv_equal(bound_to, &scene.nv.name()).to_vec();
        let verdict = Enrollment::new(scene).verdict();
        assert_eq!(verdict.err(), Some(EvidenceError::DevicePolicy));
    }
    let mut moved = Enrollment::new(Scene::new());
    if let Attested::Nv { contents, .. } = &mut moved.about_counter.body {
        *contents = (VALUE + 1).to_be_bytes().to_vec();
    }
    assert_eq!(moved.verdict().err(), Some(EvidenceError::DevicePolicy));
}

#[test]
fn step_24_an_unsafe_clock_is_a_warning() {
    let mut enrollment = Enrollment::new(Scene::new());
    enrollment.about_counter.clock.safe = false;
    let result = enrollment.verdict().unwrap();
    assert_eq!(result.warnings(), [Warning::ClockNotSafe]);
    assert_eq!(Warning::ClockNotSafe.as_str(), "clock_not_safe");
}

#[test]
fn no_part_of_the_checklist_is_left_out() {
    let changes: [(EvidenceError, Change); 7] = [
        (EvidenceError::NotPinned, |e| e.ek_certificates.clear()),
        (EvidenceError::NotPinned, |e| {
            e.ek_certificates = vec![Draft::ek("root", &key(9)).by(&key(2))];
        }),
        (EvidenceError::AkAttributes, |e| {
            let bits = e.scene.ak.attributes.bits() ^ Attributes::RESTRICTED.bits();
            e.scene.ak.attributes = Attributes::parse(bits).unwrap();
        }),
        (EvidenceError::QualifyingData, |e| {
            e.about_key.extra_data = vec![1; 32]
        }),
        (EvidenceError::QualifyingData, |e| {
            e.about_counter.extra_data = vec![1; 32];
        }),
        (EvidenceError::Type, |e| {
            e.about_key = e.about_counter.clone()
        }),
        (EvidenceError::Type, |e| {
            e.about_counter = e.about_key.clone()
        }),
    ];
    for (n, (expected, change)) in changes.iter().enumerate() {
        let mut enrollment = Enrollment::new(Scene::new());
        change(&mut enrollment);
        assert_eq!(enrollment.verdict().err(), Some(*expected), "{n}");
    }
    let mut forged = Enrollment::new(Scene::new());
    forged.scene.ak_key = key(30);
    assert_eq!(forged.verdict().err(), Some(EvidenceError::Signature));
}

#[test]
fn possession_is_of_the_key_and_keeps_its_level() {
    let (key, question) = (key(21), [3; 32]);
    let signature = key.sign_digest(&question);
    let shown = appraise_software(key.public_key(), &question, &signature).unwrap();
    assert_eq!(shown.level(), AssuranceLevel::Software);
    let level = AssuranceLevel::Hardware;
    let shown = Appraised::possessed(key.public_key(), level, &question, &signature).unwrap();
    assert_eq!((shown.level(), shown.key()), (level, key.public_key()));
    assert_eq!(shown.thumbprint(), key.public_key().thumbprint());
    let other = self::key(22);
    assert!(Appraised::possessed(other.public_key(), level, &question, &signature).is_err());
    assert!(Appraised::possessed(key.public_key(), level, &[4; 32], &signature).is_err());
}
