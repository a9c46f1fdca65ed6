//! `activate`: takes a seat of a license for this device.

use upkeep::serial::SerialNumber;
use upkeep_client::store::{LicenseStore, PendingActivation, State};
use upkeep_client::{ActivateOptions, VirtualEnvironment};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::facts::Held;
use crate::cli::file;
use crate::cli::secret::CredentialArgs;
use crate::cli::value::{KeyArgs, Machine, Serial, missing};

/// Take a seat of a license for this device
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep activate LS-1000 --product label-studio --version 10.0
  upkeep activate LS-1000 --product label-studio --version 10.0 --activation-code-file code.txt
  UPKEEP_PASSWORD=... upkeep activate NSP-2000 --product label-studio --version 10.0 --json
  upkeep activate LS-1000 --product label-studio --version 11.0 --release-manifest build.release.txt
  upkeep activate LS-1000 --product label-studio --version 10.0 --attester tpm
  upkeep activate LS-1000               # the answer to the first line never came: finish it
  upkeep activate LS-1000 --abandon     # or give it up
  upkeep activate LS-1000               # the TPM was cleared: a new key, the same seat

Without a file and without a variable the credential is read from standard input: at a terminal it is asked for \
and not shown. Serial numbers that start with NSP go with a password, all others with an activation code.

Running it again with the same values takes no second seat. Where the machine has a TPM that works and that the server \
accepts, the seat is bound to a key in it, which a copy of the disk does not have; else to a key in the store, and the \
answer says why. --attester forces either. The choice is remembered once it has worked.

A TPM key that has ended is replaced, and the machine gets its own seat again. At the level hardware that is always so; at \
the levels that can be copied it counts as a return, of which the vendor allows few a year.

It prints the product code, as `upkeep status` does: \
it names this activation and authorises update requests for the license.")]
pub(super) struct Args {
    #[command(flatten)]
    wanted: Wanted,

    /// Give up an activation whose answer never came; if it took a seat, this device gets it next time
    #[arg(long, conflicts_with_all = [
        "product", "version", "virtual_environment", "release_manifest",
        "password_file", "activation_code_file", "product_code_file", "attester",
    ])]
    abandon: bool,
}

/// The license that is to be activated, and where.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    #[command(flatten)]
    serial: Serial,

    #[command(flatten)]
    machine: Machine,

    #[command(flatten)]
    credential: CredentialArgs,

    #[command(flatten)]
    pub(super) key: KeyArgs,
}

pub(super) async fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    if args.abandon {
        return abandon(args, global);
    }
    let (mut store, client) = global.open_with_client()?;
    let options = args.wanted.options(&store)?;
    args.wanted.key.choose(&mut store);
    upkeep_client::activate(&mut store, &client, &options).await?;
    args.wanted.key.remember(&mut store, global)?;
    report(&store, global, "Activated.")
}

/// Says what is active now.
pub(super) fn report(
    store: &LicenseStore,
    global: &Global,
    headline: &str,
) -> Result<Exit, Failure> {
    let held = Held::of(store)?;
    global
        .output()
        .done(&held, || format!("{headline}\n\n{}", held.text()))?;
    Ok(Exit::Ok)
}

impl Wanted {
    /// What to ask the server for. What is not given is taken from the activation that waits to be finished or that is in force.
    ///
    /// # Errors
    /// Exit 2: something is missing or can't be read. Exit 9: the release manifest is none.
    pub(super) fn options(&self, store: &LicenseStore) -> Result<ActivateOptions, Failure> {
        let waiting = match store.state() {
            State::Activating(pending) => Some(pending),
            _ => None,
        };
        let serial = match (self.serial.given(), waiting) {
            (Some(serial), _) => serial.clone(),
            (None, Some(pending)) => pending.serial().clone(),
            (None, None) => return Err(missing("SERIAL", "the serial number of the license")),
        };
        let waiting = waiting.filter(|pending| *pending.serial() == serial);
        let active = match store.state() {
            State::Active(held) if *held.serial() == serial => Some(held.claims()),
            _ => None,
        };
        let product = self.machine.product.clone();
        let product = product
            .or_else(|| waiting.map(|pending| pending.product().clone()))
            .or_else(|| active.map(|claims| claims.product.clone()))
            .ok_or_else(|| missing("--product ID", "the product that is to be activated"))?;
        let version = self.machine.version.clone();
        let version = version
            .or_else(|| waiting.map(|pending| pending.version().clone()))
            .or_else(|| active.map(|claims| claims.version.clone()))
            .ok_or_else(|| missing("--version VERSION", "the version of the product"))?;
        let virtual_environment = match self.machine.virtual_environment {
            Some(declared) => declared.into(),
            None => waiting
                .map(PendingActivation::virtual_environment)
                .or_else(|| active.map(|claims| claims.virtual_environment.into()))
                .unwrap_or(VirtualEnvironment::No),
        };
        Ok(ActivateOptions {
            credential: self.credential.credential(&serial)?,
            release_manifest: file::read_manifest(self.machine.release_manifest.as_deref())?,
            serial,
            product,
            version,
            virtual_environment,
        })
    }
}

fn abandon(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let mut store = global.open()?;
    let waiting = match store.state() {
        State::Activating(pending) => Some(pending.serial().clone()),
        _ => None,
    };
    let serial = waiting_for(&args.wanted.serial, waiting, "activation")?;
    upkeep_client::abandon_activation(&mut store)?;
    abandoned(&serial, global, || {
        format!(
            "Gave up the activation of {serial}. If it took a seat, this device gets that seat when it activates again."
        )
    })
}

/// The license whose request is to be given up.
///
/// # Errors
/// Exit 2 when none of this kind waits, or another license's does.
pub(super) fn waiting_for(
    given: &Serial,
    waiting: Option<SerialNumber>,
    kind: &str,
) -> Result<SerialNumber, Failure> {
    let status = "`upkeep status` shows what stands here";
    let Some(serial) = waiting else {
        return Err(Failure::usage(
            format_args!("no {kind} waits to be finished"),
            status,
        ));
    };
    if given.given().is_some_and(|given| *given != serial) {
        return Err(Failure::usage(
            format_args!("the {kind} that waits to be finished is of {serial}"),
            status,
        ));
    }
    Ok(serial)
}

/// Says that a request was given up.
pub(super) fn abandoned(
    serial: &SerialNumber,
    global: &Global,
    text: impl FnOnce() -> String,
) -> Result<Exit, Failure> {
    let given_up = serde_json::json!({ "abandoned": serial.as_str() });
    global.output().done(&given_up, text)?;
    Ok(Exit::Ok)
}
