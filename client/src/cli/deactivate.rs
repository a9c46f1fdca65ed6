//! `deactivate`: returns this device's seat, with a network or by files.

use serde::Serialize;
use upkeep::armor;
use upkeep::artefact::{DeactivationProof, DeactivationReceipt};
use upkeep_client::store::{Journal, LicenseStore, State};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::file::{self, Place};
use crate::cli::{facts, output};

/// Return this device's seat: the product stops here, and the seat is free for another device
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep deactivate
  upkeep deactivate --export-proof proof.txt --export-receipt receipt.txt
  upkeep deactivate --offline --export-proof proof.txt                      # the ticket is held already
  upkeep deactivate --offline --ticket ticket.txt --export-proof proof.txt  # the ticket came by file
  upkeep deactivate --receipt receipt.txt                                   # the receipt came by file

The steps: fetch a ticket, wipe the license here, sign a proof of it, send the proof, keep the receipt. When it stops
anywhere, run it again: it goes on with the same proof. From the ticket on the product does not run here any more.

--offline wipes and writes the proof file without a network. Carry the file to the reseller or the vendor, or run
`upkeep deactivate` later with a network. The proof can be written again at any time.")]
pub(super) struct Args {
    /// Write the proof of deactivation there, `-` for standard output
    #[arg(long, value_name = "FILE")]
    export_proof: Option<Place>,

    /// Write the receipt there, `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    export_receipt: Option<Place>,

    /// A deactivation ticket that came by file, `-` for standard input [default: the one held, else a fetched one]
    #[arg(long, value_name = "FILE")]
    ticket: Option<Place>,

    /// Wipe and sign the proof, and send nothing
    #[arg(long, requires = "export_proof")]
    offline: bool,

    /// Record a receipt that came by file, `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ticket", "offline"])]
    receipt: Option<Place>,
}

/// How far the deactivation has come.
#[derive(Debug, Serialize)]
struct Progress {
    state: &'static str,
    serial: String,
    activation_id: String,
    proof: Option<String>,
    receipt: Option<String>,
}

pub(super) async fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    check_targets(args)?;
    if let Some(receipt) = &args.receipt {
        let text = file::read(receipt)?;
        let mut store = global.open()?;
        upkeep_client::record_receipt(&mut store, &text)?;
        return report(args, &store, global);
    }
    let ticket = args.ticket.as_ref().map(file::read).transpose()?;
    let ticket = ticket.as_ref().map(|text| text.as_str());
    if args.offline {
        let mut store = global.open()?;
        upkeep_client::prove(&mut store, ticket)?;
        return report(args, &store, global);
    }
    let (mut store, client) = global.open_with_client()?;
    if ticket.is_some() {
        upkeep_client::prove(&mut store, ticket)?;
    }
    upkeep_client::deactivate(&mut store, &client).await?;
    report(args, &store, global)
}

/// Refuses before anything is wiped when a file could not be written after it.
fn check_targets(args: &Args) -> Result<(), Failure> {
    if let Some(Place::File(path)) = &args.export_proof {
        file::check_free(path, is_proof)?;
    }
    if let Some(Place::File(path)) = &args.export_receipt {
        file::check_free(path, is_receipt)?;
    }
    Ok(())
}

fn report(args: &Args, store: &LicenseStore, global: &Global) -> Result<Exit, Failure> {
    let (state, journal) = match store.state() {
        State::Releasing(journal) => ("releasing", journal),
        State::Deactivated(journal) => ("deactivated", journal),
        _ => {
            return Err(Failure::fault(
                "the store does not show the deactivation",
                "run `upkeep status` and report what it shows to the vendor",
            ));
        }
    };
    if let Some(place) = &args.export_proof {
        file::write(place, &upkeep_client::proof_file(store)?, is_proof)?;
    }
    if let Some(place) = &args.export_receipt {
        match upkeep_client::receipt_file(store)? {
            Some(receipt) => file::write(place, &receipt, is_receipt)?,
            None => global.output().note("there is no receipt yet, so none was written"),
        }
    }
    let printed = [&args.export_proof, &args.export_receipt];
    if printed.into_iter().flatten().any(|place| *place == Place::Standard) {
        return Ok(Exit::Ok);
    }
    let progress = Progress::of(state, journal);
    global.output().done(&progress, || progress.text(args))?;
    Ok(Exit::Ok)
}

impl Progress {
    fn of(state: &'static str, journal: &Journal) -> Self {
        Self {
            state,
            serial: journal.serial().to_string(),
            activation_id: journal.activation_id().to_string(),
            proof: journal.proof().map(str::to_owned),
            receipt: journal.receipt().map(str::to_owned),
        }
    }

    fn text(&self, args: &Args) -> String {
        let headline = if self.receipt.is_some() {
            "Deactivated; the seat is free."
        } else {
            "Stopped and proved here; the seat is free once the proof has reached the vendor."
        };
        let mut rows = vec![
            ("Serial", self.serial.clone()),
            ("Activation", self.activation_id.clone()),
        ];
        rows.extend(args.export_proof.as_ref().map(|place| ("Proof", place.to_string())));
        rows.extend(args.export_receipt.as_ref().map(|place| ("Receipt", place.to_string())));
        let next = if self.receipt.is_some() {
            String::new()
        } else {
            "\nNext: carry the proof to the reseller or the vendor, or run `upkeep deactivate` with a network.\n"
                .to_owned()
        };
        format!("{headline}\n\n{}{next}", output::columns(&rows))
    }
}

fn is_proof(text: &str) -> bool {
    armor::read::<DeactivationProof>(text.as_bytes()).is_ok()
}

fn is_receipt(text: &str) -> bool {
    armor::read::<DeactivationReceipt>(text.as_bytes()).is_ok()
}
