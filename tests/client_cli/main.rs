//! The program `upkeep` from outside: help, output, every exit code, errors as JSON.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../binaries/mod.rs"]
mod binaries;
mod hardware;
mod world;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::binaries::{Running, program, run};
use crate::world::World;

#[test]
fn help_and_errors_are_as_recorded() {
    let cases = trycmd::TestCases::new();
    cases
        .register_bin("upkeep", program("upkeep"))
        .env("COLUMNS", "100")
        .env("UPKEEP_HOME", "no-such-store")
        .env("UPKEEP_TPM", "unix:/nowhere/tpm")
        .case("tests/cli/client/*.trycmd");
}

#[test]
fn every_command_has_its_help_recorded() {
    let mut missing = Vec::new();
    let mut left = vec![String::new()];
    while let Some(path) = left.pop() {
        let file = match path.as_str() {
            "" => "upkeep".to_owned(),
            path => path.trim().replace(' ', "-"),
        };
        let recorded = fs::read_to_string(format!("tests/cli/client/{file}.trycmd"));
        if !recorded.is_ok_and(|text| text.contains(&format!("$ upkeep{path} --help\n"))) {
            missing.push(path.clone());
        }
        let mut help = Command::new(program("upkeep"));
        let (code, text, _) = run(help.args(path.split_whitespace()).arg("--help"));
        assert_eq!(code, 0, "{path}");
        assert!(
            path.is_empty() || text.contains("Examples:") || has_commands(&text),
            "{path}"
        );
        left.extend(commands(&text).map(|name| format!("{path} {name}")));
    }
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "record them in tests/cli/client"
    );
}

fn has_commands(help: &str) -> bool {
    commands(help).next().is_some()
}

/// The names below `Commands:`.
fn commands(help: &str) -> impl Iterator<Item = &str> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
}

#[test]
fn a_license_lives_and_every_exit_code_is_met() {
    let world = World::new();
    let code = world.credential("LS-1000");
    let (version, build_date) = world.release("label-studio");
    let activate = |serial, file| {
        let fixed = [
            "activate",
            serial,
            "--product",
            "label-studio",
            "--version",
            version,
        ];
        [&fixed[..], &["--activation-code-file", file]].concat()
    };

    // Before enrollment.
    world.fails("a", &["status"], 5, "NOT_ENROLLED", None);
    let (url, ca) = (world.text("/products_url"), world.text("/ca"));
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let gone = format!("https://{gone}");
    world.fails(
        "a",
        &["enroll", "--server", &gone, "--ca", ca],
        4,
        "UNREACHABLE",
        None,
    );
    let other = [
        "enroll",
        "--server",
        url,
        "--ca",
        ca,
        "--server-name",
        "other.example",
    ];
    world.fails("a", &other, 8, "SERVER_IDENTITY", None);
    world.fails(
        "a",
        &["enroll", "--server", url, "--ca", "none"],
        2,
        "USAGE",
        None,
    );
    world.enroll("a");

    // Before activation.
    let check = ["check", "--version", version, "--build-date", build_date];
    world.fails("a", &check, 5, "NOT_ACTIVATED", Some("NEVER_ACTIVATED"));
    fs::write(world.path("wrong"), "00000-00000-00000-00000-00000").unwrap();
    let wrong = activate("LS-1000", "wrong");
    world.fails("a", &wrong, 3, "REFUSED", Some("CREDENTIAL_INVALID"));
    let early = ["deactivate", "--offline", "--export-proof", "proof.txt"];
    world.fails("a", &early, 5, "NOT_ACTIVATED", Some("NEVER_ACTIVATED"));

    // Active.
    let right = activate("LS-1000", &code);
    let active = world.ok("a", &right);
    assert_eq!(active["license"]["serial"], "LS-1000");
    assert_eq!(active["product_code"].as_str().unwrap().len(), 29);
    assert_eq!(
        world.ok("a", &right)["license"]["activation_id"],
        active["license"]["activation_id"]
    );
    assert_eq!(world.ok("a", &check)["allowed"], true);
    let newer = ["check", "--version", "12.0", "--build-date", "9999-01-01"];
    world.fails(
        "a",
        &newer,
        6,
        "CHECK_FAILED",
        Some("NEWER_THAN_MAINTENANCE"),
    );
    let status = world.ok("a", &["status", "--online"]);
    assert_eq!(
        (&status["state"], &status["maintenance"]["flag"]),
        (&"active".into(), &"protected".into())
    );
    assert_eq!(status["product_code"], active["product_code"]);
    world.ok("a", &["refresh"]);
    let (exit, stdout, stderr) = world.upkeep("a", &["doctor"]);
    assert_eq!(exit, 0, "{stdout}{stderr}");
    let second = activate("LS-1001", &code);
    world.fails("a", &second, 5, "UNFINISHED", Some("OTHER_LICENSE_ACTIVE"));

    // The store in bad shape.
    let state = world.path("a").join("state.json");
    let mode = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o644);
    world.fails("a", &["status"], 7, "STORE", Some("OPEN_TO_OTHERS"));
    let (exit, stdout, _) = world.upkeep("a", &["doctor"]);
    assert_eq!(exit, 7);
    assert!(stdout.contains("FAIL  permissions"), "{stdout}");
    mode(0o600);
    let whole = fs::read(&state).unwrap();
    fs::write(&state, &whole[..whole.len() / 2]).unwrap();
    world.fails("a", &["status"], 7, "STORE", Some("DAMAGED"));
    fs::write(&state, whole).unwrap();

    // Returned.
    fs::write(world.path("mine.txt"), "a letter").unwrap();
    let over = ["deactivate", "--export-proof", "mine.txt"];
    world.fails("a", &over, 2, "USAGE", None);
    assert_eq!(
        world.ok("a", &["status"])["state"],
        "active",
        "nothing is wiped before"
    );
    let papers = [
        "deactivate",
        "--export-proof",
        "proof.txt",
        "--export-receipt",
        "receipt.txt",
    ];
    let returned = world.ok("a", &papers);
    assert_eq!(returned["state"], "deactivated");
    assert_eq!(world.ok("a", &papers)["receipt"], returned["receipt"]);
    world.fails("a", &check, 5, "NOT_ACTIVATED", Some("DEACTIVATED"));
    for (file, kind) in [
        ("proof.txt", "deactivation_proof"),
        ("receipt.txt", "deactivation_receipt"),
    ] {
        let found = world.ok("a", &["inspect", file]);
        assert_eq!(
            (&found["verified"], &found["kind"]),
            (&true.into(), &kind.into())
        );
    }
    let (exit, stdout, _) = world.upkeep("no-store", &["inspect", "receipt.txt", "--json"]);
    let found: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((exit, &found["verified"]), (9, &false.into()));
    let foreign = ["deactivate", "--receipt", "proof.txt"];
    world.fails("a", &foreign, 9, "ARTEFACT_INVALID", None);
    let nowhere = ["deactivate", "--export-proof", "/proc/proof.txt"];
    world.fails("a", &nowhere, 1, "FAULT", None);
}

#[test]
fn a_secret_is_read_from_every_place_and_shown_in_none() {
    let world = World::new();
    let secret = fs::read_to_string(world.credential("NSP-1000")).unwrap();
    world.enroll("a");
    let (version, _) = world.release("label-studio");
    let arguments = [
        "activate",
        "NSP-1000",
        "--product",
        "label-studio",
        "--version",
        version,
    ];
    // Nobody there to ask.
    world.fails("a", &arguments, 2, "USAGE", None);

    let mut from_environment = world.command("a", &arguments);
    let (exit, stdout, stderr) = run(from_environment.env("UPKEEP_PASSWORD", secret.trim()));
    assert_eq!(exit, 0, "{stderr}");
    assert!(!format!("{stdout}{stderr}").contains(secret.trim()));

    let mut from_input = world.command("a", &arguments);
    let mut child = from_input
        .arg("--quiet")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(secret.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn an_unfinished_request_is_shown_finished_or_given_up() {
    let world = World::new();
    let code = world.credential("SM-4000");
    world.enroll("a");
    let (version, _) = world.release("smartermail");
    let asked = [
        "--product",
        "smartermail",
        "--version",
        version,
        "--activation-code-file",
        &code,
    ];
    let (exit, body, stderr) = world.upkeep(
        "a",
        &[&["request", "activate", "SM-4000"], &asked[..]].concat(),
    );
    assert_eq!(exit, 0, "{stderr}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["virtualEnvironment"], "VIRTUAL_ENVIRONMENT_NO");
    let status = world.ok("a", &["status"]);
    assert_eq!(status["state"], "activating");
    assert_eq!(status["unfinished"]["request_id"], body["requestId"]);
    // The same request again, from what the store remembers.
    let again = ["request", "activate", "--activation-code-file", &code];
    let (_, again, _) = world.upkeep("a", &again);
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["requestId"], body["requestId"]);
    fs::write(world.path("empty"), "").unwrap();
    world.fails("a", &["request", "accept", "empty"], 2, "USAGE", None);
    fs::write(world.path("other"), r#"{"receipt":"a.b.c"}"#).unwrap();
    world.fails("a", &["request", "accept", "other"], 2, "USAGE", None);
    fs::write(
        world.path("forged"),
        r#"{"activationId":"x","certificate":"a.b.c"}"#,
    )
    .unwrap();
    world.fails(
        "a",
        &["request", "accept", "forged"],
        9,
        "ARTEFACT_INVALID",
        None,
    );

    let other = ["activate", "LS-1000", "--abandon"];
    world.fails("a", &other, 2, "USAGE", None);
    assert_eq!(
        world.ok("a", &["activate", "--abandon"])["abandoned"],
        "SM-4000"
    );
    assert_eq!(world.ok("a", &["status"])["state"], "empty");
    world.fails("a", &["activate", "--abandon"], 2, "USAGE", None);

    // Finished by the plain command, with what was asked for taken from the store.
    world.upkeep(
        "a",
        &[&["request", "activate", "SM-4000"], &asked[..]].concat(),
    );
    let finished = world.ok("a", &["activate", "--activation-code-file", &code]);
    assert_eq!(finished["license"]["product"], "smartermail");
}

#[test]
fn a_store_in_use_is_waited_for() {
    let world = World::new();
    world.enroll("a");
    let lock = fs::File::options()
        .write(true)
        .open(world.path("a").join("lock"))
        .unwrap();
    lock.lock().unwrap();
    // Looking and checking need no lock.
    assert_eq!(world.ok("a", &["status"])["state"], "empty");
    let mut waiting = Running::start(&mut world.command("a", &["refresh"]), Stdio::null());
    waiting.wait_to_open(&world.path("a").join("lock"));
    lock.unlock().unwrap();
    assert_eq!(waiting.wait().code(), Some(5));
    lock.lock().unwrap();
    world.fails("a", &["refresh"], 7, "STORE", Some("LOCKED"));
}

#[test]
fn a_full_disk_is_a_fault_and_a_reader_that_left_is_none() {
    let upkeep = program("upkeep").display().to_string();
    for (line, code) in [
        ("completions bash > /dev/full", 1),
        ("completions bash | :", 0),
    ] {
        let mut shell = Command::new("sh");
        let (found, _, stderr) = run(shell.args(["-c", &format!("{upkeep} {line}")]));
        assert_eq!(found, code, "{line}: {stderr}");
        assert_eq!(stderr.is_empty(), code == 0, "{line}: {stderr}");
    }
}

#[test]
fn shells_are_helped() {
    for shell in ["bash", "zsh", "fish"] {
        let mut command = Command::new(program("upkeep"));
        let (code, stdout, _) = run(command.args(["completions", shell]));
        assert!(code == 0 && stdout.contains("upkeep"), "{shell}");
    }
}

#[test]
fn the_page_of_the_client_lists_what_the_program_says() {
    let page = fs::read_to_string(Path::new("docs/client.md")).unwrap();
    let mut command = Command::new(program("upkeep"));
    let (_, help, _) = run(command.arg("--help"));
    let codes = help
        .lines()
        .skip_while(|line| *line != "Exit codes:")
        .skip(1);
    for line in codes {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        let row = format!("| {code} | {meaning} |");
        assert!(page.contains(&row), "docs/client.md lacks {row}");
    }
}
