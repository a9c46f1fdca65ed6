//! `partner`: add one with its client certificate, issue another one or sign its request, withdraw them, list them.

use std::path::PathBuf;

use serde::Serialize;
use tonic::Code;
use upkeep::rpc::v1::{CreatePartnerRequest, GetPartnerRequest, ListPartnersRequest, Partner};

use crate::cli::admin::{Admin, Ask, open_keys};
use crate::cli::client_certificates::{self, Withdrawal};
use crate::cli::connect;
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::{self, Bundle};
use crate::cli::output::Form;
use crate::cli::serve::block_on;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::logging::{self, LogFormat};
use crate::pki::{Identity, Role};
use crate::random::{SystemRandom, uuid_v7};

/// Add partners (resellers), issue their certificates, list them
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Add(AddArgs),
    Certificate(CertificateArgs),
    SignCsr(SignCsrArgs),
    Certificates(CertificatesArgs),
    Revoke(RevokeArgs),
    List(ListArgs),
}

/// Add a partner and issue its client certificate
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server partner add acme --name \"Acme GmbH\" --data /var/lib/upkeep --out ./for-acme
  upkeep-server partner add acme --name \"Acme GmbH\" --data /var/lib/upkeep \\
      --email sales@acme.example --language de
  upkeep-server partner add acme --name \"Acme GmbH\" --data /var/lib/upkeep --address localhost:7444

Works while the server runs, and while it does not. Writes ID.crt, ID.key and ca.crt.")]
pub(super) struct AddArgs {
    /// Its id: 1 to 63 characters of a-z, 0-9, '.', '_' and '-'
    id: String,

    /// Its name, as people say it
    #[arg(long)]
    name: String,

    /// Where reminders for its customers go
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "",
        hide_default_value = true
    )]
    email: String,

    /// The language of its mails: a tag such as en, de, fr or ja
    #[arg(
        long,
        value_name = "TAG",
        default_value = "",
        hide_default_value = true
    )]
    language: String,

    /// The vendor's region that looks after it, by its id in the programme
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    region: String,

    /// Where the certificate files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    #[command(flatten)]
    ask: Ask,
}

/// Issue another client certificate for a partner: the old one ran out or was lost
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server partner certificate acme --data /var/lib/upkeep --out ./for-acme-2027

A certificate lasts a year. Issuing another does not withdraw the one before: that is \
`partner revoke`.")]
pub(super) struct CertificateArgs {
    /// The partner's id
    id: String,

    /// Where the certificate files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    #[command(flatten)]
    ask: Ask,
}

/// Sign a partner's certificate request: the partner keeps its private key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
      -keyout acme.key -out acme.csr -subj /
  upkeep-server partner sign-csr acme acme.csr --data /var/lib/upkeep --out ./for-acme

openssl is run by the partner, who sends acme.csr. Only the key in the request counts, which must \
be P-256 and have signed the request; the names in it are ignored, and the certificate names ID. Writes \
ID.crt and ca.crt.")]
pub(super) struct SignCsrArgs {
    /// The partner's id
    id: String,

    /// The certificate request, PEM
    csr: PathBuf,

    /// Where the certificate files go
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    #[command(flatten)]
    ask: Ask,
}

/// List the client certificates of a partner that are on record
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server partner certificates acme --data /var/lib/upkeep
  upkeep-server partner certificates acme --data /var/lib/upkeep --json | jq -r '.[].serial_number'

Certificates that were issued before servers kept them on record are not listed; `partner revoke` without \
--certificate withdraws them too.")]
pub(super) struct CertificatesArgs {
    /// The partner's id
    id: String,

    #[command(flatten)]
    ask: Ask,
}

/// Withdraw the client certificates of a partner, or one of them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server partner revoke acme --reason \"laptop stolen\" --data /var/lib/upkeep \\
      --certificate 5f0c...
  upkeep-server partner revoke acme --reason \"contract ended\" --data /var/lib/upkeep

It counts at once, also on connections that are open: their calls are refused, and seconds later they are \
closed. Certificates that are issued later count again, so a partner whose key was stolen gets another by \
`partner certificate` or `partner sign-csr`.")]
pub(super) struct RevokeArgs {
    /// The partner's id
    id: String,

    #[command(flatten)]
    which: Withdrawal,

    #[command(flatten)]
    ask: Ask,
}

/// List all partners
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server partner list --data /var/lib/upkeep
  upkeep-server partner list --data /var/lib/upkeep --json | jq -r '.[].partner_id'")]
pub(super) struct ListArgs {
    #[command(flatten)]
    ask: Ask,
}

#[derive(Debug, Serialize)]
struct Listed {
    partner_id: String,
    display_name: String,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    // What the store has to say while it is opened here.
    let _ = logging::init(LogFormat::Text, "warn");
    match command {
        Command::Add(args) => block_on(add(args)),
        Command::Certificate(args) => block_on(certificate(args)),
        Command::SignCsr(args) => block_on(sign_csr(args)),
        Command::Certificates(args) => block_on(certificates(args)),
        Command::Revoke(args) => block_on(revoke(args)),
        Command::List(args) => block_on(list(args)),
    }
}

async fn add(args: &AddArgs) -> Result<(), Failure> {
    let identity = Identity::new(Role::Partner, &args.id)?;
    let config = args.ask.reach.config()?;
    let keys = open_keys(config.settings())?;
    // Before all else: a partner without its certificate helps nobody.
    files::prepare(keys.authority(), &args.out, &args.id)?;
    let request = CreatePartnerRequest {
        request_id: uuid_v7(&SystemClock, &SystemRandom).to_string(),
        partner_id: args.id.clone(),
        display_name: args.name.clone(),
        email: args.email.clone(),
        language: args.language.clone(),
        region_id: args.region.clone(),
    };
    let mut admin = args.ask.reach.open(config.settings(), &keys).await?;
    let created = admin.client.create_partner(request).await;
    let created = created.map_err(|status| match status.code() {
        Code::AlreadyExists => Failure::new(
            Exit::Refused,
            format_args!(
                "there is a partner {0} already; `upkeep-server partner certificate {0}` issues another certificate for it",
                args.id
            ),
        ),
        _ => admin.refused(&status),
    });
    let issued = match created {
        Ok(_) => Ok(
            client_certificates::issue(&mut admin, keys.authority(), &identity, &args.out).await,
        ),
        Err(failure) => Err(failure),
    };
    admin.close()?;
    let issued = issued?.map_err(|failure| {
        Failure::new(
            failure.exit(),
            format_args!(
                "the partner was added, but not its certificate: {failure}; then run `upkeep-server partner certificate {}`",
                args.id
            ),
        )
    })?;
    report(&issued, config.settings(), args.ask.form)
}

async fn certificate(args: &CertificateArgs) -> Result<(), Failure> {
    let identity = Identity::new(Role::Partner, &args.id)?;
    let config = args.ask.reach.config()?;
    let keys = open_keys(config.settings())?;
    let mut admin = args.ask.reach.open(config.settings(), &keys).await?;
    let issued = match check_known(&mut admin, &args.id).await {
        Ok(()) => {
            client_certificates::issue(&mut admin, keys.authority(), &identity, &args.out).await
        }
        Err(failure) => Err(failure),
    };
    admin.close()?;
    report(&issued?, config.settings(), args.ask.form)
}

async fn sign_csr(args: &SignCsrArgs) -> Result<(), Failure> {
    let identity = Identity::new(Role::Partner, &args.id)?;
    let config = args.ask.reach.config()?;
    let keys = open_keys(config.settings())?;
    let requested = client_certificates::read_request(&args.csr)?;
    let mut admin = args.ask.reach.open(config.settings(), &keys).await?;
    let authority = keys.authority();
    let signed = match check_known(&mut admin, &args.id).await {
        Ok(()) => {
            client_certificates::sign(&mut admin, authority, &identity, &requested, &args.out).await
        }
        Err(failure) => Err(failure),
    };
    admin.close()?;
    let signed = signed?;
    args.ask.form.print(&signed, || signed.report())
}

async fn certificates(args: &CertificatesArgs) -> Result<(), Failure> {
    let holder = Identity::new(Role::Partner, &args.id)?;
    let admin = known(&args.ask, &args.id).await?;
    client_certificates::list(admin, &holder, args.ask.form).await
}

async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let holder = Identity::new(Role::Partner, &args.id)?;
    let admin = known(&args.ask, &args.id).await?;
    client_certificates::withdraw(admin, &holder, &args.which, args.ask.form).await
}

/// AdminService, where there is a partner `id`.
async fn known(ask: &Ask, id: &str) -> Result<Admin, Failure> {
    let mut admin = ask.reach.admin().await?;
    match check_known(&mut admin, id).await {
        Ok(()) => Ok(admin),
        Err(failure) => {
            admin.close()?;
            Err(failure)
        }
    }
}

async fn check_known(admin: &mut Admin, id: &str) -> Result<(), Failure> {
    let partner_id = id.to_owned();
    let found = admin.client.get_partner(GetPartnerRequest { partner_id });
    let found = found.await;
    found.map(drop).map_err(|status| match status.code() {
        Code::NotFound => Failure::new(
            Exit::Refused,
            format_args!(
                "there is no partner {id}; `upkeep-server partner add {id} --name NAME` adds it"
            ),
        ),
        _ => admin.refused(&status),
    })
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let config = args.ask.reach.config()?;
    let keys = open_keys(config.settings())?;
    let mut admin = args.ask.reach.open(config.settings(), &keys).await?;
    let found = all(&mut admin).await;
    admin.close()?;
    let listed: Vec<Listed> = found?
        .into_iter()
        .map(|partner| Listed {
            partner_id: partner.partner_id,
            display_name: partner.display_name,
        })
        .collect();
    args.ask.form.print(&listed, || table(&listed))
}

async fn all(admin: &mut Admin) -> Result<Vec<Partner>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListPartnersRequest {
            page_size: 500,
            page_token,
        };
        let page = admin.client.list_partners(request).await;
        let page = page.map_err(|status| admin.refused(&status))?.into_inner();
        found.extend(page.partners);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

fn table(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "There are no partners; `upkeep-server partner add ID --name NAME` adds one."
            .to_owned();
    }
    let width = listed
        .iter()
        .map(|one| one.partner_id.len())
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = listed
        .iter()
        .map(|one| format!("{:width$}  {}", one.partner_id, one.display_name))
        .collect();
    lines.join("\n")
}

fn report(issued: &Bundle, settings: &Settings, form: Form) -> Result<(), Failure> {
    let address = connect::shown(settings.listen_staff);
    form.print(issued, || {
        issued.report(&address, "upkeep.v1.PartnerService")
    })
}
