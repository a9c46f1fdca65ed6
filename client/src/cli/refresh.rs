//! `refresh`: the activation's current certificate, with today's maintenance.

use serde::Serialize;

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::facts::{License, Maintenance};
use crate::cli::output;

/// Confirm the activation online, and fetch its current certificate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep refresh
  upkeep refresh --json

Run it after the maintenance was renewed: from then on newer builds pass `upkeep check`. It changes nothing at \
the server. When the activation has ended there (declared lost, revoked, returned), the error says so, and the \
license is destroyed here too; any other refusal changes nothing. The pinned keys stay: where the vendor has new \
ones, run `upkeep enroll` again.")]
pub(super) struct Args {}

#[derive(Serialize)]
struct Shown {
    license: License,
    maintenance: Option<Maintenance>,
}

pub(super) async fn run(_: &Args, global: &Global) -> Result<Exit, Failure> {
    let (mut store, client) = global.open_with_client()?;
    let refreshed = upkeep_client::refresh(&mut store, &client).await?;
    let shown = Shown {
        license: License::from(&refreshed.claims),
        maintenance: refreshed.maintenance.map(Maintenance::from),
    };
    global.output().done(&shown, || {
        let mut rows = shown.license.rows();
        rows.extend(shown.maintenance.iter().map(Maintenance::row));
        format!("Refreshed.\n\n{}", output::columns(&rows))
    })?;
    Ok(Exit::Ok)
}
