//! The texts of mails: built in, and overridden by files of the same name.
//!
//! A text is a minijinja template whose first line is `Subject: ...`. An override that does not work is told by name when the
//! server starts, with everything else that is wrong. Should one fail later, over data that no check has, the built-in text is
//! sent: no mail is lost for a text.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};

use crate::domain::mail::{Language, Template};
use crate::mail::facts::{Extent, Facts};
use crate::mail::filters;

/// The texts of this server.
pub(crate) struct Texts {
    built_in: Environment<'static>,
    own: Environment<'static>,
    /// The overriding files, by template name.
    files: BTreeMap<String, PathBuf>,
}

/// What a text became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// One line.
    pub(crate) subject: String,
    pub(crate) body: String,
    /// `built-in`, or the overriding file.
    pub(crate) source: String,
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("mail.templates: {}: {why}", .file.display())]
pub struct TextError {
    file: PathBuf,
    why: String,
}

impl Texts {
    /// The built-in texts, under the files in `directory`.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub(crate) fn open(directory: Option<&Path>) -> Result<Self, Vec<TextError>> {
        let mut texts = Self::default();
        let Some(directory) = directory else {
            return Ok(texts);
        };
        let wrong = |file: &Path, why: String| TextError {
            file: file.to_owned(),
            why,
        };
        let entries = fs::read_dir(directory)
            .map_err(|error| vec![wrong(directory, format!("cannot be read: {error}"))])?;
        let mut errors = Vec::new();
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.sort();
        for path in found {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if !name.ends_with(".txt") {
                continue;
            }
            let Some((template, language)) = parse_name(name) else {
                errors.push(wrong(&path, no_such_text()));
                continue;
            };
            match fs::read_to_string(&path) {
                Err(error) => errors.push(wrong(&path, format!("cannot be read: {error}"))),
                Ok(source) => {
                    if let Err(why) = texts.add(name, source, template, language) {
                        errors.push(wrong(&path, why));
                    } else {
                        texts.files.insert(name.to_owned(), path);
                    }
                }
            }
        }
        if errors.is_empty() {
            Ok(texts)
        } else {
            Err(errors)
        }
    }

    /// The text of `template` in `language`; in English where there is none in that language.
    ///
    /// # Errors
    /// What is wrong with the built-in text, which the tests exclude.
    pub(crate) fn render(
        &self,
        template: Template,
        language: Language,
        facts: &Facts,
    ) -> Result<Text, String> {
        for language in [language, Language::En] {
            let name = name_of(template, language);
            if let Some(file) = self.files.get(&name) {
                match render(&self.own, &name, language, facts) {
                    Ok((subject, body)) => {
                        let source = file.display().to_string();
                        return Ok(Text {
                            subject,
                            body,
                            source,
                        });
                    }
                    Err(why) => tracing::error!(
                        file = %file.display(), %why,
                        "a mail text of yours failed; the built-in one is sent"
                    ),
                }
            }
            if self.built_in.get_template(&name).is_ok() {
                let (subject, body) = render(&self.built_in, &name, language, facts)?;
                let source = "built-in".to_owned();
                return Ok(Text {
                    subject,
                    body,
                    source,
                });
            }
        }
        Err(format!("there is no text {template}"))
    }

    /// Adds an override and tries it out.
    fn add(
        &mut self,
        name: &str,
        source: String,
        template: Template,
        language: Language,
    ) -> Result<(), String> {
        self.own
            .add_template_owned(name.to_owned(), source)
            .map_err(|error| describe(&error))?;
        for extent in [Extent::Full, Extent::Bare] {
            render(&self.own, name, language, &Facts::sample(template, extent))?;
        }
        Ok(())
    }
}

impl Default for Texts {
    fn default() -> Self {
        let mut built_in = environment();
        for (name, source) in BUILT_IN {
            if let Err(error) = built_in.add_template(name, source) {
                // The tests render every one of them.
                tracing::error!(name, %error, "a built-in text is no template; this is a defect, please report it");
            }
        }
        Self {
            built_in,
            own: environment(),
            files: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Texts")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.add_filter("date", filters::date);
    environment.add_filter("money", filters::money);
    environment
}

/// Subject and body.
fn render(
    environment: &Environment<'_>,
    name: &str,
    language: Language,
    facts: &Facts,
) -> Result<(String, String), String> {
    let known = Value::from(Serde(facts));
    let lang = language.as_str();
    let written = environment
        .get_template(name)
        .and_then(|template| template.render(context! { lang, ..known }))
        .map_err(|error| describe(&error))?;
    let (first, rest) = written.split_once('\n').unwrap_or((&written, ""));
    let subject = first.strip_prefix("Subject:").map(one_line);
    match subject {
        Some(subject) if !subject.is_empty() && !rest.trim().is_empty() => {
            Ok((subject, paragraphs(rest)))
        }
        _ => Err("must start with a line `Subject: ...`, and have a text below it".to_owned()),
    }
}

/// The text with one empty line at most between two others, wherever something was left out.
fn paragraphs(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            gap = !out.is_empty();
            continue;
        }
        if gap {
            out.push('\n');
        }
        gap = false;
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// The first line names the place; what follows it is the source, which the operator has.
fn describe(error: &minijinja::Error) -> String {
    let line = error.line().map(|line| format!("line {line}: "));
    let detail = error.detail().map(|detail| format!(": {detail}"));
    format!(
        "{}{}{}",
        line.unwrap_or_default(),
        error.kind(),
        detail.unwrap_or_default()
    )
}

/// A subject is one line of bounded length, whatever stands in a name.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(LONGEST_SUBJECT).collect()
}

fn name_of(template: Template, language: Language) -> String {
    format!("{template}.{language}.txt")
}

fn parse_name(name: &str) -> Option<(Template, Language)> {
    let (template, language) = name.strip_suffix(".txt")?.rsplit_once('.')?;
    Some((Template::parse(template)?, Language::parse(language)?))
}

fn no_such_text() -> String {
    let templates: Vec<&str> = Template::ALL.iter().map(|one| one.as_str()).collect();
    let languages: Vec<&str> = Language::ALL.iter().map(|one| one.as_str()).collect();
    format!(
        "overrides nothing: names are KIND.LANGUAGE.txt, with {} and {}",
        templates.join(", "),
        languages.join(", ")
    )
}

const LONGEST_SUBJECT: usize = 200;

macro_rules! built_in {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/mail/", $name)))),+]
    };
}

/// The vendor's desk reads English; everybody else chooses.
const BUILT_IN: &[(&str, &str)] = built_in![
    "reminder-customer.en.txt",
    "reminder-customer.de.txt",
    "reminder-customer.fr.txt",
    "reminder-customer.ja.txt",
    "reminder-reseller.en.txt",
    "reminder-reseller.de.txt",
    "reminder-reseller.fr.txt",
    "reminder-reseller.ja.txt",
    "reminder-vendor.en.txt",
    "upgrade-code.en.txt",
    "upgrade-code.de.txt",
    "upgrade-code.fr.txt",
    "upgrade-code.ja.txt",
    "order-confirmation.en.txt",
    "order-confirmation.de.txt",
    "order-confirmation.fr.txt",
    "order-confirmation.ja.txt",
    "quote-request.en.txt",
    "quote-answer.en.txt",
    "quote-answer.de.txt",
    "quote-answer.fr.txt",
    "quote-answer.ja.txt",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::facts::plain;

    #[test]
    fn every_text_says_what_it_must_in_every_language() {
        let texts = Texts::default();
        assert_eq!(texts.built_in.templates().count(), BUILT_IN.len());
        for template in Template::ALL {
            for language in Language::ALL {
                for extent in [Extent::Full, Extent::Bare] {
                    let facts = Facts::sample(*template, extent);
                    let text = texts.render(*template, *language, &facts).unwrap();
                    let place = format!("{template}.{language} {extent:?}");
                    assert!(!text.subject.contains('\n'), "{place}");
                    assert!(text.body.contains("NSP-000001"), "{place}: {}", text.body);
                    assert!(text.body.contains("Label Studio"), "{place}");
                    assert!(!text.body.contains("none"), "{place}: {}", text.body);
                    assert!(!text.body.contains("\n\n\n"), "{place}: {}", text.body);
                    if let Some(upgrade) = &facts.upgrade {
                        assert!(text.body.contains(&upgrade.code), "{place}");
                        assert!(text.body.contains(&upgrade.version), "{place}");
                    }
                    if facts.deal.is_some() && extent == Extent::Full {
                        let amounts = ["1,234.50", "1.234,50", "1\u{202f}234,50"];
                        let named = amounts.iter().any(|amount| text.body.contains(amount));
                        assert!(named || *template == Template::QuoteRequest, "{place}");
                    }
                }
            }
        }
    }

    /// V-05: nobody is asked to renew what goes on by itself, nor thanked for what nobody ordered.
    #[test]
    fn what_goes_on_by_itself_is_told_so() {
        let texts = Texts::default();
        let renew = ["renew", "verlängern", "renouvel", "更新につきましては"];
        for template in [Template::ReminderCustomer, Template::OrderConfirmation] {
            for (language, word) in Language::ALL.iter().zip(renew) {
                let mut facts = Facts::sample(template, Extent::Full);
                let usual = texts.render(template, *language, &facts).unwrap().body;
                if let Some(reminder) = &mut facts.reminder {
                    reminder.cancel_by = Some("2026-07-31".to_owned());
                }
                if let Some(deal) = &mut facts.deal {
                    deal.kind = "auto_extension".to_owned();
                }
                let own = texts.render(template, *language, &facts).unwrap().body;
                assert_ne!(usual, own, "{template} {language:?}");
                if template == Template::ReminderCustomer {
                    assert!(
                        own.contains("31") && !own.to_lowercase().contains(word),
                        "{own}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_reader_gets_the_languages_that_there_are() {
        let texts = Texts::default();
        let facts = Facts::sample(Template::ReminderCustomer, Extent::Full);
        let render = |language| {
            texts
                .render(Template::ReminderCustomer, language, &facts)
                .unwrap()
                .body
        };
        for (tag, date) in [
            ("de-AT", "31. August 2026"),
            ("fr", "31 août 2026"),
            ("ja", "2026年8月31日"),
            ("pl", "31 August 2026"),
            ("EN-gb", "31 August 2026"),
        ] {
            let body = render(Language::of_tag(tag));
            assert!(body.contains(date), "{tag}: {body}");
        }
    }

    #[test]
    fn names_cannot_add_headers_or_run_code() {
        let texts = Texts::default();
        let mut facts = Facts::sample(Template::ReminderCustomer, Extent::Full);
        facts.product = plain("Studio\r\nBcc: evil@x.example\r\n {{ serial }}");
        let text = texts
            .render(Template::ReminderCustomer, Language::En, &facts)
            .unwrap();
        assert!(!text.subject.contains(['\r', '\n']), "{}", text.subject);
        assert!(text.subject.contains("{{ serial }}"), "{}", text.subject);
        facts.product = "x".repeat(10_000);
        let text = texts
            .render(Template::ReminderCustomer, Language::Ja, &facts)
            .unwrap();
        assert!(text.subject.chars().count() <= LONGEST_SUBJECT);
    }

    #[test]
    fn broken_overrides_are_all_named() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        write("upgrade-code.de.txt", "Subject: x\n\n{{ upgrade.cod }}\n");
        write("upgrade-code.fr.txt", "Subject: x\n\n{% if %}\n");
        write("upgrade-code.ja.txt", "No subject\n\ntext\n");
        write("upgrade-code.xx.txt", "Subject: x\n\ntext\n");
        write(
            "reminder-vendor.de.txt",
            "Subject: x\n\n{{ reseller.name }}\n",
        );
        write("README.md", "not a text");
        let errors = Texts::open(Some(dir.path())).unwrap_err();
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 5, "{told:#?}");
        for name in ["de", "fr", "ja", "xx"] {
            let file = format!("upgrade-code.{name}.txt");
            assert!(told.iter().any(|one| one.contains(&file)), "{told:#?}");
        }
        assert!(told.iter().any(|one| one.contains("line 3")), "{told:#?}");
    }

    #[test]
    fn an_override_that_fails_over_real_data_loses_no_mail() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("reminder-customer.de.txt");
        let own =
            "Subject: Eigener Text\n\n{{ reminder.last_day | date }} {{ [1, 2][seats - 2] }}\n";
        fs::write(&file, own).unwrap();
        let texts = Texts::open(Some(dir.path())).unwrap();
        let mut facts = Facts::sample(Template::ReminderCustomer, Extent::Full);
        let template = Template::ReminderCustomer;
        let text = texts.render(template, Language::De, &facts).unwrap();
        assert_eq!(text.source, file.display().to_string());
        assert_eq!(text.body, "31. August 2026 1\n");
        facts.seats = 99;
        let text = texts.render(template, Language::De, &facts).unwrap();
        assert_eq!(text.source, "built-in");
        assert!(text.body.contains("31. August 2026"));
    }
}
