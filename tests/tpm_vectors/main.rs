//! Evidence of TPMs and dongles with the verdict that it must get: the verifier's public functions over a vector set.
//!
//! Our own set is `tests/vectors/tpm`, made by its `make.sh`; `UPKEEP_TPM_VECTORS` names the folder of another one, which is then run
//! too. Only the verdict counts, never the check that fails first. A wrong verdict of the level `must` fails; what is wrong of the
//! levels `should` and `optional` is counted aloud. An entry that can't be read fails by name, whatever its level.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod bytes;
mod case;
mod manifest;
mod report;

use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::report::Report;

#[test]
fn our_own_set() {
    let report = run(&own());
    assert!(report.count() >= 250, "the set is complete: {report}");
    report.assert();
    assert_eq!(report.deviations(), 0, "of our own set none deviates");
}

#[test]
fn the_set_that_the_environment_names() {
    match std::env::var_os("UPKEEP_TPM_VECTORS") {
        Some(folder) => run(&PathBuf::from(folder)).assert(),
        None => eprintln!("SKIPPED: UPKEEP_TPM_VECTORS names no other vector set"),
    }
}

/// What a manifest may not get away with, each beside one good entry.
#[test]
fn a_set_that_is_not_run_is_not_passed() {
    let good = r#"{"id": "ok", "kind": "ak_public", "expect": "reject", "level": "must", "files": {"ak": "empty"}}"#;
    for (named, entry) in [
        ("unknown kind", good.replace("ak_public", "quote")),
        ("unknown level", good.replace("must", "may")),
        ("unknown expectation", good.replace("reject", "refuse")),
        ("no level", good.replace(r#""level": "must", "#, "")),
        ("no id", good.replace(r#""id": "ok", "#, "")),
        ("missing file", good.replace("empty", "nowhere")),
        ("missing file key", good.replace(r#""ak":"#, r#""other":"#)),
        (
            "missing input",
            good.replace("ak_public", "ek_chain")
                .replace("\"ak\":", "\"ek_cert\":"),
        ),
        ("no object", "7".to_owned()),
        ("wrong verdict", good.replace("reject", "accept")),
    ] {
        let report = run_text(&format!(r#"{{"format": 1, "cases": [{good}, {entry}]}}"#));
        assert!(report.fails(), "{named}: {report}");
    }
    for text in [
        "",
        "{",
        r#"{"cases": []}"#,
        r#"{"format": 2, "cases": []}"#,
        r#"{"format": 1}"#,
        r#"{"format": 1, "cases": []}"#,
    ] {
        assert!(run_text(text).fails(), "{text}");
    }
    let twice = run_text(&format!(r#"{{"format": 1, "cases": [{good}, {good}]}}"#));
    assert!(twice.fails(), "an id that occurs twice: {twice}");
    let fine = run_text(&format!(
        r#"{{"format": 1, "made": "by hand", "cases": [{good}]}}"#
    ));
    assert!(!fine.fails(), "{fine}");
}

#[test]
fn a_deviation_that_need_not_be_is_counted() {
    for (level, fails) in [("must", true), ("should", false), ("optional", false)] {
        let entry = format!(
            r#"{{"id": "odd", "kind": "ak_public", "expect": "accept", "level": "{level}", "files": {{"ak": "empty"}}}}"#
        );
        let report = run_text(&format!(r#"{{"format": 1, "cases": [{entry}]}}"#));
        assert_eq!(report.fails(), fails, "{level}: {report}");
        assert_eq!(report.deviations(), 1, "{level}");
    }
}

fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/tpm")
}

fn run(folder: &Path) -> Report {
    let text = std::fs::read(folder.join("manifest.json"));
    let report = match text {
        Ok(text) => run_manifest(folder, &text),
        Err(error) => Report::broken(format!("{}: {error}", folder.display())),
    };
    eprintln!("{}: {report}", folder.display());
    report
}

fn run_text(text: &str) -> Report {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), []).unwrap();
    run_manifest(folder.path(), text.as_bytes())
}

fn run_manifest(folder: &Path, text: &[u8]) -> Report {
    match Manifest::parse(text) {
        Ok(manifest) => report::run(folder, manifest),
        Err(why) => Report::broken(why),
    }
}
