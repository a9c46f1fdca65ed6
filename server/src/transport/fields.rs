//! Parsing at the door: every field has a limit and a type, and all that is wrong is told at once.

use std::fmt::Display;

use crate::domain::refusal::{Reason, Refusal, Violation};

/// Collects what is wrong with the fields of one request.
#[derive(Default)]
pub(super) struct Fields {
    violations: Vec<Violation>,
    malformed: bool,
}

impl Fields {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A required text.
    pub(super) fn required<T, E: Display>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if text.is_empty() {
            self.missing(field);
            return None;
        }
        self.parsed(field, parse(text))
    }

    /// A text that may be empty. `None` when it is wrong, `Some(None)` when it is empty.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        field: &str,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        if text.is_empty() {
            Some(None)
        } else {
            self.parsed(field, parse(text)).map(Some)
        }
    }

    /// A required enum: 0 is missing, an unknown number is wrong.
    pub(super) fn choice<T>(
        &mut self,
        field: &str,
        number: i32,
        parse: impl FnOnce(i32) -> Option<T>,
    ) -> Option<T> {
        if number == 0 {
            self.missing(field);
            return None;
        }
        let value = parse(number);
        if value.is_none() {
            self.wrong(field, "is not a value that this server knows");
        }
        value
    }

    /// Any other parsed value.
    pub(super) fn parsed<T, E: Display>(&mut self, field: &str, parsed: Result<T, E>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(field, &error.to_string());
                None
            }
        }
    }

    /// A required field that is empty.
    pub(super) fn missing(&mut self, field: &str) {
        self.violations.push(Violation::new(field, "is required"));
    }

    /// A field that is wrong. The text never repeats what was sent.
    pub(super) fn wrong(&mut self, field: &str, why: &str) {
        self.malformed = true;
        self.violations.push(Violation::new(field, why));
    }

    /// Takes over what is wrong with a part of the request, whose fields have a prefix here.
    pub(super) fn adopt(&mut self, part: Self, prefix: &str) {
        self.malformed |= part.malformed;
        let named = part.violations.into_iter().map(|violation| Violation {
            field: format!("{prefix}{}", violation.field),
            ..violation
        });
        self.violations.extend(named);
    }

    /// The request, once no field is wrong.
    ///
    /// # Errors
    /// INVALID_FIELD with all violations, or MISSING_FIELD when fields are only missing.
    pub(super) fn finish<T>(self, assemble: impl FnOnce() -> Option<T>) -> Result<T, Refusal> {
        if self.violations.is_empty()
            && let Some(request) = assemble()
        {
            return Ok(request);
        }
        let reason = if self.malformed {
            Reason::InvalidField
        } else {
            Reason::MissingField
        };
        Err(Refusal {
            violations: self.violations,
            ..Refusal::new(reason)
        })
    }
}

/// A text for people: `min..=max` characters, no control characters and none that change the direction of writing.
///
/// # Errors
/// What the rule is.
pub(super) fn text(value: &str, min: usize, max: usize) -> Result<String, String> {
    let length = value.chars().count();
    if !(min..=max).contains(&length) {
        return Err(format!("must have {min} to {max} characters"));
    }
    if value.chars().any(|c| c.is_control() || is_bidi_control(c)) {
        return Err(
            "must not have control characters or marks that change the direction of writing"
                .to_owned(),
        );
    }
    Ok(value.to_owned())
}

/// An e-mail address in the loose form that mail needs: at most 254 characters, one `@` with something on both sides.
///
/// # Errors
/// What the rule is.
pub(super) fn email(value: &str) -> Result<String, String> {
    let plain = text(value, 3, 254)?;
    let good = !plain.chars().any(char::is_whitespace)
        && plain.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && !domain.is_empty() && !domain.contains('@')
        });
    if good {
        Ok(plain)
    } else {
        Err("must be an e-mail address such as anna@example.com".to_owned())
    }
}

/// Unicode Bidi_Control (UAX 9): these make a text look like another one.
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_deceive_are_refused() {
        for bad in [
            "",
            "a\0b",
            "a\nb",
            "a\u{202e}b",
            "a\u{2066}b",
            &"x".repeat(201),
        ] {
            assert!(text(bad, 1, 200).is_err(), "{bad:?}");
        }
        assert_eq!(
            text("Żółw GmbH & 日本", 1, 200).as_deref(),
            Ok("Żółw GmbH & 日本")
        );
    }

    #[test]
    fn addresses_need_two_sides() {
        for bad in ["", "anna", "@b", "a@", "a@b@c", "a b@c", "a@b\r\nBcc: x@y"] {
            assert!(email(bad).is_err(), "{bad:?}");
        }
        assert!(email("anna@example.com").is_ok());
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let mut fields = Fields::new();
        let _ = fields.required("a", "", |text| text.parse::<u8>());
        let _ = fields.required("b", "x", |text| text.parse::<u8>());
        let refusal = fields.finish(|| Some(())).expect_err("two violations");
        assert_eq!(refusal.reason, Reason::InvalidField);
        assert_eq!(refusal.violations.len(), 2);
    }
}
