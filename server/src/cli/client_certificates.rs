//! Client certificates, as `partner` and `staff` issue, list and withdraw them: on record first, handed out second.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use prost_types::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Serialize;
use tonic::Code;
use upkeep::rpc::v1::{
    ClientCertificate, ListClientCertificatesRequest, RecordClientCertificateRequest,
    RevokeClientCertificatesRequest,
};

use crate::cli::admin::{Admin, Why};
use crate::cli::exit::{Exit, Failure};
use crate::cli::files::{self, Bundle};
use crate::cli::output::Form;
use crate::clock::{Clock, SystemClock};
use crate::keys::CLIENT_DAYS;
use crate::pki::{self, Authority, Identity, RequestedKey, Role};
use crate::random::{SystemRandom, uuid_v7};

/// Which certificates of somebody are withdrawn.
#[derive(Debug, clap::Args)]
pub(super) struct Withdrawal {
    /// The one certificate, by its serial number; without it all that its holder has
    #[arg(
        long,
        value_name = "SERIAL",
        default_value = "",
        hide_default_value = true
    )]
    certificate: String,

    #[command(flatten)]
    why: Why,
}

impl Withdrawal {
    fn is_all(&self) -> bool {
        self.certificate.is_empty()
    }
}

/// A certificate for a key that its owner keeps.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Signed {
    identity: String,
    certificate: PathBuf,
    ca: PathBuf,
    expires_at: DateTime<Utc>,
}

/// One certificate on record.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Listed {
    serial_number: String,
    sha256: String,
    issued_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

/// Issues a certificate with a new key, puts it on record, and writes the files.
///
/// # Errors
/// As [`files::prepare`]; exit 5 when the server refuses.
pub(super) async fn issue(
    admin: &mut Admin,
    authority: &Authority,
    identity: &Identity,
    out: &Path,
) -> Result<Bundle, Failure> {
    files::prepare(authority, out, identity.id())?;
    let issued = authority.issue_client(identity, SystemClock.now(), CLIENT_DAYS)?;
    record(admin, issued.certificate_pem()).await?;
    files::lay(authority, identity, &issued, out)
}

/// Reads a certificate request.
///
/// # Errors
/// Exit 2 says what is wrong with it.
pub(super) fn read_request(path: &Path) -> Result<RequestedKey, Failure> {
    let pem = files::read(path)?;
    RequestedKey::read(&pem)
        .map_err(|e| Failure::new(Exit::Usage, format_args!("{}: {e}", path.display())))
}

/// Signs a request, puts the certificate on record, and writes it.
///
/// # Errors
/// As [`issue`].
pub(super) async fn sign(
    admin: &mut Admin,
    authority: &Authority,
    identity: &Identity,
    requested: &RequestedKey,
    out: &Path,
) -> Result<Signed, Failure> {
    files::prepare(authority, out, identity.id())?;
    let pem = authority.issue_for_key(identity, requested, SystemClock.now(), CLIENT_DAYS)?;
    record(admin, &pem).await?;
    let certificate = out.join(format!("{}.crt", identity.id()));
    files::write(&certificate, &pem)?;
    Ok(Signed {
        identity: identity.to_string(),
        certificate,
        ca: files::lay_ca(authority, out)?,
        expires_at: pki::expires_at(&pem)?,
    })
}

/// Prints the certificates of `holder` that are on record.
///
/// # Errors
/// Exit 5 when the server refuses.
pub(super) async fn list(mut admin: Admin, holder: &Identity, form: Form) -> Result<(), Failure> {
    let found = all(&mut admin, holder).await;
    admin.close()?;
    let found = found?;
    form.print(&found, || match found.is_empty() {
        true => format!("No certificates of {holder} are on record."),
        false => table(&found),
    })
}

/// Withdraws certificates of `holder`, and prints those on record.
///
/// # Errors
/// Exit 5 when the server refuses.
pub(super) async fn withdraw(
    mut admin: Admin,
    holder: &Identity,
    which: &Withdrawal,
    form: Form,
) -> Result<(), Failure> {
    let found = revoke(&mut admin, holder, which).await;
    admin.close()?;
    let found = found?;
    let now = SystemClock.now().format("%Y-%m-%d %H:%M UTC");
    form.print(&found, || match (which.is_all(), found.is_empty()) {
        (false, _) => table(&found),
        (true, is_none) => {
            let all = format!("No certificate of {holder} issued before {now} counts any more");
            match is_none {
                true => format!("{all}; none of them is on record here."),
                false => format!("{all}; on record:\n{}", table(&found)),
            }
        }
    })
}

async fn all(admin: &mut Admin, holder: &Identity) -> Result<Vec<Listed>, Failure> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListClientCertificatesRequest {
            holder: holder.to_string(),
            page_size: 500,
            page_token,
        };
        let page = admin.client.list_client_certificates(request).await;
        let page = page.map_err(|status| admin.refused(&status))?.into_inner();
        found.extend(page.certificates.into_iter().map(Listed::from));
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        page_token = page.next_page_token;
    }
}

async fn revoke(
    admin: &mut Admin,
    holder: &Identity,
    which: &Withdrawal,
) -> Result<Vec<Listed>, Failure> {
    let request = RevokeClientCertificatesRequest {
        request_id: uuid_v7(&SystemClock, &SystemRandom).to_string(),
        holder: holder.to_string(),
        serial_number: which.certificate.clone(),
        reason: which.why.reason.clone(),
    };
    let revoked = admin.client.revoke_client_certificates(request).await;
    let revoked = revoked.map_err(|status| match status.code() {
        // The holder is known: a partner was looked up, of staff there is no record.
        Code::NotFound => Failure::new(
            Exit::Refused,
            format_args!(
                "no certificate {} of {holder} is on record; `upkeep-server {} certificates` lists those that are",
                which.certificate,
                match holder.role() {
                    Role::Partner => "partner",
                    Role::Support | Role::Admin => "staff",
                }
            ),
        ),
        _ => admin.refused(&status),
    })?;
    let found = revoked.into_inner().certificates;
    Ok(found.into_iter().map(Listed::from).collect())
}

/// Certificates as lines for people.
fn table(listed: &[Listed]) -> String {
    let day = |at: Option<DateTime<Utc>>| {
        at.map_or(String::new(), |at| at.format("%Y-%m-%d").to_string())
    };
    let lines: Vec<String> = listed
        .iter()
        .map(|one| {
            let state = match one.revoked_at {
                Some(at) => format!("withdrawn {}", at.format("%Y-%m-%d %H:%M UTC")),
                None => "out".to_owned(),
            };
            format!(
                "{}  issued {}, until {}, {state}",
                one.serial_number,
                day(one.issued_at),
                day(one.expires_at)
            )
        })
        .collect();
    lines.join("\n")
}

impl Signed {
    pub(super) fn report(&self) -> String {
        format!(
            "Signed a certificate for {}, valid until {}\n\n  {}\n  {}",
            self.identity,
            self.expires_at.format("%Y-%m-%d"),
            self.certificate.display(),
            self.ca.display()
        )
    }
}

impl From<ClientCertificate> for Listed {
    fn from(found: ClientCertificate) -> Self {
        Self {
            serial_number: found.serial_number,
            sha256: found.sha256,
            issued_at: found.create_time.and_then(instant),
            expires_at: found.expire_time.and_then(instant),
            revoked_at: found.revoke_time.and_then(instant),
        }
    }
}

async fn record(admin: &mut Admin, pem: &str) -> Result<(), Failure> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| {
        Failure::new(
            Exit::Fault,
            format_args!("a new certificate is no PEM: {e}"),
        )
    })?;
    let request = RecordClientCertificateRequest {
        request_id: uuid_v7(&SystemClock, &SystemRandom).to_string(),
        certificate: der.to_vec(),
    };
    let recorded = admin.client.record_client_certificate(request).await;
    recorded.map(drop).map_err(|status| admin.refused(&status))
}

/// An instant of a message.
pub(super) fn instant(at: Timestamp) -> Option<DateTime<Utc>> {
    SystemTime::try_from(at).ok().map(DateTime::from)
}
