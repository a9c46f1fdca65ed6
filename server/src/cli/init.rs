//! `init`: makes a data directory with everything in it, once.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::Form;
use crate::cli::place::{self, CONFIG_FILE};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Settings};
use crate::keys::file::{self, Access};
use crate::keys::{Keys, KeysError, admin_dir, keys_dir};
use crate::random::{Random, SystemRandom};
use crate::store::{Options, Store};

/// Make the data directory of a new server: its CA, keys, first admin certificate, configuration and empty store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server init --data /var/lib/upkeep --name licenses.vendor.example
  upkeep-server init --data ./try
  upkeep-server init --data /var/lib/upkeep --name licenses.vendor.example \\
      --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token licenses \\
      --pkcs11-pin-file /etc/upkeep/pin

The first --name also becomes the issuer of what the server signs (https://NAME) and the trust \
domain of staff and partner names, unless --issuer and --trust-domain say otherwise: choose them \
once, before the first license. Nothing is ever overwritten. Keep a copy of DIR/keys in a safe \
place: no backup of the store contains it.")]
pub(super) struct Args {
    /// The directory to make
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// A host name or IP address of the server, for its certificate; localhost is always there; may be repeated
    #[arg(long = "name", value_name = "HOST")]
    names: Vec<String>,

    /// Where products and customers will connect
    #[arg(long, value_name = "ADDR")]
    products: Option<String>,

    /// Where staff and partners will connect
    #[arg(long, value_name = "ADDR")]
    staff: Option<String>,

    /// What signed artefacts name as their issuer
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,

    /// The domain in the names of staff and partners
    #[arg(long, value_name = "DOMAIN")]
    trust_domain: Option<String>,

    #[command(flatten)]
    token: TokenArgs,

    #[command(flatten)]
    form: Form,
}

/// A token for the signing key.
#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// Make the signing key in a PKCS#11 token: its module, a shared library
    #[arg(long, value_name = "FILE", requires_all = ["pkcs11_token", "pkcs11_pin_file"])]
    pkcs11_module: Option<String>,

    /// The label of the token
    #[arg(long, value_name = "LABEL", requires = "pkcs11_module")]
    pkcs11_token: Option<String>,

    /// The label of the key to make [default: upkeep-signing]
    #[arg(
        long,
        value_name = "LABEL",
        requires = "pkcs11_module",
        default_value_if(
            "pkcs11_module",
            clap::builder::ArgPredicate::IsPresent,
            "upkeep-signing"
        )
    )]
    pkcs11_key: Option<String>,

    /// The file with the PIN of the token's user: one line, mode 0600
    #[arg(long, value_name = "FILE", requires = "pkcs11_module")]
    pkcs11_pin_file: Option<String>,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made {
    data_dir: PathBuf,
    config: PathBuf,
    ca: PathBuf,
    admin_certificate: PathBuf,
    admin_key: PathBuf,
    issuer: String,
    trust_domain: String,
    tls_names: Vec<String>,
    signing_key_id: String,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let settings = settings(args)?;
    let keys = create(&settings, &SystemClock, &SystemRandom)?;
    let dir = &settings.data_dir;
    let made = Made {
        config: dir.join(CONFIG_FILE),
        ca: keys_dir(dir).join("ca.crt"),
        admin_certificate: admin_dir(dir).join("admin.crt"),
        admin_key: admin_dir(dir).join("admin.key"),
        issuer: settings.issuer.clone(),
        trust_domain: settings.trust_domain.to_string(),
        tls_names: settings.tls_names.clone(),
        signing_key_id: keys.signer().key_id().to_owned(),
        data_dir: dir.clone(),
    };
    args.form.print(&made, || report(&made))
}

/// The settings that the configuration file will have.
fn settings(args: &Args) -> Result<Settings, Failure> {
    let data = place::absolute(&args.data)?;
    let mut flags = place::given(&[
        ("listen.products", &args.products, "--products"),
        ("listen.staff", &args.staff, "--staff"),
        ("issuer", &args.issuer, "--issuer"),
        ("trust_domain", &args.trust_domain, "--trust-domain"),
        (
            "signing.module",
            &args.token.pkcs11_module,
            "--pkcs11-module",
        ),
        ("signing.token", &args.token.pkcs11_token, "--pkcs11-token"),
        ("signing.key", &args.token.pkcs11_key, "--pkcs11-key"),
        (
            "signing.pin_file",
            &args.token.pkcs11_pin_file,
            "--pkcs11-pin-file",
        ),
    ]);
    flags.push(place::flag(
        "data_dir",
        &data.display().to_string(),
        "--data",
    ));
    if let Some(first) = args.names.first() {
        let mut names = args.names.clone();
        names.extend(Settings::default().tls_names);
        flags.push(place::flag("tls.names", &names.join(","), "--name"));
        if args.issuer.is_none() {
            flags.push(place::flag("issuer", &format!("https://{first}"), "--name"));
        }
        let is_address = first.parse::<std::net::IpAddr>().is_ok();
        if args.trust_domain.is_none() && !is_address {
            let domain = first.to_ascii_lowercase();
            flags.push(place::flag("trust_domain", &domain, "--name"));
        }
    }
    let config = config::load(None, place::environment(), &flags)?;
    Ok(config.settings().clone())
}

/// Makes the data directory that `settings` name: configuration, store and, as the last step, keys.
///
/// A directory that an interrupted run left without keys is finished by the next.
///
/// # Errors
/// Exit 4 when there is a server already, or the directory holds something else.
pub(super) fn create(
    settings: &Settings,
    clock: &dyn Clock,
    random: &dyn Random,
) -> Result<Keys, Failure> {
    let dir = &settings.data_dir;
    check_unused(dir)?;
    if let Some(token) = &settings.signing {
        // A mistake about the token leaves nothing behind.
        token.check_free().map_err(KeysError::from)?;
    }
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(0o700)))
        .map_err(|e| cannot(dir, &e))?;

    let text = files::filled_template(settings);
    let config = dir.join(CONFIG_FILE);
    match fs::read_to_string(&config) {
        Ok(found) if found == text => {}
        Ok(_) => return Err(exists(&config)),
        Err(_) => file::write_new(&config, text.as_bytes(), Access::Everyone)?,
    }
    let store = Store::open(Options::new(dir).create(true))?;
    if store.head().sequence() > 0 {
        return Err(exists(dir));
    }
    store.close()?;
    Ok(Keys::create_for(settings, clock, random)?)
}

/// Nothing of a server, and nothing foreign, may stand in `dir`.
fn check_unused(dir: &Path) -> Result<(), Failure> {
    for made in [keys_dir(dir), admin_dir(dir)] {
        if made.exists() {
            return Err(exists(&made));
        }
    }
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| cannot(dir, &e))?,
    };
    for entry in entries {
        let name = entry.map_err(|e| cannot(dir, &e))?.file_name();
        let ours = name
            .to_str()
            .is_some_and(|name| UNFINISHED.contains(&name) || name.starts_with(".new-"));
        if !ours {
            return Err(Failure::new(
                Exit::Data,
                format_args!(
                    "{} holds something else already ({}); name a new or an empty directory",
                    dir.display(),
                    name.display()
                ),
            ));
        }
    }
    Ok(())
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        Exit::Data,
        format_args!(
            "{} exists and nothing is ever overwritten; start that server with `upkeep-server serve`, or name another directory",
            path.display()
        ),
    )
}

fn cannot(dir: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Data,
        format_args!(
            "{} cannot be made: {error}; check the path, its owner and the free space",
            dir.display()
        ),
    )
}

fn report(made: &Made) -> String {
    let dir = made.data_dir.display();
    format!(
        "\
Made a new server in {dir}

  configuration   {config}
  certificate     for {names}
  issuer          {issuer}
  trust domain    {trust_domain}
  signing key     {key}
  administrator   {admin}
                  {admin_key}  (carry both away, with {ca})

Keep a copy of {dir}/keys in a safe place: without it nothing that was issued can be renewed.

Next:
  upkeep-server serve --data {dir}",
        config = made.config.display(),
        names = made.tls_names.join(", "),
        issuer = made.issuer,
        trust_domain = made.trust_domain,
        key = made.signing_key_id,
        admin = made.admin_certificate.display(),
        admin_key = made.admin_key.display(),
        ca = made.ca.display(),
    )
}

/// What an interrupted run may leave, and what a fresh file system has.
const UNFINISHED: [&str; 9] = [
    CONFIG_FILE,
    "meta",
    "lock",
    "ledger",
    "index",
    "index.state",
    "reserve",
    "probe",
    "lost+found",
];
