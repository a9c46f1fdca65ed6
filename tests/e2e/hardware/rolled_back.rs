//! TPMs that go back: caught, frozen, and thawed by a person.

use upkeep::rpc::v1;
use upkeep_server::attest::EndorsementClass;

use super::*;

/// UnfreezeDevice by support.
async fn unfreeze(scene: &Scene, activation: &str) -> Result<v1::Activation, Status> {
    let request = v1::UnfreezeDeviceRequest {
        request_id: request_id(),
        activation_id: activation.to_owned(),
        reason: "the machine was restored from a backup".to_owned(),
    };
    let done = scene.support().await.unfreeze_device(request).await?;
    Ok(done.into_inner().activation.unwrap())
}

#[tokio::test]
async fn a_clock_that_goes_back_freezes_the_machine_until_a_person_thaws_it() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let (mut machine, seat) = scene.active().await;
    let id = seat.activation_id;
    let snapshot = machine.chip.clone();
    machine.verify(&mut scene.api, &id).await.unwrap();
    assert_eq!(reason(unfreeze(&scene, &id).await), "ILLEGAL_TRANSITION");

    machine.chip = snapshot;
    machine.chip.clock -= 1_000;
    assert_eq!(
        reason(machine.verify(&mut scene.api, &id).await),
        "DEVICE_FROZEN"
    );
    // Whatever that machine asks, by whatever key.
    assert_eq!(
        reason(machine.verify(&mut scene.api, &id).await),
        "DEVICE_FROZEN"
    );
    assert_eq!(
        reason(machine.activate(&mut scene.api, &scene.wish).await),
        "DEVICE_FROZEN"
    );
    assert_eq!(
        reason(machine.ticket(&mut scene.api, &id).await),
        "DEVICE_FROZEN"
    );
    let mut retired = machine.clone();
    let proof = retired.retire(&id);
    assert_eq!(
        reason(deactivate(&mut scene.api, &proof).await),
        "DEVICE_FROZEN"
    );
    let again = machine
        .clone()
        .enroll_again(&mut scene.api, &scene.wish)
        .await;
    assert_eq!(reason(again), "DEVICE_FROZEN");
    // Staff see why, and so does the history; another machine goes on.
    let shown = scene.activations().await.remove(0);
    assert!(shown.frozen_reason.contains("its clock"), "{shown:?}");
    let history = scene.history().await;
    assert!(
        history
            .iter()
            .any(|entry| entry.outcome == "DEVICE_FROZEN" && entry.reason.contains("its clock"))
    );
    scene.active().await;

    assert_eq!(unfreeze(&scene, &id).await.unwrap().frozen_reason, "");
    machine.verify(&mut scene.api, &id).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn a_counter_that_goes_back_is_caught_at_the_next_heartbeat_and_enrollment() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let (mut machine, seat) = scene.active().await;
    let (id, snapshot) = (seat.activation_id, machine.chip.clone());
    let proof = machine.retire(&id);
    deactivate(&mut scene.api, &proof).await.unwrap();
    // The state file is restored: the key is alive again, and the next enrollment shows a value that was seen.
    let restored = snapshot.clone();
    let again = Machine::enroll(&mut scene.api, restored, &scene.wish).await;
    assert_eq!(reason(again), "DEVICE_FROZEN");
    scene.close().await;

    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let (mut machine, seat) = scene.active().await;
    let snapshot = machine.chip.clone();
    machine.chip.increment(INDEX);
    // The server has seen the larger value...
    let dead = machine.verify(&mut scene.api, &seat.activation_id).await;
    assert_eq!(reason(dead), "ATTESTATION_FAILED");
    // ...so the restored one shows.
    machine.chip = snapshot;
    machine.chip.clock += 50_000;
    let back = machine.verify(&mut scene.api, &seat.activation_id).await;
    assert_eq!(reason(back), "DEVICE_FROZEN");
    scene.close().await;
}

#[tokio::test]
async fn a_counter_that_moved_on_ends_the_key_and_freezes_nothing() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, seat) = scene.active().await;
    machine.chip.increment(INDEX);
    let dead = machine
        .verify(&mut scene.api, &seat.activation_id)
        .await
        .unwrap_err();
    assert!(
        dead.message().contains("activate again"),
        "{}",
        dead.message()
    );
    let again = machine.activate(&mut scene.api, &scene.wish).await;
    assert_eq!(reason(again), "ENROLLMENT_INVALID");
    machine
        .enroll_again(&mut scene.api, &scene.wish)
        .await
        .unwrap();
    machine.activate(&mut scene.api, &scene.wish).await.unwrap();
    scene.close().await;
}

#[tokio::test]
async fn a_heartbeat_is_needed_and_has_to_be_fresh() {
    let mut scene = Scene::new(EndorsementClass::Chip, 1).await;
    let (mut machine, seat) = scene.active().await;
    let id = seat.activation_id;
    let silent = v1::VerifyActivationRequest {
        heartbeat: None,
        ..machine.verify_request(&mut scene.api, &id).await.unwrap()
    };
    assert_eq!(
        reason(scene.api.verify_activation(silent).await),
        "HEARTBEAT_REQUIRED"
    );
    let old = machine.verify_request(&mut scene.api, &id).await.unwrap();
    let stale = v1::VerifyActivationRequest {
        heartbeat: old.heartbeat.clone(),
        ..machine.verify_request(&mut scene.api, &id).await.unwrap()
    };
    assert_eq!(
        reason(scene.api.verify_activation(stale).await),
        "ATTESTATION_FAILED"
    );
    // The same bytes again are the same request, not a clock that stands still.
    let first = scene
        .api
        .verify_activation(old.clone())
        .await
        .unwrap()
        .into_inner();
    let again = scene.api.verify_activation(old).await.unwrap().into_inner();
    assert_eq!(claims(&first.certificate), claims(&again.certificate));
    let mut other = scene.maker.chip();
    other.increment(INDEX);
    let mut foreign = machine.verify_request(&mut scene.api, &id).await.unwrap();
    let b = binding::verify(
        &foreign.challenge,
        &RequestId::parse(&foreign.request_id).unwrap(),
        &id,
    );
    foreign.heartbeat = Some(other.nv_certify(INDEX, &b));
    assert_eq!(
        reason(scene.api.verify_activation(foreign).await),
        "ATTESTATION_FAILED"
    );
    scene.close().await;
}

#[tokio::test]
async fn another_attestation_key_does_not_make_another_machine() {
    let mut scene = Scene::new(EndorsementClass::CloudVtpm, 2).await;
    let (mut machine, seat) = scene.active().await;
    let snapshot = machine.chip.clone();
    let proof = machine.retire(&seat.activation_id);
    deactivate(&mut scene.api, &proof).await.unwrap();
    let mut disguised = snapshot;
    disguised.ak = scene.maker.chip().ak;
    let again = Machine::enroll(&mut scene.api, disguised, &scene.wish).await;
    assert_eq!(reason(again), "DEVICE_FROZEN");
    scene.close().await;
}
