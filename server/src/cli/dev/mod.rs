//! `dev`: a whole server in one command, with fresh keys and sample licenses, gone when it stops.
//!
//! It seeds through its own AdminService over mutual TLS, with the certificate that `init` makes: what works here works for
//! every administrator.

mod lines;
mod samples;
mod seed;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::attest::EndorsementClass;
use crate::cli::connect::{self, ClientCertificate, PATIENCE, Target};
use crate::cli::dev::samples::Samples;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::{self, Bundle};
use crate::cli::output::{self, Form};
use crate::cli::serve::{Sockets, bind_ops, block_on, open_server, start_logging};
use crate::cli::signals::Signals;
use crate::cli::{init, place};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Settings};
use crate::endorsement::{self, Addition};
use crate::keys::Keys;
use crate::pki::{Identity, Role};
use crate::random::SystemRandom;

/// Run a server with fresh keys and sample licenses, to try everything; it is gone when it stops
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server dev
  upkeep-server dev --products 127.0.0.1:0 --staff 127.0.0.1:0
  upkeep-server dev --keep ./try
  upkeep-server dev --endorsement-root /var/lib/swtpm-localca/issuercert.pem

Prints lines to copy: the client's and grpcurl's. DIR/samples.json has all serials, credentials, \
certificates and addresses for scripts; --json prints the same on standard output. Ctrl-C stops \
the server and removes what it made, unless --keep names a directory for it.")]
pub(super) struct Args {
    /// Where products and customers connect; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7443")]
    products: SocketAddr,

    /// Where staff and partners connect; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7444")]
    staff: SocketAddr,

    /// Make everything in this new directory, and leave it there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Take software TPMs of this CA (PEM or DER) for chips, to try hardware licenses with swtpm
    #[arg(long, value_name = "FILE")]
    endorsement_root: Option<PathBuf>,

    #[command(flatten)]
    form: Form,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let place = Directory::make(args.keep.as_deref())?;
    let settings = settings(args, place.path())?;
    let _exporter = start_logging(&settings)?;
    let keys = init::create(&settings, &SystemClock, &SystemRandom)?;
    if let Some(root) = &args.endorsement_root {
        believe(root, &settings)?;
    }
    let server = open_server(&settings)?;
    block_on(async {
        let signals = Signals::catch()?;
        let sockets = Sockets::bind(args.products, args.staff).await?;
        let ops = bind_ops(&settings).await?;
        let running = server
            .with_ops(ops)
            .start(sockets.products, sockets.staff)
            .await?;
        let addresses = Addresses {
            products: running.products_addr(),
            staff: running.staff_addr(),
        };
        let samples = fill(place.path(), &settings, &keys, &addresses).await?;
        if args.form.is_json() {
            output::json(&samples)?;
        } else {
            output::line(lines::text(&samples, place.is_kept()));
        }
        signals.watch(running).await
    })
}

/// Takes the TPMs of a CA for chips.
fn believe(root: &Path, settings: &Settings) -> Result<(), Failure> {
    let bytes = files::read(root)?;
    let addition = Addition {
        bytes: &bytes,
        class: EndorsementClass::Chip,
        source: "--endorsement-root, for a trial",
        name: None,
    };
    endorsement::add(settings, &addition)?;
    Ok(())
}

/// Where the server is reached.
struct Addresses {
    products: SocketAddr,
    staff: SocketAddr,
}

/// Issues the certificates, seeds, and writes `samples.json`.
async fn fill(
    root: &Path,
    settings: &Settings,
    keys: &Keys,
    addresses: &Addresses,
) -> Result<Samples, Failure> {
    let issue = |role, id: &str| {
        let identity = Identity::new(role, id)?;
        files::issue(keys.authority(), &identity, SystemClock.now(), root)
    };
    let certificates = samples::Certificates {
        admin: Bundle::first_admin(&settings.data_dir)?,
        support: issue(Role::Support, "eva")?,
        partner: issue(Role::Partner, seed::PARTNER)?,
    };
    let ca_pem = keys.authority().certificate_pem();
    let mut target = Target::local(addresses.staff, &settings.tls_names, ca_pem);
    target.client = Some(ClientCertificate::read(&certificates.admin)?);
    let channel = target.connect(PATIENCE).await?;
    let seeded = seed::seed(channel, SystemClock.now())
        .await
        .map_err(|status| target.refused(&status))?;

    let samples = Samples::new(settings, addresses, certificates, seeded, root);
    files::write_secret(&root.join("samples.json"), &output::pretty(&samples)?)?;
    Ok(samples)
}

/// The defaults, with room for a person at the keyboard; the environment may say otherwise.
fn settings(args: &Args, root: &Path) -> Result<Settings, Failure> {
    let mut flags = vec![place::flag(
        "data_dir",
        &root.join("data").display().to_string(),
        "dev",
    )];
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut names = names.to_vec();
    for address in [args.products, args.staff] {
        let ip = connect::reachable(address).ip().to_string();
        if !names.contains(&ip) {
            names.push(ip);
        }
    }
    flags.push(place::flag("tls.names", &names.join(","), "dev"));
    flags.push(place::flag(
        "listen.products",
        &args.products.to_string(),
        "--products",
    ));
    flags.push(place::flag(
        "listen.staff",
        &args.staff.to_string(),
        "--staff",
    ));
    let config = config::load(None, place::environment(), &flags)?;
    let mut settings = config.settings().clone();
    if config.origin("log.filter") == config::Origin::Default {
        "warn".clone_into(&mut settings.log_filter);
    }
    settings.endorsements.allow_test_roots = args.endorsement_root.is_some();
    if config.origin("drain_secs") == config::Origin::Default {
        settings.connections.drain = DRAIN;
    }
    Ok(settings)
}

/// Where everything is made: a directory that is removed at the end, or one that is kept.
enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn make(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(keep) = keep else {
            return tempfile::Builder::new()
                .prefix("upkeep-dev-")
                .permissions(fs::Permissions::from_mode(0o700))
                .tempdir()
                .map(Self::Temporary)
                .map_err(|e| {
                    Failure::new(Exit::Fault, format_args!("no temporary directory: {e}"))
                });
        };
        let keep = place::absolute(keep)?;
        let cannot =
            |e: io::Error| Failure::new(Exit::Data, format_args!("{}: {e}", keep.display()));
        fs::create_dir_all(&keep).map_err(cannot)?;
        if fs::read_dir(&keep).map_err(cannot)?.next().is_some() {
            return Err(Failure::new(
                Exit::Data,
                format_args!(
                    "{0} is not empty; name a new directory, or go on with the server in it: upkeep-server serve --data {0}/data",
                    keep.display()
                ),
            ));
        }
        fs::set_permissions(&keep, fs::Permissions::from_mode(0o700)).map_err(cannot)?;
        Ok(Self::Kept(keep))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }

    fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// Nobody waits long for a server that is only tried out.
const DRAIN: Duration = Duration::from_secs(2);
