//! The commands, with the built programs: keys and root, renewal by signal, certificate requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use upkeep::key::PublicKey;

use crate::binaries::{Running, program, run, upkeep_server};

struct Place {
    root: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            root: tempfile::tempdir().unwrap(),
        };
        place.ok(&["init"]);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = upkeep_server(arguments);
        command.arg("--data").arg(self.path("data"));
        run(command.current_dir(self.root.path()))
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {stderr}");
        stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let all = [arguments, &["--json"]].concat();
        serde_json::from_str(&self.ok(&all)).unwrap()
    }

    /// A command that needs no server.
    fn apart(&self, arguments: &[&str]) -> (i32, String, String) {
        run(upkeep_server(arguments).current_dir(self.root.path()))
    }

    fn serve(&self) -> (Running, String, String) {
        let mut command = upkeep_server([
            "serve",
            "--products",
            "127.0.0.1:0",
            "--staff",
            "127.0.0.1:0",
            "--log-format",
            "json",
        ]);
        command.arg("--data").arg(self.path("data"));
        let mut program = Running::start(&mut command, Stdio::null());
        let ready: Value = serde_json::from_str(&program.line("\"ready\"")).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().to_owned();
        (program, address("products"), address("staff"))
    }
}

fn states(listed: &Value) -> Vec<String> {
    let keys = listed["keys"].as_array().unwrap().iter();
    keys.map(|key| key["state"].as_str().unwrap().to_owned())
        .collect()
}

fn client(store: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(program("upkeep"));
    command.args(arguments).arg("--store").arg(store);
    run(&mut command)
}

#[test]
fn a_key_is_rotated_certified_and_learned_by_commands_alone() {
    let place = Place::new();
    assert_eq!(states(&place.json(&["keys", "list"])), ["signing"]);
    let made = place.apart(&["keys", "root", "create", "--out", "root"]);
    assert_eq!(made.0, 0, "{}", made.2);
    let again = place.apart(&["keys", "root", "create", "--out", "root"]);
    assert_eq!(again.0, 2, "nothing is overwritten");

    // While no server runs.
    let listed = place.json(&["keys", "rotate"]);
    assert_eq!(states(&listed), ["signing", "next"]);
    let (code, _, stderr) = place.run(&["keys", "rotate"]);
    assert_eq!(code, 5, "{stderr}");
    assert!(stderr.contains("is published already"), "{stderr}");
    place.ok(&["keys", "publish", "--out", "keys.json"]);
    let certify = ["keys", "certify", "keys.json", "--root", "root", "--out"];
    let (code, _, stderr) = place.apart(&[&certify[..], &["keys.txt"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("certified: "), "{stderr}");
    let (code, stdout, _) = place.apart(&[&certify[..], &["more.txt", "--json"]].concat());
    let second: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, second["list_sequence"].as_u64()),
        (0, Some(2)),
        "the root uses no number twice"
    );

    // While it runs.
    let (mut server, products, staff) = place.serve();
    let at = ["--address", staff.as_str()];
    let accept = ["keys", "accept", "keys.txt"];
    let (code, _, stderr) = place.run(&[&accept[..], &at].concat());
    assert_eq!(code, 5, "the root is not known yet: {stderr}");
    place.ok(&[&accept[..], &["--root", "root/root.pub"], &at].concat());
    let listed = place.json(&[&["keys", "list"][..], &at].concat());
    assert_eq!(listed["list_sequence"], 1);

    let store = place.path("store");
    let ca = place.path("data/keys/ca.crt").display().to_string();
    let root = place.path("root/root.pub").display().to_string();
    let server_url = format!("https://{products}");
    let enroll = [
        "enroll",
        "--server",
        &server_url,
        "--server-name",
        "localhost",
        "--ca",
        &ca,
        "--root",
        &root,
        "--attester",
        "software",
    ];
    let (code, _, stderr) = client(&store, &enroll);
    assert_eq!(code, 0, "{stderr}");
    let newer = place.path("more.txt").display().to_string();
    let older = place.path("keys.txt").display().to_string();
    let (code, stdout, stderr) = client(&store, &["keys", "import", &newer, "--json"]);
    assert_eq!(code, 0, "{stderr}");
    let known: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(known["learned"], true);
    assert_eq!(known["list_sequence"], 2);
    assert_eq!(known["keys"].as_array().unwrap().len(), 2);
    let (code, _, stderr) = client(&store, &["keys", "import", &older]);
    assert_eq!(code, 9, "{stderr}");
    assert!(stderr.contains("out of date"), "{stderr}");
    let (code, stdout, _) = client(&store, &["inspect", &newer]);
    assert_eq!(code, 0, "the pinned root verifies it: {stdout}");

    // Another root's list, published by mistake: it is passed over, and told.
    let foreign = ["root", "create", "--out", "root2"];
    assert_eq!(place.apart(&[&["keys"], &foreign[..]].concat()).0, 0);
    let certify = ["keys", "certify", "keys.json", "--root", "root2", "--out"];
    assert_eq!(place.apart(&[&certify[..], &["other.txt"]].concat()).0, 0);
    let accept = ["keys", "accept", "other.txt", "--root", "root2/root.pub"];
    place.ok(&[&accept[..], &at].concat());
    let (_, stdout, stderr) = client(&store, &["doctor"]);
    assert!(
        stdout.contains("key list is passed over"),
        "{stdout}{stderr}"
    );

    // The stolen key.
    let first = listed["keys"][0]["key_id"].as_str().unwrap();
    let revoke = ["keys", "revoke", first, "--reason", "backup tape lost"];
    let listed = place.json(&[&revoke[..], &at].concat());
    assert_eq!(states(&listed), ["revoked", "signing"]);
    server.signal("TERM");
    assert!(server.wait().success());
    // What was decided is on record, and the private key is where it belongs.
    assert_eq!(
        states(&place.json(&["keys", "list"])),
        ["revoked", "signing"]
    );
}

#[test]
fn the_listeners_certificate_is_renewed_by_command_and_signal() {
    let place = Place::new();
    let (mut server, ..) = place.serve();
    let before = fs::read(place.path("data/keys/tls.crt")).unwrap();
    let renewed = place.json(&["keys", "renew-tls"]);
    assert!(renewed["names"].to_string().contains("localhost"));
    assert_ne!(fs::read(place.path("data/keys/tls.crt")).unwrap(), before);
    server.signal("HUP");
    server.line("the listeners show the certificate in keys/tls.crt");
    fs::write(place.path("data/keys/tls.crt"), "rubbish").unwrap();
    server.signal("HUP");
    server.line("are not taken up");
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn a_certificate_request_is_signed_for_its_key_alone() {
    let place = Place::new();
    place.ok(&["partner", "add", "acme", "--name", "Acme"]);
    let out = place.path("out");
    fs::create_dir(&out).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(vec!["admin.example".to_owned()]).unwrap();
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    fs::write(place.path("acme.csr"), &csr).unwrap();
    let sign = ["partner", "sign-csr", "acme", "acme.csr", "--out", "out"];
    let signed = place.json(&sign);
    assert_eq!(signed["identity"], "partner/acme");
    let pem = fs::read_to_string(out.join("acme.crt")).unwrap();
    let block = der(&pem);
    let spki = PublicKey::from_sec1(key.public_key_raw())
        .unwrap()
        .to_spki_der();
    assert!(contains(&block, &spki), "the requested key");
    assert!(!contains(&block, b"admin.example"), "and nothing else");

    let listed = place.json(&["partner", "certificates", "acme"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2, "the one of `add` and this one");
    let serial = listed[0]["serial_number"].as_str().unwrap();
    let why = ["--reason", "lost", "--certificate", serial];
    let revoked = place.json(&[&["partner", "revoke", "acme"][..], &why].concat());
    let withdrawn = revoked.as_array().unwrap().iter();
    assert_eq!(
        withdrawn.filter(|one| !one["revoked_at"].is_null()).count(),
        1
    );

    fs::write(place.path("huge.csr"), vec![b'A'; 9_000]).unwrap();
    fs::write(place.path("rsa.csr"), RSA).unwrap();
    let mut changed = csr.clone().into_bytes();
    let at = changed.len() / 2;
    changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
    fs::write(place.path("changed.csr"), changed).unwrap();
    for (file, why) in [
        ("huge.csr", "at most 8 KiB"),
        ("rsa.csr", "not P-256"),
        ("changed.csr", "certificate request"),
    ] {
        let (code, _, stderr) = place.run(&["partner", "sign-csr", "acme", file]);
        assert_eq!(code, 2, "{file}: {stderr}");
        assert!(stderr.contains(why), "{file}: {stderr}");
    }
    let (code, _, stderr) = place.run(&["partner", "sign-csr", "nobody", "acme.csr"]);
    assert_eq!(code, 5, "{stderr}");
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    der.to_vec()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// `openssl req -new -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=acme`
const RSA: &str = include_str!("rsa.csr");
