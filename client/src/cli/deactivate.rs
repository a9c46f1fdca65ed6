//! `deactivate`: returns this device's seat, with a network or by files.

use serde::Serialize;
use upkeep::armor;
use upkeep::artefact::{DeactivationProof, DeactivationReceipt, HardwareProof};
use upkeep::level::AssuranceLevel;
use upkeep_client::Device;
use upkeep_client::store::{LicenseStore, State};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::file::{self, Place};
use crate::cli::output;

/// Return this device's seat: the product stops here, and the seat is free for another device
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep deactivate
  upkeep deactivate --export-proof proof.txt --export-receipt receipt.txt
  upkeep deactivate --offline --export-proof proof.txt     # no network; the ticket is held already
  upkeep deactivate --offline --export-proof proof.txt --ticket ticket.txt
  upkeep deactivate --receipt receipt.txt                  # the receipt came by file

The steps: fetch a ticket, wipe the license here, sign a proof of it, send the proof, keep the receipt. When it \
stops anywhere, run it again: it goes on with the same proof. From the ticket on the product does not run here any \
more.

--offline wipes and writes the proof file without a network. Carry the file to the reseller or the vendor, or run \
`upkeep deactivate` later with a network. The proof can be written again at any time. A software key needs a ticket for \
it. A TPM needs none: it kills its key by moving its counter on, and its word for that is the proof; the license can't \
come back from a copy of the disk. Below the level `hardware` the vendor may refuse such a proof (a yearly cap on returns), and \
the key is dead all the same: there it wants a ticket too, or --without-ticket.")]
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

    /// With --offline: end a TPM's key below the level `hardware` although the vendor may refuse the proof
    #[arg(long, requires = "offline", conflicts_with = "ticket")]
    without_ticket: bool,

    /// Record a receipt that came by file, `-` for standard input; also of a seat that support waived
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
        if let (None, State::Active(held)) = (ticket, store.state()) {
            let by_tpm = matches!(held.device(), Device::Tpm(_));
            may_go_without(by_tpm, held.claims().assurance, args.without_ticket)?;
        }
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

/// Refuses what would cost the license and might free no seat.
///
/// * `wanted` - whether that was asked for all the same.
fn may_go_without(by_tpm: bool, level: AssuranceLevel, wanted: bool) -> Result<(), Failure> {
    match (by_tpm, level) {
        (true, AssuranceLevel::Hardware) => Ok(()),
        (true, _) if wanted => Ok(()),
        (true, _) => Err(Failure::usage(
            "there is no deactivation ticket here, and below the level `hardware` the vendor may refuse a proof without one, while the key is dead all the same",
            "deactivate with a network, give a ticket that came by file with --ticket, or take the risk with --without-ticket",
        )),
        (false, _) => Err(Failure::usage(
            "there is no deactivation ticket here, and without one a software key can sign no proof",
            "give a ticket that came by file with --ticket, or deactivate with a network",
        )),
    }
}

/// Refuses before anything is wiped when a file could not be written after it.
fn check_targets(args: &Args) -> Result<(), Failure> {
    if args.export_proof.is_some() && args.export_proof == args.export_receipt {
        return Err(Failure::usage(
            "proof and receipt can't go to the same place",
            "name two files",
        ));
    }
    if let Some(Place::File(path)) = &args.export_proof {
        file::check_free(path, is_proof)?;
    }
    if let Some(Place::File(path)) = &args.export_receipt {
        file::check_free(path, is_receipt)?;
    }
    Ok(())
}

/// Says how far the deactivation has come.
pub(super) fn recorded(store: &LicenseStore, global: &Global) -> Result<Exit, Failure> {
    let progress = Progress::of(store)?;
    global.output().done(&progress, || progress.text())?;
    Ok(Exit::Ok)
}

/// Writes the papers that were asked for, then says how far it has come.
fn report(args: &Args, store: &LicenseStore, global: &Global) -> Result<Exit, Failure> {
    let mut printed = false;
    if let Some(place) = &args.export_proof {
        let proof = upkeep_client::proof_file(store)?;
        printed |= export(place, &proof, is_proof, global)?;
    }
    if let Some(place) = &args.export_receipt {
        match upkeep_client::receipt_file(store)? {
            Some(receipt) => printed |= export(place, &receipt, is_receipt, global)?,
            None => global
                .output()
                .note("there is no receipt yet, so none was written"),
        }
    }
    if printed {
        return Ok(Exit::Ok);
    }
    recorded(store, global)
}

/// Writes one paper; whether it went to standard output. With `--json` that one is in the JSON value already.
fn export(
    place: &Place,
    paper: &str,
    replaceable: fn(&str) -> bool,
    global: &Global,
) -> Result<bool, Failure> {
    if *place == Place::Standard && global.output().is_json() {
        return Ok(false);
    }
    file::write(place, paper, replaceable)?;
    if let Place::File(path) = place {
        global
            .output()
            .note(format_args!("wrote {}", path.display()));
    }
    Ok(*place == Place::Standard)
}

impl Progress {
    fn of(store: &LicenseStore) -> Result<Self, Failure> {
        let state = match store.state() {
            State::Releasing(_) => "releasing",
            _ => "deactivated",
        };
        // An upgrade may stand here by now, while the receipt of what it followed comes late.
        let journal = store.last_return().ok_or_else(|| {
            Failure::fault(
                "the store does not show the deactivation",
                "run `upkeep status` and report what it shows to the vendor",
            )
        })?;
        Ok(Self {
            state,
            serial: journal.serial().to_string(),
            activation_id: journal.activation_id().to_string(),
            proof: journal.proof().map(str::to_owned),
            receipt: journal.receipt().map(str::to_owned),
        })
    }

    fn text(&self) -> String {
        let rows = [
            ("Serial", self.serial.clone()),
            ("Activation", self.activation_id.clone()),
        ];
        let rows = output::columns(&rows);
        if self.receipt.is_some() {
            format!("Deactivated; the seat is free.\n\n{rows}")
        } else {
            format!(
                "Stopped and proved here; the seat is free once the proof has reached the vendor.\n\n{rows}\n\
                 Next: carry the proof to the reseller or the vendor, or run `upkeep deactivate` with a network.\n"
            )
        }
    }
}

fn is_proof(text: &str) -> bool {
    armor::read::<DeactivationProof>(text.as_bytes()).is_ok()
        || HardwareProof::read_either(text).is_ok()
}

fn is_receipt(text: &str) -> bool {
    armor::read::<DeactivationReceipt>(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_without_a_ticket_is_made_where_it_is_sure_to_count() {
        use AssuranceLevel::{CloudVtpm, Hardware, Software};
        assert!(may_go_without(true, Hardware, false).is_ok());
        for level in [CloudVtpm, Software] {
            assert!(may_go_without(true, level, false).is_err(), "{level:?}");
            assert!(may_go_without(true, level, true).is_ok(), "{level:?}");
            assert!(may_go_without(false, level, true).is_err(), "{level:?}");
        }
    }
}
