//! Which server a command is about: `--data`, `--config`, and the configuration that follows from them.

use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Failure};
use crate::config::{self, Config, Flag};
use crate::store::Store;

/// Which server is meant.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// Data directory, as `init` made it; its upkeep.toml is read [env: UPKEEP_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Configuration file (TOML), instead of the data directory's [env: UPKEEP_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    /// The configuration of the server that is meant, under `flags`.
    ///
    /// # Errors
    /// Exit 2 when no server is named, 3 with every mistake, 2 when all are in flags.
    pub(super) fn config(&self, flags: &[Flag]) -> Result<Config, Failure> {
        if self.data_dir().is_none() && self.config_file().is_none() {
            return Err(Failure::new(
                Exit::Usage,
                "which server? Name its data directory with --data DIR, or its configuration with --config FILE",
            ));
        }
        self.any_config(flags)
    }

    /// As [`Self::config`], for a command that acts as the server: the issuer, the trust domain and the programmes must be its own.
    ///
    /// # Errors
    /// As [`Self::config`]; exit 3 when a data directory that is in use has lost its file.
    pub(super) fn own_config(&self, flags: &[Flag]) -> Result<Config, Failure> {
        let config = self.config(flags)?;
        match self.missing_file() {
            Some(file) if Store::exists(&config.settings().data_dir)? => Err(without_file(&file)),
            _ => Ok(config),
        }
    }

    /// As [`Self::config`], but without either the defaults and the environment count.
    ///
    /// # Errors
    /// Exit 3 with every mistake, 2 when all are in flags.
    pub(super) fn any_config(&self, flags: &[Flag]) -> Result<Config, Failure> {
        let data = self.data_dir();
        let own_file = data
            .as_deref()
            .map(|data| data.join(CONFIG_FILE))
            .filter(|file| file.exists());
        let file = self.config_file().or(own_file);
        let mut all = flags.to_vec();
        // Only the flag wins over the file; the variable is read with the others.
        if let Some(data) = &self.data {
            all.push(flag("data_dir", &data.display().to_string(), "--data"));
        }
        Ok(config::load(file.as_deref(), environment(), &all)?)
    }

    /// The data directory's own file, where it is the one that would be read and is not there: then the defaults count, with another
    /// issuer and another trust domain.
    pub(super) fn missing_file(&self) -> Option<PathBuf> {
        let file = self.data_dir()?.join(CONFIG_FILE);
        let is_missing = self.config_file().is_none() && !file.exists();
        is_missing.then_some(file)
    }

    fn data_dir(&self) -> Option<PathBuf> {
        self.data.clone().or_else(|| variable("UPKEEP_DATA_DIR"))
    }

    fn config_file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(|| variable("UPKEEP_CONFIG"))
    }
}

/// Why nobody acts as a server, or calls one good, with the defaults.
pub(super) fn without_file(file: &Path) -> Failure {
    Failure::new(
        Exit::Config,
        format_args!(
            "{} is not there, and the defaults have another issuer and another trust domain; put your copy of it back, or name one \
             with --config (`upkeep-server config template` has all settings)",
            file.display()
        ),
    )
}

/// A flag that sets a key of the configuration.
pub(super) fn flag(key: &str, value: &str, flag: &str) -> Flag {
    Flag {
        key: key.to_owned(),
        value: value.to_owned(),
        flag: flag.to_owned(),
    }
}

/// The flags of those keys that were given on the command line.
pub(super) fn given(flags: &[(&str, &Option<String>, &str)]) -> Vec<Flag> {
    flags
        .iter()
        .filter_map(|(key, value, name)| value.as_ref().map(|value| flag(key, value, name)))
        .collect()
}

/// All variables of the process that are text.
pub(super) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// `path` from the root, without needing to exist.
///
/// # Errors
/// Exit 1 when there is no working directory.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|e| Failure::new(Exit::Fault, format_args!("{}: {e}", path.display())))
}

/// Sees that there is a data directory.
///
/// # Errors
/// Exit 4 when there is none.
pub(super) fn check_there(data: &Path) -> Result<(), Failure> {
    if data.is_dir() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Data,
        format_args!(
            "there is no data directory {0}; name the server's with --data, or make one: `upkeep-server init --data {0}`",
            data.display()
        ),
    ))
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The configuration file in a data directory.
pub(super) const CONFIG_FILE: &str = "upkeep.toml";
