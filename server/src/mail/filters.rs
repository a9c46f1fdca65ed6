//! Dates and amounts in the form that is customary in a language.

use minijinja::{Error, ErrorKind, State, Value};
use upkeep::date::CivilDate;

use crate::domain::mail::Language;

/// `{{ reminder.last_day | date }}`.
pub(super) fn date(state: &State<'_, '_>, text: &str) -> Result<String, Error> {
    let day = CivilDate::parse(text)
        .map_err(|_| Error::new(ErrorKind::InvalidOperation, "date needs YYYY-MM-DD"))?;
    let text = day.to_string();
    let mut parts = text.split('-').map(|part| part.parse::<u32>().ok());
    let (Some(Some(year)), Some(Some(month)), Some(Some(day))) =
        (parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            "date needs YYYY-MM-DD",
        ));
    };
    Ok(written_date(language(state), year, month, day))
}

/// `{{ deal.total | money }}`.
pub(super) fn money(state: &State<'_, '_>, amount: &Value) -> Result<String, Error> {
    let wrong = || Error::new(ErrorKind::InvalidOperation, "money needs an amount");
    let number = |name: &str| amount.get_attr(name).ok().and_then(|value| value.as_i64());
    let minor = number("minor").ok_or_else(wrong)?;
    let digits = number("digits").and_then(|digits| usize::try_from(digits).ok());
    let currency = amount.get_attr("currency")?;
    let currency = currency.as_str().ok_or_else(wrong)?;
    Ok(written_money(
        language(state),
        minor,
        digits.ok_or_else(wrong)?,
        currency,
    ))
}

fn language(state: &State<'_, '_>) -> Language {
    let tag = state.lookup("lang");
    Language::of_tag(tag.as_ref().and_then(Value::as_str).unwrap_or_default())
}

fn written_date(language: Language, year: u32, month: u32, day: u32) -> String {
    let name = |names: &[&'static str; 12]| {
        let index = usize::try_from(month.saturating_sub(1)).unwrap_or_default();
        names.get(index).copied().unwrap_or_default()
    };
    match language {
        Language::En => format!("{day} {} {year}", name(&ENGLISH)),
        Language::De => format!("{day}. {} {year}", name(&GERMAN)),
        Language::Fr if day == 1 => format!("1er {} {year}", name(&FRENCH)),
        Language::Fr => format!("{day} {} {year}", name(&FRENCH)),
        Language::Ja => format!("{year}年{month}月{day}日"),
    }
}

fn written_money(language: Language, minor: i64, digits: usize, currency: &str) -> String {
    let (thousands, decimal) = match language {
        Language::En | Language::Ja => (",", "."),
        Language::De => (".", ","),
        Language::Fr => ("\u{202f}", ","),
    };
    let text = format!("{minor:0>width$}", width = digits.saturating_add(1));
    let (whole, fraction) = text
        .split_at_checked(text.len().saturating_sub(digits))
        .unwrap_or((&text, ""));
    let mut amount = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && whole.len().saturating_sub(n) % 3 == 0 {
            amount.push_str(thousands);
        }
        amount.push(digit);
    }
    if !fraction.is_empty() {
        amount.push_str(decimal);
        amount.push_str(fraction);
    }
    match language {
        Language::En | Language::Ja => format!("{currency} {amount}"),
        Language::De | Language::Fr => format!("{amount} {currency}"),
    }
}

const ENGLISH: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const GERMAN: [&str; 12] = [
    "Januar",
    "Februar",
    "März",
    "April",
    "Mai",
    "Juni",
    "Juli",
    "August",
    "September",
    "Oktober",
    "November",
    "Dezember",
];
const FRENCH: [&str; 12] = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_people_do() {
        for (language, written) in [
            (Language::En, "1 August 2026"),
            (Language::De, "1. August 2026"),
            (Language::Fr, "1er août 2026"),
            (Language::Ja, "2026年8月1日"),
        ] {
            assert_eq!(written_date(language, 2026, 8, 1), written);
        }
        assert_eq!(written_date(Language::Fr, 2026, 2, 28), "28 février 2026");
    }

    #[test]
    fn amounts_are_written_as_people_do() {
        for (language, minor, digits, currency, written) in [
            (Language::En, 123_450, 2, "EUR", "EUR 1,234.50"),
            (Language::De, 123_450_099, 2, "EUR", "1.234.500,99 EUR"),
            (Language::Fr, 123_450, 2, "EUR", "1\u{202f}234,50 EUR"),
            (Language::Ja, 98_000, 0, "JPY", "JPY 98,000"),
            (Language::En, 5, 2, "GBP", "GBP 0.05"),
            (Language::En, 0, 0, "JPY", "JPY 0"),
            (Language::De, 1_234, 3, "KWD", "1,234 KWD"),
        ] {
            assert_eq!(written_money(language, minor, digits, currency), written);
        }
    }
}
