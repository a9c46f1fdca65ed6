//! The manifest: strict about what decides a verdict, deaf to everything else.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A vector set: each entry, or why it can't be read.
pub(crate) struct Manifest {
    pub(crate) entries: Vec<Result<Entry, String>>,
}

/// One case as it stands in the manifest.
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) accept: bool,
    pub(crate) level: Level,
    pub(crate) reason: String,
    /// Paths by key; one path is a list of one.
    pub(crate) files: BTreeMap<String, Vec<String>>,
    pub(crate) inputs: Map<String, Value>,
}

/// How much a wrong verdict matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// It is a defect.
    Must,
    /// It needs a written reason.
    Should,
    /// It matters where such keys are supported.
    Optional,
}

impl Manifest {
    /// Reads the text. What is wrong with one entry does not hide the others.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(text).map_err(|error| format!("manifest.json: {error}"))?;
        if value.get("format").and_then(Value::as_u64) != Some(1) {
            return Err("manifest.json: the format is not 1".to_owned());
        }
        let cases = value
            .get("cases")
            .and_then(Value::as_array)
            .filter(|cases| !cases.is_empty())
            .ok_or("manifest.json: no cases")?;
        let entries = cases
            .iter()
            .enumerate()
            .map(|(n, case)| {
                let named = case.get("id").and_then(Value::as_str);
                let name = named.map_or_else(|| format!("entry {n}"), str::to_owned);
                Entry::parse(case).map_err(|why| format!("{name}: {why}"))
            })
            .collect();
        Ok(Self { entries })
    }
}

impl Entry {
    fn parse(case: &Value) -> Result<Self, String> {
        let text = |key: &str| {
            case.get(key)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| format!("no {key}"))
        };
        Ok(Self {
            id: text("id")?,
            kind: text("kind")?,
            accept: match text("expect")?.as_str() {
                "accept" => true,
                "reject" => false,
                other => return Err(format!("it can't be expected to {other:?}")),
            },
            level: match text("level")?.as_str() {
                "must" => Level::Must,
                "should" => Level::Should,
                "optional" => Level::Optional,
                other => return Err(format!("there is no level {other:?}")),
            },
            reason: text("reason").unwrap_or_default(),
            files: case
                .get("files")
                .and_then(Value::as_object)
                .ok_or("no files")?
                .iter()
                .map(|(key, value)| Ok((key.clone(), paths(key, value)?)))
                .collect::<Result<_, String>>()?,
            inputs: match case.get("inputs") {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(inputs)) => inputs.clone(),
                Some(_) => return Err("its inputs are no object".to_owned()),
            },
        })
    }
}

fn paths(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| {
        let path = value.as_str().map(str::to_owned);
        path.ok_or_else(|| format!("the file {key} is no path"))
    };
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}
