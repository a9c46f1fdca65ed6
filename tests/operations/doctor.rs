//! `doctor` on sound and broken directories: each finding, its gravity, its exit code; and that it changes nothing.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use serde_json::Value;
use tempfile::TempDir;
use upkeep_server::pki::{Authority, TrustDomain};
use upkeep_server::store::{Options, Store, StoreError};

use crate::binaries::{Running, run, upkeep_server};

/// A data directory as `init` makes it, with some entries in its ledger.
struct Place {
    root: TempDir,
    environment: Vec<(&'static str, String)>,
}

/// What doctor said.
struct Report {
    code: i32,
    findings: Vec<Value>,
    text: String,
}

impl Report {
    /// Asserts a finding of this check and level whose text holds `part`, and that it says what to do.
    fn assert(&self, check: &str, level: &str, part: &str) {
        let found = self.findings.iter().find(|one| {
            one["check"] == check
                && one["level"] == level
                && one["found"].as_str().unwrap().contains(part)
        });
        let found = found.unwrap_or_else(|| panic!("no {level} {check} {part:?} in {}", self.text));
        let says = !found["do"].as_str().unwrap().is_empty();
        assert_eq!(says, level != "ok", "{found}");
    }

    fn worse_than_note(&self) -> Vec<&Value> {
        let grave = |one: &&Value| one["level"] == "warning" || one["level"] == "problem";
        self.findings.iter().filter(grave).collect()
    }
}

impl Place {
    fn new() -> Self {
        let place = Self {
            root: tempfile::tempdir().unwrap(),
            // Any free ports, and as few connections as any limit allows.
            environment: vec![
                ("UPKEEP_LISTEN_PRODUCTS", "127.0.0.1:0".into()),
                ("UPKEEP_LISTEN_STAFF", "127.0.0.1:0".into()),
                ("UPKEEP_LIMITS_CONNECTIONS", "64".into()),
                ("UPKEEP_LIMITS_CONNECTIONS_PER_ADDRESS", "64".into()),
            ],
        };
        let (code, _, stderr) = place.run(&["init"]);
        assert_eq!(code, 0, "{stderr}");
        place.entries(|| Utc::now().timestamp_millis());
        place
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.environment.push((name, value.to_string()));
        self
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Three entries, dated by `clock`.
    fn entries(&self, clock: impl Fn() -> i64 + Send + Sync + 'static) {
        let store = Store::open(Options::new(&self.data()).clock(clock)).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for n in 0..3_u8 {
            runtime
                .block_on(store.transact("test", move |tx| {
                    tx.put(b"\xFFdoctor".to_vec(), vec![n; 200]);
                    Ok::<_, StoreError>(())
                }))
                .unwrap();
        }
        store.close().unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = upkeep_server(arguments);
        command.arg("--data").arg(self.data());
        let environment = self.environment.iter();
        command.envs(environment.map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        run(&mut self.command(arguments))
    }

    fn doctor(&self) -> Report {
        let (code, text, stderr) = self.run(&["doctor", "--json"]);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{stderr}"));
        let findings = value["findings"].as_array().unwrap().clone();
        let problems = findings.iter().filter(|one| one["level"] == "problem");
        assert_eq!(value["problems"], problems.count());
        assert_eq!(code == 0, value["problems"] == 0, "{text}");
        Report {
            code,
            findings,
            text,
        }
    }

    fn segment(&self) -> PathBuf {
        let mut names = fs::read_dir(self.data().join("ledger")).unwrap();
        names.next().unwrap().unwrap().path()
    }
}

#[test]
fn a_sound_directory_has_no_problem_and_is_left_as_it_is() {
    let place = Place::new();
    let before = contents(&place.data());
    let report = place.doctor();
    assert_eq!(report.code, 0, "{}", report.text);
    for (check, part) in [
        ("ledger", "entry 3"),
        ("index", "closed at entry 3"),
        ("reserve", "8388608"),
        ("permissions", ""),
        ("keys", ""),
        ("certificates", "the CA"),
        ("ports", "free"),
        ("clock", ""),
    ] {
        let level = if check == "permissions" { "note" } else { "ok" };
        report.assert(check, level, part);
    }
    report.assert("snapshots", "note", "no snapshot");
    report.assert("mail", "note", "no mail server");
    assert_eq!(before, contents(&place.data()), "it only reads");
    // For people: one line each, and what to do below it.
    let (code, text, _) = place.run(&["doctor"]);
    assert_eq!(code, 0);
    assert!(text.contains("note     mail"), "{text}");
    assert!(
        text.ends_with("0 problems, 0 warnings\n") || text.contains("WARNING  disk"),
        "{text}"
    );
}

#[test]
fn it_works_beside_a_running_server() {
    let place = Place::new();
    let mut command = place.command(&["serve", "--log-format", "json"]);
    let mut serving = Running::start(&mut command, Stdio::null());
    serving.line("\"ready\"");
    let report = place.doctor();
    assert_eq!(report.code, 0, "{}", report.text);
    report.assert("ledger", "ok", "holds it");
    report.assert("index", "ok", "open, in use");
    report.assert("files", "ok", "the server (process ");
    // Killed: the next start has something to do.
    serving.signal("KILL");
    serving.wait();
    place
        .doctor()
        .assert("index", "note", "not stopped cleanly");
}

#[test]
fn what_a_start_refuses_is_a_problem_with_its_exit_code() {
    let nowhere = Place::new();
    fs::remove_dir_all(nowhere.data()).unwrap();
    let report = nowhere.doctor();
    report.assert("ledger", "problem", "");
    assert_eq!(report.code, 4);

    let damaged = Place::new();
    // Within the first entry, with sound entries behind it.
    flip(&damaged.segment(), 64 + 40);
    let report = damaged.doctor();
    report.assert("ledger", "problem", "byte");
    assert_eq!(report.code, 4);

    let ahead = Place::new();
    let marker = format!("clean 999 {}\n", "0".repeat(64));
    fs::write(ahead.data().join("index.state"), marker).unwrap();
    let report = ahead.doctor();
    report.assert("index", "problem", "entry 999");
    assert_eq!(report.code, 4);

    let loose = Place::new();
    chmod(&loose.data().join("keys/signing.key"), 0o644);
    chmod(&loose.data().join("keys"), 0o755);
    let report = loose.doctor();
    report.assert("keys", "problem", "signing.key");
    report.assert("permissions", "problem", "755");
    assert_eq!(report.code, 4);

    let keyless = Place::new();
    fs::remove_file(keyless.data().join("keys/pepper")).unwrap();
    keyless.doctor().assert("keys", "problem", "pepper");

    let unpaired = Place::new();
    let other = Place::new();
    fs::copy(
        other.data().join("keys/tls.key"),
        unpaired.data().join("keys/tls.key"),
    )
    .unwrap();
    unpaired.doctor().assert("keys", "problem", "tls.key");

    let formless = Place::new();
    fs::write(formless.data().join("meta"), "upkeep store, format 99\n").unwrap();
    formless.doctor().assert("ledger", "problem", "99");
    fs::remove_file(formless.data().join("meta")).unwrap();
    formless.doctor().assert("ledger", "problem", "put it back");

    let unconfigured = Place::new();
    fs::remove_file(unconfigured.data().join("upkeep.toml")).unwrap();
    let report = unconfigured.doctor();
    report.assert("configuration", "problem", "upkeep.toml");
    assert_eq!(report.code, 3);

    let mail = Place::new()
        .with("UPKEEP_MAIL_SERVER", "smtp.vendor.example")
        .with("UPKEEP_MAIL_FROM", "licenses@vendor.example")
        .with("UPKEEP_MAIL_USER", "licenses")
        .with("UPKEEP_MAIL_PASSWORD_FILE", "/nowhere/password");
    let report = mail.doctor();
    report.assert("mail", "problem", "/nowhere/password");
    assert_eq!(report.code, 3);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let port = Place::new().with("UPKEEP_OPS_LISTEN", address);
    let report = port.doctor();
    report.assert("ports", "problem", &address.to_string());
    assert_eq!(report.code, 6);
    let elsewhere = Place::new().with("UPKEEP_LISTEN_STAFF", "192.0.2.1:7444");
    elsewhere.doctor().assert("ports", "problem", "192.0.2.1");

    let back = Place::new();
    back.entries(|| Utc::now().timestamp_millis() + 3_600_000);
    let report = back.doctor();
    report.assert("clock", "problem", "behind");
    assert_eq!(report.code, 1);
}

#[test]
fn every_key_that_signs_is_looked_for() {
    let place = Place::new();
    let (code, _, stderr) = place.run(&["keys", "rotate"]);
    assert_eq!(code, 0, "{stderr}");
    place.doctor().assert("keys", "ok", "all are there");
    let keys = fs::read_dir(place.data().join("keys")).unwrap();
    let mut names = keys.map(|entry| entry.unwrap().path());
    let next = names.find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("signing.") && name != "signing.key"
    });
    let next = next.unwrap();
    let name = next.file_name().unwrap().to_str().unwrap();

    chmod(&next, 0o640);
    let report = place.doctor();
    report.assert("keys", "problem", name);
    assert_eq!(report.code, 4);
    chmod(&next, 0o600);

    // From the ledger alone, and from a snapshot as well.
    let lost = place.root.path().join("lost");
    fs::rename(&next, &lost).unwrap();
    for snapshot in [false, true] {
        if snapshot {
            let store = Store::open(Options::new(&place.data())).unwrap();
            store.snapshot().unwrap();
            store.close().unwrap();
        }
        let report = place.doctor();
        report.assert("keys", "problem", &format!("{name} is missing"));
        assert_eq!(report.code, 4);
    }
    // Another key under its name.
    fs::copy(place.data().join("keys/signing.key"), &next).unwrap();
    place.doctor().assert("keys", "problem", "restore the keys");
    fs::rename(&lost, &next).unwrap();
    assert_eq!(place.doctor().code, 0);
}

#[test]
fn what_will_hurt_later_is_a_warning() {
    let unmarked = Place::new();
    fs::remove_file(unmarked.data().join("index.state")).unwrap();
    fs::remove_file(unmarked.data().join("reserve")).unwrap();
    let report = unmarked.doctor();
    report.assert("index", "warning", "makes the index anew from 3 entries");
    report.assert("reserve", "warning", "given up");
    assert_eq!(report.code, 0, "a warning is no failure");

    let old = Place::new();
    fs::create_dir_all(old.data().join("snapshots")).unwrap();
    let snapshot = File::create(old.data().join("snapshots/1")).unwrap();
    let then = SystemTime::now() - Duration::from_secs(20 * 86_400);
    snapshot.set_modified(then).unwrap();
    old.doctor().assert("snapshots", "warning", "20 days old");

    for (days_ago, level, part) in [(815, "warning", "ends in"), (900, "problem", "ended on")] {
        let place = Place::new();
        issue_server_certificate(&place.data(), days_ago);
        place.doctor().assert("certificates", level, part);
    }

    let odd = Place::new()
        .with("UPKEEP_LISTEN_PRODUCTS", "0.0.0.0:0")
        .with("UPKEEP_ENDORSEMENTS_ALLOW_TEST_ROOTS", "true")
        .with("UPKEEP_WEAK_PASSWORDS", "true")
        .with("UPKEEP_OPS_LISTEN", "0.0.0.0:0")
        .with("UPKEEP_OPS_ALLOW_PUBLIC", "true")
        .with("UPKEEP_LIMITS_CALL_TARGET_MS", "0")
        .with("UPKEEP_LOG_FILTER", "debug");
    let report = odd.doctor();
    for (level, part) in [
        ("warning", "names this machine only"),
        ("warning", "allow_test_roots"),
        ("warning", "ops port answers other machines"),
        ("note", "weak_passwords"),
        ("note", "call_target_ms"),
        ("note", "debug or trace"),
    ] {
        report.assert("configuration", level, part);
    }
    assert!(report.worse_than_note().len() >= 3);

    let mut few = Command::new("sh");
    few.arg("-c").arg("ulimit -n 128; exec \"$@\"").arg("sh");
    let place = Place::new();
    let doctor = place.command(&["doctor", "--json"]);
    few.arg(doctor.get_program()).args(doctor.get_args());
    few.envs(place.environment.iter().map(|(name, value)| (name, value)));
    let (code, text, stderr) = run(&mut few);
    assert_eq!(code, 0, "{stderr}");
    assert!(text.contains("may open 128 files"), "{text}");
}

#[test]
fn a_disk_that_is_nearly_full_is_a_problem() {
    let place = Place::new();
    let small = place.root.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        assert!(
            std::env::var_os("CI").is_none(),
            "a small file system cannot be mounted"
        );
        eprintln!("SKIPPED: mounting a small file system needs root");
        return;
    }
    let copied = Command::new("cp")
        .arg("-a")
        .arg(place.data())
        .arg(small.join("data"))
        .status();
    let mut command = upkeep_server(["doctor", "--json"]);
    command.arg("--data").arg(small.join("data"));
    command.envs(place.environment.iter().map(|(name, value)| (name, value)));
    let (code, text, _) = run(&mut command);
    let unmounted = Command::new("umount").arg(&small).status();
    assert!(copied.unwrap().success() && unmounted.unwrap().success());
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("MiB are free"), "{text}");
}

fn issue_server_certificate(data: &Path, days_ago: i64) {
    let keys = data.join("keys");
    let read = |name: &str| fs::read_to_string(keys.join(name)).unwrap();
    // The trust domain that `init` took from the name it was given.
    let authority = Authority::open(
        &TrustDomain::parse("localhost").unwrap(),
        &read("ca.crt"),
        &read("ca.key"),
    )
    .or_else(|_| Authority::open(&TrustDomain::local(), &read("ca.crt"), &read("ca.key")))
    .unwrap();
    let then = Utc::now() - chrono::Days::new(u64::try_from(days_ago).unwrap());
    let issued = authority
        .issue_server(&["localhost".to_owned()], then, 820)
        .unwrap();
    fs::write(keys.join("tls.crt"), issued.certificate_pem()).unwrap();
    fs::write(keys.join("tls.key"), issued.key_pem()).unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Every file with its bytes and mode.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes, mode));
        }
    }
    found.sort();
    found
}
