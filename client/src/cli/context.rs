//! What every command is given: which store, and how to say things.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use upkeep_client::Client;
use upkeep_client::error::ClientError;
use upkeep_client::store::{LicenseStore, StoreError};
use upkeep_client::tpm::TpmAddress;

use crate::cli::exit::Failure;
use crate::cli::output::Output;

/// Options that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(super) struct Global {
    /// The license store, a directory [default: $UPKEEP_HOME, else $XDG_STATE_HOME/upkeep, else ~/.local/state/upkeep]
    #[arg(long, value_name = "DIR", global = true)]
    store: Option<PathBuf>,

    /// Where the TPM is: /dev/tpmrm0, unix:/path or tcp:host:port [default: as remembered, else /dev/tpmrm0, /dev/tpm0]
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "UPKEEP_TPM",
        hide_env_values = true,
        global = true
    )]
    tpm: Option<TpmAddress>,

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

    /// Where the TPM is, if it was named.
    pub(super) fn tpm(&self) -> Option<&TpmAddress> {
        self.tpm.as_ref()
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

    /// Opens the store for changes, locked for this process. Another one that is about to finish is waited for.
    ///
    /// # Errors
    /// Exit 5 when nothing is enrolled there, 7 when the store stays locked or is damaged.
    pub(super) fn open(&self) -> Result<LicenseStore, Failure> {
        let directory = self.directory()?;
        let began = Instant::now();
        loop {
            match LicenseStore::open(&directory) {
                Err(ClientError::Store(StoreError::Locked { .. }))
                    if began.elapsed() < PATIENCE =>
                {
                    thread::sleep(PAUSE);
                }
                opened => return Ok(self.with_tpm(opened?)),
            }
        }
    }

    /// Reads the store, whoever has it locked.
    ///
    /// # Errors
    /// Exit 5 when nothing is enrolled there, 7 when the store is damaged.
    pub(super) fn look(&self) -> Result<LicenseStore, Failure> {
        Ok(self.with_tpm(LicenseStore::read(&self.directory()?)?))
    }

    fn with_tpm(&self, mut store: LicenseStore) -> LicenseStore {
        if let Some(address) = &self.tpm {
            store.use_tpm(address.clone());
        }
        store
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

/// How long another process may hold the store: a call that is answered takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
