//! `keys`: the keys that count here, and taking a list of newer ones from a file.

use serde::Serialize;
use upkeep::trust::Learned;
use upkeep_client::LicenseStore;

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::file::{self, Place};
use crate::cli::output;

/// Look at the vendor's keys that are trusted here, and learn newer ones
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Import(ImportArgs),
    List(ListArgs),
}

/// Take a list of keys that the vendor's root certified; no network
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep keys import keys.txt
  curl -fsS https://vendor.example/keys.txt | upkeep keys import -

For a store that was enrolled with --root. Only the root's signature counts, not where the file came from; a list \
that is older than the one here is refused. With a network, `upkeep refresh` does the same by itself.")]
pub(super) struct ImportArgs {
    /// The certified list, `-` for standard input
    #[arg(value_name = "FILE")]
    list: Place,
}

/// List the keys that count here
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep keys list
  upkeep keys list --json | jq -r '.keys[].key_id'")]
pub(super) struct ListArgs {}

#[derive(Serialize)]
struct Known {
    /// Whether an import brought anything new; null for a list.
    learned: Option<bool>,
    root: Option<String>,
    list_sequence: Option<u64>,
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    key_id: String,
    state: &'static str,
}

pub(super) fn run(command: &Command, global: &Global) -> Result<Exit, Failure> {
    match command {
        Command::Import(args) => import(args, global),
        Command::List(ListArgs {}) => {
            let store = global.look()?;
            let known = known(&store, None);
            global.output().answer(&known, || known.text())?;
            Ok(Exit::Ok)
        }
    }
}

fn import(args: &ImportArgs, global: &Global) -> Result<Exit, Failure> {
    let text = file::read(&args.list)?;
    let mut store = global.open()?;
    let learned = upkeep_client::import_keys(&mut store, text.trim())?;
    let known = known(&store, Some(learned == Learned::New));
    global.output().done(&known, || {
        let said = match learned {
            Learned::New => "The list is taken.",
            Learned::Known => "The list was known here already.",
        };
        format!("{said}\n\n{}", known.text())
    })?;
    Ok(Exit::Ok)
}

fn known(store: &LicenseStore, learned: Option<bool>) -> Known {
    let trusted = store.trusted_keys();
    let listed = trusted.list().map(|list| list.keys()).unwrap_or_default();
    let mut keys: Vec<Key> = listed
        .iter()
        .map(|key| Key {
            key_id: key.kid().to_string(),
            state: key.state().as_str(),
        })
        .collect();
    for key in trusted.keys().keys() {
        let key_id = key.thumbprint().to_string();
        if keys.iter().all(|known| known.key_id != key_id) {
            let state = "pinned";
            keys.push(Key { key_id, state });
        }
    }
    Known {
        learned,
        root: trusted.root().map(|root| root.thumbprint().to_string()),
        list_sequence: trusted.list().map(|list| list.sequence()),
        keys,
    }
}

impl Known {
    fn text(&self) -> String {
        let mut rows = Vec::new();
        rows.extend(self.root.clone().map(|root| ("Root", root)));
        rows.extend(self.list_sequence.map(|n| ("List", n.to_string())));
        let keys = self.keys.iter();
        rows.extend(keys.map(|key| ("Key", format!("{}  {}", key.key_id, key.state))));
        output::columns(&rows)
    }
}
