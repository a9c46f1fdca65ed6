//! The machine stops after every single file operation of every flow; what is found afterwards is a state from which running the
//! same command again reaches the same end.

use tempfile::TempDir;
use upkeep::artefact::{ActivationCertificate, ProofError, verify_proof};
use upkeep::check::Refusal;
use upkeep::id::{ProductId, RequestId};
use upkeep::jwks::KeySet;
use upkeep::key::{self, Thumbprint};
use upkeep::rpc::v1;
use upkeep::serial::SerialNumber;

use super::*;
use crate::testing::{
    Vendor, active, code, date, enrolled, kill_points, options, product, serial, version,
};

fn build() -> Build {
    Build {
        product: Some(product()),
        version: version(),
        date: date("2026-08-31"),
    }
}

/// What the server would say to this proof.
fn accept_proof(store: &LicenseStore, vendor: &Vendor, proof: &str) -> Result<(), ProofError> {
    let keys = KeySet::parse(vendor.enrollment().jwks.as_bytes()).expect("keys");
    let device = store.device_public_key().clone();
    verify_proof(
        proof,
        |_| Some(device),
        |kid| keys.get(kid).cloned(),
        key::verify,
    )
    .map(|_| ())
}

fn request_id(store: &LicenseStore) -> Option<RequestId> {
    match store.state() {
        State::Activating(pending) => Some(pending.request_id()),
        State::Redeeming(pending) => Some(pending.request_id()),
        _ => None,
    }
}

#[test]
fn an_activation_is_asked_for_under_one_id() {
    let vendor = Vendor::new(9);
    let points = kill_points(
        |dir| enrolled(dir, &vendor),
        |store| activate_request(store, b"one", &options()),
        |mut store, asked| {
            let durable = request_id(&store);
            if let Some(sent) = asked {
                let sent = sent.expect("no stop").request_id;
                assert_eq!(durable.map(|id| id.to_string()), Some(sent));
            }
            let again = activate_request(&mut store, b"two", &options()).expect("again");
            if let Some(durable) = durable {
                assert_eq!(again.request_id, durable.to_string());
            }
            let answer = vendor.answer(store.device_thumbprint());
            accept_activation(&mut store, answer).expect("accept");
            check(&store, &build()).expect("runs");
        },
    );
    assert_eq!(points, 6);
}

#[test]
fn an_answer_is_stored_whole_or_asked_for_again() {
    let vendor = Vendor::new(9);
    let points = kill_points(
        |dir| {
            let mut store = enrolled(dir, &vendor);
            activate_request(&mut store, b"one", &options()).expect("request");
            store
        },
        |store| {
            let answer = vendor.answer(store.device_thumbprint());
            accept_activation(store, answer)
        },
        |mut store, done| match store.state() {
            State::Active(_) => {}
            State::Activating(pending) => {
                assert!(done.is_none());
                let id = pending.request_id().to_string();
                let again = activate_request(&mut store, b"two", &options()).expect("again");
                assert_eq!(again.request_id, id);
            }
            state => panic!("{state:?}"),
        },
    );
    assert_eq!(points, 6);
}

#[test]
fn a_license_in_force_stays_so_while_it_is_activated_again() {
    let vendor = Vendor::new(9);
    kill_points(
        |dir| active(dir, &vendor),
        |store| activate_request(store, b"one", &options()).map(|_| ()),
        |mut store, _| {
            check(&store, &build()).expect("runs");
            if matches!(store.state(), State::Activating(_)) {
                abandon_activation(&mut store).expect("abandon");
            }
            assert!(matches!(store.state(), State::Active(_)));
        },
    );
}

#[test]
fn a_proof_is_signed_after_the_wipe_and_kept() {
    let vendor = Vendor::new(9);
    let points = kill_points(
        |dir| active(dir, &vendor),
        |store| {
            let ticket = vendor.ticket(store.device_thumbprint(), 1);
            prove(store, Some(&ticket))
        },
        |mut store, done| {
            let runs = check(&store, &build());
            match store.state() {
                State::Active(_) => assert!(runs.is_ok() && done.is_none()),
                State::Releasing(journal) => {
                    assert!(matches!(
                        runs,
                        Err(ClientError::NotActivated(NotActivated::Releasing))
                    ));
                    // Never both: a certificate that could run, and a proof that it can't.
                    assert!(journal.held().is_none() || journal.proof().is_none());
                    if let Some(done) = done {
                        assert_eq!(journal.proof(), done.ok().as_deref());
                    }
                }
                state => panic!("{state:?}"),
            }
            let ticket = vendor.ticket(store.device_thumbprint(), 1);
            let first = prove(&mut store, Some(&ticket)).expect("again");
            assert_eq!(prove(&mut store, None).expect("kept"), first);
            assert_eq!(accept_proof(&store, &vendor, &first), Ok(()));
            assert!(proof_file(&store).expect("file").contains("PROOF"));
            let text = std::fs::read_to_string(store.dir().join("state.json")).expect("state");
            assert!(!text.contains("certificate"), "wiped");
        },
    );
    assert_eq!(points, 18, "ticket, wipe and proof, six operations each");
}

#[test]
fn a_receipt_is_stored_whole_or_asked_for_again() {
    let vendor = Vendor::new(9);
    kill_points(
        |dir| {
            let mut store = active(dir, &vendor);
            let ticket = vendor.ticket(store.device_thumbprint(), 1);
            prove(&mut store, Some(&ticket)).expect("proof");
            store
        },
        |store| {
            let receipt = vendor.receipt(store.device_thumbprint());
            record_receipt(store, &receipt)
        },
        |mut store, done| {
            let before = prove(&mut store, None).expect("the proof stays");
            assert_eq!(accept_proof(&store, &vendor, &before), Ok(()));
            if done.is_some() || matches!(store.state(), State::Deactivated(_)) {
                let file = receipt_file(&store).expect("receipt");
                assert!(file.is_some_and(|file| file.contains("RECEIPT")));
            } else {
                assert!(matches!(store.state(), State::Releasing(_)));
            }
            let receipt = vendor.receipt(store.device_thumbprint());
            record_receipt(&mut store, &receipt).expect("again");
            assert!(matches!(store.state(), State::Deactivated(_)));
        },
    );
}

#[test]
fn a_fresh_ticket_is_answered_without_a_certificate() {
    let vendor = Vendor::new(9);
    kill_points(
        |dir| {
            let mut store = active(dir, &vendor);
            let ticket = vendor.ticket(store.device_thumbprint(), 1);
            prove(&mut store, Some(&ticket)).expect("proof");
            store
        },
        |store| {
            let ticket = vendor.ticket(store.device_thumbprint(), 2);
            prove(store, Some(&ticket))
        },
        |mut store, done| {
            let held = prove(&mut store, None).expect("one or the other");
            assert_eq!(accept_proof(&store, &vendor, &held), Ok(()));
            if let Some(done) = done {
                assert_eq!(held, done.expect("no stop"));
            }
        },
    );
}

#[test]
fn an_upgrade_is_asked_for_under_one_id() {
    let vendor = Vendor::new(9);
    let redeem = RedeemOptions {
        serial: serial(),
        code: code(7),
        product: None,
        version: version(),
        virtual_environment: VirtualEnvironment::No,
        release_manifest: None,
    };
    kill_points(
        |dir| enrolled(dir, &vendor),
        |store| redeem_request(store, b"one", &redeem).map(|_| ()),
        |mut store, _| {
            let durable = request_id(&store);
            let again = redeem_request(&mut store, b"two", &redeem).expect("again");
            if let Some(durable) = durable {
                assert_eq!(again.request_id, durable.to_string());
            }
            let other = RedeemOptions {
                code: code(8),
                ..redeem.clone()
            };
            assert!(matches!(
                redeem_request(&mut store, b"three", &other),
                Err(ClientError::Unfinished(Unfinished::Redeem { .. }))
            ));
        },
    );
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let (vendor, stranger) = (Vendor::new(9), Vendor::new(8));
    let home = TempDir::new().expect("directory");
    let mut store = enrolled(&home.path().join("s"), &vendor);
    let device = store.device_thumbprint();
    assert!(
        accept_activation(&mut store, vendor.answer(device)).is_err(),
        "not asked for"
    );
    activate_request(&mut store, b"one", &options()).expect("request");
    let mut other_serial = vendor.certificate(device);
    other_serial.serial = SerialNumber::parse("OTHER-1").expect("serial");
    let mut other_product = vendor.certificate(device);
    other_product.product = ProductId::parse("other").expect("product");
    let mut other_device = vendor.certificate(device);
    other_device.cnf.jkt = Thumbprint::from_bytes([1; 32]);
    for certificate in [
        vendor.sign(&other_serial),
        vendor.sign(&other_product),
        vendor.sign(&other_device),
        stranger.sign(&vendor.certificate(device)),
        vendor.ticket(device, 1),
        String::new(),
    ] {
        let answer = v1_answer(&vendor, device, certificate);
        accept_activation(&mut store, answer).expect_err("refused");
        assert!(matches!(store.state(), State::Activating(_)));
    }
    accept_activation(&mut store, vendor.answer(device)).expect("the right one");
    for ticket in [
        stranger.ticket(device, 1),
        vendor.ticket(Thumbprint::from_bytes([1; 32]), 1),
        vendor.receipt(device),
    ] {
        prove(&mut store, Some(&ticket)).expect_err("refused");
        assert!(matches!(store.state(), State::Active(_)));
    }
    prove(&mut store, None).expect_err("no ticket");
    let ticket = vendor.ticket(device, 1);
    prove(&mut store, Some(&ticket)).expect("proof");
    for receipt in [
        stranger.receipt(device),
        vendor.receipt(Thumbprint::from_bytes([1; 32])),
    ] {
        record_receipt(&mut store, &receipt).expect_err("refused");
    }
    assert!(matches!(store.state(), State::Releasing(_)));
}

fn v1_answer(vendor: &Vendor, device: Thumbprint, certificate: String) -> v1::ActivateResponse {
    v1::ActivateResponse {
        certificate,
        ..vendor.answer(device)
    }
}

#[test]
fn an_upgrade_file_licenses_a_wiped_device_without_a_receipt() {
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let mut store = active(&home.path().join("s"), &vendor);
    let device = store.device_thumbprint();
    let file = vendor.upgrade(device, 2);
    assert!(matches!(
        redeem_file(&mut store, &file),
        Err(ClientError::Unfinished(Unfinished::Active { .. }))
    ));
    let ticket = vendor.ticket(device, 1);
    prove(&mut store, Some(&ticket)).expect("proof");
    redeem_file(&mut store, &file).expect("after the proof");
    check(&store, &build()).expect("runs");
    assert!(proof_file(&store).is_ok(), "the old proof stays exportable");
    redeem_file(&mut store, &vendor.upgrade(device, 1)).expect_err("an older one");
    redeem_file(&mut store, &Vendor::new(8).upgrade(device, 3)).expect_err("a stranger's");
}

#[test]
fn the_check_says_why_not() {
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let mut store = enrolled(&home.path().join("s"), &vendor);
    assert!(matches!(
        check(&store, &build()),
        Err(ClientError::NotActivated(NotActivated::Never))
    ));
    activate_request(&mut store, b"one", &options()).expect("request");
    let device = store.device_thumbprint();
    let leased = ActivationCertificate {
        exp: Some(1_001),
        ..vendor.certificate(device)
    };
    let answer = v1_answer(&vendor, device, vendor.sign(&leased));
    accept_activation(&mut store, answer).expect("accept");
    assert!(matches!(
        check(&store, &build()),
        Err(ClientError::Check(CheckError::LeaseEnded))
    ));
    assert!(
        store.clock_mark().is_some(),
        "the check that finds it over says so to the next"
    );
    activate_request(&mut store, b"two", &options()).expect("request");
    accept_activation(&mut store, vendor.answer(device)).expect("accept");
    for (build, refused) in [
        (
            Build {
                date: date("2026-09-01"),
                ..build()
            },
            true,
        ),
        (
            Build {
                product: Some(ProductId::parse("other").expect("product")),
                ..build()
            },
            true,
        ),
        (
            Build {
                product: None,
                ..build()
            },
            false,
        ),
    ] {
        let found = check(&store, &build);
        assert_eq!(
            matches!(
                found,
                Err(ClientError::Check(CheckError::Refused(
                    Refusal::NewerThanMaintenance { .. } | Refusal::OtherProduct
                )))
            ),
            refused,
            "{found:?}"
        );
    }
}

#[test]
fn a_waived_seat_ends_the_license_that_no_key_can_return() {
    let (vendor, stranger) = (Vendor::new(9), Vendor::new(8));
    kill_points(
        |dir| active(dir, &vendor),
        |store| {
            let device = store.device_thumbprint();
            let other = vendor.receipt(Thumbprint::from_bytes([1; 32]));
            for receipt in [stranger.receipt(device), other] {
                record_receipt(store, &receipt).expect_err("refused");
                assert!(matches!(store.state(), State::Active(_)));
            }
            record_receipt(store, &vendor.receipt(device))
        },
        |mut store, done| {
            if matches!(store.state(), State::Active(_)) {
                assert!(done.is_none());
                let receipt = vendor.receipt(store.device_thumbprint());
                record_receipt(&mut store, &receipt).expect("again");
            }
            assert!(matches!(
                check(&store, &build()),
                Err(ClientError::NotActivated(NotActivated::Deactivated))
            ));
            let text = std::fs::read_to_string(store.dir().join("state.json")).expect("state");
            assert!(!text.contains("certificate"), "wiped");
            assert!(receipt_file(&store).expect("receipt").is_some());
        },
    );
}

#[test]
fn secrets_do_not_show() {
    let asked = format!("{:?}", options());
    assert!(!asked.contains(code(1).canonical()), "{asked}");
}

#[test]
fn a_ticket_that_is_over_wipes_nothing() {
    let vendor = Vendor::new(9);
    let dir = TempDir::new().expect("directory");
    let mut store = active(&dir.path().join("store"), &vendor);
    let late = vendor.ticket_until(store.device_thumbprint(), 1, 2_000);
    let refused = prove(&mut store, Some(&late)).expect_err("its time is over");
    assert!(matches!(refused, ClientError::Artefact { .. }), "{refused}");
    assert!(matches!(store.state(), State::Active(_)));
    let good = vendor.ticket(store.device_thumbprint(), 2);
    prove(&mut store, Some(&good)).expect("proof");
}
