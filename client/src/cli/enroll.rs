//! `enroll`: pins a server, its CA and its verification keys, makes the software device key, and remembers which kind activations get.

use std::path::PathBuf;

use serde::Serialize;
use upkeep::jwks::KeySet;

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::value::KeyArgs;
use crate::cli::{file, keys, output};

/// Pin the vendor's license server, and make this installation's device key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep enroll --server https://licenses.vendor.example:7443 --ca vendor-ca.pem
  upkeep enroll --server https://licenses.vendor.example:7443 --ca vendor-ca.pem --attester software
  upkeep enroll --server https://licenses.vendor.example:7443 --ca vendor-ca.pem --root root.pub
  upkeep enroll --server https://192.0.2.7:7443 --server-name licenses.example --ca vendor-ca.pem

Get the CA file from the vendor, on a way that you trust: whoever holds that CA's key can speak for the vendor. \
The server's verification keys are fetched over that connection and pinned; everything signed is verified with \
them later, without a network. Run it again when the vendor has a new server, CA or key: the device key and the \
license stay. With --root, the keys are those that the vendor's offline root certified, and the vendor's new ones are learned by \
`upkeep refresh` or `upkeep keys import`, without enrolling again.

What --attester and --tpm say is remembered for `upkeep activate`, which makes the key in the TPM.")]
pub(super) struct Args {
    /// The license server
    #[arg(long, value_name = "https://HOST:PORT")]
    server: String,

    /// The CA that the server's certificate is from, a PEM file; no other CA is trusted
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,

    /// The name in the server's certificate, where it is not HOST
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// The vendor's offline root key, a file: the server's keys are those that it certified, now and later
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,

    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Serialize)]
struct Enrolled<'a> {
    server: &'a str,
    server_name: Option<&'a str>,
    root: Option<String>,
    keys: Vec<String>,
    device: String,
    attester: &'static str,
    tpm: Option<String>,
    store: String,
}

pub(super) async fn run(args: &Args, global: &Global) -> Result<Exit, Failure> {
    let ca_pem = file::read_path(&args.ca)?;
    let directory = global.directory()?;
    let name = args.server_name.as_deref();
    let mut store = match &args.root {
        None => upkeep_client::enroll(&directory, &args.server, name, &ca_pem).await?,
        Some(path) => {
            let root = keys::read_one(path)?;
            upkeep_client::enroll_with_root(&directory, &args.server, name, &ca_pem, root).await?
        }
    };
    args.key.remember(&mut store, global)?;
    let enrollment = store.enrollment();
    let enrolled = Enrolled {
        server: &enrollment.endpoint,
        server_name: enrollment.server_name.as_deref(),
        root: enrollment
            .root
            .as_ref()
            .map(|root| root.thumbprint().to_string()),
        keys: key_names(&store.trusted_keys().keys()),
        device: store.device_thumbprint().to_string(),
        attester: store.attester().as_str(),
        tpm: store.tpm().map(ToString::to_string),
        store: store.dir().display().to_string(),
    };
    global.output().done(&enrolled, || {
        let mut rows = vec![("Server", enrolled.server.to_owned())];
        rows.extend(name.map(|name| ("Known as", name.to_owned())));
        rows.extend(enrolled.root.clone().map(|root| ("Root", root)));
        rows.extend(enrolled.keys.iter().map(|key| ("Key", key.clone())));
        rows.push(("Device", enrolled.device.clone()));
        rows.push(("Attester", enrolled.attester.to_owned()));
        rows.extend(enrolled.tpm.clone().map(|tpm| ("TPM", tpm)));
        rows.push(("Store", enrolled.store.clone()));
        format!("Enrolled.\n\n{}", output::columns(&rows))
    })?;
    Ok(Exit::Ok)
}

/// The names of the keys in a set.
pub(super) fn key_names(keys: &KeySet) -> Vec<String> {
    keys.keys()
        .map(|key| key.thumbprint().to_string())
        .collect()
}
