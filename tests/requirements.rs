//! Every requirement of the four source documents is met somewhere one can point at: a test names it, or a line of
//! `docs/programmes.md` says how it is met.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what is wrong by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The requirements of the domain specification, section 1: how many of them each document has.
const DOCUMENTS: [(char, u32); 4] = [('T', 33), ('P', 18), ('V', 19), ('S', 30)];

#[test]
fn every_requirement_is_named_by_a_test_or_explained() {
    let tested = tested();
    let explained = explained();
    let missing: Vec<String> = requirements()
        .into_iter()
        .filter(|id| !tested.contains_key(id) && !explained.contains_key(id))
        .collect();
    assert!(
        missing.is_empty(),
        "no test and no line of docs/programmes.md names {}",
        missing.join(", ")
    );
}

#[test]
fn the_page_explains_each_requirement_once_and_no_other() {
    let known = requirements();
    let page = std::fs::read_to_string(root().join("docs/programmes.md")).unwrap();
    let mut seen = BTreeSet::new();
    for (id, how) in page.lines().filter_map(explanation) {
        assert!(known.contains(&id), "{id} is no requirement");
        assert!(seen.insert(id.clone()), "{id} is explained twice");
        assert!(how.len() >= 20, "{id}: {how:?} explains nothing");
    }
    assert_eq!(seen, known, "the page lists every requirement");
}

/// A page that names a test which is not there would promise what nobody checks.
#[test]
fn the_places_that_the_page_names_exist() {
    let page = std::fs::read_to_string(root().join("docs/programmes.md")).unwrap();
    let section = page.split("## Requirements").nth(1).unwrap();
    for part in section.split('`').skip(1).step_by(2) {
        if part.starts_with("tests/") || part.starts_with("server/") {
            assert!(root().join(part).exists(), "{part} is not there");
        }
    }
}

fn requirements() -> BTreeSet<String> {
    DOCUMENTS
        .iter()
        .flat_map(|(document, count)| (1..=*count).map(move |n| format!("{document}-{n:02}")))
        .collect()
}

/// The ids that test sources and vectors name, with the first file that does.
fn tested() -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.extension().and_then(|kind| kind.to_str());
            if path.is_dir() {
                folders.push(path);
            } else if matches!(kind, Some("rs" | "json" | "toml"))
                && path.file_name() != Path::new(file!()).file_name()
            {
                let text = std::fs::read_to_string(&path).unwrap();
                for id in ids(&text) {
                    found.entry(id).or_insert_with(|| path.clone());
                }
            }
        }
    }
    found
}

/// The ids that the page's table explains, with what it says.
fn explained() -> BTreeMap<String, String> {
    let page = std::fs::read_to_string(root().join("docs/programmes.md")).unwrap();
    page.lines().filter_map(explanation).collect()
}

/// `| T-01 | how it is met |`
fn explanation(line: &str) -> Option<(String, String)> {
    let mut cells = line.strip_prefix("| ")?.split(" | ");
    let id = cells.next()?;
    let is_id = ids(id).next().is_some_and(|found| found == id);
    is_id.then(|| (id.to_owned(), cells.collect::<Vec<_>>().join(" | ")))
}

/// Every `X-nn` in a text.
fn ids(text: &str) -> impl Iterator<Item = String> + '_ {
    let bytes = text.as_bytes();
    (0..bytes.len().saturating_sub(3)).filter_map(move |at| {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        let stands_alone = before.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let after = bytes.get(at + 4);
        let ends = after.is_none_or(|byte| !byte.is_ascii_digit());
        match &bytes[at..at + 4] {
            [b'T' | b'P' | b'V' | b'S', b'-', one, two]
                if stands_alone && ends && one.is_ascii_digit() && two.is_ascii_digit() =>
            {
                Some(text[at..at + 4].to_owned())
            }
            _ => None,
        }
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
