//! `serve` and `health`; and what is no data directory to serve.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use upkeep_server::store::{Options, Store};

use crate::binaries::{Running, run, upkeep_server};
use crate::world::{Place, Serving, assert_refused};

#[test]
fn a_server_serves_is_healthy_and_stops() {
    let place = Place::new();
    assert_refused(place.run(&["health"]), 5, &["cannot reach"]);
    let serving = place.serve();
    let health = ["health", "--address", &serving.products];
    let (code, stdout, stderr) = place.run(&health);
    assert_eq!((code, stdout.as_str()), (0, "SERVING\n"), "{stderr}");
    for (service, status, code) in [
        ("upkeep.v1.ActivationService", "SERVING", 0),
        ("upkeep.v1.CustomerService", "SERVING", 0),
        // Products and customers have no business with it.
        ("upkeep.v1.AdminService", "SERVICE_UNKNOWN", 5),
    ] {
        let arguments = [&health[..], &["--service", service, "--json"]].concat();
        let (found, stdout, _) = place.run(&arguments);
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((found, &answer["status"]), (code, &status.into()));
    }
    let products = serving.products.clone();
    serving.stop();
    assert_refused(
        place.run(&["health", "--address", &products]),
        5,
        &["cannot reach"],
    );
    place.serve().stop();
}

#[test]
fn one_data_directory_serves_one_server() {
    let place = Place::new();
    let serving = place.serve();
    let data = place.data().display().to_string();
    assert_refused(
        place.run(&["serve"]),
        4,
        &[&data, "in use by another server"],
    );
    serving.stop();
}

/// A command holds it for a moment; meanwhile somebody says that there is a new certificate, and that does not end it either.
#[test]
fn a_start_waits_for_a_store_that_is_free_soon() {
    let place = Place::new();
    let held = Store::open(Options::new(&place.data())).unwrap();
    let mut starting = place.starting();
    starting.line("trying for some seconds");
    starting.signal("HUP");
    held.close().unwrap();
    Serving::ready(starting).stop();
}

#[test]
fn data_that_is_not_there_or_damaged_or_newer_is_refused_by_name() {
    let nowhere = tempfile::tempdir().unwrap();
    let none = nowhere.path().join("none");
    let answer = run(upkeep_server(["serve"]).arg("--data").arg(&none));
    assert_refused(
        answer,
        4,
        &[&none.display().to_string(), "upkeep-server init"],
    );

    let place = Place::new();
    for id in ["one", "two", "three"] {
        let (code, _, stderr) = place.run(&["partner", "add", id, "--name", "A partner"]);
        assert_eq!(code, 0, "{stderr}");
    }
    let ledger = place.data().join("ledger");
    let segment = fs::read_dir(&ledger)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let whole = fs::read(&segment).unwrap();
    // Space is taken in advance: the entries end where the zeros begin.
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut damaged = whole.clone();
    damaged[used / 3] ^= 1;
    fs::write(&segment, damaged).unwrap();
    // Whatever else remembers the ledger's end is believed before the ledger is read.
    fs::remove_dir_all(place.data().join("index")).unwrap();
    fs::remove_file(place.data().join("index.state")).unwrap();
    let name = segment.display().to_string();
    for command in [&["serve"][..], &["partner", "list"]] {
        assert_refused(place.run(command), 4, &[&name, "is damaged", "backup"]);
    }
    fs::write(&segment, whole).unwrap();
    assert_eq!(place.partners(), ["one", "three", "two"]);

    let meta = place.data().join("meta");
    fs::write(&meta, "upkeep store, format 2\n").unwrap();
    let name = meta.display().to_string();
    assert_refused(place.run(&["serve"]), 4, &[&name, "format 2"]);
    fs::remove_file(&meta).unwrap();
    assert_refused(place.run(&["serve"]), 4, &[&name, "put it back"]);
}

/// With the defaults it would sign under another issuer.
#[test]
fn a_store_is_not_served_without_its_configuration() {
    let place = Place::new();
    let file = place.data().join("upkeep.toml");
    let text = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let name = file.display().to_string();
    assert_refused(place.run(&["serve"]), 3, &[&name, "--config"]);
    assert_refused(place.run(&["config", "check"]), 3, &[&name]);
    // Nor does a command sign with them, or put them on record.
    let add = ["partner", "add", "acme", "--name", "Acme"];
    for command in [&add[..], &["audit", "checkpoint"], &["keys", "rotate"]] {
        assert_refused(place.run(command), 3, &[&name]);
    }
    assert!(!place.data().join("keys/log.key").exists());
    fs::write(&file, text).unwrap();
    place.serve().stop();
}

#[test]
fn keys_that_others_may_read_are_refused_by_name() {
    let place = Place::new();
    let pepper = place.data().join("keys/pepper");
    fs::set_permissions(&pepper, fs::Permissions::from_mode(0o640)).unwrap();
    let name = pepper.display().to_string();
    assert_refused(place.run(&["serve"]), 4, &[&name, "chmod 600"]);
}

#[test]
fn a_full_disk_under_standard_output_is_told_and_a_reader_that_has_gone_is_none() {
    let place = Place::new();
    place.serve().stop();
    let export = || {
        let mut command = upkeep_server(["audit", "export"]);
        command.arg("--data").arg(place.data());
        command
    };
    let full = File::create("/dev/full").unwrap();
    let mut exporting = Running::start(&mut export(), full.into());
    assert_eq!(exporting.wait().code(), Some(1));
    assert!(exporting.rest().contains("is not whole"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut exporting = Running::start(&mut export(), writer.try_clone().unwrap().into());
    assert_eq!(exporting.wait().code(), Some(0));
    assert_eq!(exporting.rest(), "");
    // Nor does it change a verdict.
    fs::remove_file(place.data().join("upkeep.toml")).unwrap();
    let mut doctor = upkeep_server(["doctor", "--data"]);
    doctor.arg(place.data());
    let mut doctor = Running::start(&mut doctor, writer.into());
    assert_eq!(doctor.wait().code(), Some(3));
}
