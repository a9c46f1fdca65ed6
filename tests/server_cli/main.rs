//! The program `upkeep-server` from outside: help, exit codes, files, signals.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../binaries/mod.rs"]
mod binaries;
mod endorsements;
mod init;
mod mistakes;
mod people;
mod prices;
mod programmes;
mod reminders;
mod serving;
mod stopping;
mod token;
mod world;

use std::fs;

use crate::binaries::{program, run, upkeep_server};
use crate::world::{Place, assert_refused};

#[test]
fn help_is_as_recorded() {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("upkeep-server", program("upkeep-server"))
        .env("COLUMNS", "100")
        .case("tests/cli/server/*.trycmd");
}

#[test]
fn every_command_has_its_help_recorded() {
    fn missing(command: &clap::Command, path: &str, into: &mut Vec<String>) {
        let name = path
            .trim_start_matches("upkeep-server")
            .trim()
            .replace(' ', "-");
        let file = if name.is_empty() {
            "upkeep-server"
        } else {
            &name
        };
        let text = fs::read_to_string(format!("tests/cli/server/{file}.trycmd"));
        if !text.is_ok_and(|text| text.contains(&format!("$ {path} --help\n"))) {
            into.push(path.to_owned());
        }
        for inner in command.get_subcommands() {
            missing(inner, &format!("{path} {}", inner.get_name()), into);
        }
    }
    let mut found = Vec::new();
    missing(&upkeep_server::cli::command(), "upkeep-server", &mut found);
    assert_eq!(
        found,
        Vec::<String>::new(),
        "record them in tests/cli/server"
    );
}

#[test]
fn every_mistake_in_the_configuration_is_named() {
    let place = Place::new();
    let file = place.path("wrong.toml");
    fs::write(
        &file,
        "isuer = \"x\"\ndrain_secs = \"soon\"\n[listen]\nstaff = \"nowhere\"\n[limits]\nstreams = 0\n",
    )
    .unwrap();
    for command in ["serve", "config check", "config show", "health"] {
        let mut command = upkeep_server(command.split(' '));
        let answer = run(command.arg("--config").arg(&file));
        let parts = [
            "isuer",
            "did you mean issuer",
            "drain_secs",
            "listen.staff",
            "limits.streams",
        ];
        assert_refused(answer, 3, &parts);
    }
    let programme = place.path("programme.toml");
    fs::write(&programme, "[programme]\nid = \"X\"\nrevv = 1\n").unwrap();
    let mut command = upkeep_server(["config", "check"]);
    command
        .env("UPKEEP_PROGRAMMES", &programme)
        .arg("--data")
        .arg(place.data());
    assert_refused(
        run(&mut command),
        3,
        &["programme.toml", "programme.id", "revv"],
    );
}

#[test]
fn a_wrong_command_line_and_a_taken_address_have_codes_of_their_own() {
    for wrong in [
        &["serv"][..],
        &["serve", "--what"],
        &["init"],
        &["partner", "add", "acme"],
        &["serve"],
    ] {
        let (code, stdout, stderr) = run(&mut upkeep_server(wrong));
        assert_eq!((code, stdout.as_str()), (2, ""), "{wrong:?} {stderr}");
    }
    let place = Place::new();
    assert_refused(
        place.run(&["staff", "add", "support", "No Body", "--out", "."]),
        2,
        &["a-z"],
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let answer = place.run(&["serve", "--products", "127.0.0.1:0", "--staff", &address]);
    assert_refused(answer, 6, &[&address, "--staff 127.0.0.1:0"]);
    // The directory is free again.
    place.serve().stop();
}

#[test]
fn shells_are_helped() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = run(&mut upkeep_server(["completions", shell]));
        assert!(code == 0 && stdout.contains("upkeep-server"), "{shell}");
    }
}
