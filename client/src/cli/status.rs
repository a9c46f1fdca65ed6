//! `status`: what stands in the store, and the product code.

use serde::Serialize;
use upkeep_client::check::CheckError;
use upkeep_client::error::{ClientError, NotActivated};
use upkeep_client::store::{Journal, LicenseStore, State};
use upkeep_client::{Client, Device};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::facts::{Held, Maintenance};
use crate::cli::output;

/// Show what stands here: server, device, license, product code, and what waits to be finished
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep status
  upkeep status --online
  upkeep status --json | jq -r .product_code

Without --online nothing is asked of the server: the license stands as its certificate says. Exit code 0 in every \
state of an enrolled store; `upkeep check` says whether a build may run.")]
pub(super) struct Args {
    /// Ask the server for today's maintenance too, and look at the key list that it hands out
    #[arg(long)]
    online: bool,
}

/// The state by name; the names are stable.
#[derive(Serialize)]
struct Status {
    state: &'static str,
    server: String,
    server_name: Option<String>,
    device: String,
    attester_choice: &'static str,
    tpm: Option<String>,
    store: String,
    #[serde(flatten)]
    held: Option<Held>,
    attester_works: Option<bool>,
    unfinished: Option<Unfinished>,
    returned: Option<Returned>,
    maintenance: Option<Maintenance>,
    /// Why the key list that the server hands out is passed over; asked for with `--online`.
    key_list: Option<String>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Unfinished {
    serial: String,
    version: String,
    request_id: String,
}

#[derive(Serialize)]
struct Returned {
    serial: String,
    activation_id: String,
    proof: Option<String>,
    receipt: Option<String>,
}

pub(super) async fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let store = global.look()?;
    let mut status = Status::of(&store);
    if args.online {
        let client = Client::of(&store)?;
        status.maintenance = Some(ask(&store, &client).await?);
        let judged = upkeep_client::judge_published(&store, &client).await?;
        status.key_list = judged.and_then(Result::err).map(|why| why.to_string());
    }
    global.output().answer(&status, || status.text())?;
    Ok(Exit::Ok)
}

async fn ask(store: &LicenseStore, client: &Client) -> Result<Maintenance, Failure> {
    let serial = match store.state() {
        State::Active(held) => held.serial().clone(),
        State::Upgraded(file) => file.claims().serial.clone(),
        State::Activating(pending) => pending.serial().clone(),
        State::Redeeming(pending) => pending.serial().clone(),
        State::Releasing(journal) | State::Deactivated(journal) => journal.serial().clone(),
        State::Empty => return Err(ClientError::NotActivated(NotActivated::Never).into()),
    };
    let answer = client.maintenance_status(&serial).await?;
    Ok(Maintenance::from(answer))
}

impl Status {
    fn of(store: &LicenseStore) -> Self {
        let enrollment = store.enrollment();
        let unfinished = match store.state() {
            State::Activating(pending) => Some(Unfinished {
                serial: pending.serial().to_string(),
                version: pending.version().to_string(),
                request_id: pending.request_id().to_string(),
            }),
            State::Redeeming(pending) => Some(Unfinished {
                serial: pending.serial().to_string(),
                version: pending.version().to_string(),
                request_id: pending.request_id().to_string(),
            }),
            _ => None,
        };
        let works = key_works(store);
        Self {
            state: name(store.state()),
            server: enrollment.endpoint.clone(),
            server_name: enrollment.server_name.clone(),
            device: store.device_thumbprint().to_string(),
            attester_choice: store.attester().as_str(),
            tpm: store.tpm().map(ToString::to_string),
            store: store.dir().display().to_string(),
            held: Held::in_force(store.state()).ok(),
            attester_works: works,
            unfinished,
            returned: store.last_return().map(Returned::from),
            maintenance: None,
            key_list: None,
            next: match works {
                Some(false) => Some(ClientError::NotActivated(NotActivated::KeyEnded).next_step()),
                Some(true) | None => next(store.state()),
            },
        }
    }

    fn text(&self) -> String {
        let mut rows = vec![("State", self.state.to_owned())];
        rows.extend(self.unfinished.iter().flat_map(|waiting| {
            [
                (
                    "Asked for",
                    format!("{} {}", waiting.serial, waiting.version),
                ),
                ("Request", waiting.request_id.clone()),
            ]
        }));
        rows.extend(self.held.iter().flat_map(Held::rows));
        let ended = self.attester_works == Some(false);
        rows.extend(ended.then(|| ("Key", NotActivated::KeyEnded.to_string())));
        rows.extend(self.maintenance.iter().map(Maintenance::row));
        let passed_over =
            |why: &String| ("Key list", format!("the server's is passed over: {why}"));
        rows.extend(self.key_list.iter().map(passed_over));
        rows.extend(
            self.returned
                .iter()
                .map(|journal| ("Returned", journal.text())),
        );
        rows.push(("Server", self.server.clone()));
        rows.extend(self.server_name.clone().map(|name| ("Known as", name)));
        rows.push(("Device", self.device.clone()));
        rows.push(("Attester", self.attester_choice.to_owned()));
        rows.extend(self.tpm.clone().map(|tpm| ("TPM", tpm)));
        rows.push(("Store", self.store.clone()));
        let mut text = output::columns(&rows);
        if let Some(next) = &self.next {
            text.push_str(&format!("\nNext: {next}\n"));
        }
        text
    }
}

impl From<&Journal> for Returned {
    fn from(journal: &Journal) -> Self {
        Self {
            serial: journal.serial().to_string(),
            activation_id: journal.activation_id().to_string(),
            proof: journal.proof().map(str::to_owned),
            receipt: journal.receipt().map(str::to_owned),
        }
    }
}

impl Returned {
    fn text(&self) -> String {
        let how_far = match (&self.proof, &self.receipt) {
            (_, Some(_)) => "the receipt is here",
            (Some(_), None) => "proved, no receipt yet",
            (None, None) => "begun, not proved yet",
        };
        format!(
            "{}, activation {}: {how_far}",
            self.serial, self.activation_id
        )
    }
}

/// Whether the TPM still uses the key of the license in force; `None` where there is none, or where the TPM can't be asked.
fn key_works(store: &LicenseStore) -> Option<bool> {
    let State::Active(held) = store.state() else {
        return None;
    };
    match held.device() {
        Device::Tpm(_) => held.device().is_alive(store.tpm()).ok(),
        _ => None,
    }
}

/// The name of a state, for programs.
fn name(state: &State) -> &'static str {
    match state {
        State::Empty => "empty",
        State::Activating(_) => "activating",
        State::Active(_) => "active",
        State::Upgraded(_) => "upgraded_by_file",
        State::Redeeming(_) => "redeeming",
        State::Releasing(_) => "releasing",
        State::Deactivated(_) => "deactivated",
    }
}

fn unknown_key() -> String {
    let unknown = CheckError::UnknownKey;
    format!("{unknown}: {}", unknown.next_step())
}

fn next(state: &State) -> Option<String> {
    match state {
        State::Empty => {
            Some("run `upkeep activate SERIAL --product ID --version VERSION`".to_owned())
        }
        State::Activating(pending) => {
            let serial = pending.serial();
            Some(format!(
                "run `upkeep activate {serial}` again to finish it, or with --abandon to give it up"
            ))
        }
        State::Redeeming(pending) => Some(format!(
            "run `upkeep upgrade redeem {}` again with the same code, or with --abandon to give it up",
            pending.serial()
        )),
        State::Releasing(_) => Some("run `upkeep deactivate` to finish it".to_owned()),
        State::Active(held) if held.verified().is_none() => Some(unknown_key()),
        State::Upgraded(file) if file.verified().is_none() => Some(unknown_key()),
        State::Active(_) | State::Upgraded(_) | State::Deactivated(_) => None,
    }
}
