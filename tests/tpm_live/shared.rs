//! Chips that have few counters: the licenses of one vendor share one, and a counter that nobody needs is given back.

use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;
use upkeep::tpm::template;
use upkeep::version::Version;
use upkeep_client::{
    ActivateOptions, ClientError, NotActivated, deactivate, prove, record_receipt, refresh,
};
use upkeep_server::attest::EndorsementClass;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::scene::{Installation, Scene};

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

/// Two licenses of one seat each, on a TPM that has one counter left.
struct Pressed {
    first: Installation,
    second: Installation,
    scene: Scene,
    tpm: SoftwareTpm,
}

async fn pressed() -> Option<Pressed> {
    let ca = Ca::new();
    let tpm = SoftwareTpm::provision(&ca)?;
    tpm.leave_one_counter();
    let scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let first = scene.active(&tpm).await;
    let second = scene.second_license("LS-2000").await;
    let second = scene.installation_of(&second, &tpm).await;
    second.activate(&scene.client()).await.unwrap();
    Some(Pressed {
        first,
        second,
        scene,
        tpm,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_licenses_on_one_counter_work_side_by_side() {
    let Some(mut on) = pressed().await else {
        return;
    };
    let client = on.scene.client();
    let shared = template::counter(template::shared_counter_index("localhost"), true).name();
    for one in [&on.first, &on.second] {
        one.check().unwrap();
        refresh(&mut one.open(), &client).await.unwrap();
        assert_eq!(one.counter().name, shared);
    }
    assert_eq!(on.first.counter(), on.second.counter());
    // Asked again, each gets its own seat with its own key.
    on.first.activate(&client).await.unwrap();
    on.second.check().unwrap();
    assert_eq!(on.scene.seats_taken().await, 1);

    // The return of one ends both; the other comes back to its own seat, with a proof of the chip for the old key.
    let copied = on.first.copied();
    let returned = deactivate(&mut on.first.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(on.scene.seats_taken().await, 0);
    assert_ended(&copied);
    assert_ended(&on.second);
    let again = on.second.activate(&client).await.unwrap();
    assert_eq!(again.claims.assurance, AssuranceLevel::Hardware);
    on.second.check().unwrap();
    refresh(&mut on.second.open(), &client).await.unwrap();
    assert_ended(&copied);
    // And the first, beside it.
    on.first.activate(&client).await.unwrap();
    on.first.check().unwrap();
    on.second.check().unwrap();
    assert_eq!(on.first.counter(), on.second.counter());
    drop(on.tpm);
    on.scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_whose_key_ended_can_return_without_coming_back() {
    let Some(mut on) = pressed().await else {
        return;
    };
    let client = on.scene.client();
    deactivate(&mut on.second.open(), &client).await.unwrap();
    assert_ended(&on.first);
    let returned = deactivate(&mut on.first.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(on.scene.seats_taken().await, 0);
    on.scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_lost_on_a_shared_counter_costs_the_siblings_an_activation_and_no_seat() {
    let Some(mut on) = pressed().await else {
        return;
    };
    let client = on.scene.client();
    let copied = on.first.copied();
    let first = on.first.lost(&on.scene, &on.tpm).await;
    first.activate(&client).await.unwrap();
    first.check().unwrap();
    assert_eq!(on.scene.seats_taken().await, 1);
    // What was lost is worth nothing to whoever finds it, and the sibling comes back.
    assert_ended(&copied);
    assert_ended(&on.second);
    on.second.activate(&client).await.unwrap();
    on.second.check().unwrap();
    first.check().unwrap();
    on.scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_costs_no_counter() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.installation(&tpm).await;
    let index = |serial: &str| template::counter_index("localhost", serial, 0);
    let own = index(&scene.wish.serial);
    let newest = |options: &mut ActivateOptions| options.version = version("99.0");
    let wrong = |options: &mut ActivateOptions| options.serial = serial("LS-1OOO");
    // The enrollment is refused, or goes well and the activation is refused.
    let refused = machine
        .activate_in(&mut machine.open(), &client, wrong)
        .await;
    assert!(
        matches!(refused, Err(ClientError::Refused(_))),
        "{refused:?}"
    );
    assert!(!tpm.is_defined(index("LS-1OOO")));
    let refused = machine
        .activate_in(&mut machine.open(), &client, newest)
        .await;
    assert!(
        matches!(refused, Err(ClientError::Refused(_))),
        "{refused:?}"
    );
    assert!(!tpm.is_defined(own));
    // Once it is active nothing of that kind touches its key, not even in the process that made it.
    let mut store = machine.open();
    machine
        .activate_in(&mut store, &client, |_| {})
        .await
        .unwrap();
    let refused = machine.activate_in(&mut store, &client, newest).await;
    assert!(
        matches!(refused, Err(ClientError::Refused(_))),
        "{refused:?}"
    );
    assert!(tpm.is_defined(own));
    drop(store);
    machine.check().unwrap();
    scene.close().await;
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn serial(text: &str) -> SerialNumber {
    SerialNumber::parse(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_of_its_own_is_given_back_with_the_receipt() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let copied = machine.copied();
    let index = template::counter_index("localhost", &scene.wish.serial, 0);
    assert!(tpm.is_defined(index));
    // The proof alone deletes nothing: its answer may be lost, and then it is made again.
    let proof = prove(&mut machine.open(), None).unwrap();
    assert!(tpm.is_defined(index));
    let asked = v1::DeactivateRequest { proof };
    let answer = client.deactivate(asked).await.unwrap();
    record_receipt(&mut machine.open(), &answer.receipt).unwrap();
    assert!(!tpm.is_defined(index));

    // A copy from before: dead, and what it proves again is answered with the same receipt.
    assert_ended(&copied);
    let again = deactivate(&mut copied.open(), &client).await.unwrap();
    let said = |receipt: &str| receipt.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(said(&again.receipt), said(&answer.receipt));
    assert_eq!(scene.seats_taken().await, 0);
    // The machine may come back, and what a copy does then ends nothing.
    let copied = machine.copied();
    machine.activate(&client).await.unwrap();
    machine.check().unwrap();
    record_receipt(&mut copied.open(), &answer.receipt).unwrap();
    machine.check().unwrap();
    refresh(&mut machine.open(), &client).await.unwrap();
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_store_that_is_found_again_takes_no_counter_from_the_key_that_replaced_its_own() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let found = machine.copied();
    let machine = machine.lost(&scene, &tpm).await;
    machine.activate(&client).await.unwrap();
    // The new key stands one beyond the old one: where a return of the old one would have left the counter.
    assert_eq!(machine.counter().value, found.counter().value + 1);
    deactivate(&mut found.open(), &client).await.unwrap();
    machine.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}
