//! From activation to return, and what becomes of copies.

use upkeep::artefact::HardwareProof;
use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::rpc::v1;
use upkeep_client::{
    ClientError, NotActivated, deactivate, fetch_ticket, proof_file, prove, record_receipt, refresh,
};
use upkeep_server::attest::EndorsementClass;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::machine::{open, tool};
use crate::scene::Scene;

fn ended(answer: Result<(), ClientError>) {
    assert!(
        matches!(
            answer,
            Err(ClientError::NotActivated(NotActivated::KeyEnded))
        ),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_license_is_activated_used_and_returned_with_the_chips_proof() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.installation(&tpm).await;
    let activated = machine.activate(&client).await.unwrap();
    assert_eq!(activated.claims.assurance, AssuranceLevel::Hardware);
    assert_eq!(activated.claims.counter, activated.device.counter());
    assert_eq!(activated.claims.exp, None);
    assert_eq!(scene.seats_taken().await, 1);
    machine.check().unwrap();
    refresh(&mut machine.open(), &client).await.unwrap();
    machine.check().unwrap();

    let before = machine.copied();
    let returned = deactivate(&mut machine.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(scene.seats_taken().await, 0);

    // The disk of yesterday: the chip refuses its key, and so does the server.
    ended(before.check());
    ended(refresh(&mut before.open(), &client).await.map(drop));
    // Its user may activate again: a new key, and the free seat.
    before.activate(&client).await.unwrap();
    before.check().unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_on_paper_frees_the_seat_whenever_it_arrives() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;

    // No network, no ticket.
    prove(&mut machine.open(), None).unwrap();
    let paper = proof_file(&machine.open()).unwrap();
    assert!(paper.contains("LS-1000"), "{paper}");
    assert_eq!(scene.seats_taken().await, 1);
    // Somebody types it in, half a year later and twice.
    scene.world.set_day("2040-12-01");
    let proof = HardwareProof::read_either(&paper).unwrap().to_text();
    let sent = v1::DeactivateRequest { proof };
    let first = client.deactivate(sent.clone()).await.unwrap();
    let again = client.deactivate(sent).await.unwrap();
    // One receipt, though signed twice.
    let said = |receipt: &str| receipt.rsplit_once('.').unwrap().0.to_owned();
    assert_eq!(said(&first.receipt), said(&again.receipt));
    assert_eq!(scene.seats_taken().await, 0);
    record_receipt(&mut machine.open(), &first.receipt).unwrap();
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_between_the_counters_step_and_the_proof_delays_the_return_only() {
    let ca = Ca::new();
    let Some(mut tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    fetch_ticket(&mut machine.open(), &client).await.unwrap();
    let before = machine.copied();
    // The counter steps and the proof is signed; then the power goes, and neither proof nor journal reached the disk.
    prove(&mut machine.open(), None).unwrap();
    tpm.kill();
    tpm.start();
    let returned = deactivate(&mut before.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stopped_before_its_ticket_can_still_return() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let before = machine.copied();
    // The key ends without a word to the server, and the store knows nothing of it.
    prove(&mut machine.open(), None).unwrap();
    ended(before.check());
    let returned = deactivate(&mut before.open(), &client).await.unwrap();
    assert_eq!(returned.claims.grade, ProofGrade::Hardware);
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_tpm_activates_checks_and_returns() {
    let ca = Ca::new();
    let Some(tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let index = "0x01500001";
    let protected = [
        "-C",
        "o",
        "-s",
        "8",
        "-a",
        "authread|authwrite",
        "-p",
        "right",
        index,
    ];
    let tools = tool(
        &tpm,
        "tpm2_dictionarylockout",
        &["-s", "-n", "1", "-t", "9999", "-l", "9999"],
    ) && tool(&tpm, "tpm2_nvdefine", &protected);
    if !tools {
        return;
    }
    let wrong = std::process::Command::new("tpm2_nvread")
        .args(["-T", &tpm.tcti(), "-C", index, "-P", "wrong", index])
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    assert!(open(&tpm).facts().unwrap().lockout);

    let mut scene = Scene::new(&ca, EndorsementClass::Chip, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    machine.check().unwrap();
    refresh(&mut machine.open(), &client).await.unwrap();
    deactivate(&mut machine.open(), &client).await.unwrap();
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}
