//! What a new user types wrongly, or for the first time: the answer says what, why and what next, with the exit code of the table.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

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
fn with_json_a_failure_is_one_line_of_json() {
    let missing = ["verify", "--data", "/nowhere", "--json"];
    let wrong = ["verify", "--json", "--unknown"];
    for (arguments, exit, name, part) in [
        (&missing[..], 4, "DATA", "/nowhere"),
        (&wrong[..], 2, "USAGE", "unexpected argument '--unknown'"),
    ] {
        let (code, stdout, stderr) = run(&mut upkeep_server(arguments));
        assert_eq!((code, stdout.as_str()), (exit, ""));
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let failure: Value = serde_json::from_str(&stderr).unwrap();
        assert_eq!(failure["error"]["code"], name);
        assert_eq!(failure["error"]["exit"], exit);
        let message = failure["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
    let (_, _, stderr) = run(&mut upkeep_server(&missing[..3]));
    assert!(stderr.starts_with("error: "), "{stderr}");
}

/// Nothing is issued that could not be handed out.
#[test]
fn a_certificate_does_not_go_beside_another_servers() {
    let place = Place::new();
    let (code, _, stderr) = place.run(&["partner", "add", "acme", "--name", "Acme"]);
    assert_eq!(code, 0, "{stderr}");
    fs::create_dir(place.path("foreign")).unwrap();
    fs::write(place.path("foreign/ca.crt"), "another").unwrap();
    let again = ["partner", "certificate", "acme", "--out", "foreign"];
    assert_refused(place.run(&again), 2, &["another server's"]);
    let (_, listed, _) = place.run(&["partner", "certificates", "acme", "--json"]);
    let listed: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
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

#[test]
fn a_file_that_is_not_there_is_no_lost_key() {
    let place = Place::new();
    let (code, _, stderr) = place.run(&["partner", "add", "acme", "--name", "Acme"]);
    assert_eq!(code, 0, "{stderr}");
    for command in [
        "partner sign-csr acme nothere",
        "keys accept nothere",
        "keys accept data/upkeep.toml --root nothere",
        "health --ca nothere",
        "audit verify --log-key nothere",
        "audit verify --witness nothere",
        "audit check-proof nothere --log-key data/keys/log.pub",
        "audit check-proof data/upkeep.toml --log-key nothere",
        "endorsement add nothere --class chip --source web",
        "endorsement verify --ek nothere",
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        let answer = match command.contains("check-proof") {
            true => run(upkeep_server(arguments).current_dir(place.path(""))),
            false => place.run(&arguments),
        };
        assert!(!answer.2.contains("copy of the keys"), "{}", answer.2);
        assert_refused(answer, 2, &["nothere is not there; "]);
    }
    for command in [
        "keys certify nothere --root root --out keys.txt",
        "dev --endorsement-root nothere",
        "release sign --key nothere --issuer https://vendor.example --product a --version 1 --build-date 2026-03-01",
    ] {
        let answer = run(upkeep_server(command.split(' ')).current_dir(place.path("")));
        assert_refused(answer, 2, &["nothere is not there; "]);
    }
}

#[test]
fn a_data_directory_that_is_not_there_is_named() {
    let place = Place::new();
    let typo = place.path("typo").display().to_string();
    for command in ["partner list", "keys list", "health", "audit verify"] {
        let arguments = command.split(' ').chain(["--data", &typo]);
        let answer = run(&mut upkeep_server(arguments));
        assert!(!answer.2.contains("copy of the keys"), "{}", answer.2);
        assert_refused(answer, 4, &[&typo, "no data directory", "--data"]);
    }
}

#[test]
fn nothing_is_overwritten_and_no_key_is_spoken_of() {
    let place = Place::new();
    let publish = ["keys", "publish", "--out", "keys.json"];
    let (code, _, stderr) = place.run(&publish);
    assert_eq!(code, 0, "{stderr}");
    let answer = place.run(&publish);
    assert!(!answer.2.contains("keys are never"), "{}", answer.2);
    assert_refused(answer, 2, &["keys.json exists", "name a new file"]);
}

#[test]
fn a_withdrawal_says_what_counts_from_now_on() {
    let place = Place::new();
    for (holder, name) in [("admin", "admin"), ("support", "evaa")] {
        let revoke = ["staff", "revoke", holder, name, "--reason", "lost"];
        let (code, stdout, stderr) = place.run(&revoke);
        assert_eq!(code, 0, "{stderr}");
        let said = format!("No certificate of {holder}/{name} issued before ");
        assert!(
            stdout.starts_with(&said) && stdout.contains("none of them is on record here"),
            "{stdout}"
        );
    }
    let (_, stdout, _) = place.run(&["staff", "certificates", "support", "evaa"]);
    assert!(stdout.contains("of support/evaa"), "{stdout}");
    let (code, _, stderr) = place.run(&["staff", "add", "support", "eva"]);
    assert_eq!(code, 0, "{stderr}");
    let (_, stdout, _) = place.run(&["staff", "revoke", "support", "eva", "--reason", "left"]);
    assert!(
        stdout.contains("on record:\n") && stdout.contains("withdrawn"),
        "{stdout}"
    );
    let revoke = ["partner", "revoke", "nobody", "--reason", "lost"];
    assert_refused(place.run(&revoke), 5, &["no partner nobody"]);
    let certificates = ["partner", "certificates", "nobody"];
    assert_refused(place.run(&certificates), 5, &["no partner nobody"]);
    let (code, _, stderr) = place.run(&["partner", "add", "acme", "--name", "Acme"]);
    assert_eq!(code, 0, "{stderr}");
    let one = ["partner", "revoke", "acme", "--reason", "lost"];
    let one = [&one[..], &["--certificate", "5f0c"]].concat();
    let parts = [
        "no certificate 5f0c of partner/acme",
        "partner certificates",
    ];
    assert_refused(place.run(&one), 5, &parts);
}

#[test]
fn a_wrong_flag_is_a_wrong_command_line() {
    let place = Place::new();
    for (command, flag) in [
        ("serve --products nonsense", "--products"),
        ("serve --log-format xml", "--log-format"),
        ("serve --ops 0.0.0.0:1", "--ops"),
    ] {
        let arguments: Vec<&str> = command.split(' ').collect();
        assert_refused(place.run(&arguments), 2, &[flag]);
    }
    let new = place.path("new").display().to_string();
    let init = ["init", "--data", &new, "--name", "bad name!"];
    assert_refused(run(&mut upkeep_server(init)), 2, &["--name"]);
    // The file's mistakes are the configuration's, whatever the flags say.
    fs::write(place.path("wrong.toml"), "isuer = \"x\"\n").unwrap();
    let both = ["serve", "--products", "nonsense", "--config", "wrong.toml"];
    assert_refused(place.run(&both), 3, &["isuer", "--products"]);
}

#[test]
fn help_has_whole_paragraphs_and_examples_on_one_line() {
    fn wrong(command: &clap::Command, into: &mut Vec<String>) {
        let text = command.get_after_help().map(ToString::to_string);
        let lines: Vec<&str> = text.iter().flat_map(|text| text.lines()).collect();
        let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
        for (at, line) in lines.iter().enumerate() {
            let next = lines.get(at + 1).copied().unwrap_or_default();
            // Prose is wrapped to the terminal; what is to be typed must not be.
            let is_cut = is_prose(line) && is_prose(next);
            if is_cut || (!is_prose(line) && line.chars().count() > 100) {
                into.push(format!("{}: {line}", command.get_name()));
            }
        }
        for inner in command.get_subcommands() {
            wrong(inner, into);
        }
    }
    let mut found = Vec::new();
    wrong(&upkeep_server::cli::command(), &mut found);
    assert_eq!(found, Vec::<String>::new());
    for help in ["help", "help partner add", "partner help add"] {
        let (code, stdout, stderr) = run(&mut upkeep_server(help.split(' ')));
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains("Examples:") || help == "help", "{stdout}");
    }
}

#[test]
fn entries_that_the_ledger_does_not_have_are_named() {
    let place = Place::new();
    // The log's key and a checkpoint.
    assert_eq!(place.run(&["audit", "checkpoint"]).0, 0);
    assert_refused(place.run(&["audit", "prove", "0"]), 2, &["1"]);
    let beyond = place.run(&["audit", "prove", "99999"]);
    assert!(!beyond.2.contains("audit checkpoint"), "{}", beyond.2);
    assert_refused(beyond, 5, &["has no entry 99999", "audit tail"]);
    let beyond = ["audit", "export", "--from", "400000"];
    assert_refused(place.run(&beyond), 5, &["has no entry 400000"]);
    let backwards = ["audit", "export", "--from", "4", "--to", "3"];
    assert_refused(place.run(&backwards), 2, &["--from", "--to"]);
    // Whoever exports what is new may find nothing new.
    let next = ["audit", "export", "--from", "1"];
    assert_eq!(place.run(&next).0, 0);
    let foreign = ["audit", "check-proof", "data/upkeep.toml"];
    let foreign = [&foreign[..], &["--log-key", "data/keys/log.pub"]].concat();
    let answer = run(upkeep_server(foreign).current_dir(place.path("")));
    assert_refused(answer, 5, &["upkeep.toml is no proof", "audit prove"]);
}

#[test]
fn json_lines_take_no_mapping() {
    let place = Place::new();
    fs::write(place.path("licenses.jsonl"), "{}\n").unwrap();
    fs::write(place.path("mapping.toml"), "").unwrap();
    let mapped = ["import", "licenses.jsonl", "--mapping", "mapping.toml"];
    assert_refused(place.run(&mapped), 2, &["--mapping", "CSV"]);
}

#[test]
fn the_first_key_list_asks_for_the_root() {
    let place = Place::new();
    for command in [
        "keys root create --out root",
        "keys publish --out keys.json",
        "keys certify keys.json --root root --out keys.txt",
    ] {
        let mut command = upkeep_server(command.split(' '));
        command.current_dir(place.path(""));
        command.env("UPKEEP_DATA_DIR", place.data());
        let (code, _, stderr) = run(&mut command);
        assert_eq!(code, 0, "{stderr}");
    }
    let answer = place.run(&["keys", "accept", "keys.txt"]);
    assert!(!answer.2.contains("root_spki"), "{}", answer.2);
    assert_refused(answer, 5, &["--root root.pub"]);
    let (code, _, stderr) = place.run(&["keys", "accept", "keys.txt", "--root", "root/root.pub"]);
    assert_eq!(code, 0, "{stderr}");
}
