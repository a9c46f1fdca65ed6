//! As in [`crate::resume`], with keys in a software TPM: every call goes wrong in every way once, and no seat is taken or lost.

use upkeep::artefact::HardwareProof;
use upkeep_client::{
    Attester, Device, RedeemOptions, State, activate, check, deactivate, redeem, refresh,
};
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::relay::Fault;
use crate::resume::run_again;
use crate::site::{Machine, Site, new_build, old_build};

async fn site() -> Option<(Site, SoftwareTpm)> {
    let ca = Ca::new();
    let tpm = SoftwareTpm::provision(&ca)?;
    Some((Site::trusting(&ca).await, tpm))
}

/// A machine with a license of its own, and so a counter of its own in the TPM.
async fn machine(
    site: &mut Site,
    tpm: &SoftwareTpm,
    kind: &str,
    fault: Fault,
    at: usize,
) -> Machine {
    let serial = format!("LS-T{kind}{fault:?}-{at}").to_uppercase();
    let machine = site.machine(&serial).await;
    machine.use_tpm(tpm);
    machine
}

fn key(machine: &Machine) -> Device {
    match machine.open().state() {
        State::Active(held) => held.device().clone(),
        state => panic!("{state:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_activation_in_a_tpm_takes_one_seat() {
    let Some((mut site, tpm)) = site().await else {
        return;
    };
    for fault in Fault::ALL {
        for at in 0.. {
            let machine = machine(&mut site, &tpm, "A", fault, at).await;
            let options = machine.options.clone();
            let (done, _, met) = run_again(&site, &machine, at, fault, async |store, client| {
                activate(store, client, &options).await
            })
            .await;
            assert_eq!(site.seats_taken(&machine).await, 1, "{fault:?} at {at}");
            assert!(matches!(key(&machine), Device::Tpm(_)));
            assert_eq!(key(&machine).counter(), done.claims.counter);
            check(&machine.open(), &old_build()).unwrap();
            if !met {
                assert_eq!(at, 5, "challenge, begin, complete, challenge, activate");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivation_of_a_tpm_frees_one_seat() {
    let Some((mut site, tpm)) = site().await else {
        return;
    };
    for fault in Fault::ALL {
        for at in 0.. {
            let machine = machine(&mut site, &tpm, "D", fault, at).await;
            activate(&mut machine.open(), &site.client(5), &machine.options)
                .await
                .unwrap();
            let key = key(&machine);
            let (_, _, met) = run_again(&site, &machine, at, fault, async |store, client| {
                deactivate(store, client).await
            })
            .await;
            assert_eq!(site.seats_taken(&machine).await, 0, "{fault:?} at {at}");
            let store = machine.open();
            assert!(!key.is_alive(store.tpm()).unwrap());
            let proof = store.last_return().and_then(|journal| journal.proof());
            assert!(HardwareProof::read_either(proof.unwrap()).is_ok());
            if !met {
                assert_eq!(at, 3, "challenge, begin, deactivate");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_code_is_used_once_by_a_tpm() {
    let Some((mut site, tpm)) = site().await else {
        return;
    };
    for fault in Fault::ALL {
        for at in 0.. {
            let machine = machine(&mut site, &tpm, "R", fault, at).await;
            let client = site.client(5);
            let mut store = machine.open();
            activate(&mut store, &client, &machine.options)
                .await
                .unwrap();
            deactivate(&mut store, &client).await.unwrap();
            drop(store);
            // For whichever device redeems it: a key of the TPM has no name before it is made.
            let code = site.upgrade_code(&machine, "").await.code;
            let options = machine.redeem_options(&code);
            let (done, _, met) = run_again(&site, &machine, at, fault, async |store, client| {
                redeem(store, client, &options).await
            })
            .await;
            assert_eq!(done.activated.claims.generation, 2);
            let license = site.look_up(&machine).await;
            assert_eq!((license.generation, license.seats_taken), (2, 1));
            assert!(matches!(key(&machine), Device::Tpm(_)));
            check(&machine.open(), &new_build()).unwrap();
            if !met {
                assert_eq!(at, 5, "challenge, begin, complete, challenge, redeem");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_for_the_stores_own_key_activates_that_key() {
    let Some((mut site, tpm)) = site().await else {
        return;
    };
    let machine = machine(&mut site, &tpm, "O", Fault::Before, 0).await;
    let client = site.client(5);
    let mut store = machine.open();
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap();
    deactivate(&mut store, &client).await.unwrap();
    let device = store.device_thumbprint().to_string();
    let code = site.upgrade_code(&machine, &device).await.code;
    let options = machine.redeem_options(&code);
    let error = redeem(&mut store, &client, &options).await.unwrap_err();
    assert_eq!(error.reason(), Some("WRONG_DEVICE"));
    store.remember_attester(Some(Attester::Auto), None).unwrap();
    redeem(&mut store, &client, &options).await.unwrap();
    drop(store);
    assert!(key(&machine).because().is_some());
    check(&machine.open(), &new_build()).unwrap();
    assert_eq!(site.seats_taken(&machine).await, 1);
}

/// README's way: the software key is returned, and the upgrade goes into the TPM without the product being named.
#[tokio::test(flavor = "multi_thread")]
async fn a_returned_software_key_tells_the_tpms_product() {
    let Some((mut site, tpm)) = site().await else {
        return;
    };
    let machine = site.machine("LS-TP-1").await;
    let client = site.client(5);
    let mut store = machine.open();
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap();
    deactivate(&mut store, &client).await.unwrap();
    let product = store.last_return().and_then(|journal| journal.product());
    let product = product.cloned();
    drop(store);
    machine.use_tpm(&tpm);
    let code = site.upgrade_code(&machine, "").await.code;
    let options = RedeemOptions {
        product,
        ..machine.redeem_options(&code)
    };
    redeem(&mut machine.open(), &client, &options)
        .await
        .unwrap();
    assert!(matches!(key(&machine), Device::Tpm(_)));
    check(&machine.open(), &new_build()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_that_is_lost_is_sent_again() {
    let Some((mut site, tpm)) = site().await else {
        return;
    };
    let machine = machine(&mut site, &tpm, "V", Fault::After, 0).await;
    activate(&mut machine.open(), &site.client(5), &machine.options)
        .await
        .unwrap();
    for fault in Fault::ALL {
        for at in 0..2 {
            let (done, _, met) = run_again(&site, &machine, at, fault, async |store, client| {
                refresh(store, client).await
            })
            .await;
            assert!(met);
            assert!(done.claims.counter.is_some());
            check(&machine.open(), &old_build()).unwrap();
        }
    }
}
