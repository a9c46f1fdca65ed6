//! A machine that lost its key and comes back: its own seat is returned by the new enrollment.

use upkeep::rpc::v1::partner_service_client::PartnerServiceClient;
use upkeep_server::attest::EndorsementClass;

use super::*;

#[tokio::test]
async fn after_a_clear_the_machine_gets_its_seat_again() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, seat) = scene.active().await;
    machine.chip.clear();
    machine
        .enroll_again(&mut scene.api, &scene.wish)
        .await
        .unwrap();
    let again = machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    assert_ne!(again.activation_id, seat.activation_id);
    assert_eq!(scene.license().await.seats_taken, 1);
    let all = scene.activations().await;
    let old = all
        .iter()
        .find(|one| one.activation_id == seat.activation_id)
        .unwrap();
    assert_eq!(old.state(), v1::ActivationState::Deactivated);
    assert_eq!(
        old.deactivation.as_ref().unwrap().grade(),
        v1::ProofGrade::Hardware
    );
    let history = scene.history().await;
    assert!(
        history
            .iter()
            .any(|entry| entry.reason.contains(&seat.activation_id))
    );
    machine
        .verify(&mut scene.api, &again.activation_id)
        .await
        .unwrap();
    scene.close().await;
}

#[tokio::test]
async fn another_chip_supersedes_nothing() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    scene.active().await;
    let mut other = scene.maker.chip();
    for _ in 0..5 {
        other.increment(INDEX);
    }
    let other = Machine::enroll(&mut scene.api, other, &scene.wish)
        .await
        .unwrap();
    let refused = other.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "NO_SEAT");
    scene.close().await;
}

/// What can be copied can't be moved without end: each fork of a virtual TPM would supersede the one before.
#[tokio::test]
async fn a_level_that_can_be_copied_keeps_its_yearly_cap() {
    let mut scene = Scene::new(EndorsementClass::Software, 1).await;
    let (mut machine, _) = scene.active().await;
    let mut refused = None;
    for _ in 0..10 {
        machine
            .enroll_again(&mut scene.api, &scene.wish)
            .await
            .unwrap();
        if let Err(status) = machine.activate(&mut scene.api, &scene.wish).await {
            refused = Some(reason(Err::<(), _>(status)));
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("RETURN_LIMIT"));
    scene.close().await;

    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, _) = scene.active().await;
    for _ in 0..10 {
        machine
            .enroll_again(&mut scene.api, &scene.wish)
            .await
            .unwrap();
        machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    }
    scene.close().await;
}

/// As on a chip that has few counters: the second license's key is bound to where the counter stands already.
#[tokio::test]
async fn licenses_wait_and_work_side_by_side_on_a_shared_counter() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut admin = scene.world.admin().await;
    let second = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    // Both are enrolled before either is activated.
    let chip = scene.maker.chip();
    let first = Machine::enroll_beside(&mut scene.api, chip, &scene.wish)
        .await
        .unwrap();
    let mut sibling = Machine::enroll_beside(&mut scene.api, first.chip.clone(), &second)
        .await
        .unwrap();
    assert_eq!(sibling.key.value, first.key.value);
    let seat = first.activate(&mut scene.api, &scene.wish).await.unwrap();
    let sibling_seat = sibling.activate(&mut scene.api, &second).await.unwrap();
    let mut first = Machine {
        chip: sibling.chip.clone(),
        ..first
    };
    first
        .verify(&mut scene.api, &seat.activation_id)
        .await
        .unwrap();
    // A second key for one of them at the same value has no seat, and takes none from the first.
    let twin = Machine::enroll_beside(&mut scene.api, first.chip.clone(), &scene.wish)
        .await
        .unwrap();
    let refused = twin.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    first.chip = twin.chip.clone();
    first
        .verify(&mut scene.api, &seat.activation_id)
        .await
        .unwrap();
    // The return of one: the other's key is dead too, and comes back in its own seat.
    let proof = first.retire(&seat.activation_id);
    deactivate(&mut scene.api, &proof).await.unwrap();
    sibling.chip = first.chip.clone();
    let ended = sibling
        .verify(&mut scene.api, &sibling_seat.activation_id)
        .await;
    assert_eq!(reason(ended), "ATTESTATION_FAILED");
    let back = Machine::enroll_beside(&mut scene.api, sibling.chip.clone(), &second)
        .await
        .unwrap();
    back.activate(&mut scene.api, &second).await.unwrap();
    assert_eq!(scene.license().await.seats_taken, 0);
    scene.close().await;
}

/// Whoever waits at a value that is over waits in vain; whoever waits at the present one keeps its place.
#[tokio::test]
async fn an_enrollment_ends_those_that_wait_at_smaller_values_and_its_own_earlier_one() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut admin = scene.world.admin().await;
    let second = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let chip = scene.maker.chip();
    let early = Machine::enroll_beside(&mut scene.api, chip, &scene.wish)
        .await
        .unwrap();
    let mut chip = early.chip.clone();
    chip.increment(SHARED);
    let sibling = Machine::enroll_beside(&mut scene.api, chip, &second)
        .await
        .unwrap();
    let refused = early.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    let once = Machine::enroll_beside(&mut scene.api, sibling.chip.clone(), &scene.wish)
        .await
        .unwrap();
    let twice = Machine::enroll_beside(&mut scene.api, once.chip.clone(), &scene.wish)
        .await
        .unwrap();
    let refused = once.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(refused), "ENROLLMENT_INVALID");
    sibling.activate(&mut scene.api, &second).await.unwrap();
    twice.activate(&mut scene.api, &scene.wish).await.unwrap();
    scene.close().await;
}

/// A virtual TPM whose state was put back shows the counter where it was, and its clock betrays it.
#[tokio::test]
async fn a_shared_counter_at_which_the_clock_went_back_freezes_the_machine() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 1).await;
    let mut admin = scene.world.admin().await;
    let second = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let chip = scene.maker.chip();
    let mut first = Machine::enroll_beside(&mut scene.api, chip, &scene.wish)
        .await
        .unwrap();
    let seat = first.activate(&mut scene.api, &scene.wish).await.unwrap();
    let snapshot = first.chip.clone();
    for _ in 0..3 {
        first
            .verify(&mut scene.api, &seat.activation_id)
            .await
            .unwrap();
    }
    let refused = Machine::enroll_beside(&mut scene.api, snapshot, &second).await;
    assert_eq!(reason(refused), "DEVICE_FROZEN");
    scene.close().await;
}

/// A license's own counter is moved on before each enrollment, so where it stood already it was put back.
#[tokio::test]
async fn a_counter_of_its_own_never_stays() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 1).await;
    let mut machine = scene.machine().await;
    let key = machine.chip.prepare_beside(INDEX);
    let chip = machine.chip.clone();
    let refused = Machine::enroll_key(&mut scene.api, chip, key, &scene.wish).await;
    assert_eq!(reason(refused), "DEVICE_FROZEN");
    scene.close().await;
}

/// One counter for two licenses, as on a chip that has few: the return of one ends both keys, and the other comes back.
#[tokio::test]
async fn a_shared_counter_ends_both_keys_and_the_sibling_comes_back() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut admin = scene.world.admin().await;
    let second = world::license(&mut admin, "LS-2000", 1, "2025-01-15").await;
    let (first, _) = scene.active().await;
    let mut sibling = Machine::enroll(&mut scene.api, first.chip.clone(), &second)
        .await
        .unwrap();
    let seat = sibling.activate(&mut scene.api, &second).await.unwrap();
    // The sibling's counter was moved on for it, as when its store was lost; the first license comes back in its place.
    let mut back = Machine::enroll(&mut scene.api, sibling.chip.clone(), &scene.wish)
        .await
        .unwrap();
    let own = back.activate(&mut scene.api, &scene.wish).await.unwrap();
    assert_eq!(scene.license().await.seats_taken, 1);
    sibling.chip = back.chip.clone();
    let proof = sibling.proof(&seat.activation_id, None);
    deactivate(&mut scene.api, &proof).await.unwrap();
    // The statement that returned the sibling's seat is no news to the one that is alive.
    let verified = back.verify(&mut scene.api, &own.activation_id).await;
    verified.unwrap();
    scene.close().await;
}

/// The machine takes its seat again in the same call, so a request that waits for free seats goes on waiting.
#[tokio::test]
async fn a_seat_that_is_taken_again_approves_no_request() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let mut admin = scene.world.admin().await;
    let wish = world::license(&mut admin, "LS-4000", 1, "2025-09-01").await;
    let chip = scene.maker.chip();
    let mut machine = Machine::enroll(&mut scene.api, chip, &wish).await.unwrap();
    machine.activate(&mut scene.api, &wish).await.unwrap();
    let acme = scene.world.staff(Role::Partner, "acme").await;
    let mut acme = PartnerServiceClient::new(acme);
    let asked = v1::PartnerServiceCreateUpdateRequestRequest {
        request_id: request_id(),
        serial: wish.serial.clone(),
        credential: Some(v1::Credential {
            secret: Some(wish.credential.clone()),
        }),
        details: Some(v1::UpdateRequestDetails {
            email: "it@baker.example".into(),
            virtual_environment: v1::VirtualEnvironment::No.into(),
            license_type: "single-user".into(),
            ..Default::default()
        }),
    };
    let asked = acme.create_update_request(asked).await.unwrap();
    let before = asked.into_inner().update_request.unwrap();
    machine.enroll_again(&mut scene.api, &wish).await.unwrap();
    machine.activate(&mut scene.api, &wish).await.unwrap();
    let generate = v1::PartnerServiceGenerateUpgradeCodeRequest {
        request_id: request_id(),
        update_request_id: before.update_request_id,
    };
    let early = acme.generate_upgrade_code(generate).await;
    assert_eq!(reason(early), "PROOF_REQUIRED");
    scene.close().await;
}
