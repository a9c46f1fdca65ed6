//! The offline root: it makes its key on a machine apart, and certifies there which issuing keys a server has. No server and no network is
//! involved.

use std::path::{Path, PathBuf};

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use upkeep::armor;
use upkeep::artefact::KeyList;
use upkeep::jws::{self, SigningInput};
use upkeep::key::{self, PublicKey, SigningKey};
use zeroize::Zeroizing;

use super::pem;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::{self, Form};
use crate::clock::{Clock, SystemClock};
use crate::keys::file::{Access, replace};
use crate::random::{SystemRandom, bytes32};

/// Make the offline root key
#[derive(Debug, clap::Subcommand)]
pub(in crate::cli) enum Command {
    Create(CreateArgs),
}

/// Make the root key that certifies issuing keys
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys root create --out ./root

Run it on a machine that is in no network, and keep DIR there and in a safe: root.key (secret), root.pub, \
and the number of the last list that was certified. Build root.pub into the product, or hand it to \
`upkeep enroll --root`.")]
pub(in crate::cli) struct CreateArgs {
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    #[command(flatten)]
    form: Form,
}

/// Certify a server's key list with the root key, on the machine apart
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server keys certify keys.json --root ./root --out keys.txt

Shows on standard error what is certified; read it before you carry the file away. The number of the list \
is higher than that of every list before, as DIR remembers it.")]
pub(in crate::cli) struct CertifyArgs {
    /// What `keys publish` wrote
    list: PathBuf,

    /// The root's directory
    #[arg(long, value_name = "DIR")]
    root: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Made {
    key: PathBuf,
    public_key: PathBuf,
    root_key_id: String,
}

#[derive(Debug, Serialize)]
struct Certified {
    file: PathBuf,
    list_sequence: u64,
    root_key_id: String,
    keys: Vec<String>,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    let Command::Create(args) = command;
    create(args)
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    if args.out.exists() {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "{} exists and nothing is overwritten; name a new directory with --out",
                args.out.display()
            ),
        ));
    }
    let root = draw()?;
    let text = root.to_pkcs8_pem().map_err(fault)?;
    files::make_out(&args.out)?;
    let made = Made {
        key: args.out.join(KEY),
        public_key: args.out.join(PUBLIC),
        root_key_id: root.public_key().thumbprint().to_string(),
    };
    files::write_secret(&made.key, &text)?;
    files::write(&made.public_key, &pem(root.public_key()))?;
    args.form.print(&made, || {
        format!(
            "Made the root key {}\n\n  {}  (secret)\n  {}",
            made.root_key_id,
            made.key.display(),
            made.public_key.display()
        )
    })
}

pub(super) fn certify(args: &CertifyArgs) -> Result<(), Failure> {
    let asked = read(&args.list)?;
    let root = open(&args.root)?;
    let last = last_sequence(&args.root)?;
    let list = KeyList::new(
        asked.issuer().clone(),
        u64::try_from(SystemClock.now().timestamp()).unwrap_or(0),
        asked.sequence().max(last.saturating_add(1)),
        asked.keys().to_vec(),
    )
    .map_err(fault)?;
    let kid = root.public_key().thumbprint();
    let input = SigningInput::new(kid, &list).map_err(fault)?;
    let text = input.seal(&root.sign(input.signing_bytes()));
    // A wrong signature of the root could not be taken back, so each is verified before it leaves.
    let find = |named: &_| (*named == kid).then(|| root.public_key().clone());
    jws::verify::<KeyList>(&text, find, key::verify).map_err(fault)?;
    for key in list.keys() {
        output::note(format_args!("certified: {key}"));
    }
    // Remembered first: should the list be lost, its number is not used again.
    remember(&args.root, list.sequence())?;
    files::write(&args.out, &armor::write(&list, &text))?;
    let certified = Certified {
        file: args.out.clone(),
        list_sequence: list.sequence(),
        root_key_id: kid.to_string(),
        keys: list
            .keys()
            .iter()
            .map(|key| key.kid().to_string())
            .collect(),
    };
    args.form.print(&certified, || {
        format!(
            "Certified list {} with {} keys: {}\nHand it to the server: upkeep-server keys accept {2}",
            certified.list_sequence,
            certified.keys.len(),
            certified.file.display()
        )
    })
}

/// A public key in PEM.
///
/// # Errors
/// Exit 2 for anything else.
pub(super) fn read_public_key(path: &Path) -> Result<PublicKey, Failure> {
    let text = files::read(path)?;
    SubjectPublicKeyInfoDer::from_pem_slice(&text)
        .ok()
        .and_then(|der| PublicKey::from_spki_der(&der).ok())
        .ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format_args!(
                    "{} is no P-256 public key in PEM; name the root.pub that `keys root create` wrote",
                    path.display()
                ),
            )
        })
}

fn open(root: &Path) -> Result<SigningKey, Failure> {
    let path = root.join(KEY);
    let bytes = files::read_private(&path)?;
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| SigningKey::from_pkcs8_pem(text).ok())
        .ok_or_else(|| {
            Failure::new(
                Exit::Data,
                format_args!("{} holds no P-256 key in PKCS#8 PEM", path.display()),
            )
        })
}

fn read(path: &Path) -> Result<KeyList, Failure> {
    let text = files::read(path)?;
    serde_json::from_slice(&text).map_err(|e| {
        Failure::new(
            Exit::Usage,
            format_args!(
                "{} is not what `keys publish` wrote: {e}; write it again",
                path.display()
            ),
        )
    })
}

/// The number of the last list that this root certified; 0 before the first.
fn last_sequence(root: &Path) -> Result<u64, Failure> {
    let path = root.join(SEQUENCE);
    if !path.exists() {
        return Ok(0);
    }
    let text = files::read(&path)?;
    std::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| {
            Failure::new(
                Exit::Data,
                format_args!(
                    "{} holds no number; write the number of the last certified list there",
                    path.display()
                ),
            )
        })
}

fn remember(root: &Path, sequence: u64) -> Result<(), Failure> {
    let text = format!("{sequence}\n");
    replace(&root.join(SEQUENCE), text.as_bytes(), Access::Owner).map_err(fault)
}

fn draw() -> Result<SigningKey, Failure> {
    for _ in 0..DRAWS {
        let seed = Zeroizing::new(bytes32(&SystemRandom));
        if let Ok(key) = SigningKey::from_seed(&seed) {
            return Ok(key);
        }
    }
    Err(Failure::new(
        Exit::Fault,
        "no key could be drawn; try again",
    ))
}

fn fault(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Fault, error)
}

const KEY: &str = "root.key";
const PUBLIC: &str = "root.pub";
const SEQUENCE: &str = "sequence";
/// A seed outside the curve's order is drawn once in 2^32.
const DRAWS: usize = 4;
