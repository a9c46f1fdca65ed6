//! docs/reliability.md names a test for every row, and each test that it names is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rows of SECURITY 5.
const ROWS: std::ops::RangeInclusive<u32> = 1..=22;
/// Row 19 is about several servers, which there are not.
const NOT_YET: [u32; 1] = [19];

#[test]
fn every_row_has_a_test_and_the_page_names_it() {
    let page = std::fs::read_to_string(root().join("docs/reliability.md")).unwrap();
    let tests = tests();
    let mut named: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| G")) {
        let row = line[3..]
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap();
        let row: u32 = row.parse().unwrap();
        let prefix = format!("g{row}_");
        for name in line
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| is_test(name))
        {
            if NOT_YET.contains(&row) {
                continue;
            }
            assert!(
                tests.contains(name),
                "row G{row} names {name}, which is no test"
            );
            assert!(
                name.starts_with(&prefix),
                "{name} is not a test of row G{row}"
            );
            named.entry(row).or_default().insert(name.to_owned());
        }
    }
    for row in ROWS.filter(|row| !NOT_YET.contains(row)) {
        let there: BTreeSet<_> = tests
            .iter()
            .filter(|name| name.starts_with(&format!("g{row}_")))
            .collect();
        assert!(!there.is_empty(), "row G{row} has no test");
        assert!(
            named.contains_key(&row),
            "row G{row} is tested by {there:?}, but the page names none"
        );
    }
}

/// `g1_kill_9_...`, and not `UPKEEP_G1_...` or a path.
fn is_test(name: &str) -> bool {
    let digits = name.strip_prefix('g').unwrap_or_default();
    let rest = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < digits.len() && rest.starts_with('_')
}

/// The names of all test functions that begin with a row, wherever they are.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders: Vec<PathBuf> = ["tests", "server", "client"]
        .map(|part| root().join(part))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let functions = text.split("fn ").skip(1);
                let names_here = functions.filter_map(|rest| rest.split('(').next());
                names.extend(names_here.filter(|name| is_test(name)).map(str::to_owned));
            }
        }
    }
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
