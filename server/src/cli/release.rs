//! `release`: the vendor's build key, and the manifests by which builds state their own date. No server is involved.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use upkeep::armor;
use upkeep::artefact::{ArtefactId, Issuer, ReleaseManifest};
use upkeep::date::CivilDate;
use upkeep::id::ProductId;
use upkeep::jws::SigningInput;
use upkeep::key::SigningKey;
use upkeep::version::Version;
use zeroize::Zeroizing;

use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::Form;
use crate::clock::{Clock, SystemClock};
use crate::random::{SystemRandom, bytes32};

/// Make the build key of a product, and sign release manifests with it
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Keygen(KeygenArgs),
    Sign(SignArgs),
}

/// Make a build key: a P-256 key, in a file for its owner alone
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server release keygen --out label-studio.build.key

Prints the public half. Give it to CreateProduct as build_key_spki: from then on a product of that \
name is activated with a release manifest only. Keep the key where the builds are signed, apart \
from the license server.")]
pub(super) struct KeygenArgs {
    /// The file to make
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    form: Form,
}

/// Sign the release manifest of a build
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server release sign --key label-studio.build.key --issuer https://vendor.example \\
      --product label-studio --version 11.0.2 --build-date 2026-03-01 --out dist

Writes PRODUCT-VERSION.release.txt, readable with the manifest in armour, and \
PRODUCT-VERSION.release.jws, the bare signed text. Ship either with the build.")]
pub(super) struct SignArgs {
    /// The build key, from `release keygen`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Who releases the build
    #[arg(long, value_name = "URL", value_parser = Issuer::parse)]
    issuer: Issuer,

    /// The product
    #[arg(long, value_name = "ID", value_parser = ProductId::parse)]
    product: ProductId,

    /// Its version, such as 11.0.2
    #[arg(long, value_name = "VERSION", value_parser = Version::parse)]
    version: Version,

    /// The day of the build, YYYY-MM-DD in the vendor's calendar
    #[arg(long, value_name = "DATE", value_parser = CivilDate::parse)]
    build_date: CivilDate,

    /// The build in the vendor's own naming [default: PRODUCT-VERSION]
    #[arg(long, value_name = "NAME", value_parser = ArtefactId::parse)]
    build: Option<ArtefactId>,

    /// Where the two files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct MadeKey {
    key: PathBuf,
    key_id: String,
    build_key_spki: String,
}

#[derive(Debug, Serialize)]
struct Signed {
    armoured: PathBuf,
    jws: PathBuf,
    key_id: String,
    release_manifest: String,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Keygen(args) => keygen(args),
        Command::Sign(args) => sign(args),
    }
}

fn keygen(args: &KeygenArgs) -> Result<(), Failure> {
    let key = draw()?;
    let pem = key
        .to_pkcs8_pem()
        .map_err(|e| Failure::new(Exit::Fault, e))?;
    files::write_secret(&args.out, &pem)?;
    let public = key.public_key();
    let made = MadeKey {
        key: args.out.clone(),
        key_id: public.thumbprint().to_string(),
        build_key_spki: STANDARD.encode(public.to_spki_der()),
    };
    args.form.print(&made, || {
        format!(
            "Made the build key {}  (secret)\n\n  key id          {}\n  build_key_spki  {}",
            made.key.display(),
            made.key_id,
            made.build_key_spki
        )
    })
}

fn sign(args: &SignArgs) -> Result<(), Failure> {
    let key = open(&args.key)?;
    let name = format!("{}-{}", args.product, args.version);
    let build = match &args.build {
        Some(build) => build.clone(),
        None => ArtefactId::parse(&name).map_err(|e| {
            Failure::new(
                Exit::Usage,
                format_args!("{name:?}: {e}; name the build with --build"),
            )
        })?,
    };
    let manifest = ReleaseManifest {
        iss: args.issuer.clone(),
        jti: build,
        iat: u64::try_from(SystemClock.now().timestamp()).unwrap_or(0),
        product: args.product.clone(),
        version: args.version.clone(),
        build_date: args.build_date,
    };
    let kid = key.public_key().thumbprint();
    let input = SigningInput::new(kid, &manifest).map_err(|e| Failure::new(Exit::Fault, e))?;
    let jws = input.seal(&key.sign(input.signing_bytes()));
    let signed = Signed {
        armoured: args.out.join(format!("{name}.release.txt")),
        jws: args.out.join(format!("{name}.release.jws")),
        key_id: kid.to_string(),
        release_manifest: jws,
    };
    files::make_out(&args.out)?;
    files::write(
        &signed.armoured,
        &armor::write(&manifest, &signed.release_manifest),
    )?;
    files::write(&signed.jws, &format!("{}\n", signed.release_manifest))?;
    args.form.print(&signed, || {
        format!(
            "Signed {} {}, built {}\n\n  {}\n  {}",
            manifest.product,
            manifest.version,
            manifest.build_date,
            signed.armoured.display(),
            signed.jws.display()
        )
    })
}

fn draw() -> Result<SigningKey, Failure> {
    let mut drawn = Err(Failure::new(
        Exit::Fault,
        "no key could be drawn; try again",
    ));
    for _ in 0..DRAWS {
        let seed = Zeroizing::new(bytes32(&SystemRandom));
        if let Ok(key) = SigningKey::from_seed(&seed) {
            drawn = Ok(key);
            break;
        }
    }
    drawn
}

fn open(path: &Path) -> Result<SigningKey, Failure> {
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::new(Exit::Fault, format_args!("{}: {why}", path.display()))
    };
    let bytes = files::read_private(path)?;
    let pem = std::str::from_utf8(&bytes).map_err(|_| unusable(&"it is not text"))?;
    SigningKey::from_pkcs8_pem(pem).map_err(|e| unusable(&e))
}

/// One in 2^32 seeds is no key.
const DRAWS: usize = 4;
