//! What every command is given: which store, and how to say things.

use std::path::PathBuf;

use upkeep_client::Client;
use upkeep_client::store::LicenseStore;

use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// Options that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// The license store, a directory [default: $UPKEEP_HOME, else $XDG_STATE_HOME/upkeep, else ~/.local/state/upkeep]
    #[arg(long, value_name = "DIR", global = true)]
    store: Option<PathBuf>,

    /// Print one JSON value, and errors as JSON on standard error
    #[arg(long, global = true)]
    json: bool,

    /// Say nothing when all is well
    #[arg(short, long, global = true)]
    quiet: bool,
}

impl Global {
    /// How to say things.
    pub(super) fn output(&self) -> Output {
        Output::new(self.json, self.quiet)
    }

    /// Where the store is or would be.
    ///
    /// # Errors
    /// Exit 7 when the environment names no place.
    pub(super) fn directory(&self) -> Result<PathBuf, Failure> {
        match &self.store {
            Some(directory) => Ok(directory.clone()),
            None => Ok(LicenseStore::default_dir()?),
        }
    }

    /// Opens the store, locked for this process.
    ///
    /// # Errors
    /// Exit 5 when nothing is enrolled there, 7 when the store is locked or damaged.
    pub(super) fn open(&self) -> Result<LicenseStore, Failure> {
        Ok(LicenseStore::open(&self.directory()?)?)
    }

    /// Opens the store, and the way to the server that is pinned in it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn open_with_client(&self) -> Result<(LicenseStore, Client), Failure> {
        let store = self.open()?;
        let client = Client::of(&store)?;
        Ok((store, client))
    }
}
