//! `init`: everything once, nothing twice.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::binaries::{run, upkeep_server};
use crate::world::{Place, assert_refused, snapshot};

#[test]
fn init_makes_everything_for_its_owner_once() {
    let place = Place::new();
    let before = snapshot(&place.data());
    let mode = fs::metadata(place.data()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    for (name, mode) in [
        ("upkeep.toml", 0o644),
        ("meta", 0o600),
        ("keys/ca.key", 0o600),
        ("keys/tls.key", 0o600),
        ("keys/signing.key", 0o600),
        ("keys/pepper", 0o600),
        ("keys/code.key", 0o600),
        ("keys/ca.crt", 0o644),
        ("admin/admin.key", 0o600),
        ("admin/admin.crt", 0o644),
    ] {
        let found = before.get(&place.data().join(name)).map(|(_, mode)| *mode);
        assert_eq!(found, Some(mode), "{name}");
    }
    assert_refused(
        place.run(&["init"]),
        4,
        &["exists", "nothing is ever overwritten"],
    );
    assert_eq!(snapshot(&place.data()), before);
}

#[test]
fn init_takes_the_names_it_is_given() {
    let root = tempfile::tempdir().unwrap();
    let arguments = [
        "init",
        "--json",
        "--name",
        "licenses.vendor.example",
        "--name",
        "192.0.2.7",
    ];
    let mut command = upkeep_server(arguments);
    let data = root.path().join("a b").join("data");
    let (code, stdout, stderr) = run(command.arg("--data").arg(&data));
    assert_eq!(code, 0, "{stderr}");
    let made: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(made["issuer"], "https://licenses.vendor.example");
    assert_eq!(made["trust_domain"], "licenses.vendor.example");
    assert_eq!(made["tls_names"][1], "192.0.2.7");
    let (code, stdout, _) = run(upkeep_server(["config", "show", "--json"])
        .arg("--data")
        .arg(&data));
    assert_eq!(code, 0);
    let shown: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(shown["issuer"]["value"], "https://licenses.vendor.example");
    assert!(
        shown["issuer"]["source"]
            .as_str()
            .unwrap()
            .starts_with("file ")
    );
    assert_eq!(shown["data_dir"]["source"], "flag --data");
}

#[test]
fn init_finishes_what_was_interrupted_and_touches_nothing_foreign() {
    let place = Place::new();
    // As if it had been killed before the last step.
    fs::remove_dir_all(place.data().join("keys")).unwrap();
    fs::remove_dir_all(place.data().join("admin")).unwrap();
    let (code, _, stderr) = place.run(&["init"]);
    assert_eq!(code, 0, "{stderr}");

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("letter.txt"), "dear").unwrap();
    let before = snapshot(foreign.path());
    let answer = run(upkeep_server(["init"]).arg("--data").arg(foreign.path()));
    assert_refused(answer, 4, &["letter.txt", "empty directory"]);
    assert_eq!(snapshot(foreign.path()), before);
}

#[test]
fn init_names_every_mistake_before_it_makes_anything() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let arguments = [
        "init",
        "--name",
        "no name",
        "--issuer",
        "a b",
        "--products",
        "here",
    ];
    let answer = run(upkeep_server(arguments).arg("--data").arg(&data));
    assert_refused(
        answer,
        2,
        &["tls.names", "issuer", "listen.products", "trust_domain"],
    );
    assert!(!data.exists());
}
