//! `request accept`: stores the answer that grpcurl printed.

use serde::Deserialize;
use serde_json::Value;
use upkeep::rpc::v1;
use upkeep_client::store::State;

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::file::{self, Place};
use crate::cli::{activate, deactivate, upgrade};

/// Store the answer of Activate, RedeemUpgradeCode or Deactivate that grpcurl printed
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep request accept answer.json
  grpcurl ... -d @ localhost:7443 upkeep.v1.ActivationService/Activate < body.json \\
      | upkeep request accept -

Which call it answers is known from the request that waits in the store. What is signed in it is verified first.")]
pub(in crate::cli) struct Args {
    /// The JSON answer, `-` for standard input
    #[arg(value_name = "FILE")]
    answer: Place,
}

/// The members of the three answers that are stored; what else stands there is the server's view, and signed facts win.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Answer {
    activation_id: String,
    certificate: String,
    product_code: String,
    activation_code: String,
    upgrade_code: String,
    receipt: String,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let answer = Answer::parse(&file::read(&args.answer)?)?;
    let mut store = global.open()?;
    match store.state() {
        State::Activating(_) => {
            upkeep_client::accept_activation(&mut store, answer.activation()?)?;
            activate::report(&store, global, "Activated.")
        }
        State::Redeeming(_) => {
            let redeemed = upkeep_client::accept_redeem(&mut store, answer.redeemed()?)?;
            upgrade::report(&store, &redeemed, global)
        }
        State::Releasing(_) | State::Deactivated(_) => {
            upkeep_client::record_receipt(&mut store, &answer.receipt()?)?;
            deactivate::recorded(&store, global)
        }
        _ => Err(Failure::usage(
            "no request waits for an answer",
            "make one with `upkeep request activate`, `redeem` or `deactivate`",
        )),
    }
}

impl Answer {
    fn parse(text: &str) -> Result<Self, Failure> {
        if text.trim().is_empty() {
            return Err(Failure::usage(
                "the answer is empty: the call failed, and grpcurl said why",
                "see to what grpcurl printed, then make the request again",
            ));
        }
        // The map comes first: a list is no answer, though serde reads a struct from one.
        serde_json::from_str(text)
            .map(Value::Object)
            .and_then(serde_json::from_value)
            .map_err(|error| {
                Failure::usage(
                    format_args!("the answer is not the JSON that grpcurl prints: {error}"),
                    "give the output of grpcurl unchanged",
                )
            })
    }

    fn activation(self) -> Result<v1::ActivateResponse, Failure> {
        if self.certificate.is_empty() {
            return Err(other("Activate", "certificate"));
        }
        Ok(v1::ActivateResponse {
            activation_id: self.activation_id,
            certificate: self.certificate,
            product_code: self.product_code,
            license: None,
        })
    }

    fn redeemed(self) -> Result<v1::RedeemUpgradeCodeResponse, Failure> {
        if self.certificate.is_empty() {
            return Err(other("RedeemUpgradeCode", "certificate"));
        }
        Ok(v1::RedeemUpgradeCodeResponse {
            license: None,
            activation_id: self.activation_id,
            certificate: self.certificate,
            product_code: self.product_code,
            activation_code: self.activation_code,
            upgrade_code: self.upgrade_code,
        })
    }

    fn receipt(self) -> Result<String, Failure> {
        if self.receipt.is_empty() {
            return Err(other("Deactivate", "receipt"));
        }
        Ok(self.receipt)
    }
}

fn other(call: &str, member: &str) -> Failure {
    Failure::usage(
        format_args!(
            "this is no answer of {call}, which the store waits for: it has no {member:?}"
        ),
        format_args!("give the answer of {call}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grpcurl_prints_is_read() {
        let answer = Answer::parse(
            r#"{ "activationId": "a", "certificate": "b.c.d", "productCode": "e", "license": { "serial": "LS-1000" } }"#,
        )
        .expect("answer");
        let activation = answer.activation().expect("activation");
        assert_eq!(activation.certificate, "b.c.d");
        assert_eq!(activation.product_code, "e");
    }

    #[test]
    fn another_answer_is_refused() {
        for bad in ["", "  \n", "ERROR:\n  Code: NotFound", "[]"] {
            assert!(Answer::parse(bad).is_err(), "{bad:?}");
        }
        let answer = Answer::parse(r#"{ "receipt": "a.b.c" }"#).expect("answer");
        assert!(answer.activation().is_err());
        let answer = Answer::parse("{}").expect("answer");
        assert!(answer.receipt().is_err());
    }
}
