//! The policy of a vector as a programme: what it says, laid over the least that a programme needs.

use serde_json::Value;
use toml::Table;
use upkeep_server::domain::money::Currency;
use upkeep_server::domain::programme::Programme;

use crate::input::Malformed;

/// The programme in force for a vector. `tz` and `currency` stand at the top of a policy; `null` is a key that is left out.
///
/// A programme that computes money needs a currency; a policy that names none has that of the vector's first amount.
pub(crate) fn programme(policy: &Value, facts: &Value) -> Result<Programme, Malformed> {
    let mut root: Table = toml::from_str(LEAST).map_err(|error| Malformed(error.to_string()))?;
    if let Some(currency) = currency_of(facts).filter(|code| Currency::parse(code).is_ok()) {
        section(&mut root, "programme").insert("currency".to_owned(), currency.into());
    }
    let mut own = match table(policy)? {
        Some(toml::Value::Table(own)) => own,
        Some(_) => return Err(Malformed(format!("the policy can't be {policy}"))),
        None => Table::new(),
    };
    name_tiers(&mut own);
    for (key, value) in own {
        match (key.as_str(), value) {
            ("tz" | "currency", value) => section(&mut root, "programme")
                .insert(key, value)
                .map_or((), drop),
            (_, toml::Value::Table(keys)) => section(&mut root, &key).extend(keys),
            (_, value) => root.insert(key, value).map_or((), drop),
        }
    }
    Programme::from_table("policy", &root).map_err(|errors| Malformed(format!("policy: {errors}")))
}

/// The currency of the first amount in `facts`.
fn currency_of(facts: &Value) -> Option<&str> {
    match facts {
        Value::Object(keys) => match keys.get("currency") {
            Some(Value::String(code)) => Some(code),
            _ => keys.values().find_map(currency_of),
        },
        Value::Array(list) => list.iter().find_map(currency_of),
        _ => None,
    }
}

/// A programme lists the tiers that its support names; a vector need not.
fn name_tiers(policy: &mut Table) {
    if policy.contains_key("tiers") {
        return;
    }
    let rules = match policy.get("support") {
        Some(toml::Value::Array(rules)) => rules.clone(),
        Some(rule) => vec![rule.clone()],
        None => Vec::new(),
    };
    let mut ids: Vec<toml::Value> = Vec::new();
    for id in rules
        .iter()
        .filter_map(|rule| rule.get("tiers")?.as_array())
        .flatten()
    {
        if !ids.contains(id) {
            ids.push(id.clone());
        }
    }
    if ids.is_empty() {
        return;
    }
    let tiers = ids.into_iter().map(|id| {
        let grants = ["updates", "support"].map(toml::Value::from);
        let grants = toml::Value::Array(grants.to_vec());
        toml::Value::Table(Table::from_iter([
            ("id".to_owned(), id),
            ("grants".to_owned(), grants),
        ]))
    });
    policy.insert("tiers".to_owned(), toml::Value::Array(tiers.collect()));
}

/// The section called `name`, made where it is absent.
fn section<'t>(root: &'t mut Table, name: &str) -> &'t mut Table {
    let value = root
        .entry(name)
        .or_insert_with(|| toml::Value::Table(Table::new()));
    if !value.is_table() {
        *value = toml::Value::Table(Table::new());
    }
    value.as_table_mut().expect("a table was just put there")
}

/// JSON as TOML; `None` for `null`.
fn table(value: &Value) -> Result<Option<toml::Value>, Malformed> {
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(flag) => toml::Value::Boolean(*flag),
        Value::String(text) => toml::Value::String(text.clone()),
        Value::Number(number) => match number.as_i64() {
            Some(whole) => toml::Value::Integer(whole),
            None => return Err(Malformed(format!("the policy can't hold {number}"))),
        },
        Value::Array(list) => {
            let items: Result<Vec<_>, _> = list.iter().map(table).collect();
            toml::Value::Array(items?.into_iter().flatten().collect())
        }
        Value::Object(keys) => {
            let mut found = Table::new();
            for (key, value) in keys {
                if let Some(value) = table(value)? {
                    found.insert(key.clone(), value);
                }
            }
            toml::Value::Table(found)
        }
    }))
}

/// Absent keys do not matter for a vector, but for the edition that S-28 calls free.
const LEAST: &str = r#"
programme = { id = "vector", rev = 1, tz = "UTC", currency = "EUR" }
free = { editions = ["free"], updates = "always" }
"#;
