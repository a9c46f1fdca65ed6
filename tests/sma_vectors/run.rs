//! Runs a file of vectors and compares: every field that a vector lists must be equal, the answer may say more.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use upkeep_server::domain::refusal::{Reason, Refusal};

use crate::input::{Input, Malformed};
use crate::ops;
use crate::policy::programme;

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How many vectors of each op were driven.
    pub(crate) by_op: BTreeMap<String, usize>,
    /// Each with id and title, what was expected and what came.
    pub(crate) failures: Vec<String>,
}

impl Report {
    /// `103 vectors: add_to_group 4, ...`
    pub(crate) fn counts(&self) -> String {
        let each: Vec<String> = self
            .by_op
            .iter()
            .map(|(op, n)| format!("{op} {n}"))
            .collect();
        let all: usize = self.by_op.values().sum();
        format!("{all} vectors: {}", each.join(", "))
    }
}

/// Runs every vector of a file.
pub(crate) fn run(text: &str) -> Report {
    let mut report = Report::default();
    let file: Value = serde_json::from_str(text).unwrap_or_default();
    let vectors = file.get("vectors").and_then(Value::as_array);
    let Some(vectors) = vectors.filter(|vectors| !vectors.is_empty()) else {
        report.failures.push("the file holds no vectors".to_owned());
        return report;
    };
    let mut ids = BTreeSet::new();
    for vector in vectors {
        let name = |field: &str| vector.get(field).and_then(Value::as_str).unwrap_or("?");
        let (id, op) = (name("id"), name("op"));
        *report.by_op.entry(op.to_owned()).or_default() += 1;
        let found = if ids.insert(id) {
            check(op, vector)
        } else {
            Err("this id stands twice".to_owned())
        };
        if let Err(why) = found {
            report
                .failures
                .push(format!("{id} ({op}): {}: {why}", name("title")));
        }
    }
    report
}

/// Drives one vector; what is wrong with its answer or with the vector itself.
fn check(op: &str, vector: &Value) -> Result<(), String> {
    let wanted = expected(vector)?;
    let got = drive(op, vector).map_err(|Malformed(why)| format!("malformed: {why}"))?;
    if covers(&got, wanted) {
        Ok(())
    } else {
        Err(format!("expected {wanted}, got {got}"))
    }
}

/// Exactly one of `ok` and `error`, and an error that there is.
fn expected(vector: &Value) -> Result<&Value, String> {
    let wanted = vector.get("expect").unwrap_or(&Value::Null);
    let sides = wanted
        .as_object()
        .map(|sides| (sides.len(), sides.get("ok"), sides.get("error")));
    match sides {
        Some((1, Some(Value::Object(_)), None)) => Ok(wanted),
        Some((1, None, Some(error))) => match error.get("code").and_then(Value::as_str) {
            Some(code) if Reason::parse(code).is_some() => Ok(wanted),
            code => Err(format!("malformed: {code:?} is no error")),
        },
        _ => Err("malformed: expect needs exactly one of ok and error".to_owned()),
    }
}

fn drive(op: &str, vector: &Value) -> Result<Value, Malformed> {
    let policy = vector.get("policy").unwrap_or(&Value::Null);
    let facts = vector.get("input").unwrap_or(&Value::Null);
    let programme = programme(policy, facts)?;
    Ok(match ops::drive(op, &programme, &Input::new(facts))? {
        Ok(facts) => json!({ "ok": facts }),
        Err(refusal) => json!({ "error": error(&refusal) }),
    })
}

/// A refusal in the words of the vectors: its code, its facts, and the fields that are missing.
fn error(refusal: &Refusal) -> Value {
    let mut fields = Map::new();
    for (key, value) in &refusal.metadata {
        let value = match *key {
            "licenses" | "missing" => value.split(',').collect(),
            _ => json!(value),
        };
        fields.insert((*key).to_owned(), value);
    }
    fields.insert("code".to_owned(), json!(refusal.reason.as_str()));
    if !refusal.violations.is_empty() {
        let names = refusal
            .violations
            .iter()
            .map(|violation| json!(violation.field));
        fields.insert("fields".to_owned(), names.collect());
    }
    Value::Object(fields)
}

/// Whether `got` says everything that `wanted` lists; lists have the same length and order.
fn covers(got: &Value, wanted: &Value) -> bool {
    match (got, wanted) {
        (Value::Object(got), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| got.get(key).is_some_and(|got| covers(got, value))),
        (Value::Array(got), Value::Array(wanted)) => {
            got.len() == wanted.len() && got.iter().zip(wanted).all(|(g, w)| covers(g, w))
        }
        (got, wanted) => got == wanted,
    }
}
