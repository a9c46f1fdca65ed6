//! `health`: asks a server whether it serves (grpc.health.v1), for people and for supervisors.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::connect::Target;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::Form;
use crate::cli::place::{self, Place};
use crate::cli::serve::block_on;
use crate::config::Settings;
use crate::keys::file::read_public;
use crate::keys::keys_dir;

/// Ask a server whether it serves
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server health --data /var/lib/upkeep
  upkeep-server health --address licenses.vendor.example:7443 --ca ca.crt
  upkeep-server health --data /var/lib/upkeep --service upkeep.v1.ActivationService --json

Asks the products' listener, over TLS. Exit code 0 when it serves, 5 when it does not or can't be \
reached.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    /// The products' address, where it is not the configured one
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,

    /// The server's CA, where the data directory is not at hand
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// One service by its full name, instead of the whole server
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    service: String,

    /// How long to wait
    #[arg(long, value_name = "SECS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,

    #[command(flatten)]
    form: Form,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    address: String,
    service: String,
    status: &'static str,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    block_on(ask(args))
}

async fn ask(args: &Args) -> Result<(), Failure> {
    let settings = match (&args.address, &args.ca) {
        (Some(_), Some(_)) => Settings::default(),
        _ => args.place.config(&[])?.settings().clone(),
    };
    let (ca, pem) = match &args.ca {
        Some(ca) => (ca.clone(), files::read(ca)?),
        None => {
            place::check_there(&settings.data_dir)?;
            let ca = keys_dir(&settings.data_dir).join("ca.crt");
            let pem = read_public(&ca)?;
            (ca, pem)
        }
    };
    let ca_pem = String::from_utf8(pem)
        .map_err(|_| Failure::new(Exit::Data, format_args!("{} is no PEM file", ca.display())))?;
    let target = match &args.address {
        Some(address) => Target::at(address, &ca_pem)?,
        None => Target::local(settings.listen_products, &settings.tls_names, &ca_pem),
    };
    let channel = target.connect(Duration::from_secs(args.timeout)).await?;
    let request = HealthCheckRequest {
        service: args.service.clone(),
    };
    let status = match HealthClient::new(channel).check(request).await {
        Ok(answer) => answer.into_inner().status(),
        Err(status) if status.code() == Code::NotFound => ServingStatus::ServiceUnknown,
        Err(status) => return Err(target.refused(&status)),
    };
    let answer = Answer {
        address: target.address.clone(),
        service: args.service.clone(),
        status: status.as_str_name(),
    };
    args.form.print(&answer, || answer.status.to_owned())?;
    match status {
        ServingStatus::Serving => Ok(()),
        _ => Err(Failure::new(
            Exit::Refused,
            format_args!("the server at {} answers {}", answer.address, answer.status),
        )),
    }
}
