//! docs/attacks.md: no attack of the threat model is missing, and each names tests that exist.

use std::path::Path;

use upkeep_server::config::Settings;

/// The threats (SECURITY 2.1, 2.2), the mistakes of other license servers (2.3) and of the libraries that read tokens (2.4).
const ROWS: [&str; 42] = [
    "USR1",
    "USR2",
    "USR3",
    "USR4",
    "USR5",
    "USR6",
    "USR7",
    "USR8",
    "USR9",
    "USR10",
    "NET1",
    "NET2",
    "NET3",
    "NET4",
    "NET5",
    "PRT1",
    "PRT2",
    "OPS1",
    "OPS2",
    "OPS3",
    "OPS4",
    "OPS5",
    "CVE-2020-14509",
    "CVE-2020-14513",
    "CVE-2020-14515",
    "CVE-2020-14517",
    "CVE-2020-14519",
    "CVE-2021-20093",
    "CVE-2017-11496",
    "KLCERT-17-005",
    "CVE-2018-20031",
    "AA-96.03",
    "CVE-2021-44152",
    "CVE-2022-28363",
    "CVE-2026-25537",
    "CVE-2022-21449",
    "RUSTSEC-2026-0098",
    "RUSTSEC-2023-0053",
    "RUSTSEC-2024-0376",
    "RUSTSEC-2024-0003",
    "RUSTSEC-2020-0002",
    "RUSTSEC-2021-0073",
];

#[test]
fn it_listens_on_this_machine_alone_unless_told() {
    let settings = Settings::default();
    for address in [settings.listen_products, settings.listen_staff] {
        assert!(address.ip().is_loopback(), "{address}");
    }
}

/// What connects to somewhere is the command line, to the server it is told, and the mailer, to the mail server of the configuration.
#[test]
fn nothing_fetches_what_a_call_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("server/src");
    for folder in ["attest", "domain", "flow", "listener", "store", "transport"] {
        each_file(&root.join(folder), &mut |path, text| {
            for word in [
                "TcpStream::connect",
                "Endpoint",
                "Channel::",
                "reqwest",
                "lettre::",
                "UdpSocket",
                "lookup_host",
            ] {
                assert!(!text.contains(word), "{word} in {}", path.display());
            }
        });
    }
}

fn each_file(folder: &Path, look: &mut impl FnMut(&Path, &str)) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else {
            look(
                &path,
                &String::from_utf8_lossy(&std::fs::read(&path).unwrap()),
            );
        }
    }
}

/// `scripts/deny.sh` is part of every run, and every run takes the versions of the lock.
#[test]
fn dependencies_are_held_to_deny_toml() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let tests = read("scripts/test.sh");
    assert!(tests.contains("sh scripts/deny.sh\n"));
    for line in tests
        .lines()
        .filter(|line| line.trim_start().starts_with("cargo "))
    {
        let builds = ["build", "test", "clippy"].iter().any(|c| line.contains(c));
        assert!(
            !builds || line.contains("--locked") || line.contains("--version"),
            "{line}"
        );
    }
    let rules: toml::Table = read("deny.toml").parse().unwrap();
    let denied = rules["bans"]["deny"].as_array().unwrap();
    for name in ["openssl", "native-tls", "ring", "jsonwebtoken"] {
        assert!(
            denied.iter().any(|one| one["crate"].as_str() == Some(name)),
            "{name}"
        );
    }
    for ignored in rules["advisories"]["ignore"].as_array().unwrap() {
        assert!(
            ignored["reason"].as_str().is_some_and(|why| why.len() > 20),
            "{ignored}"
        );
    }
}

#[test]
fn every_attack_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/attacks.md")).unwrap();
    for row in ROWS {
        assert!(page.contains(row), "docs/attacks.md says nothing of {row}");
    }
    let mut rows = 0;
    let (stopped, _) = page
        .split_once("## Not stopped")
        .expect("the list of what is not stopped");
    for line in stopped.lines().filter(|line| line.starts_with("| ")) {
        if line.starts_with("| attack ") || line.starts_with("| --- ") {
            continue;
        }
        rows += 1;
        let mut named = 0;
        for test in line.split('`').skip(1).step_by(2) {
            let Some((file, name)) = test.split_once("::") else {
                continue;
            };
            named += 1;
            let text = std::fs::read_to_string(root.join(file));
            let text = text.unwrap_or_else(|error| panic!("{test}: {error}"));
            assert!(
                text.contains(&format!("fn {name}(")),
                "{test}: no such test"
            );
        }
        assert!(named > 0, "no test is named: {line}");
    }
    assert!(rows > 50, "only {rows} attacks were read");
}
