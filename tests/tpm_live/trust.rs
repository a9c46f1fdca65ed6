//! Whose word counts: the TPM that was enrolled, and the CA whose key is pinned.

use upkeep::artefact::HardwareProof;
use upkeep::level::AssuranceLevel;
use upkeep::tpm::template;
use upkeep_client::tpm::TpmError;
use upkeep_client::{Attester, ClientError, State, deactivate, prove, refresh};
use upkeep_server::attest::EndorsementClass;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_license_store_is_of_no_use_to_another_tpm_of_the_same_maker() {
    let ca = Ca::new();
    let (Some(mine), Some(theirs)) = (SoftwareTpm::provision(&ca), SoftwareTpm::provision(&ca))
    else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&mine).await;
    let thief = machine.stolen(&theirs);
    assert!(thief.check().is_err());
    assert!(refresh(&mut thief.open(), &client).await.is_err());
    // It can't return what it does not have...
    assert_other_tpm(deactivate(&mut thief.open(), &client).await);
    assert_other_tpm(prove(&mut thief.open(), None));
    assert!(
        matches!(thief.open().state(), State::Active(_)),
        "nothing is wiped"
    );
    // ...nor take a seat that is not there.
    let refused = thief.activate(&client).await.unwrap_err();
    assert_eq!(refused.reason(), Some("NO_SEAT"), "{refused}");
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ended_here_is_not_returned_by_another_tpms_counter() {
    let ca = Ca::new();
    let (Some(mine), Some(theirs)) = (SoftwareTpm::provision(&ca), SoftwareTpm::provision(&ca))
    else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&mine).await;
    // The other TPM's counter at the same index is beyond that value, and it has an attestation key of its own.
    let thief = machine.stolen(&theirs);
    for _ in 0..3 {
        let other = scene.installation(&theirs).await;
        let _no_seat = other.activate(&client).await.unwrap_err();
    }
    assert_other_tpm(thief.check());
    assert_other_tpm(deactivate(&mut thief.open(), &client).await);
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    // Back at its own chip, the same store returns the seat.
    thief.uses(&mine);
    deactivate(&mut thief.open(), &client).await.unwrap();
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_was_damaged_is_made_again_by_the_chip_that_can() {
    let ca = Ca::new();
    let (Some(mine), Some(theirs)) = (SoftwareTpm::provision(&ca), SoftwareTpm::provision(&ca))
    else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&mine).await;
    let text = prove(&mut machine.open(), None).unwrap();
    let mut proof = HardwareProof::read_either(&text).unwrap();
    *proof.signature.last_mut().unwrap() ^= 1;
    let path = machine.dir.join("state.json");
    let state = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, state.replace(&text, &proof.to_text())).unwrap();
    // Another chip makes none in its place.
    machine.uses(&theirs);
    assert_other_tpm(deactivate(&mut machine.open(), &client).await);
    machine.uses(&mine);
    deactivate(&mut machine.open(), &client).await.unwrap();
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

fn assert_other_tpm<T: std::fmt::Debug>(refused: Result<T, ClientError>) {
    assert!(
        matches!(refused, Err(ClientError::Tpm(TpmError::OtherTpm))),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_of_the_same_name_makes_no_hardware() {
    let (ca, impostor) = (Ca::new(), Ca::new());
    let Some(tpm) = SoftwareTpm::provision(&impostor) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.installation(&tpm).await;
    let refused = machine.activate(&client).await.unwrap_err();
    assert_eq!(refused.reason(), Some("ATTESTATION_FAILED"), "{refused}");
    assert_eq!(scene.seats_taken().await, 0);
    let index = template::counter_index("localhost", &scene.wish.serial, 0);
    assert!(!tpm.is_defined(index), "it costs no counter");

    // Left to choose, the client falls back, and says so.
    machine
        .open()
        .remember_attester(Some(Attester::Auto), None)
        .unwrap();
    let activated = machine.activate(&client).await.unwrap();
    assert_eq!(activated.claims.assurance, AssuranceLevel::Software);
    assert!(
        activated
            .device
            .because()
            .unwrap()
            .contains("does not accept this TPM")
    );
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_of_software_tpms_makes_software() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let scene = Scene::new(&ca, EndorsementClass::Software, 1).await;
    let machine = scene.installation(&tpm).await;
    let activated = machine.activate(&scene.client()).await.unwrap();
    assert_eq!(activated.claims.assurance, AssuranceLevel::Software);
    assert!(activated.claims.counter.is_some());
    scene.close().await;
}
