//! JSON lines: one object a line, its keys the names of the message's fields.

use std::fmt;
use std::io::{self, Read};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use upkeep::rpc::v1::{LicenseModule, LicenseRow, MaintenanceTerm, Money};

use super::field::{Field, Slot};
use super::lines::{Line, Lines};
use super::{Numbered, Problem, TOO_LONG, unusable};

/// The rows of a file of JSON lines.
pub struct JsonRows<R>(Lines<R>);

impl<R: Read> JsonRows<R> {
    /// Begins with the first line.
    pub fn new(source: R) -> Self {
        Self(Lines::new(source))
    }

    /// The next row; none at the end. Lines without content are no rows.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_row(&mut self) -> io::Result<Option<Numbered>> {
        loop {
            let Some((line, content)) = self.0.next_line()? else {
                return Ok(None);
            };
            let content = match content {
                Line::TooLong => return Ok(Some(unusable(line, Problem::of_row(TOO_LONG)))),
                Line::Whole(content) if content.iter().all(u8::is_ascii_whitespace) => continue,
                Line::Whole(content) => content,
            };
            let (row, problems) = parse_line(content);
            return Ok(Some(Numbered {
                line,
                row,
                problems,
            }));
        }
    }
}

/// Reads one object: what of it is a row, and what is wrong.
pub fn parse_line(content: &[u8]) -> (LicenseRow, Vec<Problem>) {
    let mut row = LicenseRow::default();
    let entries: Entries = match serde_json::from_slice(content) {
        Ok(entries) => entries,
        // Its message repeats nothing of a value but its kind and place.
        Err(error) => {
            let why = format!("is no JSON object: column {}", error.column());
            return (row, vec![Problem::of_row(why)]);
        }
    };
    let mut problems = Vec::new();
    let mut seen = Vec::new();
    for (name, value) in entries.0 {
        let Some(field) = Field::parse(&name) else {
            let shown: String = name.chars().take(40).collect();
            let why = format!("there is no field {shown:?}; the names are those of the API");
            problems.push(Problem::of_row(why));
            continue;
        };
        if seen.contains(&field) {
            problems.push(Problem::new(field.name(), "is there twice"));
            continue;
        }
        seen.push(field);
        let is_given = !value.is_null();
        let mut read = field.of(&mut row).read_json(value);
        if read.is_ok() && is_given {
            read = field.check_given(&row);
        }
        if let Err(why) = read {
            problems.push(Problem::new(field.name(), why));
        }
    }
    (row, problems)
}

impl Slot<'_> {
    /// Reads the JSON form. A text counts as its text form, `null` as not set.
    fn read_json(self, value: Value) -> Result<(), String> {
        match (self, value) {
            (_, Value::Null) => {}
            (Self::Text(own), Value::String(text)) => *own = text,
            (slot, Value::String(text)) => slot.read(&text)?,
            // Ids of other systems are often numbers.
            (Self::Text(own), Value::Number(number)) if number.is_u64() => {
                *own = number.to_string();
            }
            (Self::Flag(own), Value::Bool(flag)) => *own = flag,
            (Self::Count(own), value) => *own = whole(&value)?,
            (Self::Counts(own), Value::Array(values)) => {
                *own = values.iter().map(whole).collect::<Result<_, _>>()?;
            }
            (Self::Names(own), Value::Array(values)) => {
                *own = values.iter().map(text).collect::<Result<_, _>>()?;
            }
            (Self::Modules(own), Value::Array(values)) => {
                *own = values.iter().map(module).collect::<Result<_, _>>()?;
            }
            (Self::Terms(own), Value::Array(values)) => {
                *own = values.iter().map(term).collect::<Result<_, _>>()?;
            }
            (Self::Money(own), value) => *own = Some(amount(&value)?),
            (Self::Text(_), _) => return Err("must be a text".to_owned()),
            (Self::Flag(_), _) => return Err("must be true or false".to_owned()),
            (Self::Protection(_) | Self::State(_), _) => {
                return Err("must be a word of the API".to_owned());
            }
            _ => return Err("must be a list".to_owned()),
        }
        Ok(())
    }

    /// The JSON form; `null` where it is not set.
    pub(super) fn json(&self) -> Value {
        match self {
            Self::Text(own) if own.is_empty() => Value::Null,
            Self::Flag(own) => match **own {
                true => Value::Bool(true),
                false => Value::Null,
            },
            Self::Count(own) => match **own {
                0 => Value::Null,
                count => count.into(),
            },
            Self::Counts(own) if !own.is_empty() => own.to_vec().into(),
            Self::Names(own) if !own.is_empty() => own.to_vec().into(),
            Self::Modules(own) if !own.is_empty() => own
                .iter()
                .map(|one| serde_json::json!({ "module_id": one.module_id, "count": one.count }))
                .collect(),
            Self::Terms(own) if !own.is_empty() => own
                .iter()
                .map(|one| {
                    serde_json::json!({ "first_date": one.first_date, "last_date": one.last_date })
                })
                .collect(),
            Self::Money(own) => own.as_ref().map_or(Value::Null, |amount| {
                serde_json::json!({
                    "minor_units": amount.minor_units,
                    "currency_code": amount.currency_code,
                })
            }),
            words => match words.text() {
                empty if empty.is_empty() => Value::Null,
                text => text.into(),
            },
        }
    }
}

fn whole(value: &Value) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| "must be a whole number, at most 4294967295".to_owned())
}

fn text(value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| "must be a list of texts".to_owned())
}

fn module(value: &Value) -> Result<LicenseModule, String> {
    let [id, count] = members(value, ["module_id", "count"])?;
    Ok(LicenseModule {
        module_id: text(id)?,
        count: whole(count)?,
    })
}

fn term(value: &Value) -> Result<MaintenanceTerm, String> {
    let [first, last] = members(value, ["first_date", "last_date"])?;
    Ok(MaintenanceTerm {
        first_date: text(first)?,
        last_date: text(last)?,
        derived: false,
    })
}

/// The mapping of protobuf to JSON has 64-bit numbers as texts; both forms are read.
fn amount(value: &Value) -> Result<Money, String> {
    let [minor, currency] = members(value, ["minor_units", "currency_code"])?;
    let minor_units = minor
        .as_i64()
        .or_else(|| minor.as_str().and_then(|text| text.parse().ok()))
        .ok_or("minor_units must be a whole number")?;
    Ok(Money {
        minor_units,
        currency_code: text(currency)?,
    })
}

/// The two members that an object has to have, and no others.
fn members<'v>(value: &'v Value, names: [&str; 2]) -> Result<[&'v Value; 2], String> {
    let [one, other] = names;
    let object = value.as_object().filter(|object| object.len() == 2);
    object
        .and_then(|object| Some([object.get(one)?, object.get(other)?]))
        .ok_or_else(|| format!("must have {one} and {other}"))
}

/// The members of an object in their order, also those that are there twice.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
