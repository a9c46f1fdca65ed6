//! `request`: the signed body of a call, for grpcurl, which can't sign; and what to do with the answer.

mod accept;
mod body;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use upkeep::rpc::v1::ChallengePurpose;
use upkeep_client::store::{LicenseStore, State};
use upkeep_client::{Client, Device};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::file::{self, Place};
use crate::cli::{activate, output, upgrade};

/// Print the signed JSON body of a call for `grpcurl -d @`, and store its answer
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Activate(ActivateArgs),
    Deactivate(DeactivateArgs),
    Redeem(RedeemArgs),
    Accept(accept::Args),
}

/// Print the body of ActivationService/Activate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep request activate LS-1000 --product label-studio --version 10.0 \\
      | grpcurl -cacert CA.crt -d @ localhost:7443 upkeep.v1.ActivationService/Activate \\
      | upkeep request accept -

The challenge comes from the pinned server and lives for two minutes. Or bring your own:
  grpcurl -cacert CA.crt -d '{\"purpose\":\"CHALLENGE_PURPOSE_ACTIVATE\"}' localhost:7443 \\
      upkeep.v1.ActivationService/CreateChallenge
  upkeep request activate LS-1000 --product label-studio --version 10.0 --challenge BASE64

The body carries the credential: keep it out of logs. The store remembers the request until its answer is \
accepted; when the server refuses it, correct it and make it again, or give it up with `upkeep activate --abandon`.

The device key is the store's software key: a TPM's is enrolled in two round trips, which a body by hand has no room \
for. One that is enrolled already is used.")]
pub(super) struct ActivateArgs {
    #[command(flatten)]
    wanted: activate::Wanted,

    #[command(flatten)]
    challenge: ChallengeArgs,
}

/// Stop the product here, and print the body of ActivationService/Deactivate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep request deactivate \\
      | grpcurl -cacert CA.crt -d @ localhost:7443 upkeep.v1.ActivationService/Deactivate \\
      | upkeep request accept -
  upkeep request deactivate --ticket ticket.txt > body.json

This deactivates: it fetches a ticket unless one is held or given or a TPM needs none, wipes the license here, signs the proof and \
prints it. Running it again prints the same proof.")]
pub(super) struct DeactivateArgs {
    /// A deactivation ticket that came by file, `-` for standard input [default: the one held, else a fetched one]
    #[arg(long, value_name = "FILE")]
    ticket: Option<Place>,
}

/// Print the body of ActivationService/RedeemUpgradeCode
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep request redeem LS-1000 --version 11.0 \\
      | grpcurl -cacert CA.crt -d @ localhost:7443 upkeep.v1.ActivationService/RedeemUpgradeCode \\
      | upkeep request accept -

The body carries the upgrade code: keep it out of logs. A challenge of your own is for CHALLENGE_PURPOSE_REDEEM. \
When the server refuses the request, give it up with `upkeep upgrade redeem --abandon`.")]
pub(super) struct RedeemArgs {
    #[command(flatten)]
    wanted: upgrade::Wanted,

    #[command(flatten)]
    challenge: ChallengeArgs,
}

/// The challenge that the device answers.
#[derive(Debug, clap::Args)]
struct ChallengeArgs {
    /// A challenge from CreateChallenge, as grpcurl shows it [default: a fetched one]
    #[arg(long, value_name = "BASE64", value_parser = challenge)]
    challenge: Option<Challenge>,
}

#[derive(Clone, Debug)]
struct Challenge(Vec<u8>);

pub(super) async fn run(command: &Command, global: &Global) -> Result<Exit, Failure> {
    match command {
        Command::Activate(args) => {
            let mut store = global.open()?;
            let options = args.wanted.options(&store)?;
            args.wanted.key.choose(&mut store);
            let challenge = args
                .challenge
                .bytes(&store, ChallengePurpose::Activate)
                .await?;
            let request = upkeep_client::activate_request(&mut store, &challenge, &options)?;
            args.wanted.key.remember(&mut store, global)?;
            output::json(&body::Activate::from(request))?;
        }
        Command::Deactivate(args) => {
            let ticket = args.ticket.as_ref().map(file::read).transpose()?;
            let mut store = global.open()?;
            stop(&mut store, ticket.as_ref().map(|text| text.as_str())).await?;
            let request = upkeep_client::deactivate_request(&mut store)?;
            output::json(&body::Deactivate::from(request))?;
        }
        Command::Redeem(args) => {
            let mut store = global.open()?;
            let options = args.wanted.options(&store)?;
            args.wanted.key.choose(&mut store);
            let challenge = args
                .challenge
                .bytes(&store, ChallengePurpose::Redeem)
                .await?;
            let request = upkeep_client::redeem_request(&mut store, &challenge, &options)?;
            args.wanted.key.remember(&mut store, global)?;
            output::json(&body::Redeem::from(request))?;
        }
        Command::Accept(args) => return accept::run(args, global),
    }
    Ok(Exit::Ok)
}

/// Sees to it that a ticket is held, and that a given one is answered. A TPM proves its end without one.
async fn stop(store: &mut LicenseStore, ticket: Option<&str>) -> Result<(), Failure> {
    if ticket.is_some() {
        upkeep_client::prove(store, ticket)?;
    } else if matches!(store.state(), State::Active(held) if matches!(held.device(), Device::Software(_)))
    {
        let client = Client::of(store)?;
        upkeep_client::fetch_ticket(store, &client).await?;
    }
    Ok(())
}

impl ChallengeArgs {
    async fn bytes(
        &self,
        store: &LicenseStore,
        purpose: ChallengePurpose,
    ) -> Result<Vec<u8>, Failure> {
        match &self.challenge {
            Some(Challenge(bytes)) => Ok(bytes.clone()),
            None => Ok(Client::of(store)?.challenge(purpose).await?.bytes),
        }
    }
}

fn challenge(text: &str) -> Result<Challenge, &'static str> {
    STANDARD
        .decode(text.trim())
        .ok()
        .filter(|bytes| (1..=64).contains(&bytes.len()))
        .map(Challenge)
        .ok_or("a challenge is 1 to 64 bytes in base64, as CreateChallenge answered it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_base64_as_grpcurl_shows_them() {
        assert!(challenge("+/8=").is_ok_and(|challenge| challenge.0 == [0xfb, 0xff]));
        for bad in ["", "*", "-_8=", &STANDARD.encode([0; 65])] {
            assert!(challenge(bad).is_err(), "{bad:?}");
        }
    }
}
