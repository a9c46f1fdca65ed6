//! What an owner can do to the counter, and what it does to the key.

use upkeep::tpm::template::{counter_index, shared_counter_index};
use upkeep_client::tpm::TpmError;

use crate::machine::{Q, SERIAL, VENDOR, counter_in, machine, open, statement, tool};

#[test]
fn a_counter_that_is_deleted_and_defined_again_ends_the_key() {
    let Some(machine) = machine() else { return };
    let prepared = open(&machine).prepare(VENDOR, SERIAL).unwrap();
    let key = &prepared.key;
    let index = format!("{:#010x}", key.counter().index);
    if !tool(&machine, "tpm2_nvundefine", &["-C", "o", &index]) {
        return;
    }
    let mut tpm = open(&machine);
    assert!(!tpm.is_alive(key).unwrap());
    assert!(matches!(tpm.heartbeat(key, &Q), Err(TpmError::KeyEnded)));
    let proof = statement(&prepared.ak_public, &Q, &tpm.retire(key, &Q).unwrap());
    assert!(counter_in(&proof) > key.value());
    assert!(!tpm.is_alive(key).unwrap());
}

#[test]
fn tpm2_clear_ends_the_key_and_leaves_the_proof_possible() {
    let Some(machine) = machine() else { return };
    let before = open(&machine).prepare(VENDOR, SERIAL).unwrap();
    if !tool(&machine, "tpm2_clear", &["-c", "p"]) {
        return;
    }
    let mut tpm = open(&machine);
    assert!(!tpm.is_alive(&before.key).unwrap());
    let proof = tpm.retire(&before.key, &Q).unwrap();
    let proof = statement(&before.ak_public, &Q, &proof);
    assert!(counter_in(&proof) > before.key.value());

    let after = tpm.prepare(VENDOR, SERIAL).unwrap();
    assert_eq!(after.ak_public, before.ak_public);
    assert_eq!(after.nv_public, before.nv_public);
    assert!(after.key.value() > before.key.value());
    assert!(tpm.is_alive(&after.key).unwrap());
    assert!(matches!(tpm.sign(&before.key, &Q), Err(TpmError::KeyEnded)));
}

#[test]
fn whoever_increments_the_counter_ends_only_the_key() {
    let Some(machine) = machine() else { return };
    let prepared = open(&machine).prepare(VENDOR, SERIAL).unwrap();
    let index = format!("{:#010x}", prepared.key.counter().index);
    if !tool(&machine, "tpm2_nvincrement", &["-C", &index, &index]) {
        return;
    }
    let mut tpm = open(&machine);
    assert!(!tpm.is_alive(&prepared.key).unwrap());
    let proof = tpm.retire(&prepared.key, &Q).unwrap();
    let proof = statement(&prepared.ak_public, &Q, &proof);
    assert_eq!(counter_in(&proof), prepared.key.value() + 1);
}

#[test]
fn a_place_that_is_taken_is_left_alone() {
    let Some(machine) = machine() else { return };
    let taken = format!("{:#010x}", counter_index(VENDOR, SERIAL, 0));
    if !tool(&machine, "tpm2_nvdefine", &["-C", "o", "-s", "8", &taken]) {
        return;
    }
    let key = open(&machine).prepare(VENDOR, SERIAL).unwrap().key;
    assert_eq!(key.counter().index, counter_index(VENDOR, SERIAL, 1));
}

#[test]
fn something_else_in_the_counters_place_ends_the_key_without_a_proof() {
    let Some(machine) = machine() else { return };
    let key = open(&machine).prepare(VENDOR, SERIAL).unwrap().key;
    let index = format!("{:#010x}", key.counter().index);
    if !tool(&machine, "tpm2_nvundefine", &["-C", "o", &index]) {
        return;
    }
    // An ordinary index, which its owner can set to any value.
    tool(&machine, "tpm2_nvdefine", &["-C", "o", "-s", "8", &index]);
    let mut tpm = open(&machine);
    assert!(!tpm.is_alive(&key).unwrap());
    let refused = tpm.retire(&key, &Q);
    assert!(
        matches!(refused, Err(TpmError::IndexTaken { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_tpm_with_few_counters_shares_one() {
    let Some(machine) = machine() else { return };
    let own = open(&machine).prepare(VENDOR, "own").unwrap().key;
    let last = machine.fill();
    let full = open(&machine).prepare(VENDOR, "one");
    assert!(matches!(full, Err(TpmError::NoSpace)), "{full:?}");

    machine.undefine(last);
    let mut tpm = open(&machine);
    let one = tpm.prepare(VENDOR, "one").unwrap().key;
    assert_eq!(one.counter().index, shared_counter_index(VENDOR));
    assert!(tpm.is_alive(&one).unwrap());
    // Another license works beside it, on the same counter at the same value.
    let two = tpm.prepare(VENDOR, "two").unwrap().key;
    assert_eq!(two.counter(), one.counter());
    assert_eq!(two.value(), one.value());
    assert!(tpm.is_alive(&one).unwrap());
    assert!(tpm.is_alive(&two).unwrap());
    // What ends one ends both, and the counter stays for those who come back.
    tpm.retire(&one, &Q).unwrap();
    assert!(!tpm.is_alive(&one).unwrap());
    assert!(!tpm.is_alive(&two).unwrap());
    tpm.give_back(&one).unwrap();
    let back = tpm.prepare(VENDOR, "two").unwrap().key;
    assert_eq!(back.value(), one.value() + 1);
    assert!(tpm.is_alive(&back).unwrap());
    // A key that nobody has any more is ended on purpose.
    let anew = tpm.prepare_anew(VENDOR, "two").unwrap().key;
    assert_eq!(anew.value(), back.value() + 1);
    assert!(!tpm.is_alive(&back).unwrap());
    // A license that has a counter keeps it.
    let again = tpm.prepare(VENDOR, "own").unwrap().key;
    assert_eq!(again.counter(), own.counter());
    assert!(again.value() > own.value());
}

#[test]
fn a_counter_that_is_given_back_is_gone_and_its_key_stays_dead() {
    let Some(machine) = machine() else { return };
    let mut tpm = open(&machine);
    let key = tpm.prepare(VENDOR, SERIAL).unwrap().key;
    // While the key works nothing happens.
    tpm.give_back(&key).unwrap();
    assert!(tpm.is_alive(&key).unwrap());
    tpm.retire(&key, &Q).unwrap();
    tpm.give_back(&key).unwrap();
    assert!(matches!(tpm.heartbeat(&key, &Q), Err(TpmError::KeyEnded)));
    // Twice is no error.
    tpm.give_back(&key).unwrap();
    assert!(!tpm.is_alive(&key).unwrap());
    // The proof can be made again, and the next key is beyond all that was.
    let next = tpm.prepare(VENDOR, SERIAL).unwrap().key;
    assert_eq!(next.counter(), key.counter());
    assert!(next.value() > key.value() + 1);
    assert!(!tpm.is_alive(&key).unwrap());
    // It is the newer key's counter now.
    tpm.give_back(&key).unwrap();
    assert!(tpm.is_alive(&next).unwrap());
}

#[test]
fn an_earlier_state_of_a_virtual_tpm_is_noticed() {
    let Some(mut machine) = machine() else { return };
    let early = open(&machine).prepare(VENDOR, SERIAL).unwrap();
    machine.stop();
    let state = machine.copy_state();
    machine.start();
    let late = open(&machine).prepare(VENDOR, SERIAL).unwrap().key;
    machine.stop();
    machine.restore_state(&state);
    machine.start();
    let mut tpm = open(&machine);
    // What no client can prevent, and why the server wants heartbeats of virtual machines.
    assert!(tpm.is_alive(&early.key).unwrap());
    let refused = tpm.retire(&late, &Q);
    assert!(
        matches!(refused, Err(TpmError::CounterBehind { .. })),
        "{refused:?}"
    );
}
