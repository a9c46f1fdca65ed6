//! Configuration: one TOML file, under environment variables, under flags.
//!
//! [`load`] reads and checks all of it and names every mistake at once, with the file and the key. [`template`] is the
//! file with every default and what it means; [`Config::show`] is the effective configuration with the source of each
//! value. There are no secrets in it.

mod endorsements;
mod layers;
mod mail;
mod operations;
mod raw;
mod settings;
mod signing;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

pub use crate::config::layers::Origin;
use crate::config::layers::{Layers, leaves, variable};
use crate::config::raw::Raw;
pub use crate::config::settings::{
    GuessLimits, MailSecurity, MailSettings, MessageLimits, OpsSettings, Settings,
    TelemetrySettings,
};

/// A checked configuration that remembers where each value came from.
#[derive(Clone, Debug)]
pub struct Config {
    settings: Settings,
    layers: Layers,
}

/// One value set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The key, such as `listen.products`.
    pub key: String,
    /// The value, as text; a list is split at commas.
    pub value: String,
    /// The flag as the user wrote it, for messages: `--data-dir`.
    pub flag: String,
}

/// Reads the configuration: defaults, then `file`, then `environment`, then `flags`.
///
/// * `environment` - all variables ([`std::env::vars`]); those that are no key's variable are ignored, and so are empty ones.
///
/// # Errors
/// [`ConfigErrors`] with every mistake.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[Flag],
) -> Result<Config, ConfigErrors> {
    let mut mistakes = Vec::new();
    let mut layers = Layers::new(&default_table()?);
    if let Some(path) = file {
        match read(path) {
            Ok(table) => lay_file(&mut layers, path, &table, &mut mistakes),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    lay_environment(&mut layers, environment, &mut mistakes);
    for Flag { key, value, flag } in flags {
        let origin = Origin::Flag(flag.clone());
        if let Err(what) = layers.lay_text(key, value, origin.clone()) {
            mistakes.push(ConfigError::of(origin, key, what));
        }
    }
    check(layers, mistakes)
}

/// The configuration file with every default and what it means.
pub fn template() -> &'static str {
    TEMPLATE
}

impl Config {
    /// What the server is built from.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where the value of `key` came from.
    pub fn origin(&self, key: &str) -> Origin {
        self.layers.origin(key)
    }

    /// The effective configuration, one key a line with its source: itself a TOML file.
    pub fn show(&self) -> String {
        let lines: Vec<(String, &Origin)> = self
            .layers
            .iter()
            .map(|(key, value, origin)| (format!("{key} = {value}"), origin))
            .collect();
        let width = lines.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
        lines
            .iter()
            .map(|(line, origin)| format!("{line:width$}  # {origin}\n"))
            .collect()
    }
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    origin: Origin,
    key: String,
    what: String,
}

impl ConfigError {
    fn of(origin: Origin, key: &str, what: impl ToString) -> Self {
        Self {
            origin,
            key: key.to_owned(),
            what: what.to_string(),
        }
    }

    /// The key; empty when the whole file is meant.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, what } = self;
        match (origin, key.as_str()) {
            (Origin::File(path), "") => write!(f, "{}: {what}", path.display()),
            (Origin::File(path), key) => write!(f, "{}: {key}: {what}", path.display()),
            (origin, key) => write!(f, "{key} ({origin}): {what}"),
        }
    }
}

/// Every mistake in the configuration, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The mistakes, in the order of the sources.
    pub fn mistakes(&self) -> &[ConfigError] {
        &self.0
    }

    /// Whether nothing but the command line is wrong.
    pub(crate) fn are_of_flags(&self) -> bool {
        let is_flag = |mistake: &ConfigError| matches!(mistake.origin, Origin::Flag(_));
        self.0.iter().all(is_flag)
    }

    /// The defaults themselves do not fit: a mistake of ours that the tests exclude.
    fn defect(error: &dyn fmt::Display) -> Self {
        Self(vec![ConfigError::of(Origin::Default, "", error)])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

fn default_table() -> Result<Table, ConfigErrors> {
    Table::try_from(Raw::from_settings(&Settings::default())).map_err(|e| ConfigErrors::defect(&e))
}

/// Reads the text of a configuration file over the defaults.
///
/// # Errors
/// As [`load`].
pub(crate) fn read_text(text: &str) -> Result<Config, ConfigErrors> {
    let mut mistakes = Vec::new();
    let mut layers = Layers::new(&default_table()?);
    match parse(text, &Origin::Default) {
        Ok(table) => lay_file(&mut layers, Path::new(""), &table, &mut mistakes),
        Err(mistake) => mistakes.push(mistake),
    }
    check(layers, mistakes)
}

fn check(layers: Layers, mut mistakes: Vec<ConfigError>) -> Result<Config, ConfigErrors> {
    let raw = Raw::deserialize(layers.table()).map_err(|e| ConfigErrors::defect(&e))?;
    let settings = raw.check(&mut |key, what| {
        mistakes.push(ConfigError::of(layers.origin(key), key, what));
    });
    if mistakes.is_empty() {
        Ok(Config { settings, layers })
    } else {
        Err(ConfigErrors(mistakes))
    }
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let origin = Origin::File(PathBuf::from(path));
    let text = fs::read_to_string(path).map_err(|e| {
        let what = format!(
            "cannot be read: {e}; `upkeep-server config template` prints one to start from"
        );
        ConfigError::of(origin.clone(), "", what)
    })?;
    parse(&text, &origin)
}

fn parse(text: &str, origin: &Origin) -> Result<Table, ConfigError> {
    text.parse().map_err(|e: toml::de::Error| {
        ConfigError::of(origin.clone(), "", format!("is not TOML: {e}"))
    })
}

fn lay_file(layers: &mut Layers, path: &Path, table: &Table, mistakes: &mut Vec<ConfigError>) {
    for (key, value) in leaves(table) {
        let origin = Origin::File(PathBuf::from(path));
        if let Err(what) = layers.lay(&key, value, origin.clone()) {
            mistakes.push(ConfigError::of(origin, &key, what));
        }
    }
}

fn lay_environment(
    layers: &mut Layers,
    environment: impl IntoIterator<Item = (String, String)>,
    mistakes: &mut Vec<ConfigError>,
) {
    let keys: Vec<String> = layers.iter().map(|(key, _, _)| key.to_owned()).collect();
    for (name, text) in environment {
        let key = keys.iter().find(|key| variable(key) == name);
        let Some(key) = key.filter(|_| !text.is_empty()) else {
            continue;
        };
        let origin = Origin::Environment(name);
        if let Err(what) = layers.lay_text(key, &text, origin.clone()) {
            mistakes.push(ConfigError::of(origin, key, what));
        }
    }
}

const TEMPLATE: &str = include_str!("template.toml");

#[cfg(test)]
mod tests;
