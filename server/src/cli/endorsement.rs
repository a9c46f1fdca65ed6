//! `endorsement`: the CAs that vouch for hardware: add one, list them, verify them or an EK certificate.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use serde::Serialize;
use upkeep::level::AssuranceLevel;

use crate::attest::{EndorsedEk, EndorsementClass, EvidenceError, ek_chain};
use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::{self, Form};
use crate::cli::place::Place;
use crate::clock::{Clock, SystemClock};
use crate::endorsement::{
    self, Addition, Authority, Bundle, EndorsementError, EndorsementErrors, certificate_der,
};

/// List, verify and extend the CAs that vouch for TPMs and dongles
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(ListArgs),
    Add(AddArgs),
    Verify(VerifyArgs),
}

/// List the CAs that count: what each vouches for, until when, and where it was obtained
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server endorsement list
  upkeep-server endorsement list --data /var/lib/upkeep
  upkeep-server endorsement list --json | jq -r '.[] | [.class, .name, .sha256] | @tsv'

The class of the CA that ends its chain decides what evidence is worth: chip counts as hardware, \
cloud_vtpm as cloud_vtpm, software as software, dongle as dongle. Without --data the built-in ones \
are shown.")]
pub(super) struct ListArgs {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// Add a CA to the server's own directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server endorsement add infineon-ica-036.crt --class chip --data /var/lib/upkeep \\
      --source \"https://pki.infineon.com, fetched 2026-11-26, fingerprint compared by phone\"
  upkeep-server endorsement add our-vmware.pem --class software --data /var/lib/upkeep \\
      --source \"export of our vCenter\"

Takes PEM or DER. An intermediate counts like a root: chips often store their own certificate alone, \
and then the CA above it has to be here. Writes DATA/endorsements/; the server takes it at its next \
start. Whoever has the key of a CA can make any number of devices of its class: give chip to makers \
of chips only. A CA of swtpm or libvirt is software. To deny a device, a CA or firmware write \
DATA/endorsements/deny.toml (docs/endorsements.md).")]
pub(super) struct AddArgs {
    /// The certificate
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What it vouches for
    #[arg(long, value_name = "CLASS", value_enum)]
    class: Class,

    /// Where you obtained it and how you know that it is the maker's
    #[arg(long, value_name = "TEXT")]
    source: String,

    /// Its name in lists [default: the certificate's common name]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,

    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// Verify every file against its hash, form and dates, or an EK certificate against them all
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server endorsement verify --data /var/lib/upkeep
  tpm2_getekcertificate -o ek.der && upkeep-server endorsement verify --ek ek.der
  upkeep-server endorsement verify --ek ek.der --intermediate maker-ica.pem --data /var/lib/upkeep

With --ek it says at what level a device with that certificate counts, or which step of the check \
refuses it (the steps are those of docs/attestation.md). Exit code 0 when all is well, 3 when the \
CAs or the deny list are wrong, 5 when a CA is outdated or the EK certificate is refused.")]
pub(super) struct VerifyArgs {
    /// An endorsement key's certificate, PEM or DER
    #[arg(long, value_name = "FILE")]
    ek: Option<PathBuf>,

    /// A certificate between it and its root; may be repeated
    #[arg(long = "intermediate", value_name = "FILE", requires = "ek")]
    intermediates: Vec<PathBuf>,

    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    form: Form,
}

/// The classes, as the command line has them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Class {
    /// TPM chips, discrete or in the processor
    Chip,
    /// Virtual TPMs of a cloud provider
    CloudVtpm,
    /// TPMs that their owner can copy
    Software,
    /// PIV dongles with attestation
    Dongle,
}

impl From<Class> for EndorsementClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Chip => Self::Chip,
            Class::CloudVtpm => Self::CloudVtpm,
            Class::Software => Self::Software,
            Class::Dongle => Self::Dongle,
        }
    }
}

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    class: &'static str,
    origin: &'static str,
    file: String,
    not_before: Option<DateTime<Utc>>,
    not_after: Option<DateTime<Utc>>,
    /// Of the certificate.
    sha256: String,
    /// Of the key: what a deny list names.
    key_sha256: String,
    source: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
    test: bool,
}

#[derive(Debug, Serialize)]
struct Verified {
    authorities: usize,
    denied_endorsement_keys: usize,
    denied_authorities: usize,
    denied_firmware: usize,
    unfit: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Ek {
    accepted: bool,
    #[serde(flatten)]
    verdict: Verdict,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Verdict {
    Accepted {
        level: AssuranceLevel,
        class: &'static str,
        ek_id: String,
        manufacturer: String,
        model: String,
        version: String,
    },
    Refused {
        step: u8,
        why: &'static str,
    },
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list(args),
        Command::Add(args) => add(args),
        Command::Verify(args) => verify(args),
    }
}

fn list(args: &ListArgs) -> Result<(), Failure> {
    let bundle = bundle(&args.place)?;
    let listed: Vec<Listed> = bundle.authorities().iter().map(Listed::of).collect();
    args.form.print(&listed, || {
        let blocks: Vec<String> = listed.iter().map(Listed::text).collect();
        blocks.join("\n")
    })
}

fn add(args: &AddArgs) -> Result<(), Failure> {
    let config = args.place.config(&[])?;
    let bytes = files::read(&args.file)?;
    let addition = Addition {
        bytes: &bytes,
        class: args.class.into(),
        source: &args.source,
        name: args.name.as_deref(),
    };
    let added = Listed::of(&endorsement::add(config.settings(), &addition)?);
    let directory = endorsement::directory(config.settings());
    args.form.print(&added, || {
        format!(
            "Added to {}; the server takes it at its next start.\n\n{}",
            directory.display(),
            added.text()
        )
    })
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let bundle = bundle(&args.place)?;
    let now = SystemClock.now();
    match &args.ek {
        Some(ek) => verify_ek(args, ek, &bundle, now),
        None => verify_all(args, &bundle, now),
    }
}

fn verify_all(args: &VerifyArgs, bundle: &Bundle, now: DateTime<Utc>) -> Result<(), Failure> {
    let deny = bundle.deny();
    let found = Verified {
        authorities: bundle.authorities().len(),
        denied_endorsement_keys: deny.endorsement_keys.len(),
        denied_authorities: deny.authorities.len(),
        denied_firmware: deny.firmware.len(),
        unfit: bundle.unfit(now),
    };
    if args.form.is_json() {
        output::json(&found)?;
    }
    if !found.unfit.is_empty() {
        return Err(Failure::new(Exit::Refused, found.unfit.join("\n")));
    }
    if !args.form.is_json() {
        output::line(format_args!(
            "{} CAs: every hash, form and date is good. Denied: {} endorsement keys, {} CAs, {} ranges of firmware.",
            found.authorities,
            found.denied_endorsement_keys,
            found.denied_authorities,
            found.denied_firmware
        ));
    }
    Ok(())
}

fn verify_ek(
    args: &VerifyArgs,
    ek: &Path,
    bundle: &Bundle,
    now: DateTime<Utc>,
) -> Result<(), Failure> {
    let der = |path: &PathBuf| {
        certificate_der(&files::read(path)?)
            .map_err(|why| Failure::new(Exit::Fault, format_args!("{}: {why}", path.display())))
    };
    let leaf = der(&ek.to_owned())?;
    let intermediates: Vec<Vec<u8>> = args
        .intermediates
        .iter()
        .map(der)
        .collect::<Result<_, _>>()?;
    let appraised = ek_chain(&leaf, &intermediates, &bundle.endorsements(), now);
    let verdict = match &appraised {
        Ok(endorsed) => Verdict::accepted(endorsed),
        Err(error) => Verdict::Refused {
            step: error.step(),
            why: error.as_str(),
        },
    };
    let accepted = appraised.is_ok();
    let text = verdict.text();
    if args.form.is_json() {
        output::json(&Ek { accepted, verdict })?;
    }
    match appraised {
        Err(error) => Err(Failure::new(
            Exit::Refused,
            format_args!("{}: {error}{}", ek.display(), advice(error)),
        )),
        Ok(_) if args.form.is_json() => Ok(()),
        Ok(_) => {
            output::line(text);
            Ok(())
        }
    }
}

/// What to do about the refusals that an operator can do something about.
fn advice(error: EvidenceError) -> &'static str {
    match error {
        EvidenceError::NotPinned => {
            "; add the CA that issued it (`upkeep-server endorsement add`), or give the certificates in between with --intermediate"
        }
        _ => "",
    }
}

impl Listed {
    fn of(one: &Authority) -> Self {
        Self {
            name: one.name().to_owned(),
            class: one.class().as_str(),
            origin: one.origin().as_str(),
            file: one.file().to_owned(),
            not_before: one.not_before(),
            not_after: one.not_after(),
            sha256: one.sha256().to_owned(),
            key_sha256: HEXLOWER.encode(&one.key_id()),
            source: one.source().to_owned(),
            note: one.note().to_owned(),
            test: one.is_test(),
        }
    }

    fn text(&self) -> String {
        let until = self.not_after.map_or_else(
            || "for ever".to_owned(),
            |at| format!("until {}", at.format("%Y-%m-%d")),
        );
        let note = match self.note.as_str() {
            "" => String::new(),
            note => format!("; {note}"),
        };
        format!(
            "{:10}  {}, {until} ({}{note})\n            sha256 {}\n            key    {}\n            source {}",
            self.class, self.name, self.origin, self.sha256, self.key_sha256, self.source
        )
    }
}

impl Verdict {
    fn accepted(endorsed: &EndorsedEk) -> Self {
        let identity = endorsed.identity();
        Self::Accepted {
            level: endorsed.class().level(),
            class: endorsed.class().as_str(),
            ek_id: HEXLOWER.encode(&endorsed.ek_id()),
            manufacturer: manufacturer(identity.manufacturer()),
            model: identity.model().to_owned(),
            version: identity.version().to_owned(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Accepted {
                level,
                class,
                ek_id,
                manufacturer,
                model,
                version,
            } => format!(
                "A TPM with this certificate counts as {level} (class {class}).\n\n  ek id         {ek_id}\n  manufacturer  {manufacturer}\n  model         {model}\n  version       {version}"
            ),
            Self::Refused { step, why } => format!("step {step}: {why}"),
        }
    }
}

/// A vendor id as letters where it is letters.
fn manufacturer(id: u32) -> String {
    let bytes = id.to_be_bytes();
    let letters: String = bytes
        .iter()
        .filter(|b| b.is_ascii_graphic())
        .map(|b| char::from(*b))
        .collect();
    let printable = bytes
        .iter()
        .all(|b| b.is_ascii_graphic() || matches!(b, 0 | b' '));
    if printable && !letters.is_empty() {
        format!("{letters} (id:{id:08X})")
    } else {
        format!("id:{id:08X}")
    }
}

/// The bundle of the server that is meant; without one, the built-in CAs.
fn bundle(place: &Place) -> Result<Bundle, Failure> {
    Ok(Bundle::read(place.any_config(&[])?.settings())?)
}

impl From<EndorsementErrors> for Failure {
    fn from(error: EndorsementErrors) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<EndorsementError> for Failure {
    fn from(error: EndorsementError) -> Self {
        Self::new(Exit::Config, error)
    }
}
