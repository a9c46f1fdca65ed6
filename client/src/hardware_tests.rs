//! The durable steps with a TPM's key: the machine stops after every single file operation, and the key dies exactly once. Each test
//! has a software TPM of its own, and says so when it can't have one.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use upkeep::artefact::{ActivationCertificate, Counter, HardwareProof};
use upkeep::tpm::{Attest, Attested};
use upkeep_swtpm::{Ca, SoftwareTpm};

use super::*;
use crate::activate::signed_request;
use crate::device::TpmDevice;
use crate::testing::{Vendor, date, enrolled, kill_points, options, product, serial, version};
use crate::tpm::{Tpm, TpmAddress};

fn build() -> Build {
    Build {
        product: Some(product()),
        version: version(),
        date: date("2026-08-31"),
    }
}

fn address(tpm: &SoftwareTpm) -> TpmAddress {
    tpm.address().parse().expect("address")
}

/// A new key of this TPM, as if the server had enrolled it.
fn new_key(tpm: &SoftwareTpm) -> Device {
    let prepared = Tpm::open(&address(tpm))
        .and_then(|mut chip| chip.prepare("vendor.example", serial().as_str()))
        .expect("prepared");
    Device::Tpm(Arc::new(TpmDevice::new(
        "device-1".to_owned(),
        product(),
        VirtualEnvironment::No,
        prepared.key,
    )))
}

/// A store that remembers this TPM, with nothing in it.
fn with_tpm(dir: &Path, vendor: &Vendor, tpm: &SoftwareTpm) -> LicenseStore {
    let mut store = enrolled(dir, vendor);
    store
        .remember_attester(Some(Attester::Tpm), Some(address(tpm)))
        .expect("remembered");
    store
}

fn ask(store: &mut LicenseStore, key: &Device) -> Result<(), ClientError> {
    signed_request(store, b"challenge", &options(), key, &[]).map(|_| ())
}

fn activated(dir: &Path, vendor: &Vendor, tpm: &SoftwareTpm) -> LicenseStore {
    let key = new_key(tpm);
    let mut store = with_tpm(dir, vendor, tpm);
    ask(&mut store, &key).expect("asked");
    accept_activation(&mut store, vendor.answer_to(&key)).expect("accept");
    store
}

fn value(device: &Device) -> u64 {
    device.counter().expect("a counter").value
}

/// What the proof says the counter stands at.
fn proved(proof: &str) -> u64 {
    let proof = HardwareProof::read_either(proof).expect("a hardware proof");
    match Attest::parse(&proof.attest).expect("an attest").body {
        Attested::Nv { contents, .. } => {
            u64::from_be_bytes(contents.try_into().expect("eight bytes"))
        }
        Attested::Certify { .. } => panic!("of a key"),
    }
}

#[test]
fn a_license_in_a_tpm_runs_until_its_counter_moves() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let dir = home.path().join("store");
    drop(activated(&dir, &vendor, &tpm));
    let store = LicenseStore::read(&dir).expect("what was written is read");
    assert_eq!(store.attester(), Attester::Tpm);
    check(&store, &build()).expect("runs");
    // Another key on the same counter moves it on: as the return of a sibling on a shared counter does.
    new_key(&tpm);
    assert!(matches!(
        check(&store, &build()),
        Err(ClientError::NotActivated(NotActivated::KeyEnded))
    ));
}

#[test]
fn a_key_dies_once_wherever_its_return_stops() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let points = kill_points(
        |dir| activated(dir, &vendor, &tpm),
        |store| prove(store, None),
        |mut store, done| {
            let runs = check(&store, &build());
            let device = match store.state() {
                State::Active(held) => {
                    assert!(runs.is_ok() && done.is_none(), "whole: {runs:?}");
                    held.device().clone()
                }
                State::Releasing(journal) => {
                    assert!(runs.is_err());
                    assert!(journal.held().is_none() || journal.proof().is_none());
                    // The key dies after the wipe is durable, never before.
                    let alive = journal.device().is_alive(store.tpm()).expect("a TPM");
                    assert!(alive || journal.held().is_none());
                    journal.device().clone()
                }
                state => panic!("{state:?}"),
            };
            let proof = prove(&mut store, None).expect("again");
            if let Some(done) = done {
                assert_eq!(done.expect("no stop"), proof);
            }
            assert_eq!(proved(&proof), value(&device) + 1, "it moved once");
            assert!(!device.is_alive(store.tpm()).expect("a TPM"));
            let file = proof_file(&store).expect("file");
            assert_eq!(
                HardwareProof::read_either(&file).map(|proof| proof.to_text()),
                Ok(proof)
            );
            let text = std::fs::read_to_string(store.dir().join("state.json")).expect("state");
            assert!(!text.contains("certificate"), "wiped");
        },
    );
    assert_eq!(points, 18, "begun, wiped and proved, six operations each");
}

#[test]
fn what_the_vendor_ended_moves_no_counter() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let mut store = activated(&home.path().join("store"), &vendor, &tpm);
    let State::Active(held) = store.state() else {
        panic!("{:?}", store.state());
    };
    let device = held.device().clone();
    let ended = Journal::ended(held);
    store.put(State::Deactivated(ended)).expect("ended");
    assert!(matches!(
        prove(&mut store, None),
        Err(ClientError::NotActivated(NotActivated::Deactivated))
    ));
    assert!(matches!(store.state(), State::Deactivated(_)));
    assert!(device.is_alive(store.tpm()).expect("a TPM"));
}

#[test]
fn a_power_cut_between_increment_and_proof_costs_nothing() {
    let Some(mut tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let mut store = activated(&home.path().join("store"), &vendor, &tpm);
    let State::Active(held) = store.state() else {
        panic!("{:?}", store.state());
    };
    let device = held.device().clone();
    let ticket = vendor.ticket(device.thumbprint(), 1);
    let journal = Journal::begin(held.clone(), Some(ticket.clone()), true).wiped();
    store.put(State::Releasing(journal)).expect("wiped");
    let Device::Tpm(key) = &device else {
        panic!("a TPM's key");
    };
    key.retire(store.tpm(), &[7; 32]).expect("incremented");
    tpm.kill();
    assert!(matches!(prove(&mut store, None), Err(ClientError::Tpm(_))));
    tpm.start();
    let proof = prove(&mut store, None).expect("it goes on");
    assert_eq!(proved(&proof), value(&device) + 1, "it moved once");
    let read = HardwareProof::read_either(&proof).expect("a proof");
    assert_eq!(read.ticket, Some(ticket));
}

#[test]
fn a_request_is_asked_for_under_one_id_while_its_key_lives() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let asked = |store: &LicenseStore| match store.state() {
        State::Activating(pending) => Some((pending.request_id(), pending.device().thumbprint())),
        _ => None,
    };
    let key = new_key(&tpm);
    kill_points(
        |dir| with_tpm(dir, &vendor, &tpm),
        |store| ask(store, &key),
        |mut store, _| {
            let durable = asked(&store);
            ask(&mut store, &key).expect("again");
            if let Some(durable) = durable {
                assert_eq!(asked(&store), Some(durable));
            }
            accept_activation(&mut store, vendor.answer_to(&key)).expect("accept");
            check(&store, &build()).expect("runs");
        },
    );
    let home = TempDir::new().expect("directory");
    let mut store = with_tpm(&home.path().join("store"), &vendor, &tpm);
    ask(&mut store, &key).expect("asked");
    let first = asked(&store);
    let second = new_key(&tpm);
    ask(&mut store, &second).expect("asked with another key");
    assert_ne!(asked(&store), first, "another key, another request");
    abandon_activation(&mut store).expect("abandon");
    assert!(matches!(store.state(), State::Empty));
}

#[test]
fn a_certificate_names_the_counter_of_its_key() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let key = new_key(&tpm);
    let mut store = with_tpm(&home.path().join("store"), &vendor, &tpm);
    ask(&mut store, &key).expect("asked");
    let right = key.counter().expect("a counter");
    let moved = Counter {
        value: right.value + 1,
        ..right
    };
    for counter in [None, Some(moved)] {
        let certificate = ActivationCertificate {
            counter,
            ..vendor.certificate(key.thumbprint())
        };
        let error = accept_activation(&mut store, vendor.answer_with(&certificate));
        assert!(
            matches!(error, Err(ClientError::Artefact { .. })),
            "{error:?}"
        );
    }
    accept_activation(&mut store, vendor.answer_to(&key)).expect("the right one");
}

#[test]
fn the_kind_of_key_stays_while_the_license_is_in_force() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let vendor = Vendor::new(9);
    let home = TempDir::new().expect("directory");
    let mut store = activated(&home.path().join("store"), &vendor, &tpm);
    store
        .remember_attester(Some(Attester::Software), None)
        .expect("remembered");
    let error = activate_request(&mut store, b"challenge", &options());
    assert!(matches!(
        error,
        Err(ClientError::Unfinished(Unfinished::OtherKey {
            kind: "tpm",
            ..
        }))
    ));
    store
        .remember_attester(Some(Attester::Auto), None)
        .expect("remembered");
    let again = activate_request(&mut store, b"challenge", &options()).expect("enrolled already");
    let sent = again.device_key.and_then(|key| key.key);
    assert_eq!(
        sent,
        Some(upkeep::rpc::v1::device_key::Key::DeviceId(
            "device-1".to_owned()
        ))
    );
    abandon_activation(&mut store).expect("abandon");
    new_key(&tpm);
    let dead = activate_request(&mut store, b"challenge", &options());
    assert!(matches!(dead, Err(ClientError::Input(_))), "{dead:?}");
}
