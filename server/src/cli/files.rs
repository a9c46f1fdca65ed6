//! Files that commands make: the configuration from its template, and sets of certificates.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::exit::{Exit, Failure};
use crate::config::{self, Settings};
use crate::keys::file::{self, Access, KeyFileError, read_public, read_secret};
use crate::keys::{CLIENT_DAYS, admin_dir};
use crate::pki::{self, Authority, Identity, Issued};
use crate::signer::token::TokenSettings;

/// The template with the values of `settings` that `init` asks for.
pub(super) fn filled_template(settings: &Settings) -> String {
    let text = |value: &str| toml::Value::from(value).to_string();
    let token = settings.signing.as_ref();
    let of_token = |of: fn(&TokenSettings) -> String| text(&token.map(of).unwrap_or_default());
    let values = [
        (
            "",
            "data_dir",
            text(&settings.data_dir.display().to_string()),
        ),
        ("", "issuer", text(&settings.issuer)),
        ("", "trust_domain", text(settings.trust_domain.as_str())),
        (
            "listen",
            "products",
            text(&settings.listen_products.to_string()),
        ),
        ("listen", "staff", text(&settings.listen_staff.to_string())),
        (
            "tls",
            "names",
            toml::Value::from(settings.tls_names.clone()).to_string(),
        ),
        (
            "signing",
            "module",
            of_token(|token| token.module.display().to_string()),
        ),
        ("signing", "token", of_token(|token| token.token.clone())),
        ("signing", "key", of_token(|token| token.key.clone())),
        (
            "signing",
            "pin_file",
            of_token(|token| token.pin_file.display().to_string()),
        ),
    ];
    let mut section = "";
    let mut filled = String::new();
    for line in config::template().lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = name;
        }
        let ours = values.iter().find(|(of, key, _)| {
            *of == section
                && line
                    .strip_prefix(key)
                    .is_some_and(|rest| rest.starts_with(" = "))
        });
        match ours {
            Some((_, key, value)) => filled.push_str(&format!("{key} = {value}")),
            None => filled.push_str(line),
        }
        filled.push('\n');
    }
    filled
}

/// The files of one client certificate.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bundle {
    /// Who it is for, such as `partner/acme`.
    pub(super) identity: String,
    /// The certificate.
    pub(super) certificate: PathBuf,
    /// Its private key, mode 0600.
    pub(super) key: PathBuf,
    /// The CA that the server's own certificate is from.
    pub(super) ca: PathBuf,
    /// The last instant at which it is accepted.
    pub(super) expires_at: DateTime<Utc>,
}

/// Makes the directory of `--out` for its owner alone; it may be there already.
///
/// # Errors
/// Exit 2 when it can't be made.
pub(super) fn make_out(out: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(out);
    made.map_err(|e| {
        Failure::new(
            Exit::Usage,
            format_args!(
                "{} can't be made: {e}; name another directory with --out",
                out.display()
            ),
        )
    })
}

/// Makes `out` with the CA's certificate, and sees that the files of `id` are not there; before anything is issued.
///
/// # Errors
/// Exit 2 when `out` can't be made, one of the files exists, or another server's CA lies there.
pub(super) fn prepare(authority: &Authority, out: &Path, id: &str) -> Result<(), Failure> {
    make_out(out)?;
    for name in [format!("{id}.crt"), format!("{id}.key")] {
        let path = out.join(name);
        if path.exists() {
            return Err(Failure::new(
                Exit::Usage,
                format_args!(
                    "{} exists and nothing is overwritten; move it away, or name another directory with --out",
                    path.display()
                ),
            ));
        }
    }
    lay_ca(authority, out).map(|_ca| ())
}

/// Issues a client certificate and writes `<id>.crt`, `<id>.key` and `ca.crt` into `out`.
///
/// # Errors
/// As [`prepare`]; what the CA or the file system refuse.
pub(super) fn issue(
    authority: &Authority,
    identity: &Identity,
    now: DateTime<Utc>,
    out: &Path,
) -> Result<Bundle, Failure> {
    prepare(authority, out, identity.id())?;
    let issued = authority.issue_client(identity, now, CLIENT_DAYS)?;
    lay(authority, identity, &issued, out)
}

/// Writes `<id>.crt`, `<id>.key` and `ca.crt` of a certificate that was issued into `out`.
///
/// # Errors
/// As [`prepare`].
pub(super) fn lay(
    authority: &Authority,
    identity: &Identity,
    issued: &Issued,
    out: &Path,
) -> Result<Bundle, Failure> {
    let ca = lay_ca(authority, out)?;
    let (certificate, key) = issued.write(out, identity.id()).map_err(named)?;
    Ok(Bundle {
        identity: identity.to_string(),
        expires_at: pki::expires_at(issued.certificate_pem())?,
        certificate,
        key,
        ca,
    })
}

/// Writes the CA's certificate into `out`, unless it lies there.
///
/// # Errors
/// Exit 2 when another server's lies there.
pub(super) fn lay_ca(authority: &Authority, out: &Path) -> Result<PathBuf, Failure> {
    let ca = out.join("ca.crt");
    let pem = authority.certificate_pem();
    match fs::read_to_string(&ca) {
        Ok(found) if found == pem => {}
        Ok(_) => {
            return Err(Failure::new(
                Exit::Usage,
                format_args!(
                    "{} is another server's; name another directory with --out",
                    ca.display()
                ),
            ));
        }
        Err(_) => write(&ca, pem)?,
    }
    Ok(ca)
}

impl Bundle {
    /// The files that `init` made for the first administrator.
    ///
    /// # Errors
    /// Exit 4 when they are not there.
    pub(super) fn first_admin(data_dir: &Path) -> Result<Self, Failure> {
        let dir = admin_dir(data_dir);
        let certificate = dir.join("admin.crt");
        let pem = read_public(&certificate)?;
        Ok(Self {
            identity: "admin/admin".to_owned(),
            expires_at: pki::expires_at(&String::from_utf8_lossy(&pem))?,
            certificate,
            key: dir.join("admin.key"),
            ca: dir.join("ca.crt"),
        })
    }

    /// What was made, and a line to try it.
    pub(super) fn report(&self, address: &str, service: &str) -> String {
        format!(
            "\
Issued a certificate for {identity}, valid until {until}

  {certificate}
  {key}  (secret)
  {ca}

Try it while the server runs:
  grpcurl -cacert {ca} -cert {certificate} -key {key} {address} list {service}",
            identity = self.identity,
            until = self.expires_at.format("%Y-%m-%d"),
            certificate = self.certificate.display(),
            key = self.key.display(),
            ca = self.ca.display(),
        )
    }
}

/// Writes a new file that anybody may read.
///
/// # Errors
/// As [`named`].
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    file::write_new(path, text.as_bytes(), Access::Everyone).map_err(named)
}

/// Writes a new file for its owner alone.
///
/// # Errors
/// As [`named`].
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), Failure> {
    file::write_new(path, text.as_bytes(), Access::Owner).map_err(named)
}

/// Reads a file that the command line names.
///
/// # Errors
/// As [`named`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_public(path).map_err(named)
}

/// As [`read`], for one that nobody else may read.
///
/// # Errors
/// As [`named`].
pub(super) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    read_secret(path).map_err(named)
}

/// What is wrong with a file that the command line names: it is none of the data directory's keys, and there need be no copy of it.
///
/// Exit 2, or 1 when the operating system fails.
pub(super) fn named(error: KeyFileError) -> Failure {
    let message = match &error {
        KeyFileError::Missing { path } => return missing(path),
        KeyFileError::Exists { path } => format!(
            "{} exists and nothing is overwritten; name a new file, or move it away",
            path.display()
        ),
        KeyFileError::Malformed { path, reason } => format!(
            "{} can't be used: {reason}; name another file",
            path.display()
        ),
        KeyFileError::Loose { .. } | KeyFileError::Io { .. } => error.to_string(),
    };
    let exit = match &error {
        KeyFileError::Io { source, .. } => exit_of(source),
        _ => Exit::Usage,
    };
    Failure::new(exit, message)
}

/// As [`named`], for a file of any length.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::NotFound => missing(path),
        _ => Failure::new(
            exit_of(error),
            format_args!(
                "{} can't be read: {error}; check the path and its owner",
                path.display()
            ),
        ),
    }
}

fn missing(path: &Path) -> Failure {
    Failure::new(
        Exit::Usage,
        format_args!(
            "{} is not there; check its name, and in which directory it is",
            path.display()
        ),
    )
}

/// Another path helps against these.
fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory => Exit::Usage,
        _ => Exit::Fault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filled_template_loads_to_the_same_settings() {
        let settings = Settings {
            data_dir: "/var/lib/up \"keep\"".into(),
            issuer: "https://licenses.vendor.example".to_owned(),
            trust_domain: pki::TrustDomain::parse("vendor.example").unwrap(),
            listen_products: "0.0.0.0:7443".parse().unwrap(),
            listen_staff: "[::1]:1".parse().unwrap(),
            tls_names: vec!["licenses.vendor.example".to_owned(), "::1".to_owned()],
            signing: Some(TokenSettings {
                module: "/usr/lib/hsm.so".into(),
                token: "a \"token\"".to_owned(),
                key: "key".to_owned(),
                pin_file: "/etc/pin".into(),
            }),
            ..Settings::default()
        };
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("upkeep.toml");
        fs::write(&file, filled_template(&settings)).unwrap();
        let loaded = config::load(Some(&file), [], &[]).unwrap();
        assert_eq!(loaded.settings(), &settings);
    }
}
