//! Values that several commands take: the serial number in both its places, what is declared about the machine, and its key.

use std::path::PathBuf;
use std::str::FromStr;

use clap::ValueEnum;
use upkeep::id::ProductId;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;
use upkeep_client::store::LicenseStore;
use upkeep_client::{Attester, VirtualEnvironment};

use crate::cli::context::Global;
use crate::cli::exit::Failure;

/// A serial number, as SERIAL or as `--serial SERIAL`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Serial {
    /// The serial number of the license
    #[arg(value_name = "SERIAL", value_parser = SerialNumber::parse)]
    place: Option<SerialNumber>,

    /// The same, as an option
    #[arg(long = "serial", value_name = "SERIAL", value_parser = SerialNumber::parse, conflicts_with = "place")]
    option: Option<SerialNumber>,
}

impl Serial {
    /// The serial number, if one was given.
    pub(super) fn given(&self) -> Option<&SerialNumber> {
        self.place.as_ref().or(self.option.as_ref())
    }
}

/// Whether the product runs in a virtual machine (T-29).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Virtual {
    /// On a physical machine
    No,
    /// In a virtual machine
    Yes,
}

impl From<Virtual> for VirtualEnvironment {
    fn from(declared: Virtual) -> Self {
        match declared {
            Virtual::No => Self::No,
            Virtual::Yes => Self::Yes,
        }
    }
}

/// What is said about the product and the machine that a license is used on.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Machine {
    /// The product
    #[arg(long, value_name = "ID", value_parser = ProductId::parse)]
    pub(super) product: Option<ProductId>,

    /// Its version, such as 10.0
    #[arg(long, value_name = "VERSION", value_parser = Version::parse)]
    pub(super) version: Option<Version>,

    /// Whether it runs in a virtual machine [default: as it is active here, else no]
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    pub(super) virtual_environment: Option<Virtual>,

    /// The release manifest of the build, where the vendor ships one
    #[arg(long, value_name = "FILE")]
    pub(super) release_manifest: Option<PathBuf>,
}

/// Which kind of device key a new activation gets.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// The device key: a TPM's where one works (auto), a TPM's or none (tpm), or a file's (software) [default: as remembered, else auto]
    #[arg(long, value_name = "auto|tpm|software", value_parser = Attester::from_str)]
    attester: Option<Attester>,
}

impl KeyArgs {
    /// Goes by what was chosen; the TPM's address is in the store already.
    pub(super) fn choose(&self, store: &mut LicenseStore) {
        if let Some(attester) = self.attester {
            store.use_attester(attester);
        }
    }

    /// Remembers what was chosen, with the TPM's address where it was named: once the command has succeeded.
    ///
    /// # Errors
    /// Exit 7.
    pub(super) fn remember(
        &self,
        store: &mut LicenseStore,
        global: &Global,
    ) -> Result<(), Failure> {
        Ok(store.remember_attester(self.attester, global.tpm().cloned())?)
    }
}

/// What stands for a value that has to be given.
pub(super) fn missing(what: &str, meaning: &str) -> Failure {
    Failure::usage(
        format_args!("{what} is missing: {meaning}"),
        "see `--help` of this command for examples",
    )
}
