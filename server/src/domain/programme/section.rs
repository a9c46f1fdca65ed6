//! One table of a programme file or a story, read key by key; what is wrong is collected, not thrown.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use toml::{Table, Value};
use upkeep::date::CivilDate;

use super::error::{ProgrammeError, ProgrammeErrors};
use crate::domain::money::BasisPoints;

/// Collects what is wrong with one file.
pub(in crate::domain) struct Problems<'f> {
    file: &'f str,
    found: Vec<ProgrammeError>,
}

impl<'f> Problems<'f> {
    pub(in crate::domain) fn new(file: &'f str) -> Self {
        Self {
            file,
            found: Vec::new(),
        }
    }

    pub(in crate::domain) fn add(&mut self, key: &str, problem: impl Into<String>) {
        self.found
            .push(ProgrammeError::new(self.file, key, problem));
    }

    /// Whether `key` is named already.
    pub(in crate::domain) fn name(&self, key: &str) -> bool {
        self.found.iter().any(|error| error.key() == key)
    }

    pub(in crate::domain) fn into_vec(self) -> Vec<ProgrammeError> {
        self.found
    }
}

/// The table that the text of `file` is.
///
/// # Errors
/// The place where it stops being TOML, or that it has more than `most` bytes.
pub(in crate::domain) fn table(
    file: &str,
    text: &str,
    most: usize,
) -> Result<Table, ProgrammeErrors> {
    let wrong = if text.len() > most {
        let problem = format!("has {} bytes; such a file has at most {most}", text.len());
        ProgrammeError::new(file, "", problem)
    } else {
        match toml::from_str(text) {
            Ok(table) => return Ok(table),
            Err(error) => not_toml(file, text, &error),
        }
    };
    Err(ProgrammeErrors::new(vec![wrong]))
}

/// A table at `path`. Every key that is asked for is known; [`Section::close`] refuses the others.
pub(in crate::domain) struct Section<'t> {
    path: String,
    table: Option<&'t Table>,
    known: BTreeSet<&'static str>,
}

impl<'t> Section<'t> {
    pub(in crate::domain) fn root(table: &'t Table) -> Self {
        Self::of(String::new(), Some(table))
    }

    /// The table called `name` inside this one; an absent one reads as an empty one.
    pub(in crate::domain) fn section(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Self {
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
    pub(in crate::domain) fn sections(
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

    /// The tables called `name`: a list of them, or one table on its own; none when it is absent.
    pub(in crate::domain) fn one_or_more(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Vec<Self> {
        match self.get(name) {
            Some(Value::Table(table)) => vec![Self::of(self.key(name), Some(table))],
            _ => self.sections(problems, name).unwrap_or_default(),
        }
    }

    /// The table called `name` whose keys are free: each key, its dotted name and its value.
    pub(in crate::domain) fn entries(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Option<Vec<(&'t str, String, &'t Value)>> {
        let path = self.key(name);
        let Value::Table(table) = self.get(name)? else {
            problems.add(&path, "must be a table");
            return None;
        };
        let entry =
            |(key, value): (&'t String, &'t Value)| (key.as_str(), format!("{path}.{key}"), value);
        Some(table.iter().map(entry).collect())
    }

    /// Whether the table stands in the file at all.
    pub(in crate::domain) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Names each of `names` that is absent.
    pub(in crate::domain) fn require(
        &mut self,
        problems: &mut Problems<'_>,
        names: &[&'static str],
    ) {
        for name in names {
            if self.get(name).is_none() {
                problems.add(&self.key(name), "is required");
            }
        }
    }

    /// The value of `name`, marked as known.
    pub(in crate::domain) fn get(&mut self, name: &'static str) -> Option<&'t Value> {
        self.known.insert(name);
        self.table?.get(name)
    }

    /// The text called `name`.
    pub(in crate::domain) fn text(
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
    pub(in crate::domain) fn number(
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

    /// The text called `name` as an id or another value that has a text form of its own.
    pub(in crate::domain) fn parsed<T, E: std::fmt::Display>(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(problems, name)?;
        parse(text)
            .map_err(|error| problems.add(&self.key(name), error.to_string()))
            .ok()
    }

    /// The list of different ids called `name`.
    pub(in crate::domain) fn parsed_list<T: PartialEq, E: std::fmt::Display>(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let path = self.key(name);
        let Value::Array(items) = self.get(name)? else {
            problems.add(&path, "must be a list of texts");
            return None;
        };
        let mut found = Vec::new();
        let mut sound = true;
        for (index, item) in items.iter().enumerate() {
            let parsed = match item.as_str() {
                Some(text) => parse(text).map_err(|error| error.to_string()),
                None => Err("must be a text".to_owned()),
            };
            let problem = match parsed {
                Ok(item) if found.contains(&item) => "stands in the list twice".to_owned(),
                Ok(item) => {
                    found.push(item);
                    continue;
                }
                Err(problem) => problem,
            };
            problems.add(&format!("{path}[{index}]"), problem);
            sound = false;
        }
        sound.then_some(found)
    }

    /// A text for people called `name`: one line of at most 200 characters.
    pub(in crate::domain) fn line(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Option<String> {
        self.parsed(problems, name, line_of)
    }

    /// The list of different texts for people called `name`; empty when it is absent.
    pub(in crate::domain) fn lines(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Vec<String> {
        self.parsed_list(problems, name, line_of)
            .unwrap_or_default()
    }

    /// Yes or no called `name`.
    pub(in crate::domain) fn flag(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Option<bool> {
        match self.get(name)? {
            Value::Boolean(flag) => Some(*flag),
            _ => {
                problems.add(&self.key(name), "must be true or false");
                None
            }
        }
    }

    /// The share in basis points called `name`, at most `most`.
    pub(in crate::domain) fn share(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        most: u32,
    ) -> Option<BasisPoints> {
        let found = basis_points(self.get(name)?, most);
        if found.is_none() {
            problems.add(&self.key(name), share_problem(most));
        }
        found
    }

    /// The list of shares in basis points called `name`, at most `most` each; not an empty one.
    pub(in crate::domain) fn shares(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        most: u32,
    ) -> Option<Vec<BasisPoints>> {
        let path = self.key(name);
        let items = match self.get(name)? {
            Value::Array(items) if !items.is_empty() => items,
            _ => {
                problems.add(&path, "must be a list of rates, one for each year");
                return None;
            }
        };
        let mut found = Vec::new();
        for (index, item) in items.iter().enumerate() {
            match basis_points(item, most) {
                Some(share) => found.push(share),
                None => problems.add(&format!("{path}[{index}]"), share_problem(most)),
            }
        }
        (found.len() == items.len()).then_some(found)
    }

    /// The day called `name`: a TOML date, or a text in the form YYYY-MM-DD.
    pub(in crate::domain) fn day(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
    ) -> Option<CivilDate> {
        let text = match self.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Datetime(moment) if moment.time.is_none() => Some(moment.to_string()),
            _ => None,
        };
        let day = text.and_then(|text| CivilDate::parse(&text).ok());
        if day.is_none() {
            let problem = "must be a day of the calendar such as 2009-12-31, from 1970 to 9999";
            problems.add(&self.key(name), problem);
        }
        day
    }

    /// The amount in minor units called `name`, at most `most`.
    pub(in crate::domain) fn amount(
        &mut self,
        problems: &mut Problems<'_>,
        name: &'static str,
        most: i64,
    ) -> Option<i64> {
        let amount = self.get(name)?.as_integer();
        let inside = amount.filter(|amount| (0..=most).contains(amount));
        if inside.is_none() {
            let problem =
                format!("must be an amount in minor units, a whole number from 0 to {most}");
            problems.add(&self.key(name), problem);
        }
        inside
    }

    /// The word called `name`, one of `words`.
    pub(in crate::domain) fn word<T: Copy>(
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
    pub(in crate::domain) fn words<T: Copy + PartialEq>(
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
    pub(in crate::domain) fn key(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Refuses every key that nobody asked for.
    pub(in crate::domain) fn close(self, problems: &mut Problems<'_>) {
        let Some(table) = self.table else { return };
        for name in table.keys() {
            if !self.known.contains(name.as_str()) && !problems.name(&self.key(name)) {
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

/// Where the text stops being TOML, in words that repeat no value of it. A day that does not exist ends here too, so the key is
/// named where there is one.
fn not_toml(file: &str, text: &str, error: &toml::de::Error) -> ProgrammeError {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.split('\n').count();
    let problem = match key_before(before) {
        Some(key) => format!("line {line}, at {key}: {}", error.message()),
        None => format!("line {line}: {}", error.message()),
    };
    ProgrammeError::new(file, "", problem)
}

/// The bare key whose value was being read where `before` ends.
fn key_before(before: &str) -> Option<&str> {
    let line = before.rsplit('\n').next()?;
    let (left, _) = line.rsplit_once('=')?;
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let left = left.trim_end();
    let start = left
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_bare(*c))
        .last()?
        .0;
    left.get(start..)
}

/// One line of text for people: what a terminal and a mail show as it is.
fn line_of(text: &str) -> Result<String, &'static str> {
    let long = text.chars().count() > MAX_LINE;
    if text.trim().is_empty() || long || text.chars().any(char::is_control) {
        return Err("must be one line of 1 to 200 characters");
    }
    Ok(text.to_owned())
}

fn basis_points(value: &Value, most: u32) -> Option<BasisPoints> {
    let bp = u32::try_from(value.as_integer()?).ok()?;
    (bp <= most).then(|| BasisPoints::new(bp))
}

fn share_problem(most: u32) -> String {
    format!("must be basis points, a whole number from 0 to {most}: 5000 is 50 %")
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

/// Of a text for people.
const MAX_LINE: usize = 200;
