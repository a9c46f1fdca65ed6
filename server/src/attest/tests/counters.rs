//! Steps 19 to 22 and 24: counters and what they stand at.

use upkeep::tpm::{Attested, ClockInfo, NvPublic, alg, nv_attributes, policy, template};

use super::scene::{QUESTION, Scene, VALUE, no_change};
use crate::attest::{EvidenceError, Relation, clock_went_on, nv_certify};

#[test]
fn step_19_the_index_is_the_enrolled_one() {
    let wrong = Some(EvidenceError::NvName);
    let scene = Scene::new();
    let named = |name: &[u8]| {
        scene
            .counter(|attest| {
                if let Attested::Nv { index_name, .. } = &mut attest.body {
                    *index_name = name.to_vec();
                }
            })
            .err()
    };
    let own = *scene.nv.name().as_bytes();
    assert_eq!(named(&own), None);
    let other = template::counter(0x0180_0002, true).name();
    assert_eq!(named(other.as_bytes()), wrong);
    assert_eq!(named(&own[..33]), wrong);
    assert_eq!(named(&[]), wrong);
    // An index that was never written has no value, and another Name.
    let mut unwritten = Scene::new();
    unwritten.nv = template::counter(0x0180_0001, false);
    unwritten.device.auth_policy = policy::nv_equal(VALUE, &unwritten.nv.name()).to_vec();
    assert_eq!(unwritten.counter(no_change).err(), wrong);
    assert_eq!(unwritten.key(no_change).err(), wrong);
    let attest = scene.about_counter().to_bytes();
    let (ak, signature) = (scene.judge_ak().unwrap(), scene.sign(&attest));
    let mut trailing = scene.nv.to_bytes();
    trailing.push(0);
    for nv in [&trailing[..], &[], &[0; 9000]] {
        let any = Relation::AtLeast(0);
        let verdict = nv_certify(&ak, nv, &attest, &signature, &QUESTION, any);
        assert_eq!(verdict.err(), Some(EvidenceError::NvForm));
    }
}

#[test]
fn step_20_the_index_only_counts_up() {
    let changes: [fn(&mut NvPublic); 20] = [
        |nv| nv.attributes |= nv_attributes::ORDERLY,
        |nv| nv.attributes |= nv_attributes::WRITELOCKED,
        |nv| nv.attributes |= nv_attributes::WRITEDEFINE,
        |nv| nv.attributes |= nv_attributes::WRITE_STCLEAR,
        |nv| nv.attributes |= nv_attributes::GLOBALLOCK,
        |nv| nv.attributes |= nv_attributes::READLOCKED,
        |nv| nv.attributes |= nv_attributes::READ_STCLEAR,
        |nv| nv.attributes |= nv_attributes::CLEAR_STCLEAR,
        |nv| nv.attributes |= nv_attributes::PLATFORMCREATE,
        |nv| nv.attributes |= nv_attributes::POLICY_DELETE,
        |nv| nv.attributes |= nv_attributes::PPWRITE,
        |nv| nv.attributes |= nv_attributes::PPREAD,
        |nv| nv.attributes &= !nv_attributes::NT_COUNTER,
        |nv| nv.attributes = nv.attributes & !(0xf << 4) | 2 << 4,
        |nv| nv.attributes = nv.attributes & !(0xf << 4) | 4 << 4,
        |nv| nv.attributes = nv.attributes & !(0xf << 4) | 8 << 4,
        |nv| nv.attributes = nv.attributes & !(0xf << 4) | 9 << 4,
        |nv| nv.data_size = 4,
        |nv| nv.data_size = 16,
        |nv| nv.name_alg = alg::SHA384,
    ];
    for (n, change) in changes.iter().enumerate() {
        let mut scene = Scene::new();
        change(&mut scene.nv);
        scene.device.auth_policy = policy::nv_equal(VALUE, &scene.nv.name()).to_vec();
        let refused = Some(EvidenceError::NvAttributes);
        assert_eq!(scene.counter(no_change).err(), refused, "{n}");
        assert_eq!(
            scene.key(no_change).err(),
            refused,
            "{n}: nor does a key hang on it"
        );
    }
}

#[test]
fn step_21_the_statement_holds_the_whole_counter() {
    let wrong = Some(EvidenceError::NvContents);
    let held = |at: u16, bytes: &[u8]| {
        Scene::new()
            .counter_at(Relation::AtLeast(0), |attest| {
                if let Attested::Nv {
                    offset, contents, ..
                } = &mut attest.body
                {
                    (*offset, *contents) = (at, bytes.to_vec());
                }
            })
            .err()
    };
    assert_eq!(held(0, &[0; 8]), None);
    for (at, bytes) in [
        (0, &[][..]),
        (0, &[9; 7]),
        (0, &[9; 9]),
        (1, &[9; 8]),
        (4, &[9; 4]),
    ] {
        assert_eq!(held(at, bytes), wrong, "{at} {bytes:?}");
    }
}

#[test]
fn step_22_the_value_stands_as_it_has_to() {
    let holds = |relation| {
        let verdict = Scene::new().counter_at(relation, no_change);
        match verdict {
            Ok(reading) => {
                assert_eq!(reading.value(), VALUE);
                true
            }
            Err(error) => {
                assert_eq!(error, EvidenceError::CounterRelation);
                false
            }
        }
    };
    assert!(holds(Relation::Equal(VALUE)));
    assert!(!holds(Relation::Equal(VALUE - 1)) && !holds(Relation::Equal(VALUE + 1)));
    assert!(holds(Relation::Greater(VALUE - 1)));
    assert!(!holds(Relation::Greater(VALUE)) && !holds(Relation::Greater(VALUE + 1)));
    assert!(holds(Relation::AtLeast(VALUE)) && holds(Relation::AtLeast(VALUE - 1)));
    assert!(!holds(Relation::AtLeast(VALUE + 1)));
    assert!(!holds(Relation::Greater(u64::MAX)));
}

#[test]
fn step_24_the_clock_is_recorded_and_goes_on() {
    let reading = Scene::new()
        .counter(|attest| attest.clock.safe = false)
        .unwrap();
    let clock = ClockInfo {
        clock: 1000,
        reset_count: 3,
        restart_count: 0,
        safe: false,
    };
    assert_eq!(reading.clock(), clock);
    assert_eq!(reading.firmware(), 0x0001_0002_0003_0004);
    let at = |reset_count, clock| ClockInfo {
        reset_count,
        clock,
        restart_count: 0,
        safe: true,
    };
    let before = at(7, 3785);
    assert!(clock_went_on(&before, &at(7, 3786)) && clock_went_on(&before, &at(8, 3786)));
    assert!(!clock_went_on(&before, &before) && !clock_went_on(&before, &at(7, 3782)));
    assert!(!clock_went_on(&before, &at(6, 9000)));
}
