//! Reads the facts of a vector. What is absent or of another kind makes the vector malformed, and that is a failure.

use chrono::{DateTime, Utc};
use serde_json::Value;
use upkeep::date::{CivilDate, Term};
use upkeep_server::domain::money::{Currency, Money};
use upkeep_server::domain::refusal::Refusal;

/// A vector that can't be read, and why.
#[derive(Debug)]
pub(crate) struct Malformed(pub(crate) String);

/// The answer of the rules, in the words of the vectors.
pub(crate) type Answer = Result<Value, Refusal>;

/// A JSON object of facts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'v>(&'v Value);

impl<'v> Input<'v> {
    pub(crate) fn new(value: &'v Value) -> Self {
        Self(value)
    }

    /// A fact that is there; `null` is as good as absent.
    fn get(&self, name: &str) -> Option<&'v Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn need<T>(&self, name: &str, found: Option<T>) -> Result<T, Malformed> {
        found.ok_or_else(|| Malformed(format!("{name} is required")))
    }

    pub(crate) fn optional<T, E: std::fmt::Display>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value.as_str().ok_or_else(|| wrong(name, value))?;
        match parse(text) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(error) => Err(Malformed(format!("{name}: {text}: {error}"))),
        }
    }

    /// A word of a closed list.
    pub(crate) fn word<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        self.optional(name, |word| parse(word).ok_or("is an unknown word"))
    }

    pub(crate) fn needed_word<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Malformed> {
        let found = self.word(name, parse)?;
        self.need(name, found)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'v str>, Malformed> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or_else(|| wrong(name, value)),
        }
    }

    pub(crate) fn needed_text(&self, name: &str) -> Result<&'v str, Malformed> {
        let found = self.text(name)?;
        self.need(name, found)
    }

    pub(crate) fn day(&self, name: &str) -> Result<Option<CivilDate>, Malformed> {
        self.optional(name, CivilDate::parse)
    }

    pub(crate) fn needed_day(&self, name: &str) -> Result<CivilDate, Malformed> {
        let found = self.day(name)?;
        self.need(name, found)
    }

    pub(crate) fn days(&self, name: &str) -> Result<Vec<CivilDate>, Malformed> {
        let days = self.list(name)?.unwrap_or_default();
        days.iter()
            .map(|day| {
                let text = day.as_str().ok_or_else(|| wrong(name, day))?;
                CivilDate::parse(text).map_err(|error| Malformed(format!("{name}: {error}")))
            })
            .collect()
    }

    pub(crate) fn instant(&self, name: &str) -> Result<DateTime<Utc>, Malformed> {
        let found = self.optional(name, |text| text.parse::<DateTime<Utc>>())?;
        self.need(name, found)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<u32>, Malformed> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| wrong(name, value))
    }

    pub(crate) fn needed_number(&self, name: &str) -> Result<u32, Malformed> {
        let found = self.number(name)?;
        self.need(name, found)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Malformed> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| wrong(name, value)),
        }
    }

    pub(crate) fn needed_flag(&self, name: &str) -> Result<bool, Malformed> {
        let found = self.flag(name)?;
        self.need(name, found)
    }

    /// An amount; one that no amount can be is the rules' to refuse.
    pub(crate) fn money(&self, name: &str) -> Result<Option<Result<Money, Refusal>>, Malformed> {
        self.get(name).map(|value| amount(name, value)).transpose()
    }

    pub(crate) fn needed_money(&self, name: &str) -> Result<Result<Money, Refusal>, Malformed> {
        let found = self.money(name)?;
        self.need(name, found)
    }

    pub(crate) fn amounts(&self, name: &str) -> Result<Result<Vec<Money>, Refusal>, Malformed> {
        let listed = self.list(name)?.unwrap_or_default();
        let amounts: Result<Vec<_>, _> = listed.iter().map(|value| amount(name, value)).collect();
        Ok(amounts?.into_iter().collect())
    }

    pub(crate) fn part(&self, name: &str) -> Result<Option<Input<'v>>, Malformed> {
        match self.get(name) {
            None => Ok(None),
            Some(value) if value.is_object() => Ok(Some(Input(value))),
            Some(value) => Err(wrong(name, value)),
        }
    }

    pub(crate) fn needed_part(&self, name: &str) -> Result<Input<'v>, Malformed> {
        let found = self.part(name)?;
        self.need(name, found)
    }

    pub(crate) fn parts(&self, name: &str) -> Result<Vec<Input<'v>>, Malformed> {
        let listed = self.list(name)?.unwrap_or_default();
        Ok(listed.iter().map(Input).collect())
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, Malformed> {
        let listed = self.list(name)?;
        let listed = self.need(name, listed)?;
        listed
            .iter()
            .map(|value| {
                value
                    .as_str()
                    .map(str::to_owned)
                    .ok_or_else(|| wrong(name, value))
            })
            .collect()
    }

    fn list(&self, name: &str) -> Result<Option<&'v [Value]>, Malformed> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(value) => Err(wrong(name, value)),
        }
    }

    /// This object as a term.
    pub(crate) fn term(&self) -> Result<Term, Malformed> {
        let (start, last) = (self.needed_day("start")?, self.needed_day("last_day")?);
        Term::new(start, last).map_err(|error| Malformed(error.to_string()))
    }

    pub(crate) fn terms(&self, name: &str) -> Result<Vec<Term>, Malformed> {
        self.parts(name)?.iter().map(Input::term).collect()
    }
}

fn amount(name: &str, value: &Value) -> Result<Result<Money, Refusal>, Malformed> {
    let code = value.get("currency").and_then(Value::as_str);
    let minor = value.get("minor").and_then(Value::as_i64);
    let (Some(code), Some(minor)) = (code, minor) else {
        return Err(wrong(name, value));
    };
    let money = Currency::parse(code).and_then(|currency| Money::new(minor, currency));
    Ok(money.map_err(Refusal::from))
}

fn wrong(name: &str, value: &Value) -> Malformed {
    Malformed(format!("{name} can't be {value}"))
}
