//! `upkeep` with and without a TPM: software TPMs, one for each test, and a development server that believes their CA.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;
use upkeep::tpm::template::counter_index;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::world::World;

/// A server that takes this TPM for a chip, and a store that uses it.
fn with_chip() -> Option<(World, SoftwareTpm)> {
    let ca = Ca::new();
    let tpm = SoftwareTpm::provision(&ca)?;
    let world = World::trusting(&ca);
    enroll(&world, "a", &tpm);
    Some((world, tpm))
}

fn enroll(world: &World, store: &str, tpm: &SoftwareTpm) {
    let (url, ca) = (world.text("/products_url"), world.text("/ca"));
    let address = tpm.address();
    let asked = ["enroll", "--server", url, "--ca", ca, "--tpm", &address];
    world.ok(store, &asked);
}

/// Activates the sample license with this serial.
fn activate(world: &World, store: &str, serial: &str, product: &str, more: &[&str]) -> Value {
    let code = world.credential(serial);
    let (version, _) = world.release(product);
    let asked = [
        "activate",
        serial,
        "--product",
        product,
        "--version",
        version,
    ];
    let asked = [&asked[..], &["--activation-code-file", &code], more].concat();
    world.ok(store, &asked)
}

fn check(world: &World) -> [&str; 5] {
    let (version, build_date) = world.release("label-studio");
    ["check", "--version", version, "--build-date", build_date]
}

/// How many counters the chip holds. Source: TPM 2.0 Part 3 section 30.2, TPM2_GetCapability(TPM_CAP_HANDLES, 0x01800000, 32).
fn counters(tpm: &SoftwareTpm) -> usize {
    let mut stream = UnixStream::connect(tpm.unix_path()).unwrap();
    let asked = [
        0x80, 1, 0, 0, 0, 22, 0, 0, 1, 0x7A, 0, 0, 0, 1, 1, 0x80, 0, 0, 0, 0, 0, 32,
    ];
    stream.write_all(&asked).unwrap();
    // Header, moreData, capability, count; then the handles. The maker's certificates begin at 0x01C00000.
    let mut head = [0; 19];
    stream.read_exact(&mut head).unwrap();
    let mut handles = vec![0; 4 * usize::from(head[18])];
    stream.read_exact(&mut handles).unwrap();
    let before = [1, 0xC0, 0, 0];
    let ours = handles
        .chunks(4)
        .filter(|handle| *handle < before.as_slice());
    ours.count()
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn a_license_in_a_chip_lives_and_a_restored_disk_does_not_bring_it_back() {
    let Some((world, tpm)) = with_chip() else {
        return;
    };
    let active = activate(&world, "a", "LS-1000", "label-studio", &[]);
    assert_eq!(active["attester"], "tpm");
    assert_eq!(active["license"]["assurance"], "hardware");
    let value = active["license"]["counter"]["value"].as_u64().unwrap();
    world.ok("a", &check(&world));
    world.ok("a", &["refresh"]);
    let status = world.ok("a", &["status"]);
    assert_eq!(status["license"]["counter"], active["license"]["counter"]);
    let doctor = world.ok("a", &["doctor"]);
    assert!(doctor["tpm"]["endorsement"].is_string(), "{doctor}");
    // Asking again keeps key and seat.
    let again = activate(&world, "a", "LS-1000", "label-studio", &[]);
    assert_eq!(
        again["license"]["activation_id"],
        active["license"]["activation_id"]
    );
    assert_eq!(again["license"]["counter"]["value"], value);

    copy(&world.path("a"), &world.path("copy"));
    let papers = [
        "deactivate",
        "--export-proof",
        "proof.txt",
        "--export-receipt",
        "receipt.txt",
    ];
    assert_eq!(counters(&tpm), 1);
    world.ok("a", &papers);
    assert_eq!(counters(&tpm), 0, "its room is given back");
    let receipt = world.ok("a", &["inspect", "receipt.txt"]);
    assert_eq!(receipt["claims"]["grade"], "HARDWARE");
    let (exit, proof, _) = world.upkeep("a", &["inspect", "proof.txt", "--json"]);
    let proof: Value = serde_json::from_str(&proof).unwrap();
    assert_eq!((exit, &proof["kind"]), (9, &"hardware_proof".into()));
    assert_eq!(proof["claims"]["counter"], value + 1);
    world.fails(
        "copy",
        &check(&world),
        5,
        "NOT_ACTIVATED",
        Some("KEY_ENDED"),
    );
    let (exit, stdout, _) = world.upkeep("copy", &["doctor"]);
    assert_eq!(exit, 5, "{stdout}");
    assert!(stdout.contains("FAIL  tpm key"), "{stdout}");

    // It comes back by activating it, with a new key.
    let back = activate(&world, "a", "LS-1000", "label-studio", &[]);
    assert!(back["license"]["counter"]["value"].as_u64() > Some(value + 1));
    world.ok("a", &check(&world));
}

#[test]
fn a_key_that_works_is_not_replaced_by_one_for_another_use() {
    let Some((world, _tpm)) = with_chip() else {
        return;
    };
    let active = activate(&world, "a", "LS-1000", "label-studio", &[]);
    let code = world.credential("LS-1000");
    let again = ["activate", "LS-1000", "--activation-code-file", &code];
    for other in [
        ["--virtual-environment", "yes"],
        ["--product", "smartermail"],
    ] {
        let asked = [&again[..], &other].concat();
        world.fails("a", &asked, 5, "UNFINISHED", Some("OTHER_USE"));
        world.ok("a", &check(&world));
    }
    // What is not said stays as it is.
    assert_eq!(
        world.ok("a", &again)["license"]["counter"],
        active["license"]["counter"]
    );
}

#[test]
fn without_a_product_the_chip_is_left_alone() {
    let Some((world, tpm)) = with_chip() else {
        return;
    };
    let code = world.credential("LS-1000");
    let redeem = ["upgrade", "redeem", "LS-1000", "--version", "11.0.2"];
    let redeem = [&redeem[..], &["--code-file", &code]].concat();
    world.fails("a", &redeem, 2, "USAGE", None);
    assert!(!tpm.is_defined(counter_index("localhost", "LS-1000", 0)));
}

#[test]
fn a_proof_needs_no_ticket_and_no_network() {
    let Some((world, _tpm)) = with_chip() else {
        return;
    };
    activate(&world, "a", "LS-1000", "label-studio", &[]);
    let offline = ["deactivate", "--offline", "--export-proof", "proof.txt"];
    let stopped = world.ok("a", &offline);
    assert_eq!(stopped["state"], "releasing");
    assert!(stopped["receipt"].is_null());
    world.fails("a", &check(&world), 5, "NOT_ACTIVATED", Some("RELEASING"));
    // While the proof is not made, the chip is needed.
    let state = world.path("a").join("state.json");
    let proved = fs::read_to_string(&state).unwrap();
    let unproved: Vec<&str> = proved
        .lines()
        .filter(|line| !line.trim_start().starts_with("\"proof\""))
        .collect();
    fs::write(&state, unproved.join("\n")).unwrap();
    let elsewhere = ["doctor", "--tpm", "unix:/nowhere/tpm"];
    let (exit, stdout, _) = world.upkeep("a", &elsewhere);
    assert_eq!(exit, 1, "{stdout}");
    assert!(stdout.contains("FAIL  tpm"), "{stdout}");
    fs::write(&state, proved).unwrap();
    let first = fs::read_to_string(world.path("proof.txt")).unwrap();
    world.ok("a", &offline);
    assert_eq!(fs::read_to_string(world.path("proof.txt")).unwrap(), first);
    let done = world.ok("a", &["deactivate"]);
    assert_eq!(done["state"], "deactivated");
    assert!(done["receipt"].is_string());
}

#[test]
fn a_dead_key_is_returned_and_replaced_without_a_second_seat() {
    let Some((world, tpm)) = with_chip() else {
        return;
    };
    // Its one seat: a second would be refused.
    let serial = "LS-1000";
    let first = activate(&world, "a", serial, "label-studio", &[]);
    assert_eq!(first["license"]["seats"], 1);
    // The store is lost; the counter of the license stays in the chip.
    enroll(&world, "b", &tpm);
    let second = activate(&world, "b", serial, "label-studio", &[]);
    assert_ne!(
        second["license"]["activation_id"],
        first["license"]["activation_id"]
    );
    world.fails("a", &check(&world), 5, "NOT_ACTIVATED", Some("KEY_ENDED"));
    let status = world.ok("a", &["status"]);
    assert_eq!(
        (&status["state"], &status["attester_works"]),
        (&"active".into(), &false.into())
    );
    assert!(
        status["next"].as_str().unwrap().contains("activate again"),
        "{status}"
    );
    world.ok("b", &check(&world));
    assert_eq!(world.ok("b", &["status"])["attester_works"], true);
    // The older store hears from the server that it is over.
    let (exit, _, stderr) = world.upkeep("a", &["deactivate", "--json"]);
    assert_eq!(exit, 0, "{stderr}");
    // The key of the younger one lives on.
    assert_eq!(counters(&tpm), 1);
    world.ok("b", &check(&world));
    world.ok("b", &["deactivate"]);
    assert_eq!(counters(&tpm), 0);
}

#[test]
fn a_chip_of_an_unknown_maker_gets_a_software_key_and_the_reason() {
    let Some(tpm) = SoftwareTpm::provision(&Ca::new()) else {
        return;
    };
    let world = World::new();
    enroll(&world, "a", &tpm);
    let active = activate(&world, "a", "LS-1000", "label-studio", &[]);
    assert_eq!(active["attester"], "software");
    let reason = active["attester_reason"].as_str().unwrap();
    assert!(reason.contains("does not accept this TPM"), "{reason}");
    world.ok("a", &["deactivate"]);
    let code = world.credential("LS-1000");
    let (version, _) = world.release("label-studio");
    let forced = [
        "activate",
        "LS-1000",
        "--product",
        "label-studio",
        "--version",
        version,
    ];
    let forced = [
        &forced[..],
        &["--activation-code-file", &code, "--attester", "tpm"],
    ]
    .concat();
    world.fails("a", &forced, 3, "REFUSED", Some("ATTESTATION_FAILED"));
}

#[test]
fn a_key_falls_back_to_software_and_says_why() {
    let world = World::new();
    let code = world.credential("LS-1000");
    let (version, build_date) = world.release("label-studio");
    let (url, ca) = (world.text("/products_url"), world.text("/ca"));
    let activate = |more: &[&'static str]| {
        let fixed = ["activate", "LS-1000", "--product", "label-studio"];
        let rest = ["--version", version, "--activation-code-file", &code];
        [&fixed[..], &rest[..], more]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let run = |more: &[&'static str]| {
        let arguments = activate(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        world.ok("a", &arguments)
    };
    let fails = |more: &[&'static str], exit, code, reason| {
        let arguments = activate(more);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        world.fails("a", &arguments, exit, code, Some(reason));
    };

    // What is said at enrollment is remembered.
    let nowhere = "unix:/nowhere/tpm";
    let enroll = ["enroll", "--server", url, "--ca", ca, "--tpm", nowhere];
    let enrolled = world.ok("a", &[&enroll[..], &["--attester", "tpm"]].concat());
    assert_eq!(
        (&enrolled["attester"], &enrolled["tpm"]),
        (&"tpm".into(), &nowhere.into())
    );
    fails(&[], 1, "TPM", "NO_TPM");
    assert_eq!(world.ok("a", &["status"])["state"], "empty");
    let (exit, stdout, _) = world.upkeep("a", &["doctor"]);
    assert_eq!(exit, 1, "{stdout}");
    assert!(stdout.contains("FAIL  tpm"), "{stdout}");

    // By itself it takes a software key, and says so.
    let active = run(&["--attester", "auto"]);
    assert_eq!(active["attester"], "software");
    let reason = active["attester_reason"].as_str().unwrap();
    assert!(reason.contains("no TPM at unix:/nowhere/tpm"), "{reason}");
    let status = world.ok("a", &["status"]);
    assert_eq!(status["attester_choice"], "auto");
    assert_eq!(status["attester_reason"], active["attester_reason"]);
    let (exit, stdout, stderr) = world.upkeep("a", &["doctor", "--json"]);
    assert_eq!(exit, 0, "{stdout}{stderr}");
    let said: Value = serde_json::from_str(&stdout).unwrap();
    assert!(said["tpm"].is_null());
    world.ok(
        "a",
        &["check", "--version", version, "--build-date", build_date],
    );

    // A seat keeps its kind of key.
    fails(&["--attester", "tpm"], 5, "UNFINISHED", "OTHER_KIND_OF_KEY");
    world.ok("a", &["deactivate"]);
    fails(&["--attester", "tpm"], 1, "TPM", "NO_TPM");
    // What did not succeed is not remembered.
    assert_eq!(world.ok("a", &["status"])["attester_choice"], "auto");
    let by_hand = activate(&["--attester", "tpm"]);
    let by_hand: Vec<&str> = ["request"]
        .into_iter()
        .chain(by_hand.iter().map(String::as_str))
        .collect();
    world.fails("a", &by_hand, 2, "USAGE", None);
    let plain = run(&["--attester", "software"]);
    assert!(plain["attester_reason"].is_null());
}
