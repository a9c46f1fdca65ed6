//! Other implementations read our files, and we read theirs: PyJWT, jose for Node, the JDK alone and Go alone (DESIGN 5, I8, G11).
//!
//! Each program gets a folder: `jwks.json`, `files/<typ>/<name>.txt` (armoured artefacts, good, tampered and forged), and the build key
//! with the claims of a release manifest. It prints `accepted <typ>/<name> <SHA-256 of the payload>` or `refused <typ>/<name>` for each
//! file and writes `made.jws`, its own release manifest. Here both are compared with what this crate says.
//!
//! `tests/interop/setup.sh` fetches the libraries. `UPKEEP_PYTHON` names another Python. A missing tool is skipped with a line on stderr;
//! with `UPKEEP_REQUIRE_INTEROP=1` it fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "vectors/bad.rs"]
mod bad;
#[path = "vectors/samples.rs"]
mod samples;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};
use upkeep::armor::{self, Label};
use upkeep::artefact::ReleaseManifest;
use upkeep::jws;
use upkeep::key;

use crate::samples::{key as test_key, public, release, samples, signers};

#[test]
fn g11_pyjwt_agrees() {
    let python = std::env::var_os("UPKEEP_PYTHON")
        .unwrap_or_else(|| fetched("venv/bin/python").into_os_string());
    if present(
        "PyJWT",
        Command::new(&python).args(["-c", "import jwt, cryptography"]),
    ) {
        agrees(Command::new(python).arg(script("verify.py")), None);
    }
}

#[test]
fn g11_jose_agrees() {
    let modules = fetched("node_modules");
    let jose = modules.join("jose/package.json");
    if present(
        "jose",
        Command::new("node")
            .arg("-e")
            .arg(format!("require({jose:?})")),
    ) {
        agrees(
            Command::new("node").arg(script("verify.mjs")),
            Some(modules.into_os_string()),
        );
    }
}

#[test]
fn g11_the_jdk_agrees() {
    if present("Java", Command::new("java").arg("--version")) {
        agrees(Command::new("java").arg(script("Verify.java")), None);
    }
}

#[test]
fn g11_go_agrees() {
    if present("Go", Command::new("go").arg("version")) {
        let mut go = Command::new("go");
        // No other Go is fetched, and the folder needs no module.
        go.env("GOTOOLCHAIN", "local").args(["run"]);
        agrees(go.arg(script("verify.go")), None);
    }
}

/// Runs a program over a folder and compares all that it found.
fn agrees(program: &mut Command, last: Option<OsString>) {
    let folder = tempfile::tempdir().unwrap();
    let expected = write_folder(folder.path());
    println!("g11: {} vectors for {program:?}", expected.len());
    assert!(expected.len() >= 500, "only {} vectors", expected.len());
    let output = program.arg(folder.path()).args(last).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {errors}");
    let found: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let differing: Vec<_> = expected.symmetric_difference(&found).collect();
    assert!(differing.is_empty(), "{differing:#?}");

    let made = std::fs::read_to_string(folder.path().join("made.jws")).unwrap();
    let read =
        jws::verify::<ReleaseManifest>(&made, |kid| signers().get(kid).cloned(), key::verify);
    assert_eq!(read.map(jws::Verified::into_claims), Ok(release()));
}

/// Writes the folder and gives the lines that must come back.
fn write_folder(folder: &Path) -> BTreeSet<String> {
    let mut expected = BTreeSet::new();
    let mut write = |typ: jws::Typ, name: &str, file: &str, verdict: Option<String>| {
        let typ = typ.as_str();
        let into = folder.join("files").join(typ);
        std::fs::create_dir_all(&into).unwrap();
        std::fs::write(into.join(format!("{name}.txt")), file).unwrap();
        assert!(expected.insert(match verdict {
            Some(digest) => format!("accepted {typ}/{name} {digest}"),
            None => format!("refused {typ}/{name}"),
        }));
    };
    for sample in samples() {
        let digest = payload_digest(&sample.text);
        write(sample.typ, sample.name, &sample.file, Some(digest.clone()));
        let high = bad::high_s(&sample.text);
        let name = format!("{}_high_s", sample.name);
        write(
            sample.typ,
            &name,
            &armoured(sample.typ, &high),
            Some(digest),
        );
        for (index, text) in tampered(&sample.text).iter().enumerate() {
            let name = format!("{}_tampered_{index}", sample.name);
            write(sample.typ, &name, &armoured(sample.typ, text), None);
        }
    }
    for bad in bad::bad() {
        if ["Alg", "Typ", "UnknownKey", "Signature"].contains(&bad.error)
            && !LAX.contains(&bad.name)
        {
            write(bad.wanted, bad.name, &armoured(bad.wanted, &bad.text), None);
        }
    }
    let build = test_key("build");
    let pem = build.to_pkcs8_pem().unwrap();
    std::fs::write(folder.join("build.pem"), pem.as_bytes()).unwrap();
    std::fs::write(
        folder.join("build.kid"),
        public("build").thumbprint().to_string(),
    )
    .unwrap();
    let claims = serde_json::to_vec(&release()).unwrap();
    std::fs::write(folder.join("release.json"), claims).unwrap();
    std::fs::write(folder.join("jwks.json"), signers().to_json()).unwrap();
    expected
}

/// Copies with one symbol changed, spread over header, payload and signature (but its last symbol, which has stray bits).
fn tampered(text: &str) -> Vec<String> {
    (0..40)
        .map(|step| step * (text.len() - 2) / 40)
        .filter(|at| text.as_bytes()[*at] != b'.')
        .map(|at| {
            let new = if text.as_bytes()[at] == b'Q' {
                "g"
            } else {
                "Q"
            };
            format!("{}{new}{}", &text[..at], &text[at + 1..])
        })
        .collect()
}

fn armoured(typ: jws::Typ, text: &str) -> String {
    armor::write_bytes(Label::Artefact(typ), &[], text.as_bytes())
}

fn payload_digest(text: &str) -> String {
    let payload = text.split('.').nth(1).unwrap();
    let payload = data_encoding::BASE64URL_NOPAD
        .decode(payload.as_bytes())
        .unwrap();
    data_encoding::HEXLOWER.encode(&Sha256::digest(payload))
}

/// Whether a tool answers. A missing one is said aloud, past the test harness's capture, or fails where it is required.
fn present(tool: &str, probe: &mut Command) -> bool {
    if probe.output().is_ok_and(|output| output.status.success()) {
        return true;
    }
    let hint =
        format!("SKIPPED: {tool} is not here; tests/interop/setup.sh fetches the libraries\n");
    assert!(
        std::env::var_os("UPKEEP_REQUIRE_INTEROP").is_none_or(|required| required != "1"),
        "{hint}"
    );
    std::io::stderr().write_all(hint.as_bytes()).unwrap();
    false
}

fn fetched(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/interop")
        .join(name)
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(name)
}

/// Bad by our profile, and good to a library that does what its standard allows: RFC 7515 section 4.1.9 lets `typ` stand with or without
/// `application/` and in either case.
const LAX: [&str; 2] = ["typ_media_type", "typ_capital"];
