//! What comes out of a step, fact by fact, and what a story expects of it.

use toml::Value;
use upkeep::date::CivilDate;

use super::timeline::Unmet;
use crate::domain::machine::SmaState;
use crate::domain::maintenance::Flag;
use crate::domain::maintenance::purchase::Kind;
use crate::domain::money::Money;
use crate::domain::programme::section::{Problems, Section};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade_check::Next;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// A fact about an event. Words that a refusal uses in its metadata are the same.
    Fact {
        /// The reason of a refusal.
        Refusal = "refusal",
        /// What a purchase is: new, renewal, reinstatement.
        Kind = "kind",
        /// How many terms were bought.
        Terms = "terms",
        /// The first day that is covered by what was bought.
        FirstDay = "first_day",
        /// The last covered day.
        LastDay = "last_day",
        /// What it costs, or `quote`.
        Price = "price",
        /// The state of the contract.
        State = "state",
        /// The flag that a customer sees.
        Flag = "flag",
        /// Its colour.
        Colour = "colour",
        /// When renewal opens.
        OpensOn = "opens_on",
        /// The last day on which buying was a renewal.
        ClosedOn = "closed_on",
        /// What comes next in an update request.
        Next = "next",
        /// The counter of an unlock code.
        Counter = "counter",
        /// What is credited.
        Credit = "credit",
        /// The day of a build.
        BuildDate = "build_date",
        /// A version.
        Version = "version",
        /// The newest major version.
        LatestMajor = "latest_major",
        /// When a release came out that was missed.
        ReleasedOn = "released_on",
        /// The last day of maintenance, in refusals.
        MaintenanceLastDate = "maintenance_last_date",
        /// Licenses that are missing in an order.
        Missing = "missing",
        /// Licenses that a refusal is about.
        Licenses = "licenses",
        /// Fields that are missing in a request.
        Fields = "fields",
        /// The most terms that are allowed.
        Most = "most",
        /// The last day of sale.
        SoldUntil = "sold_until",
        /// Which price is not known.
        PriceOf = "price_of",
        /// Who gets a reminder.
        To = "to",
        /// How many days before the end.
        DaysBefore = "days_before",
    }
}

/// Facts in the order in which they are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts(pub(super) Vec<(Fact, String)>);

impl Facts {
    pub(super) fn with(mut self, fact: Fact, value: impl ToString) -> Self {
        self.0.push((fact, value.to_string()));
        self
    }

    pub(super) fn with_some(self, fact: Fact, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(fact, value),
            None => self,
        }
    }

    /// The facts of a refusal: its reason, its metadata, and the fields that it names.
    pub(super) fn of(refusal: &Refusal) -> Self {
        let mut facts = Self::default().with(Fact::Refusal, refusal.reason);
        for (key, value) in &refusal.metadata {
            // In a story `price` is an amount.
            let key = if *key == "price" { "price_of" } else { key };
            if let Some(fact) = Fact::parse(key) {
                facts = facts.with(fact, value);
            }
        }
        if refusal.violations.is_empty() {
            return facts;
        }
        let fields: Vec<&str> = refusal
            .violations
            .iter()
            .map(|v| v.field.as_str())
            .collect();
        facts.with(Fact::Fields, fields.join(","))
    }

    fn get(&self, fact: Fact) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == fact);
        found.map(|(_, value)| value.as_str())
    }
}

/// What a step is expected to give. Without a refusal it is expected to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expect(Vec<(Fact, String)>);

impl Expect {
    /// Reads `expect`: the reason of a refusal, or a table of facts.
    pub(super) fn read(section: &mut Section<'_>, problems: &mut Problems<'_>) -> Self {
        let mut found = Vec::new();
        match section.get("expect") {
            None => {}
            Some(Value::Table(_)) => {
                for (name, path, value) in section.entries(problems, "expect").unwrap_or_default() {
                    let read = Fact::parse(name)
                        .ok_or_else(|| format!("is not known; here may stand: {}", known()))
                        .and_then(|fact| Ok((fact, text(fact, value)?)));
                    match read {
                        Ok(expected) => found.push(expected),
                        Err(problem) => problems.add(&path, problem),
                    }
                }
            }
            Some(value) => match text(Fact::Refusal, value) {
                Ok(reason) => found.push((Fact::Refusal, reason)),
                Err(problem) => {
                    problems.add(
                        &section.key("expect"),
                        format!("{problem}, or a table of facts"),
                    );
                }
            },
        }
        Self(found)
    }

    /// How many facts are compared: the answer itself is one.
    pub(super) fn count(&self) -> usize {
        let facts = self.0.iter().filter(|(fact, _)| *fact != Fact::Refusal);
        facts.count().saturating_add(1)
    }

    /// What does not hold.
    pub(super) fn unmet(&self, facts: &Facts) -> Vec<Unmet> {
        let refusal = self.0.iter().find(|(fact, _)| *fact == Fact::Refusal);
        let allowed = (Fact::Refusal, NONE.to_owned());
        let first = refusal.unwrap_or(&allowed);
        let rest = self.0.iter().filter(|(fact, _)| *fact != Fact::Refusal);
        std::iter::once(first)
            .chain(rest)
            .filter(|(fact, expected)| facts.get(*fact).unwrap_or(NONE) != expected)
            .map(|(fact, expected)| Unmet {
                fact: *fact,
                expected: expected.clone(),
                got: facts.get(*fact).unwrap_or(NONE).to_owned(),
            })
            .collect()
    }
}

/// The text of an expected fact, as the timeline would show it.
fn text(fact: Fact, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Datetime(moment) => moment.to_string(),
        Value::Array(items) => {
            let items: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            items
                .map(|items| items.join(","))
                .ok_or("must be a list of texts")?
        }
        Value::Float(_) | Value::Boolean(_) | Value::Table(_) => String::new(),
    };
    let words = |all: Vec<&str>| match all.contains(&text.as_str()) {
        true => Ok(()),
        false => Err(format!("must be {}", all.join(", "))),
    };
    match fact {
        Fact::Refusal => Reason::parse(&text)
            .map(|_| ())
            .ok_or("must be the reason of a refusal, such as RENEWAL_TOO_EARLY".to_owned()),
        Fact::Kind => words(Kind::ALL.iter().map(|word| word.as_str()).collect()),
        Fact::State => words(SmaState::ALL.iter().map(|word| word.as_str()).collect()),
        Fact::Flag => words(Flag::ALL.iter().map(|word| word.as_str()).collect()),
        Fact::Next => words(Next::ALL.iter().map(|word| word.as_str()).collect()),
        Fact::Price | Fact::Credit if text == QUOTE => Ok(()),
        Fact::Price | Fact::Credit => {
            // `399 USD` and `399.00 USD` are one amount.
            return match Money::parse(&text) {
                Ok(amount) => Ok(amount.to_string()),
                Err(error) => Err(error.to_string()),
            };
        }
        Fact::FirstDay
        | Fact::LastDay
        | Fact::OpensOn
        | Fact::ClosedOn
        | Fact::BuildDate
        | Fact::ReleasedOn
        | Fact::MaintenanceLastDate
        | Fact::SoldUntil => CivilDate::parse(&text)
            .map(|_| ())
            .map_err(|error| error.to_string()),
        Fact::Terms | Fact::Counter | Fact::LatestMajor | Fact::Most | Fact::DaysBefore => text
            .parse::<u64>()
            .map(|_| ())
            .map_err(|_| "must be a whole number".to_owned()),
        Fact::Colour
        | Fact::Version
        | Fact::Missing
        | Fact::Licenses
        | Fact::Fields
        | Fact::PriceOf
        | Fact::To => match text.is_empty() {
            true => Err("must be a text".to_owned()),
            false => Ok(()),
        },
    }?;
    Ok(text)
}

fn known() -> String {
    let words: Vec<&str> = Fact::ALL.iter().map(|fact| fact.as_str()).collect();
    words.join(", ")
}

/// In place of a fact that is not there.
const NONE: &str = "none";
/// In place of a price that a person at the vendor names.
pub(super) const QUOTE: &str = "quote";
