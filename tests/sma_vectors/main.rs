//! The golden vectors of maintenance, against the rules that the server's calls use.
//!
//! `tests/vectors/sma_vectors.json` is run always, and with it `sma_edges.json`, which has the edges that it leaves open; `UPKEEP_SMA_VECTORS=FILE` names another file of the same schema to run as well. Every
//! failing vector is told, with what was expected and what came. An op, a word or a fact that this runner can't read is a
//! failure, never a skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

mod input;
mod ops;
mod policy;
mod run;
mod steps;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::run::{Report, run};

#[test]
fn vectors_hold() {
    let mut reports = vec![
        ("tests/vectors/sma_vectors.json".to_owned(), run(FILE)),
        ("tests/vectors/sma_edges.json".to_owned(), run(EDGES)),
    ];
    if let Some(path) = std::env::var_os("UPKEEP_SMA_VECTORS").filter(|path| !path.is_empty()) {
        let name = path.to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        reports.push((name, run(&text)));
    }
    let mut failed = String::new();
    for (name, report) in &reports {
        println!("{name}: {}", report.counts());
        for failure in &report.failures {
            failed.push_str(&format!("{name}: {failure}\n"));
        }
    }
    assert!(failed.is_empty(), "\n{failed}");
}

/// The file is the whole one, and the runner knows every op that its schema names.
#[test]
fn the_file_is_whole() {
    let file: Value = serde_json::from_str(FILE).unwrap();
    let ops = file["schema"]["ops"].as_object().unwrap();
    let named: BTreeSet<&str> = ops.keys().map(String::as_str).collect();
    let report = run(FILE);
    let driven: BTreeSet<&str> = report.by_op.keys().map(String::as_str).collect();
    assert_eq!(driven, named);
    assert_eq!(report.by_op.values().sum::<usize>(), 103);
}

/// A runner that passes everything would be worth nothing: what is wrong in a vector must be told, by its id.
#[test]
fn wrong_vectors_are_told() {
    let good = json!({
        "id": "good", "op": "term_last_day", "title": "a year", "policy": {},
        "input": {"start": "2018-09-01", "months": 12}, "expect": {"ok": {"last_day": "2019-08-31"}},
    });
    let early = json!({
        "id": "early", "op": "buy_cover", "title": "too early",
        "policy": {"renew": {"opens_clear_days": 60, "price": "quote"}},
        "input": {"terms": [{"start": "2018-09-01", "last_day": "2019-08-31"}], "on": "2019-06-30"},
        "expect": {"error": {"code": "RENEWAL_TOO_EARLY", "opens_on": "2019-07-01"}},
    });
    let bad = |path: &str, value: Value| {
        let mut vector = if path.starts_with("/expect/error/opens_on") {
            early.clone()
        } else {
            good.clone()
        };
        *vector.pointer_mut(path).unwrap() = value;
        vector
    };
    let cases = [
        ("passes", good.clone(), None),
        ("passes", early.clone(), None),
        (
            "a wrong date",
            bad("/expect/ok/last_day", json!("2019-09-01")),
            Some("2019-08-31"),
        ),
        (
            "a wrong fact of an error",
            bad("/expect/error/opens_on", json!("2019-07-02")),
            Some("2019-07-01"),
        ),
        (
            "an error expected",
            bad("/expect", json!({"error": {"code": "TOO_MANY_TERMS"}})),
            Some("2019-08-31"),
        ),
        (
            "a field nobody gives",
            bad("/expect/ok", json!({"colour": null})),
            Some("colour"),
        ),
        (
            "ok and error",
            bad("/expect", json!({"ok": {}, "error": {"code": "NOT_FOUND"}})),
            Some("exactly one"),
        ),
        ("neither", bad("/expect", json!({})), Some("exactly one")),
        (
            "an unknown error",
            bad("/expect", json!({"error": {"code": "NO_SUCH"}})),
            Some("NO_SUCH"),
        ),
        (
            "an unknown op",
            bad("/op", json!("sell_cover")),
            Some("sell_cover"),
        ),
        (
            "a day that does not exist",
            bad("/input/start", json!("2019-02-29")),
            Some("start"),
        ),
        (
            "no fact",
            bad("/input", json!({"start": "2018-09-01"})),
            Some("months"),
        ),
        (
            "a fact of another kind",
            bad("/input/months", json!("12")),
            Some("months"),
        ),
        (
            "a key that no programme has",
            bad("/policy", json!({"cover": {"term_month": 1}})),
            Some("term_month"),
        ),
        (
            "a part of a basis point",
            bad("/policy", json!({"renew": {"price_bp_of_list": 0.5}})),
            Some("0.5"),
        ),
    ];
    for (name, vector, told) in cases {
        let Report { failures, .. } = run(&json!({"vectors": [vector]}).to_string());
        match told {
            None => assert_eq!(failures, Vec::<String>::new(), "{name}"),
            Some(word) => {
                assert_eq!(failures.len(), 1, "{name}: {failures:?}");
                assert!(failures[0].contains(word), "{name}: {failures:?}");
            }
        }
    }
    for word in ["machine", "from", "event", "role", "guard_failure"] {
        let mut vector = json!({
            "id": "step", "op": "transition", "title": "a step", "policy": {},
            "input": {"machine": "license", "from": "Ordered", "event": "fulfil", "role": "partner", "guard_failure": null},
            "expect": {"ok": {"to": "Issued"}},
        });
        assert_eq!(
            run(&json!({"vectors": [vector]}).to_string())
                .failures
                .len(),
            0
        );
        vector["input"][word] = json!("unheard_of");
        let failures = run(&json!({"vectors": [vector]}).to_string()).failures;
        assert_eq!(failures.len(), 1, "{word}");
        assert!(failures[0].contains("unheard_of"), "{failures:?}");
    }
    // An id that stands twice would hide one of its vectors in a report.
    let twice = run(&json!({"vectors": [good, good]}).to_string());
    assert!(twice.failures[0].contains("twice"), "{:?}", twice.failures);
    for text in ["", "[]", "{\"vectors\": []}", "{\"vectors\": [{}]}"] {
        assert_eq!(run(text).failures.len(), 1, "{text}");
    }
}

const FILE: &str = include_str!("../vectors/sma_vectors.json");
const EDGES: &str = include_str!("../vectors/sma_edges.json");
