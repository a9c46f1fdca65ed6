//! Enrollment: who gets in, and how each cheat fails.

use chrono::TimeDelta;
use upkeep::rpc::v1;
use upkeep_server::attest::EndorsementClass;
use upkeep_server::flow::sweep;
use upkeep_server::store::StoreError;

use super::*;
use crate::device::Device;

/// More than the sweep takes at once, of each kind.
const BATCH: u32 = 120;

#[tokio::test]
async fn a_secret_is_tried_once_and_in_time() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let key = chip.prepare(INDEX);
    // Wrong: the session is used up, and the right one comes too late.
    let begun = begin(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    let wrong = answer(&mut scene.api, &begun, vec![7; 32]).await;
    assert_eq!(reason(wrong), "ATTESTATION_FAILED");
    let late = complete(&mut scene.api, &chip, &begun).await;
    assert_eq!(reason(late), "ENROLLMENT_INVALID");
    // Right: once.
    let begun = begin(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    complete(&mut scene.api, &chip, &begun).await.unwrap();
    let twice = complete(&mut scene.api, &chip, &begun).await;
    assert_eq!(reason(twice), "ENROLLMENT_INVALID");
    // Out of time.
    let key = chip.prepare(INDEX);
    let begun = begin(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    scene.world.clock.advance(TimeDelta::minutes(5));
    let late = complete(&mut scene.api, &chip, &begun).await;
    assert_eq!(reason(late), "ENROLLMENT_INVALID");
    scene.close().await;
}

/// Sessions are in memory: after a restart the client begins again, and the evidence that was seen gets nobody in.
#[tokio::test]
async fn a_restart_ends_the_sessions_and_opens_nothing() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let key = chip.prepare(INDEX);
    let asked = begin_request(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    let begun = scene.api.begin_enrollment(asked.clone()).await.unwrap();
    let before = begun.into_inner();
    scene.world = scene.world.restart().await;
    scene.api = scene.world.api().await;
    let late = complete(&mut scene.api, &chip, &before).await;
    assert_eq!(reason(late), "ENROLLMENT_INVALID");
    // The challenge is still good, so the same evidence is looked at again: it lets its own chip in, once.
    for expected in [None, Some("ATTESTATION_FAILED")] {
        let begun = scene.api.begin_enrollment(asked.clone()).await.unwrap();
        let done = complete(&mut scene.api, &chip, &begun.into_inner()).await;
        match expected {
            None => drop(done.unwrap()),
            Some(expected) => assert_eq!(reason(done), expected),
        }
        scene.world = scene.world.restart().await;
        scene.api = scene.world.api().await;
    }
    scene.close().await;
}

#[tokio::test]
async fn a_challenge_begins_one_enrollment() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let key = chip.prepare(INDEX);
    let asked = begin_request(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    scene.api.begin_enrollment(asked.clone()).await.unwrap();
    let again = scene.api.begin_enrollment(asked.clone()).await;
    assert_eq!(reason(again), "CHALLENGE_SPENT");
    let other = v1::BeginEnrollmentRequest {
        challenge: challenge(&mut scene.api, v1::ChallengePurpose::Activate)
            .await
            .unwrap(),
        ..asked.clone()
    };
    assert_eq!(
        reason(scene.api.begin_enrollment(other).await),
        "CHALLENGE_INVALID"
    );
    scene.world.clock.advance(TimeDelta::seconds(120));
    assert_eq!(
        reason(scene.api.begin_enrollment(asked).await),
        "CHALLENGE_EXPIRED"
    );
    scene.close().await;
}

/// The evidence is for one license, product and declaration: a changed field is other evidence.
#[tokio::test]
async fn what_was_enrolled_for_one_thing_is_not_evidence_for_another() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    for change in [
        (|r| r.serial = "LS-1001".to_owned()) as fn(&mut v1::BeginEnrollmentRequest),
        |r| r.product_id = "other".to_owned(),
        |r| r.virtual_environment = 2,
        |r| r.client_build = "another".to_owned(),
        |r| r.client_build = String::new(),
    ] {
        let key = chip.prepare(INDEX);
        let mut asked = begin_request(&mut scene.api, &mut chip, &key, &scene.wish, false)
            .await
            .unwrap();
        change(&mut asked);
        assert_eq!(
            reason(scene.api.begin_enrollment(asked).await),
            "ATTESTATION_FAILED"
        );
    }
    scene.close().await;
}

#[tokio::test]
async fn forged_evidence_gets_one_answer() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let stranger = Maker::new("Chip Works");
    let key = chip.prepare(INDEX);
    let ahead = chip.key_at(INDEX, key.value + 1);
    let (spare, mut other) = (chip.prepare(INDEX + 1), scene.maker.chip());
    other.prepare(INDEX);
    let mut forged = Vec::new();
    for case in 0..6 {
        let (challenge, q) = enroll_binding(&mut scene.api, &scene.wish, false)
            .await
            .unwrap();
        let mut tpm = chip.evidence(&key, &q);
        match case {
            // A maker of the same name that nobody pinned.
            0 => tpm.ek_certificates = vec![stranger.chip().ek_certificate],
            // Over another question.
            1 => tpm = chip.evidence(&key, &[9; 32]),
            // A key bound to the value after the next increment: it would wake up by its own return.
            2 => tpm = chip.evidence(&ahead, &q),
            // A key bound to another counter.
            3 => tpm.device_public.clone_from(&spare.public),
            // Another chip's counter.
            4 => tpm.counter_certification = Some(other.nv_certify(INDEX, &q)),
            // A software key dressed as the chip's: no certificate of its own.
            _ => tpm.device_public = other.key_at(INDEX, key.value).public,
        }
        forged.push(v1::BeginEnrollmentRequest {
            challenge,
            serial: scene.wish.serial.clone(),
            product_id: scene.wish.product.clone(),
            virtual_environment: 1,
            client_build: BUILD.to_owned(),
            evidence: Some(v1::begin_enrollment_request::Evidence::Tpm(tpm)),
        });
    }
    let mut answers = Vec::new();
    for asked in forged {
        let status = scene.api.begin_enrollment(asked).await.unwrap_err();
        answers.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
        ));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    assert!(
        answers[0].1.starts_with("The device did not prove"),
        "{answers:?}"
    );
    scene.close().await;
}

/// A chip's certificate is no secret: whoever shows it with an attestation key of his own gets a credential that he can't read.
#[tokio::test]
async fn anothers_certificate_is_of_no_use() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let victim = scene.maker.chip();
    let mut thief = scene.maker.chip();
    let own = thief.clone();
    thief.ek_certificate.clone_from(&victim.ek_certificate);
    let key = thief.prepare(INDEX);
    let begun = begin(&mut scene.api, &mut thief, &key, &scene.wish, false)
        .await
        .unwrap();
    let (blob, secret) = (&begun.credential_blob, &begun.encrypted_secret);
    assert_eq!(own.activate_credential(blob, secret), None);
    // The victim's chip has no such attestation key either.
    assert_eq!(victim.activate_credential(blob, secret), None);
    scene.close().await;
}

/// keylime CVE-2025-13609: an attestation key that is known keeps its chip for ever.
#[tokio::test]
async fn an_attestation_key_never_moves_to_another_chip() {
    let mut scene = Scene::new(EndorsementClass::Chip, 2).await;
    let machine = scene.machine().await;
    let mut other = scene.maker.chip();
    // Both chips hold the same attestation key, as no real ones can: the credential opens, and the binding stops it.
    other.ak = machine.chip.ak.clone();
    let key = other.prepare(INDEX);
    let begun = begin(&mut scene.api, &mut other, &key, &scene.wish, false)
        .await
        .unwrap();
    let moved = complete(&mut scene.api, &other, &begun).await;
    assert_eq!(reason(moved), "ATTESTATION_FAILED");
    scene.close().await;
}

#[tokio::test]
async fn a_device_key_is_enrolled_once() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let key = chip.prepare(INDEX);
    let first = begin(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    let second = begin(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    complete(&mut scene.api, &chip, &first).await.unwrap();
    let again = complete(&mut scene.api, &chip, &second).await;
    assert_eq!(reason(again), "ATTESTATION_FAILED");
    scene.close().await;
}

#[tokio::test]
async fn a_session_that_was_overtaken_is_no_rollback() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let old = chip.prepare(INDEX);
    let overtaken = begin(&mut scene.api, &mut chip, &old, &scene.wish, false)
        .await
        .unwrap();
    let new = chip.prepare(INDEX);
    let begun = begin(&mut scene.api, &mut chip, &new, &scene.wish, false)
        .await
        .unwrap();
    scene.world.clock.advance(TimeDelta::seconds(1));
    let device = complete(&mut scene.api, &chip, &begun).await.unwrap();
    let late = complete(&mut scene.api, &chip, &overtaken).await;
    assert_eq!(reason(late), "ENROLLMENT_INVALID");
    let machine = Machine {
        chip,
        key: new,
        device_id: device.device_id,
    };
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn an_enrollment_is_used_for_what_it_was_made_for_and_by_its_own_key() {
    let mut scene = Scene::new(EndorsementClass::Chip, 2).await;
    let mut admin = scene.world.admin().await;
    let other_license = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let machine = scene.machine().await;
    let refused = machine.activate(&mut scene.api, &other_license).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    let asked = machine
        .activate_request(&mut scene.api, &scene.wish, true)
        .await
        .unwrap();
    assert_eq!(
        reason(scene.api.activate(asked).await),
        "ENROLLMENT_INVALID"
    );
    let thief = Machine {
        key: scene.maker.chip().key_at(INDEX, 1),
        ..machine.clone()
    };
    let refused = thief.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ATTESTATION_FAILED");
    let unknown = Machine {
        device_id: "0198f1c2-5b7e-7cc0-8a36-3f0d3f6f2a11".to_owned(),
        ..machine.clone()
    };
    let refused = unknown.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    // As a software key it has no standing: the level of a seat does not depend on how the key is named.
    let software = Device {
        key: upkeep::key::SigningKey::from_seed(&[5; 32]).unwrap(),
    };
    software
        .activate(&mut scene.api, &scene.wish, &request_id())
        .await
        .unwrap();
    scene.close().await;
}

#[tokio::test]
async fn an_enrollment_that_nobody_uses_lapses_and_is_swept() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut machine = scene.machine().await;
    scene.world.clock.advance(TimeDelta::hours(24));
    let late = machine.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(late), "ENROLLMENT_INVALID");
    machine
        .enroll_again(&mut scene.api, &scene.wish)
        .await
        .unwrap();
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    scene.machine().await;
    scene.world.clock.advance(TimeDelta::hours(25));
    let opened = scene.world.opened().await;
    let store = opened.server.deps().store();
    let count = |table: u8| {
        store
            .scan(&[table, b'/'], &[table, b'0'], 100)
            .unwrap()
            .len()
    };
    assert_eq!((count(b'E'), count(b'R'), count(b'L')), (2, 2, 1));
    sweep::sweep(opened.server.deps()).await.unwrap();
    assert_eq!((count(b'E'), count(b'R'), count(b'L')), (1, 1, 0));
    opened.check_records();
}

#[tokio::test]
async fn full_batches_of_every_kind_are_swept() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    scene.machine().await;
    scene.world.clock.advance(TimeDelta::hours(49));
    let opened = scene.world.opened().await;
    let store = opened.server.deps().store();
    let all = |table: u8| store.scan(&[table, b'/'], &[table, b'0'], 1_000).unwrap();
    let (enrollment, evidence) = (all(b'E').remove(0).1, all(b'R').remove(0).1);
    // So many of each that one transaction could not take them all.
    for n in 0..BATCH {
        let (enrollment, evidence) = (enrollment.clone(), evidence.clone());
        store
            .transact("filled", move |tx| {
                let id = u128::from(n).to_be_bytes();
                let over = 1_000_u64.to_be_bytes();
                let key = |parts: &[&[u8]]| parts.concat();
                tx.put(key(&[b"n/", &over, &id]), Vec::new());
                let answer = key(&[b"i/", b"product/", &id]);
                tx.put(key(&[b"j/", &over, &answer]), Vec::new());
                tx.put(answer, Vec::new());
                tx.put(key(&[b"L/", &over, &id]), Vec::new());
                tx.put(key(&[b"E/", &id]), enrollment.clone());
                tx.put(key(&[b"R/", &id]), evidence.clone());
                Ok::<_, StoreError>(())
            })
            .await
            .unwrap();
    }
    sweep::sweep(opened.server.deps()).await.unwrap();
    for table in *b"nijLERD" {
        assert_eq!(all(table).len(), 0, "{}", char::from(table));
    }
    opened.check_records();
}

#[tokio::test]
async fn an_unused_enrollment_ends_with_the_next_on_its_counter() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut machine = scene.machine().await;
    let unused = machine.clone();
    machine
        .enroll_again(&mut scene.api, &scene.wish)
        .await
        .unwrap();
    let refused = unused.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    scene.close().await;
}

/// Nobody has shown a license's secret yet, so what a chip's owner may have written down is bounded, and goes away.
#[tokio::test]
async fn so_many_enrollments_wait_on_one_chip_and_leave_nothing() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let named = |number: u32| Wish {
        serial: format!("LS-{}", 3_000 + number),
        ..scene.wish.clone()
    };
    let names: Vec<_> = (0..17).map(named).collect();
    for (wish, index) in names.iter().zip(INDEX + 1..).take(16) {
        let machine = Machine::enroll_at(&mut scene.api, chip, index, wish).await;
        chip = machine.unwrap().chip;
    }
    let full = Machine::enroll_at(&mut scene.api, chip.clone(), INDEX, &names[16]).await;
    assert_eq!(reason(full), "TOO_MANY_TRIES");
    // One of those begins again; another chip is not affected.
    let machine = Machine::enroll_at(&mut scene.api, chip, INDEX + 3, &names[2]).await;
    let chip = machine.unwrap().chip;
    scene.machine().await;
    // What has lapsed makes room, before any sweep.
    scene.world.clock.advance(TimeDelta::hours(25));
    let machine = Machine::enroll_at(&mut scene.api, chip, INDEX, &scene.wish).await;
    let machine = machine.unwrap();
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    let opened = scene.world.opened().await;
    sweep::sweep(opened.server.deps()).await.unwrap();
    let store = opened.server.deps().store();
    let count = |table: u8| {
        store
            .scan(&[table, b'/'], &[table, b'0'], 100)
            .unwrap()
            .len()
    };
    assert_eq!((count(b'E'), count(b'D'), count(b'W')), (1, 1, 0));
    assert_eq!(count(b'I'), 1, "the counter that carries an activation");
    opened.check_records();
}

/// Evidence costs the verifier a millisecond, whether it is good or not.
#[tokio::test]
async fn one_network_gets_so_much_evidence_verified() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut chip = scene.maker.chip();
    let key = chip.prepare(INDEX);
    let asked = begin_request(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for _ in 0..=501 {
        let again = v1::BeginEnrollmentRequest {
            challenge: challenge(&mut scene.api, v1::ChallengePurpose::Enroll)
                .await
                .unwrap(),
            ..asked.clone()
        };
        answers.push(reason(scene.api.begin_enrollment(again).await));
    }
    let (last, verified) = answers.split_last().unwrap();
    assert!(verified.iter().all(|answer| answer == "ATTESTATION_FAILED"));
    assert_eq!(last, "TOO_MANY_TRIES");
    scene.world.clock.advance(TimeDelta::seconds(10));
    begin(&mut scene.api, &mut chip, &key, &scene.wish, false)
        .await
        .unwrap();
    scene.close().await;
}
