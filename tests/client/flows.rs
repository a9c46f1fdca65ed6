//! What happens between the calls: tickets that run out, machines declared lost, refusals, files instead of a network.

use std::sync::Arc;

use tonic::Code;
use upkeep::code::Code as UpgradeText;
use upkeep::rpc::v1;
use upkeep_client::{
    ClientError, Credential, NotActivated, State, Unfinished, abandon_activation,
    accept_activation, activate, activate_request, check, deactivate, deactivate_request, enroll,
    fetch_ticket, proof_file, prove, receipt_file, record_receipt, redeem, redeem_file, refresh,
};

use crate::device::request_id;
use crate::relay::{Fault, refused};
use crate::site::{Machine, Site, new_build, old_build};

async fn activated(site: &mut Site, serial: &str) -> Machine {
    let machine = site.machine(serial).await;
    activate(&mut machine.open(), &site.client(5), &machine.options)
        .await
        .unwrap();
    machine
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_came_too_late_is_made_again_for_a_fresh_ticket() {
    let mut site = Site::new().await;
    let machine = activated(&mut site, "LS-LATE").await;
    let client = site.client(5);
    let mut store = machine.open();
    fetch_ticket(&mut store, &client).await.unwrap();
    let first = prove(&mut store, None).unwrap();
    site.world.set_day("2026-08-01");
    let done = deactivate(&mut store, &client).await.unwrap();
    assert_eq!(site.seats_taken(&machine).await, 0);
    let State::Deactivated(journal) = store.state() else {
        panic!("{:?}", store.state());
    };
    assert_ne!(journal.proof(), Some(first.as_str()));
    assert_eq!(journal.receipt(), Some(done.receipt.as_str()));
    assert!(proof_file(&store).unwrap().contains("LS-LATE"));
    assert!(receipt_file(&store).unwrap().unwrap().contains("LS-LATE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_that_ran_out_unused_gives_the_license_back() {
    let mut site = Site::new().await;
    let machine = activated(&mut site, "LS-BACK").await;
    let client = site.client(5);
    let mut store = machine.open();
    fetch_ticket(&mut store, &client).await.unwrap();
    let stopped = check(&store, &old_build()).unwrap_err();
    assert!(matches!(
        stopped,
        ClientError::NotActivated(NotActivated::Releasing)
    ));
    let early = refresh(&mut store, &client).await.unwrap_err();
    assert_eq!(early.reason(), Some("RELEASE_IN_PROGRESS"));
    site.world.set_day("2026-08-01");
    refresh(&mut store, &client).await.unwrap();
    check(&store, &old_build()).unwrap();
    assert_eq!(site.seats_taken(&machine).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_machine_stops_on_its_next_contact() {
    let mut site = Site::new().await;
    for (serial, wiped) in [("LS-LOST-1", false), ("LS-LOST-2", true)] {
        let machine = activated(&mut site, serial).await;
        let client = site.client(5);
        let mut store = machine.open();
        let State::Active(held) = store.state() else {
            panic!("{:?}", store.state());
        };
        let activation_id = held.activation_id().to_string();
        if wiped {
            fetch_ticket(&mut store, &client).await.unwrap();
            prove(&mut store, None).unwrap();
        }
        site.support
            .declare_lost(v1::DeclareLostRequest {
                request_id: request_id(),
                activation_id,
                reason: "stolen".into(),
            })
            .await
            .unwrap();
        let told = if wiped {
            deactivate(&mut store, &client).await.unwrap_err()
        } else {
            check(&store, &old_build()).unwrap();
            refresh(&mut store, &client).await.unwrap_err()
        };
        assert!(matches!(told, ClientError::Refused(_)), "{told}");
        assert!(matches!(store.state(), State::Deactivated(_)), "{told}");
        assert!(check(&store, &old_build()).is_err());
        // It may come back, if there is a seat.
        activate(&mut store, &client, &machine.options)
            .await
            .unwrap();
        check(&store, &old_build()).unwrap();
        assert_eq!(site.seats_taken(&machine).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certain_refusal_leaves_nothing_behind() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-REFUSED").await;
    let client = site.client(5);
    let mut wrong = machine.options.clone();
    wrong.credential = Credential::ActivationCode(UpgradeText::from_mac(&[1; 32]));
    let mut store = machine.open();
    let error = activate(&mut store, &client, &wrong).await.unwrap_err();
    assert_eq!(error.reason(), Some("CREDENTIAL_INVALID"));
    assert!(!error.outcome_unknown());
    assert!(matches!(store.state(), State::Empty));
    let mut other = machine.options.clone();
    other.version = upkeep::version::Version::parse("99").unwrap();
    let error = activate(&mut store, &client, &other).await.unwrap_err();
    assert_eq!(error.reason(), Some("RELEASE_UNKNOWN"));
    assert!(matches!(store.state(), State::Empty));
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap();
    let error = activate(&mut store, &client, &other).await.unwrap_err();
    assert_eq!(error.reason(), Some("RELEASE_UNKNOWN"));
    check(&store, &old_build()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_is_kept_through_a_refusal() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-UNKNOWN").await;
    let client = site.client(1);
    let mut store = machine.open();
    site.relay.fail_at(1, Fault::After);
    let error = activate(&mut store, &client, &machine.options)
        .await
        .unwrap_err();
    assert!(error.outcome_unknown());
    let first = site.relay.heal();
    // Another credential by mistake: refused, and what is unknown stays unknown.
    let mut wrong = machine.options.clone();
    wrong.credential = Credential::ActivationCode(UpgradeText::from_mac(&[1; 32]));
    let error = activate(&mut store, &client, &wrong).await.unwrap_err();
    assert_eq!(error.reason(), Some("CREDENTIAL_INVALID"));
    let mut other = machine.options.clone();
    other.serial = upkeep::serial::SerialNumber::parse("LS-OTHER").unwrap();
    let error = activate(&mut store, &client, &other).await.unwrap_err();
    assert!(matches!(
        error,
        ClientError::Unfinished(Unfinished::Activation { .. })
    ));
    let error = deactivate(&mut store, &client).await.unwrap_err();
    assert!(matches!(error, ClientError::Unfinished(_)));
    site.relay.heal();
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap();
    let last = site.relay.heal();
    assert_eq!(first[1].request_id, last[1].request_id);
    assert_eq!(site.seats_taken(&machine).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn giving_up_and_trying_anew_takes_the_same_seat() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-GIVEUP").await;
    let client = site.client(1);
    let mut store = machine.open();
    site.relay.fail_at(1, Fault::After);
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap_err();
    site.relay.heal();
    abandon_activation(&mut store).unwrap();
    assert!(matches!(store.state(), State::Empty));
    abandon_activation(&mut store).unwrap_err();
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap();
    assert_eq!(site.seats_taken(&machine).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_another_manifest_takes_the_same_seat() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-REUSED").await;
    let client = site.client(1);
    let mut store = machine.open();
    site.relay.fail_at(1, Fault::After);
    activate(&mut store, &client, &machine.options)
        .await
        .unwrap_err();
    site.relay.heal();
    let mut changed = machine.options.clone();
    changed.release_manifest = Some("a.b.c".to_owned());
    activate(&mut store, &client, &changed).await.unwrap();
    let ids: Vec<_> = site
        .relay
        .heal()
        .into_iter()
        .map(|seen| seen.request_id)
        .collect();
    assert_ne!(ids[1], ids[3], "REQUEST_ID_REUSED, then a new id: {ids:?}");
    assert_eq!(site.seats_taken(&machine).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_product_code_activates_again_on_its_device() {
    let mut site = Site::new().await;
    let machine = activated(&mut site, "LS-AGAIN").await;
    let client = site.client(5);
    let mut store = machine.open();
    let State::Active(held) = store.state() else {
        panic!("{:?}", store.state());
    };
    let before = held.activation_id();
    let mut again = machine.options.clone();
    again.credential = Credential::ProductCode(held.product_code().unwrap().clone());
    again.version = upkeep::version::Version::parse("11.0").unwrap();
    let done = activate(&mut store, &client, &again).await.unwrap();
    assert_eq!(done.claims.activation_id, before);
    assert_eq!(done.claims.version, again.version);
    let other = site.machine("LS-AGAIN-2").await;
    let error = activate(&mut store, &client, &other.options)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        ClientError::Unfinished(Unfinished::Active { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_network_returns_and_upgrades_by_file() {
    let mut site = Site::new().await;
    let machine = activated(&mut site, "LS-FILES").await;
    let mut store = machine.open();
    // Somebody with a network fetches the ticket; the machine answers it; the proof goes back.
    let asked = v1::SupportServiceBeginDeactivationRequest {
        request_id: request_id(),
        activation_id: match store.state() {
            State::Active(held) => held.activation_id().to_string(),
            state => panic!("{state:?}"),
        },
    };
    // The machine's clock is the real one, which a ticket of the story's day would be over by.
    site.world.set_day("2199-03-01");
    let ticket = site.support.begin_deactivation(asked).await.unwrap();
    site.world.set_day("2026-03-01");
    prove(&mut store, Some(&ticket.into_inner().ticket)).unwrap();
    let proof = proof_file(&store).unwrap();
    let message = deactivate_request(&mut store).unwrap();
    assert!(!message.proof.is_empty());
    let asked = v1::SupportServiceRecordProofRequest { proof };
    let receipt = site.support.record_proof(asked).await.unwrap().into_inner();
    assert_eq!(site.seats_taken(&machine).await, 0);
    // The code file comes before the receipt does; both are taken, in any order.
    let device = store.device_thumbprint().to_string();
    let code = site.upgrade_code(&machine, &device).await;
    redeem_file(&mut store, &code.file).unwrap();
    check(&store, &new_build()).unwrap();
    record_receipt(&mut store, &receipt.receipt).unwrap();
    assert!(receipt_file(&store).unwrap().is_some());
    check(&store, &new_build()).unwrap();
    drop(store);
    // Later the machine finds a network and redeems the short form of the same code.
    let mut store = machine.open();
    let options = machine.redeem_options(&code.code);
    redeem(&mut store, &site.client(5), &options).await.unwrap();
    check(&store, &new_build()).unwrap();
    assert!(receipt_file(&store).unwrap().is_some());
    assert_eq!(site.seats_taken(&machine).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_answers_may_go_by_hand() {
    let mut site = Site::new().await;
    let machine = site.machine("LS-HAND").await;
    let client = site.client(5);
    let mut store = machine.open();
    let challenge = client
        .challenge(v1::ChallengePurpose::Activate)
        .await
        .unwrap();
    let request = activate_request(&mut store, &challenge.bytes, &machine.options).unwrap();
    drop(store);
    let answer = client.activate(request).await.unwrap();
    let mut store = machine.open();
    accept_activation(&mut store, answer.clone()).unwrap();
    check(&store, &old_build()).unwrap();
    accept_activation(&mut store, answer).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_keeps_the_license_and_its_keys() {
    let mut site = Site::new().await;
    let machine = activated(&mut site, "LS-ENROLL").await;
    let elsewhere = Site::new().await;
    let endpoint = elsewhere.relay.endpoint();
    let again = enroll(
        &machine.dir,
        &endpoint,
        Some("localhost"),
        elsewhere.relay.ca_pem(),
    );
    let error = again.await.unwrap_err();
    assert!(matches!(error, ClientError::Input(_)), "{error}");
    let store = machine.open();
    assert_eq!(store.enrollment().endpoint, site.relay.endpoint());
    let before = store.enrollment().clone();
    drop(store);
    let endpoint = site.relay.endpoint();
    let again = enroll(
        &machine.dir,
        &endpoint,
        Some("localhost"),
        site.relay.ca_pem(),
    );
    let store = again.await.unwrap();
    assert_eq!(*store.enrollment(), before);
    check(&store, &old_build()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_license_keeps_its_certificate() {
    let mut site = Site::new().await;
    let machine = activated(&mut site, "LS-SUSPENDED").await;
    let mut store = machine.open();
    site.relay
        .answer_all(refused(Code::FailedPrecondition, "LICENSE_SUSPENDED"));
    let error = refresh(&mut store, &site.client(5)).await.unwrap_err();
    assert_eq!(error.reason(), Some("LICENSE_SUSPENDED"));
    check(&store, &old_build()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_run_on_any_thread() {
    let mut site = Site::new().await;
    let machine = Arc::new(site.machine("LS-SEND").await);
    let (client, inner) = (site.client(5), Arc::clone(&machine));
    tokio::spawn(async move {
        let mut store = inner.open();
        activate(&mut store, &client, &inner.options).await.unwrap();
        refresh(&mut store, &client).await.unwrap();
        deactivate(&mut store, &client).await.unwrap();
    })
    .await
    .unwrap();
    assert_eq!(site.seats_taken(&machine).await, 0);
}
