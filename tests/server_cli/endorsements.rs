//! `endorsement`: what an operator does with the CAs that vouch for hardware, and what a server does with his mistakes.

use std::fs;
use std::process::Command;

use serde_json::Value;
use upkeep_swtpm::{Ca, SoftwareTpm};

use crate::binaries::{run, upkeep_server};
use crate::world::{Place, assert_refused};

/// Writes a CA's certificate into `place` and adds it.
fn add(place: &Place, ca: &Ca, class: &str) -> (i32, String, String) {
    let file = place.path("ca.der");
    fs::write(&file, ca.root_der()).unwrap();
    let file = file.display().to_string();
    let source = "made by this test";
    place.run(&[
        "endorsement",
        "add",
        &file,
        "--class",
        class,
        "--source",
        source,
        "--json",
    ])
}

fn listed(place: &Place) -> Vec<Value> {
    let (code, stdout, stderr) = place.run(&["endorsement", "list", "--json"]);
    assert_eq!(code, 0, "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn the_built_in_ones_are_there_without_a_server() {
    let (code, stdout, stderr) = run(&mut upkeep_server(["endorsement", "list"]));
    assert_eq!(code, 0, "{stderr}");
    for part in [
        "chip",
        "Infineon OPTIGA(TM) RSA Root CA",
        "until 2043-07-25",
        "github.com/",
    ] {
        assert!(stdout.contains(part), "no {part:?} in {stdout}");
    }
    let (code, stdout, stderr) = run(&mut upkeep_server(["endorsement", "verify"]));
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains("every hash, form and date is good"),
        "{stdout}"
    );
}

#[test]
fn an_authority_is_added_listed_and_refused_the_second_time() {
    let place = Place::new();
    let before = listed(&place).len();
    let ca = Ca::named("Hypervisors of the vendor");
    let (code, stdout, stderr) = add(&place, &ca, "software");
    assert_eq!(code, 0, "{stderr}");
    let added: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(added["name"], "Hypervisors of the vendor");
    assert_eq!(added["class"], "software");
    assert_eq!(added["source"], "made by this test");
    assert_eq!(added["sha256"].as_str().unwrap().len(), 64);
    let after = listed(&place);
    assert_eq!(after.len(), before + 1);
    assert_eq!(after.last(), Some(&added));
    assert_refused(add(&place, &ca, "software"), 3, &["listed already"]);
    assert_refused(
        place.run(&["endorsement", "add", "ca.der", "--class", "chip"]),
        2,
        &["--source"],
    );
    place.serve().stop();
}

#[test]
fn a_server_does_not_start_with_a_test_authority_as_hardware() {
    let place = Place::new();
    let ca = Ca::new();
    assert_refused(
        add(&place, &ca, "chip"),
        3,
        &["\"swtpm-localca\" is a test CA", "classed chip"],
    );
    let (code, _, stderr) = add(&place, &ca, "software");
    assert_eq!(code, 0, "{stderr}");
    let manifest = place.data().join("endorsements/endorsements.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"software\"", "\"chip\"")).unwrap();
    for command in [
        &["serve"][..],
        &["config", "check"],
        &["endorsement", "verify"],
    ] {
        assert_refused(place.run(command), 3, &["is a test CA", "allow_test_roots"]);
    }
    // A trial may say that it is one.
    let mut trial = upkeep_server(["config", "check", "--data"]);
    trial
        .arg(place.data())
        .env("UPKEEP_ENDORSEMENTS_ALLOW_TEST_ROOTS", "true");
    let (code, _, stderr) = run(&mut trial);
    assert_eq!(code, 0, "{stderr}");

    fs::write(place.data().join("endorsements/deny.toml"), "[[ek]]").unwrap();
    assert_refused(place.run(&["serve"]), 3, &["deny.toml", "sha256"]);
}

#[test]
fn an_endorsement_certificate_is_verified_against_what_counts() {
    let (ours, theirs) = (Ca::named("Chips of a maker"), Ca::named("Chips of a maker"));
    let Some(tpm) = SoftwareTpm::provision(&ours) else {
        return;
    };
    let place = Place::new();
    let ek = place.path("ek.der");
    let mut read = Command::new("tpm2_nvread");
    read.args(["-T", &tpm.tcti(), "-C", "o", "0x01C00002", "-o"]);
    match read.arg(&ek).status() {
        Ok(status) => assert!(status.success()),
        Err(e) => {
            assert!(
                std::env::var_os("UPKEEP_REQUIRE_SWTPM").is_none_or(|required| required != "1"),
                "tpm2_nvread: {e}; install tpm2-tools"
            );
            eprintln!("SKIPPED: tpm2_nvread: {e}; install tpm2-tools");
            return;
        }
    }
    let ek = ek.display().to_string();
    let verify = ["endorsement", "verify", "--ek", &ek, "--json"];
    let refused = place.run(&verify);
    let verdict: Value = serde_json::from_str(&refused.1).unwrap();
    assert_eq!(
        (&verdict["accepted"], &verdict["step"]),
        (&false.into(), &1.into())
    );
    assert_refused(refused, 5, &["step 1", "endorsement add"]);

    // A CA of the same name and another key is nothing to it.
    assert_eq!(add(&place, &theirs, "chip").0, 0);
    assert_refused(place.run(&verify), 5, &["step 1"]);

    assert_eq!(add(&place, &ours, "chip").0, 0);
    let (code, stdout, stderr) = place.run(&verify);
    assert_eq!(code, 0, "{stderr}");
    let verdict: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(verdict["manufacturer"], "id:00001014");
    // libtpms is no chip, whoever vouches for it.
    assert_eq!(
        (&verdict["level"], &verdict["class"]),
        (&"software".into(), &"software".into())
    );
    let mut trial = upkeep_server(verify);
    trial
        .arg("--data")
        .arg(place.data())
        .env("UPKEEP_ENDORSEMENTS_ALLOW_TEST_ROOTS", "true");
    let (_, stdout, _) = run(&mut trial);
    let trial: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(trial["level"], "hardware");

    let denied = format!(
        "[[ek]]\nsha256 = {}\nreason = \"stolen\"\n",
        verdict["ek_id"]
    );
    fs::write(place.data().join("endorsements/deny.toml"), denied).unwrap();
    assert_refused(place.run(&verify), 5, &["step 5"]);
}
