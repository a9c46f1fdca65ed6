//! Virtual TPMs whose owner goes back to an earlier state: what a chip can't do, and what heartbeats are for.

use upkeep::rpc::v1;
use upkeep_client::{deactivate, refresh};
use upkeep_server::attest::EndorsementClass;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::device::request_id;
use crate::scene::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_rolled_back_freezes_the_machine_until_support_thaws_it() {
    let ca = Ca::new();
    let Some(mut tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::CloudVtpm, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    tpm.stop();
    let snapshot = tpm.copy_state();
    // Twice on and off, so that the snapshot's clock is behind whatever it does next.
    for _ in 0..2 {
        tpm.start();
        refresh(&mut machine.open(), &client).await.unwrap();
        tpm.stop();
    }
    tpm.restore_state(&snapshot);
    tpm.start();
    machine.check().unwrap();
    let caught = refresh(&mut machine.open(), &client).await.unwrap_err();
    assert_eq!(caught.reason(), Some("DEVICE_FROZEN"), "{caught}");
    let shown = scene.activations().await.remove(0);
    assert_ne!(shown.frozen_reason, "");

    let thaw = v1::UnfreezeDeviceRequest {
        request_id: request_id(),
        activation_id: shown.activation_id,
        reason: "the host was restored from a backup".to_owned(),
    };
    scene.support.unfreeze_device(thaw).await.unwrap();
    refresh(&mut machine.open(), &client).await.unwrap();
    assert_eq!(scene.seats_taken().await, 1);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_that_is_rolled_back_revives_the_key_and_not_the_seat() {
    let ca = Ca::new();
    let Some(mut tpm) = SoftwareTpm::provision(&ca) else {
        return;
    };
    let mut scene = Scene::new(&ca, EndorsementClass::CloudVtpm, 1).await;
    let client = scene.client();
    let machine = scene.active(&tpm).await;
    let disk = machine.copied();
    tpm.stop();
    let snapshot = tpm.copy_state();
    tpm.start();
    deactivate(&mut machine.open(), &client).await.unwrap();
    assert_eq!(scene.seats_taken().await, 0);

    tpm.stop();
    tpm.restore_state(&snapshot);
    tpm.start();
    // Nothing here can know: disk and TPM are of one moment. The server does.
    disk.check().unwrap();
    assert!(refresh(&mut disk.open(), &client).await.is_err());
    let again = scene.installation(&tpm).await;
    let caught = again.activate(&client).await.unwrap_err();
    assert_eq!(caught.reason(), Some("DEVICE_FROZEN"), "{caught}");
    assert_eq!(scene.seats_taken().await, 0);
    scene.close().await;
}
