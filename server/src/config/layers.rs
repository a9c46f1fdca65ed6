//! Laying the sources over each other: defaults, file, environment, flags; each value remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use toml::{Table, Value};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by name.
    Environment(String),
    /// A flag on the command line, as it is to be shown.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// All keys, each with its value on top and that value's origin.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Layers {
    /// Starts from the defaults, which also say which keys there are and of what type.
    pub(super) fn new(defaults: &Table) -> Self {
        let values = leaves(defaults)
            .into_iter()
            .map(|(key, value)| (key, (value, Origin::Default)))
            .collect();
        Self { values }
    }

    /// Lays `key = value` on top.
    ///
    /// # Errors
    /// What is wrong: there is no such key, or the value has another type.
    pub(super) fn lay(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), String> {
        if !self.values.contains_key(key) {
            return Err(self.unknown(key));
        }
        if let Some((held, from)) = self.values.get_mut(key) {
            expect_type(held, &value)?;
            (*held, *from) = (value, origin);
        }
        Ok(())
    }

    /// As [`Self::lay`], for a value that comes as text: a variable or a flag.
    ///
    /// # Errors
    /// As [`Self::lay`].
    pub(super) fn lay_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), String> {
        let value = match self.values.get(key) {
            Some((Value::Integer(_), _)) => text.trim().parse().map(Value::Integer).ok(),
            Some((Value::Boolean(_), _)) => text.trim().parse().map(Value::Boolean).ok(),
            Some((Value::Array(_), _)) => Some(list(text)),
            _ => None,
        };
        self.lay(
            key,
            value.unwrap_or_else(|| Value::String(text.to_owned())),
            origin,
        )
    }

    /// Where the value of `key` came from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.values
            .get(key)
            .map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// All keys in order, with value and origin.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value, &Origin)> {
        self.values
            .iter()
            .map(|(key, (value, origin))| (key.as_str(), value, origin))
    }

    /// The values as one nested table.
    pub(super) fn table(&self) -> Table {
        let mut table = Table::new();
        for (key, value, _) in self.iter() {
            match key.split_once('.') {
                None => {
                    table.insert(key.to_owned(), value.clone());
                }
                Some((section, name)) => {
                    let section = table
                        .entry(section)
                        .or_insert_with(|| Value::Table(Table::new()));
                    if let Value::Table(section) = section {
                        section.insert(name.to_owned(), value.clone());
                    }
                }
            }
        }
        table
    }

    fn unknown(&self, key: &str) -> String {
        let section = format!("{key}.");
        if self.values.keys().any(|known| known.starts_with(&section)) {
            return format!("is a section; write [{key}] and its keys below it");
        }
        let near = self
            .values
            .keys()
            .map(|known| (distance(known, key), known))
            .min()
            .filter(|(distance, known)| *distance <= 3 || last(known) == last(key));
        match near {
            Some((_, known)) => format!("there is no such key; did you mean {known}?"),
            None => "there is no such key; `upkeep-server config template` shows all".to_owned(),
        }
    }
}

/// The values of a table and its sections, under dotted keys. An empty section counts as a value.
pub(super) fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(section) if !section.is_empty() => found.extend(
                leaves(section)
                    .into_iter()
                    .map(|(name, value)| (format!("{key}.{name}"), value)),
            ),
            other => found.push((key.clone(), other.clone())),
        }
    }
    found
}

/// The environment variable for `key`: `listen.products` is UPKEEP_LISTEN_PRODUCTS.
pub(super) fn variable(key: &str) -> String {
    format!("UPKEEP_{}", key.replace('.', "_").to_ascii_uppercase())
}

fn expect_type(wanted: &Value, found: &Value) -> Result<(), String> {
    let what = match (wanted, found) {
        (Value::String(_), Value::String(_)) | (Value::Boolean(_), Value::Boolean(_)) => {
            return Ok(());
        }
        (Value::Integer(_), Value::Integer(n)) if *n >= 0 => return Ok(()),
        (Value::Array(_), Value::Array(items)) if items.iter().all(Value::is_str) => return Ok(()),
        (Value::Integer(_), _) => "a whole number, 0 or more",
        (Value::Boolean(_), _) => "true or false",
        (Value::Array(_), _) => "a list of texts",
        _ => "a text in quotes",
    };
    Err(format!("must be {what}"))
}

fn list(text: &str) -> Value {
    let items = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// Levenshtein's distance, for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (y, above) in b.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal + usize::from(x != *y);
            left = replaced.min(left + 1).min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
