//! A TPM that is full, locked, owned, empty or not there.

use upkeep_client::tpm::{Tpm, TpmAddress, TpmError};

use crate::machine::{Q, SERIAL, VENDOR, machine, open, tool};

/// TPM2_StartAuthSession for an HMAC session that nobody ends.
const LEAK: [u8; 43] = [
    0x80, 0x01, 0, 0, 0, 43, 0, 0, 0x01, 0x76, 0x40, 0, 0, 7, 0x40, 0, 0, 7, 0, 16, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0x0B,
];

#[test]
fn nothing_stays_loaded_whatever_happens() {
    let Some(machine) = machine() else { return };
    let mut tpm = open(&machine);
    let key = tpm.prepare(VENDOR, SERIAL).unwrap().key;
    // Three objects and three sessions fit at once: a leak shows by the fourth round.
    for _ in 0..5 {
        tpm.certify(&key, &Q).unwrap();
        tpm.sign(&key, &Q).unwrap();
        assert!(tpm.activate_credential(&key, &[1; 52], &[2; 256]).is_err());
    }
    tpm.retire(&key, &Q).unwrap();
    for _ in 0..5 {
        assert!(tpm.sign(&key, &Q).is_err());
    }
    tpm.prepare(VENDOR, SERIAL).unwrap();
}

#[test]
fn what_others_left_in_the_tpm_is_said_clearly() {
    let Some(machine) = machine() else { return };
    let key = open(&machine).prepare(VENDOR, SERIAL).unwrap().key;
    while machine.send(&LEAK) == 0 {}
    let full = open(&machine).sign(&key, &Q).unwrap_err();
    assert!(matches!(full, TpmError::Exhausted { .. }), "{full}");
    assert!(full.next_step().contains("/dev/tpmrm0"));
    // What needs no session still works.
    open(&machine).heartbeat(&key, &Q).unwrap();
}

#[test]
fn a_lockout_stops_nothing_of_ours() {
    let Some(machine) = machine() else { return };
    let key = open(&machine).prepare(VENDOR, SERIAL).unwrap().key;
    let locked = ["-s", "-n", "1", "-t", "10000", "-l", "10000"];
    if !tool(&machine, "tpm2_dictionarylockout", &locked) {
        return;
    }
    // An index that counts wrong passwords, and one wrong password.
    let protected = [
        "-C",
        "o",
        "-s",
        "8",
        "-a",
        "authread|authwrite",
        "-p",
        "right",
        "0x01500001",
    ];
    tool(&machine, "tpm2_nvdefine", &protected);
    let wrong = std::process::Command::new("tpm2_nvread")
        .args([
            "-T",
            &machine.tcti(),
            "-C",
            "0x01500001",
            "-P",
            "wrong",
            "0x01500001",
        ])
        .output()
        .unwrap();
    assert!(!wrong.status.success());
    let mut tpm = open(&machine);
    assert!(tpm.facts().unwrap().lockout);
    assert!(tpm.is_alive(&key).unwrap());
    tpm.sign(&key, &Q).unwrap();
    tpm.certify(&key, &Q).unwrap();
    tpm.retire(&key, &Q).unwrap();
    tpm.prepare(VENDOR, SERIAL).unwrap();
}

#[test]
fn an_owned_tpm_says_so() {
    let Some(machine) = machine() else { return };
    if !tool(&machine, "tpm2_changeauth", &["-c", "o", "secret"]) {
        return;
    }
    let mut tpm = open(&machine);
    assert!(tpm.facts().unwrap().owner_password);
    let refused = tpm.prepare(VENDOR, SERIAL).unwrap_err();
    assert!(matches!(refused, TpmError::Owned { .. }), "{refused}");
}

#[test]
fn a_tpm_without_a_certificate_has_no_evidence() {
    let Some(machine) = machine() else { return };
    for index in ["0x01c00002", "0x01c00016"] {
        if !tool(&machine, "tpm2_nvundefine", &["-C", "p", index]) {
            return;
        }
    }
    let mut tpm = open(&machine);
    assert_eq!(tpm.facts().unwrap().endorsement, None);
    let refused = tpm.prepare(VENDOR, SERIAL).unwrap_err();
    assert!(matches!(refused, TpmError::NoEndorsement), "{refused}");
}

#[test]
fn a_tpm_tells_about_itself() {
    let Some(machine) = machine() else { return };
    let facts = open(&machine).facts().unwrap();
    assert_eq!(facts.manufacturer, "IBM");
    assert!(facts.model.contains("SW"), "{facts:?}");
    assert!(facts.firmware > 0);
    assert!(facts.counters_left.is_some_and(|left| left > 1));
    assert!(!facts.owner_password && !facts.endorsement_password && !facts.lockout);
}

#[test]
fn no_tpm_is_an_answer_with_a_next_step() {
    let nowhere = TpmAddress::Unix("/nonexistent/tpm".into());
    let refused = Tpm::open(&nowhere).unwrap_err();
    assert!(matches!(refused, TpmError::Unavailable { .. }), "{refused}");
    assert!(refused.next_step().contains("software"));
}

#[test]
fn a_tpm_that_goes_away_is_an_error_and_no_hang() {
    let Some(mut machine) = machine() else { return };
    let mut tpm = open(&machine);
    machine.kill();
    assert!(matches!(tpm.facts(), Err(TpmError::Io(_))));
}
