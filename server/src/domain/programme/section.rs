//! One table of a programme file, read key by key; what is wrong is collected, not thrown.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use toml::{Table, Value};

use super::error::ProgrammeError;

/// Collects what is wrong with one file.
pub(super) struct Problems<'f> {
    file: &'f str,
    found: Vec<ProgrammeError>,
}

impl<'f> Problems<'f> {
    pub(super) fn new(file: &'f str) -> Self {
        Self {
            file,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.found
            .push(ProgrammeError::new(self.file, key, problem));
    }

    pub(super) fn into_vec(self) -> Vec<ProgrammeError> {
        self.found
    }
}

/// A table at `path`. Every key that is asked for is known; [`Section::close`] refuses the others.
pub(super) struct Section<'t> {
    path: String,
    table: Option<&'t Table>,
    known: BTreeSet<&'static str>,
}

impl<'t> Section<'t> {
    pub(super) fn root(table: &'t Table) -> Self {
        Self::of(String::new(), Some(table))
    }

    /// The table called `name` inside this one; an absent one reads as an empty one.
    pub(super) fn section(&mut self, problems: &mut Problems<'_>, name: &'static str) -> Self {
        let path = self.key(name);
        let table = match self.get(name) {
            None => None,
            Some(Value::Table(table)) => Some(table),
            Some(_) => {
                problems.add(&path, "must be a table");
                None
            }
        };
        Self::of(path, table)
    }

    /// The tables in the list called `name`; `None` when it is absent or no such list.
    pub(super) fn sections(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Option<Vec<Self>> {
        let path = self.key(name);
        let Value::Array(items) = self.get(name)? else {
            problems.add(&path, "must be a list of tables");
            return None;
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let item_path = format!("{path}[{index}]");
            match item {
                Value::Table(table) => sections.push(Self::of(item_path, Some(table))),
                _ => problems.add(&item_path, "must be a table"),
            }
        }
        Some(sections)
    }

    /// The value of `name`, marked as known.
    pub(super) fn get(&mut self, name: &'static str) -> Option<&'t Value> {
        self.known.insert(name);
        self.table?.get(name)
    }

    /// The text called `name`.
    pub(super) fn text(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Option<&'t str> {
        match self.get(name)? {
            Value::String(text) => Some(text),
            _ => {
                problems.add(&self.key(name), "must be a text");
                None
            }
        }
    }

    /// The whole number called `name`, when it lies in `range`.
    pub(super) fn number(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let number = match self.get(name)? {
            Value::Integer(number) => u32::try_from(*number).ok(),
            _ => None,
        };
        let inside = number.filter(|number| range.contains(number));
        if inside.is_none() {
            let problem = format!(
                "must be a whole number from {} to {}",
                range.start(),
                range.end()
            );
            problems.add(&self.key(name), problem);
        }
        inside
    }

    /// The word called `name`, one of `words`.
    pub(super) fn word<T: Copy>(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let value = self.get(name)?;
        let found = pick(value, words);
        if found.is_none() {
            problems.add(&self.key(name), format!("must be {}", listed(words)));
        }
        found
    }

    /// The list of different words called `name`, each one of `words`.
    pub(super) fn words<T: Copy + PartialEq>(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        words: &[(&str, T)],
    ) -> Option<Vec<T>> {
        let value = self.get(name)?;
        let found = pick_all(value, words);
        if found.is_none() {
            let problem = format!("must be a list of different words: {}", listed(words));
            problems.add(&self.key(name), problem);
        }
        found
    }

    /// The dotted name of a key in this table.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn close(self, problems: &mut Problems<'_>) {
        let Some(table) = self.table else { return };
        for name in table.keys() {
            if !self.known.contains(name.as_str()) {
                let known: Vec<&str> = self.known.iter().copied().collect();
                let problem = format!("is not known; here may stand: {}", known.join(", "));
                problems.add(&self.key(name), problem);
            }
        }
    }

    fn of(path: String, table: Option<&'t Table>) -> Self {
        Self {
            path,
            table,
            known: BTreeSet::new(),
        }
    }
}

fn pick<T: Copy>(value: &Value, words: &[(&str, T)]) -> Option<T> {
    let text = value.as_str()?;
    words
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, item)| *item)
}

fn pick_all<T: Copy + PartialEq>(value: &Value, words: &[(&str, T)]) -> Option<Vec<T>> {
    let mut found = Vec::new();
    for item in value.as_array()? {
        let item = pick(item, words)?;
        if found.contains(&item) {
            return None;
        }
        found.push(item);
    }
    Some(found)
}

fn listed<T>(words: &[(&str, T)]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    words.join(", ")
}
