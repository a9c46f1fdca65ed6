//! From the first key to the last proof.

use upkeep::tpm::{Attested, NvPublic, name_of, policy};
use upkeep_client::tpm::{TpmError, TpmKey};
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::machine::{Q, SERIAL, VENDOR, counter_in, key_of, machine, open, statement};

#[test]
fn a_key_is_certified_signs_and_ends() {
    let Some(machine) = machine() else { return };
    let mut tpm = open(&machine);
    let prepared = tpm.prepare(VENDOR, SERIAL).unwrap();
    let (ak, key) = (&prepared.ak_public, &prepared.key);

    let (device, counter) = tpm.certify(key, &Q).unwrap();
    let Attested::Certify { name, .. } = statement(ak, &Q, &device).body else {
        panic!("a statement on a key");
    };
    assert_eq!(name, name_of(&prepared.device_public).as_bytes());
    assert_eq!(counter_in(&statement(ak, &Q, &counter)), key.value());
    let nv_public = NvPublic::parse(&prepared.nv_public).unwrap();
    assert_eq!(
        upkeep::tpm::Public::parse(&prepared.device_public)
            .unwrap()
            .auth_policy,
        policy::nv_equal(key.value(), &nv_public.name())
    );

    assert!(tpm.is_alive(key).unwrap());
    let digest = [9; 32];
    let signature = tpm.sign(key, &digest).unwrap();
    assert!(key_of(&prepared.device_public).verify_digest(&digest, &signature));

    let beat = statement(ak, &Q, &tpm.heartbeat(key, &Q).unwrap());
    assert_eq!(counter_in(&beat), key.value());
    assert!(tpm.is_alive(key).unwrap(), "a heartbeat changes nothing");

    let proof = statement(ak, &Q, &tpm.retire(key, &Q).unwrap());
    assert_eq!(counter_in(&proof), key.value() + 1);
    assert!(!tpm.is_alive(key).unwrap());
    assert!(matches!(tpm.sign(key, &digest), Err(TpmError::KeyEnded)));
    assert_eq!(
        counter_in(&statement(ak, &Q, &tpm.retire(key, &Q).unwrap())),
        key.value() + 1,
        "a proof that is asked for again moves nothing"
    );
}

#[test]
fn it_is_the_same_over_tcp() {
    let Some(machine) = SoftwareTpm::provision_tcp(&Ca::new()) else {
        return;
    };
    let mut tpm = open(&machine);
    let key = tpm.prepare(VENDOR, SERIAL).unwrap().key;
    assert!(tpm.is_alive(&key).unwrap());
}

#[test]
fn each_key_is_bound_to_a_value_of_its_own() {
    let Some(machine) = machine() else { return };
    let mut tpm = open(&machine);
    let first = tpm.prepare(VENDOR, SERIAL).unwrap();
    let second = tpm.prepare(VENDOR, SERIAL).unwrap();
    assert_eq!(first.ak_public, second.ak_public);
    assert_eq!(first.nv_public, second.nv_public);
    assert!(second.key.value() > first.key.value());
    assert!(!tpm.is_alive(&first.key).unwrap());
    assert!(tpm.is_alive(&second.key).unwrap());
}

#[test]
fn licenses_have_counters_and_vendors_have_attestation_keys_of_their_own() {
    let Some(machine) = machine() else { return };
    let mut tpm = open(&machine);
    let one = tpm.prepare(VENDOR, SERIAL).unwrap();
    let other = tpm.prepare(VENDOR, "ACME-0000-0000-0002").unwrap();
    assert_eq!(one.ak_public, other.ak_public);
    assert_ne!(one.nv_public, other.nv_public);
    tpm.retire(&one.key, &Q).unwrap();
    assert!(tpm.is_alive(&other.key).unwrap());
    let vendor = tpm.prepare("other", SERIAL).unwrap();
    assert_ne!(one.ak_public, vendor.ak_public);
    assert_eq!(one.ek_certificates, vendor.ek_certificates);
}

#[test]
fn a_key_on_disk_is_for_its_tpm_only() {
    let Some(machine) = machine() else { return };
    let Some(thief) = self::machine() else { return };
    let mut tpm = open(&machine);
    let key = tpm.prepare(VENDOR, SERIAL).unwrap().key;
    let text = serde_json::to_string(&key).unwrap();
    let read: TpmKey = serde_json::from_str(&text).unwrap();
    assert_eq!(read, key);
    assert!(tpm.is_alive(&read).unwrap());

    let mut other = open(&thief);
    assert!(!other.is_alive(&read).unwrap());
    // The same counter at the same value, and still not the same TPM.
    let theirs = other.prepare(VENDOR, SERIAL).unwrap().key;
    assert_eq!(theirs.counter(), key.counter());
    assert_eq!(theirs.value(), key.value());
    assert!(matches!(other.sign(&read, &Q), Err(TpmError::OtherTpm)));
}

#[test]
fn a_power_cut_between_increment_and_proof_loses_nothing() {
    let Some(mut machine) = machine() else { return };
    let mut tpm = open(&machine);
    let prepared = tpm.prepare(VENDOR, SERIAL).unwrap();
    let key = &prepared.key;
    // The proof is made and never arrives.
    tpm.retire(key, &Q).unwrap();
    drop(tpm);
    machine.kill();
    machine.start();
    let mut tpm = open(&machine);
    assert!(!tpm.is_alive(key).unwrap());
    let proof = statement(&prepared.ak_public, &Q, &tpm.retire(key, &Q).unwrap());
    assert_eq!(counter_in(&proof), key.value() + 1);
}

#[test]
fn a_key_survives_restarts_and_power_cuts() {
    let Some(mut machine) = machine() else { return };
    let key = open(&machine).prepare(VENDOR, SERIAL).unwrap().key;
    machine.stop();
    machine.start();
    assert!(open(&machine).is_alive(&key).unwrap());
    machine.kill();
    machine.start();
    assert!(open(&machine).is_alive(&key).unwrap());
}
