//! The mapping file: which column of another system's CSV is which field, and how its values are written there.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use chrono::format::{Item, StrftimeItems};
use toml::{Table, Value};
use upkeep::date::CivilDate;
use upkeep::rpc::v1::LicenseRow;

use super::Field;

/// A mapping to start from; every line of it is explained.
pub const TEMPLATE: &str = include_str!("template.toml");

/// How a file's columns become fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// What every row says.
    pub(super) constants: LicenseRowText,
    /// `None` where the columns have the names of fields.
    pub(super) columns: Option<Vec<Source>>,
}

/// Fields with their text forms.
type LicenseRowText = Vec<(Field, String)>;

/// Where a field comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) field: Field,
    pub(super) columns: Vec<String>,
    pub(super) how: How,
}

/// How values become texts of the field's form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct How {
    join: Option<String>,
    dates: Vec<String>,
    values: BTreeMap<String, String>,
    lower: bool,
}

/// Everything that is wrong with a mapping file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mapping is wrong:\n  {}", .0.join("\n  "))]
pub struct MappingError(Vec<String>);

impl Default for Mapping {
    /// Columns have the names of fields, commas stand between them.
    fn default() -> Self {
        Self {
            delimiter: b',',
            quote: b'"',
            constants: Vec::new(),
            columns: None,
        }
    }
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// [`MappingError`] with everything that is wrong.
    pub fn parse(text: &str) -> Result<Self, MappingError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| MappingError(vec![error.to_string()]))?;
        let mut wrong = Wrong(Vec::new());
        let mut mapping = Self::default();
        for (key, value) in &table {
            match (key.as_str(), value) {
                ("csv", Value::Table(table)) => mapping.read_csv(table, &mut wrong),
                ("constants", Value::Table(table)) => mapping.read_constants(table, &mut wrong),
                ("fields", Value::Table(table)) => {
                    let sources = table.iter();
                    let sources = sources.filter_map(|(name, how)| source(name, how, &mut wrong));
                    mapping.columns = Some(sources.collect());
                }
                ("csv" | "constants" | "fields", _) => wrong.say(key, "must be a table"),
                _ => wrong.say(key, "is not known; known are csv, constants and fields"),
            }
        }
        for (field, _) in &mapping.constants {
            let mapped = mapping.columns.iter().flatten();
            if mapped.clone().any(|source| source.field == *field) {
                let key = format!("constants.{}", field.name());
                wrong.say(&key, "has a column as well");
            }
        }
        if wrong.0.is_empty() {
            Ok(mapping)
        } else {
            Err(MappingError(wrong.0))
        }
    }

    fn read_csv(&mut self, table: &Table, wrong: &mut Wrong) {
        for (key, value) in table {
            let own = match key.as_str() {
                "delimiter" => &mut self.delimiter,
                "quote" => &mut self.quote,
                _ => {
                    wrong.say(
                        &format!("csv.{key}"),
                        "is not known; known are delimiter and quote",
                    );
                    continue;
                }
            };
            match value.as_str().map(str::as_bytes) {
                Some([byte]) if byte.is_ascii() && !matches!(byte, b'\r' | b'\n' | 0) => {
                    *own = *byte;
                }
                _ => wrong.say(&format!("csv.{key}"), "must be one ASCII character"),
            }
        }
        if self.delimiter == self.quote {
            wrong.say("csv.quote", "must not be the delimiter");
        }
    }

    fn read_constants(&mut self, table: &Table, wrong: &mut Wrong) {
        for (name, value) in table {
            let key = format!("constants.{name}");
            let Some(field) = field(name, &key, wrong) else {
                continue;
            };
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Integer(number) => number.to_string(),
                Value::Boolean(flag) => flag.to_string(),
                _ => {
                    wrong.say(&key, "must be a text, a whole number, true or false");
                    continue;
                }
            };
            match field.set(&mut LicenseRow::default(), &text) {
                Ok(()) => self.constants.push((field, text)),
                Err(why) => wrong.say(&key, &why),
            }
        }
    }
}

impl How {
    /// The text of a field from the cells of its columns; `None` where none of them says anything.
    ///
    /// # Errors
    /// What the cells have to be.
    pub(super) fn apply(&self, cells: &[&str]) -> Result<Option<String>, String> {
        if cells.iter().all(|cell| cell.is_empty()) {
            return Ok(None);
        }
        let mut parts = Vec::with_capacity(cells.len());
        for cell in cells {
            let dated = self.date(cell)?;
            let mut part = match self.values.get(&dated) {
                Some(value) => value.clone(),
                None if self.values.is_empty() => dated,
                None => return Err("is none of the mapping's values".to_owned()),
            };
            if self.lower {
                part = part.to_lowercase();
            }
            parts.push(part);
        }
        Ok(Some(parts.join(self.join.as_deref().unwrap_or(" "))))
    }

    fn date(&self, cell: &str) -> Result<String, String> {
        if self.dates.is_empty() || cell.is_empty() {
            return Ok(cell.to_owned());
        }
        self.dates
            .iter()
            .find_map(|format| NaiveDate::parse_from_str(cell, format).ok())
            .and_then(|day| CivilDate::from_naive(day).ok())
            .map(|day| day.to_string())
            .ok_or_else(|| {
                let formats = self.dates.join(" or ");
                format!("must be a date in 1970 to 9999, in the form {formats}")
            })
    }
}

fn source(name: &str, value: &Value, wrong: &mut Wrong) -> Option<Source> {
    let key = format!("fields.{name}");
    let field = field(name, &key, wrong)?;
    let mut source = Source {
        field,
        columns: Vec::new(),
        how: How::default(),
    };
    match value {
        Value::String(column) => source.columns.push(column.clone()),
        Value::Table(table) => {
            for (option, value) in table {
                if let Err(why) = source.read(option, value) {
                    wrong.say(&format!("{key}.{option}"), &why);
                }
            }
        }
        _ => wrong.say(&key, "must be a column's name, or a table with column"),
    }
    if source.columns.is_empty() {
        wrong.say(&key, "names no column; write column = \"...\"");
        return None;
    }
    Some(source)
}

impl Source {
    fn read(&mut self, option: &str, value: &Value) -> Result<(), String> {
        match option {
            "column" => self.columns = vec![one_text(value)?],
            "columns" => self.columns = texts(value)?,
            "join" => self.how.join = Some(one_text(value)?),
            "date" => {
                self.how.dates = texts(value)?;
                let known =
                    |format: &String| !StrftimeItems::new(format).any(|item| item == Item::Error);
                if !self.how.dates.iter().all(known) {
                    return Err("is no date format; write %d.%m.%Y and the like".to_owned());
                }
            }
            "values" => {
                let table = value.as_table().ok_or("must be a table of texts")?;
                for (from, to) in table {
                    let to = one_text(to)?;
                    self.how.values.insert(from.clone(), to);
                }
            }
            "case" => match value.as_str() {
                Some("lower") => self.how.lower = true,
                _ => return Err("must be \"lower\"".to_owned()),
            },
            _ => {
                return Err(
                    "is not known; known are column, columns, join, date, values and case"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn one_text(value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| "must be a text".to_owned())
}

/// One text, or a list of them.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value.as_array() {
        None => one_text(value).map(|text| vec![text]),
        Some(values) => values.iter().map(one_text).collect(),
    }
}

fn field(name: &str, key: &str, wrong: &mut Wrong) -> Option<Field> {
    let field = Field::parse(name);
    if field.is_none() {
        let known: Vec<_> = Field::ALL.iter().map(|field| field.name()).collect();
        let why = format!("is no field; fields are {}", known.join(", "));
        wrong.say(key, &why);
    }
    field
}

struct Wrong(Vec<String>);

impl Wrong {
    fn say(&mut self, key: &str, why: &str) {
        self.0.push(format!("{key}: {why}"));
    }
}
