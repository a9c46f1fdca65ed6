//! `staff`: client certificates for the vendor's own people, and their withdrawal.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::admin::{Ask, COMMANDS, open_keys};
use crate::cli::client_certificates::{self, Withdrawal};
use crate::cli::connect;
use crate::cli::exit::{Exit, Failure};
use crate::cli::serve::block_on;
use crate::logging::{self, LogFormat};
use crate::pki::{Identity, Role};

/// Issue and withdraw certificates for support and administrators
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Add(AddArgs),
    Certificates(CertificatesArgs),
    Revoke(RevokeArgs),
}

/// Issue a client certificate for one of the vendor's people
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server staff add support eva --data /var/lib/upkeep --out ./for-eva
  upkeep-server staff add admin root --data /var/lib/upkeep --out ./for-root

Works while the server runs, and while it does not. Writes NAME.crt, NAME.key and ca.crt. The name \
stands in the record of whatever its holder does: one name for one person. A certificate lasts a \
year.")]
pub(super) struct AddArgs {
    /// What the person may do
    role: StaffRole,

    /// The person: 1 to 63 characters of a-z, 0-9, '.', '_' and '-'
    name: String,

    /// Where the certificate files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    #[command(flatten)]
    ask: Ask,
}

/// List the client certificates of one person that are on record
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server staff certificates support eva --data /var/lib/upkeep")]
pub(super) struct CertificatesArgs {
    /// What the person may do
    role: StaffRole,

    /// The person
    name: String,

    #[command(flatten)]
    ask: Ask,
}

/// Withdraw the client certificates of one person, or one of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server staff revoke support eva --reason \"left the company\" --data /var/lib/upkeep
  upkeep-server staff revoke admin root --reason \"laptop stolen\" --data /var/lib/upkeep \\
      --certificate 5f0c...

It counts at once, also on connections that are open. Certificates that are issued later count again.")]
pub(super) struct RevokeArgs {
    /// What the person may do
    role: StaffRole,

    /// The person
    name: String,

    #[command(flatten)]
    which: Withdrawal,

    #[command(flatten)]
    ask: Ask,
}

/// The roles of the vendor's people.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum StaffRole {
    /// SupportService
    Support,
    /// AdminService and everything else
    Admin,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    // What the store has to say while it is opened here.
    let _ = logging::init(LogFormat::Text, "warn");
    match command {
        Command::Add(args) => block_on(add(args)),
        Command::Certificates(args) => block_on(certificates(args)),
        Command::Revoke(args) => block_on(revoke(args)),
    }
}

impl StaffRole {
    fn role(self) -> Role {
        match self {
            Self::Support => Role::Support,
            Self::Admin => Role::Admin,
        }
    }

    fn service(self) -> &'static str {
        match self {
            Self::Support => "upkeep.v1.SupportService",
            Self::Admin => "upkeep.v1.AdminService",
        }
    }
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let identity = Identity::new(args.role.role(), &args.name)?;
    if identity.role() == Role::Admin && identity.id() == COMMANDS {
        return Err(Failure::new(
            Exit::Usage,
            format_args!(
                "{identity} stands for the commands on the server's machine, so its certificate could never be withdrawn; give the person another name"
            ),
        ));
    }
    let config = args.ask.reach.config()?;
    let settings = config.settings();
    let keys = open_keys(settings)?;
    let mut admin = args.ask.reach.open(settings, &keys).await?;
    let issued =
        client_certificates::issue(&mut admin, keys.authority(), &identity, &args.out).await;
    admin.close()?;
    let issued = issued?;
    let address = connect::shown(settings.listen_staff);
    args.ask
        .form
        .print(&issued, || issued.report(&address, args.role.service()))
}

async fn certificates(args: &CertificatesArgs) -> Result<(), Failure> {
    let holder = Identity::new(args.role.role(), &args.name)?;
    client_certificates::list(args.ask.reach.admin().await?, &holder, args.ask.form).await
}

async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let holder = Identity::new(args.role.role(), &args.name)?;
    let admin = args.ask.reach.admin().await?;
    client_certificates::withdraw(admin, &holder, &args.which, args.ask.form).await
}
