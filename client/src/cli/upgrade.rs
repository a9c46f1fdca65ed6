//! `upgrade`: uses an upgrade code, online or by file.

use std::path::PathBuf;

use serde::Serialize;
use upkeep::id::ProductId;
use upkeep::version::Version;
use upkeep_client::store::{LicenseStore, PendingRedeem, State};
use upkeep_client::{RedeemOptions, VirtualEnvironment};

use crate::cli::activate;
use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::facts::Held;
use crate::cli::file::{self, Place};
use crate::cli::value::{KeyArgs, Serial, Virtual, missing};
use crate::cli::{output, secret};

/// Use an upgrade code: the license becomes its next generation
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Redeem(RedeemArgs),
}

/// Use an upgrade code, once, and activate the upgraded license on this device
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep upgrade redeem LS-1000 --version 11.0
  upkeep upgrade redeem LS-1000 --version 11.0 --code-file code.txt
  UPKEEP_UPGRADE_CODE=... upkeep upgrade redeem LS-1000 --version 11.0 --json
  upkeep upgrade redeem --file upgrade.txt     # the signed file for this device: no network

The old license is deactivated first, and the code is issued against its proof. Without a file and without the \
variable the code of 25 characters is read from standard input: at a terminal it is asked for and not shown. When \
the answer is lost, run it again with the same code: it is not used twice. On a machine with a TPM the new activation is \
bound to a key in it, as `upkeep activate` does; the signed file is for the software key, and needs no TPM.

It also prints the activation code of the new generation, for the license's other seats, where there is one.")]
pub(super) struct RedeemArgs {
    #[command(flatten)]
    wanted: Wanted,

    /// The upgrade code's signed file for this device, `-` for standard input; no network
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "place", "option", "product", "version", "code_file", "virtual_environment", "release_manifest", "attester",
    ])]
    file: Option<Place>,

    /// Give up an upgrade whose answer never came; its code may be used up by then
    #[arg(long, conflicts_with_all = [
        "file", "product", "version", "code_file", "virtual_environment", "release_manifest", "attester",
    ])]
    abandon: bool,
}

/// The license that is to be upgraded.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    #[command(flatten)]
    serial: Serial,

    /// The product; a TPM's key is enrolled for one [default: the one that was licensed here]
    #[arg(long, value_name = "ID", value_parser = ProductId::parse)]
    product: Option<ProductId>,

    /// The version that runs here, such as 11.0
    #[arg(long, value_name = "VERSION", value_parser = Version::parse)]
    version: Option<Version>,

    /// A file with the upgrade code [env: UPKEEP_UPGRADE_CODE]
    #[arg(long, value_name = "FILE")]
    code_file: Option<PathBuf>,

    /// Whether it runs in a virtual machine [default: no]
    #[arg(long, value_name = "yes|no", hide_possible_values = true)]
    virtual_environment: Option<Virtual>,

    /// The release manifest of the build, where the vendor ships one
    #[arg(long, value_name = "FILE")]
    release_manifest: Option<PathBuf>,

    #[command(flatten)]
    pub(super) key: KeyArgs,
}

#[derive(Serialize)]
struct Redeemed {
    #[serde(flatten)]
    held: Held,
    activation_code: Option<String>,
}

pub(super) async fn run(command: &Command, global: &Global) -> Result<Exit, Failure> {
    let Command::Redeem(args) = command;
    if args.abandon {
        return abandon(args, global);
    }
    if let Some(place) = &args.file {
        let text = file::read(place)?;
        let mut store = global.open()?;
        upkeep_client::redeem_file(&mut store, &text)?;
        return activate::report(&store, global, "Upgraded by file.");
    }
    let (mut store, client) = global.open_with_client()?;
    let options = args.wanted.options(&store)?;
    args.wanted.key.choose(&mut store);
    let redeemed = upkeep_client::redeem(&mut store, &client, &options).await?;
    args.wanted.key.remember(&mut store, global)?;
    report(&store, &redeemed, global)
}

/// Says what is active now, with the activation code for the other seats.
pub(super) fn report(
    store: &LicenseStore,
    redeemed: &upkeep_client::Redeemed,
    global: &Global,
) -> Result<Exit, Failure> {
    let shown = Redeemed {
        held: Held::of(store)?,
        activation_code: redeemed.activation_code.as_ref().map(ToString::to_string),
    };
    global.output().done(&shown, || {
        let mut rows = shown.held.rows();
        rows.extend(
            shown
                .activation_code
                .clone()
                .map(|code| ("Activation code", code)),
        );
        format!("Upgraded.\n\n{}", output::columns(&rows))
    })?;
    Ok(Exit::Ok)
}

impl Wanted {
    /// What to ask the server for. What is not given is taken from the upgrade that waits to be finished.
    ///
    /// # Errors
    /// Exit 2: something is missing or can't be read. Exit 9: the release manifest is none.
    pub(super) fn options(&self, store: &LicenseStore) -> Result<RedeemOptions, Failure> {
        let waiting = match store.state() {
            State::Redeeming(pending) => Some(pending),
            _ => None,
        };
        let serial = match (self.serial.given(), waiting) {
            (Some(serial), _) => serial.clone(),
            (None, Some(pending)) => pending.serial().clone(),
            (None, None) => return Err(missing("SERIAL", "the serial number of the license")),
        };
        let waiting = waiting.filter(|pending| *pending.serial() == serial);
        let version = self.version.clone();
        let version = version
            .or_else(|| waiting.map(|pending| pending.version().clone()))
            .ok_or_else(|| missing("--version VERSION", "the version that runs here"))?;
        let virtual_environment = match self.virtual_environment {
            Some(declared) => declared.into(),
            None => waiting.map_or(VirtualEnvironment::No, PendingRedeem::virtual_environment),
        };
        Ok(RedeemOptions {
            code: secret::upgrade_code(self.code_file.as_deref(), &serial)?,
            release_manifest: file::read_manifest(self.release_manifest.as_deref())?,
            product: self.product.clone().or_else(|| known_product(store)),
            serial,
            version,
            virtual_environment,
        })
    }
}

/// The product of the license that stands here, or that was returned last.
fn known_product(store: &LicenseStore) -> Option<ProductId> {
    match store.state() {
        State::Upgraded(file) => Some(file.claims().product.clone()),
        State::Redeeming(pending) if pending.device().product().is_some() => {
            pending.device().product().cloned()
        }
        _ => store.last_return()?.product().cloned(),
    }
}

fn abandon(args: &RedeemArgs, global: &Global) -> Result<Exit, Failure> {
    let mut store = global.open()?;
    let waiting = match store.state() {
        State::Redeeming(pending) => Some(pending.serial().clone()),
        _ => None,
    };
    let serial = activate::waiting_for(&args.wanted.serial, waiting, "upgrade")?;
    upkeep_client::abandon_activation(&mut store)?;
    activate::abandoned(&serial, global, || {
        format!(
            "Gave up the upgrade of {serial}. If its code was used up, ask the vendor's support."
        )
    })
}
