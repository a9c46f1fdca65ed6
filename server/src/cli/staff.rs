//! `staff`: client certificates for the vendor's own people.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cli::connect;
use crate::cli::exit::Failure;
use crate::cli::files;
use crate::cli::output::Form;
use crate::cli::place::Place;
use crate::clock::{Clock, SystemClock};
use crate::keys::Keys;
use crate::pki::{Identity, Role};

/// Issue certificates for support and administrators
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Add(AddArgs),
}

/// Issue a client certificate for one of the vendor's people
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server staff add support eva --data /var/lib/upkeep --out ./for-eva
  upkeep-server staff add admin root --data /var/lib/upkeep --out ./for-root

Works while the server runs, and while it does not. Writes NAME.crt, NAME.key and ca.crt. The name
stands in the record of whatever its holder does: one name for one person. A certificate lasts a
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
    place: Place,
    #[command(flatten)]
    form: Form,
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
    let Command::Add(args) = command;
    let (role, service) = match args.role {
        StaffRole::Support => (Role::Support, "upkeep.v1.SupportService"),
        StaffRole::Admin => (Role::Admin, "upkeep.v1.AdminService"),
    };
    let identity = Identity::new(role, &args.name)?;
    let config = args.place.config(&[])?;
    let settings = config.settings();
    let keys = Keys::open_for(settings)?;
    let issued = files::issue(keys.authority(), &identity, SystemClock.now(), &args.out)?;
    let address = connect::shown(settings.listen_staff);
    args.form
        .print(&issued, || issued.report(&address, service))
}
