//! What a new user types wrongly, or for the first time: the answer says what, why and what next, with the exit code of the table.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::binaries::{run, upkeep_server};
use crate::world::{Place, assert_refused};

#[test]
fn the_name_of_the_commands_themselves_is_given_to_nobody() {
    let place = Place::new();
    let answer = place.run(&["staff", "add", "admin", "cli"]);
    assert_refused(answer, 2, &["admin/cli", "could never be withdrawn"]);
    assert!(!place.path("cli.crt").exists());
}

#[test]
fn an_id_may_begin_with_a_hyphen() {
    let place = Place::new();
    let id = "-x4qTj4WqVJ0gMF0oKm2mCVo5Zq2bXv1yPpM0lQ8sYk";
    let retire = place.run(&["keys", "retire", id, "--in-use"]);
    assert_refused(retire, 5, &["NotFound"]);
    let revoke = place.run(&["keys", "revoke", id, "--reason", "-"]);
    assert_refused(revoke, 5, &["NotFound"]);
}

#[test]
fn the_directory_of_new_files_is_made_for_its_owner() {
    let place = Place::new();
    let mode = |name: &str| {
        let metadata = fs::metadata(place.path(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    let keygen = ["release", "keygen", "--out", "build.key"];
    let (code, _, stderr) = run(upkeep_server(keygen).current_dir(place.path("")));
    assert_eq!(code, 0, "{stderr}");
    for (out, command) in [
        ("for-acme", "partner add acme --name Acme"),
        ("new/for-acme", "partner certificate acme"),
        ("for-eva", "staff add support eva"),
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--out", out]).collect();
        let (code, _, stderr) = place.run(&arguments);
        assert_eq!(code, 0, "{command}: {stderr}");
        assert_eq!(mode(out), 0o700, "{command}");
        // A file stands where the directory would be.
        let taken: Vec<&str> = command.split(' ').chain(["--out", "build.key"]).collect();
        assert_refused(place.run(&taken), 2, &["build.key", "--out"]);
    }
    let sign = "release sign --key build.key --issuer https://vendor.example --product label-studio --version 11.0.2 --build-date 2026-03-01 --out";
    let sign = |out| {
        let arguments = sign.split(' ').chain([out]);
        run(upkeep_server(arguments).current_dir(place.path("")))
    };
    let (code, _, stderr) = sign("dist");
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(mode("dist"), 0o700);
    assert_refused(sign("build.key"), 2, &["build.key", "--out"]);
}
