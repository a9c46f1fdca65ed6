//! What the owner of a TPM may do to it, and that a license survives it with the seat that it has.

use upkeep::level::ProofGrade;
use upkeep::tpm::template;
use upkeep_client::tpm::TpmError;
use upkeep_client::{ClientError, NotActivated, State, deactivate, refresh};
use upkeep_server::attest::EndorsementClass;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::machine::tool;
use crate::scene::{Installation, Scene};

/// The index of the counter that this installation's key is bound to.
fn counter_index(machine: &Installation) -> String {
    let State::Active(held) = machine.open().state().clone() else {
        panic!("an activation");
    };
    let serial = held.serial().to_string();
    let index = template::counter_index("localhost", &serial, 0);
    let name = template::counter(index, true).name();
    assert_eq!(held.device().counter().unwrap().name, name);
    format!("{index:#010x}")
}

fn assert_ended(machine: &Installation) {
    let ended = machine.check();
    assert!(
        matches!(
            ended,
            Err(ClientError::NotActivated(NotActivated::KeyEnded))
        ),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_is_deleted_costs_an_activation_and_no_seat() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let index = counter_index(&machine);
    if !tool(&tpm, "tpm2_nvundefine", &["-C", "o", &index]) {
        return;
    }
    assert_ended(&machine);
    // The same index, by the owner's own hand, does not bring the key back.
    let attributes = "ownerread|ownerwrite|authread|authwrite|no_da|nt=counter";
    tool(
        &tpm,
        "tpm2_nvdefine",
        &["-C", "o", "-s", "8", "-a", attributes, &index],
    );
    tool(&tpm, "tpm2_nvincrement", &["-C", &index, &index]);
    assert_ended(&machine);
    machine.activate(&client).await.unwrap();
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_that_is_deleted_still_proves_the_return() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let index = counter_index(&machine);
    if !tool(&tpm, "tpm2_nvundefine", &["-C", "o", &index]) {
        return;
    }
    let returned = deactivate(&mut machine.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_password_stops_the_license_and_not_its_return() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    if !tool(&tpm, "tpm2_changeauth", &["-c", "o", "secret"]) {
        return;
    }
    let stopped = machine.check();
    assert!(
        matches!(stopped, Err(ClientError::Tpm(TpmError::Owned { .. }))),
        "{stopped:?}"
    );
    let returned = deactivate(&mut machine.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tpm2_clear_costs_an_activation_and_no_seat() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let old = scene.activations().await.remove(0).activation_id;
    if !tool(&tpm, "tpm2_clear", &["-c", "p"]) {
        return;
    }
    assert_ended(&machine);
    machine.activate(&client).await.unwrap();
    machine.check().unwrap();
    refresh(&mut machine.open(), &client).await.unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    let returned = deactivate(&mut machine.open(), &client).await.unwrap();
    assert_ne!(returned.claims.activation_id.to_string(), old);
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_store_that_is_lost_costs_an_activation_and_no_seat() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let machine = machine.lost(&scene, &tpm).await;
    machine.activate(&client).await.unwrap();
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}
