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

/// Moves the counter on by the owner's hand: the key ends.
fn end_key(machine: &Installation, tpm: &SoftwareTpm, index: u32) -> bool {
    let name = template::counter(index, true).name();
    assert_eq!(machine.counter().name, name);
    let index = format!("{index:#010x}");
    let moved = tool(tpm, "tpm2_nvincrement", &["-C", &index, &index]);
    if moved {
        assert_ended(machine);
    }
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_keeps_the_counter_that_the_license_shares() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let last = tpm.fill();
    tpm.undefine(last);
    let machine = scene.active(&tpm).await;
    // There is room again for one of its own.
    for index in last - 4..last {
        tpm.undefine(index);
    }
    if !end_key(&machine, &tpm, template::shared_counter_index("localhost")) {
        return;
    }
    machine.activate(&scene.client()).await.unwrap();
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_keeps_the_counter_beside_a_place_that_was_taken() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let obstacle = template::counter_index("localhost", &scene.wish.serial, 0);
    let place = format!("{obstacle:#010x}");
    if !tool(&tpm, "tpm2_nvdefine", &["-C", "o", "-s", "8", &place]) {
        return;
    }
    let machine = scene.active(&tpm).await;
    tpm.undefine(obstacle);
    let index = template::counter_index("localhost", &scene.wish.serial, 1);
    if !end_key(&machine, &tpm, index) {
        return;
    }
    machine.activate(&scene.client()).await.unwrap();
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_keeps_its_counter_under_another_name_of_the_server() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let machine = scene.active(&tpm).await;
    let index = template::counter_index("localhost", &scene.wish.serial, 0);
    if !end_key(&machine, &tpm, index) {
        return;
    }
    scene.enroll_by_other_name(&machine).await;
    machine.activate(&scene.client()).await.unwrap();
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_server_the_chip_does_not_move() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let machine = scene.active(&tpm).await;
    // A new key on the license's counter would end the one that works.
    let other = scene.installation(&tpm).await;
    let error = other.activate(&scene.nobody()).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    machine.check().unwrap();
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
