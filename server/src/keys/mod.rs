//! The keys of one data directory: made together once, opened at every start.
//!
//! ```text
//! <data>/keys/    ca.crt ca.key  tls.crt tls.key  signing.key  pepper  code.key      (no signing.key where a token holds it)
//!                 signing.ID.key  what `keys rotate` made
//! <data>/admin/   admin.crt admin.key ca.crt      the first administrator's, to be carried away
//! ```
//! Secret files have mode 0600 and are refused otherwise. `pepper` and `code.key` are 32 raw bytes each. No backup of
//! the store contains any of this.

pub mod file;
pub mod log;
pub mod ring;
pub mod sealed;

use std::fmt;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use upkeep::key::Thumbprint;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::clock::Clock;
use crate::config::Settings;
use crate::keys::file::{Access, KeyFileError};
use crate::keys::ring::Holder;
use crate::pki::{Authority, Identity, Issued, PkiError, Role, TrustDomain};
use crate::random::{Random, bytes32};
use crate::signer::token::{TokenError, TokenSettings, TokenSigner};
use crate::signer::{FileSigner, Signer};
use crate::tls::{ClientTrust, ServerCertificate, TlsError};

/// Everything secret that a running server holds.
pub struct Keys {
    authority: Authority,
    tls_certificate_pem: String,
    tls_key_pem: Zeroizing<String>,
    signer: Arc<dyn Signer>,
    holder: Holder,
    pepper: SecretKey32,
    code_key: SecretKey32,
}

impl Keys {
    /// Makes `<data>/keys` and `<data>/admin` for a new server.
    ///
    /// The set appears whole or not at all: it is written beside its place, synced, and renamed.
    ///
    /// * `names` - the host names and addresses in the server's certificate.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] (inside [`KeysError`]) when there are keys already; what the file system or the CA refuse.
    pub fn create(
        data_dir: &Path,
        trust_domain: &TrustDomain,
        names: &[String],
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Self, KeysError> {
        Self::make(data_dir, trust_domain, names, None, clock, random)
    }

    /// As [`Self::create`], for the server of `settings`: where those name a token, the signing key is made in it.
    ///
    /// # Errors
    /// As [`Self::create`]; [`KeysError::Token`].
    pub fn create_for(
        settings: &Settings,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Self, KeysError> {
        let Settings {
            data_dir,
            trust_domain,
            tls_names,
            signing,
            ..
        } = settings;
        Self::make(
            data_dir,
            trust_domain,
            tls_names,
            signing.as_ref(),
            clock,
            random,
        )
    }

    fn make(
        data_dir: &Path,
        trust_domain: &TrustDomain,
        names: &[String],
        token: Option<&TokenSettings>,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<Self, KeysError> {
        let now = clock.now();
        for existing in [keys_dir(data_dir), admin_dir(data_dir)] {
            if existing.exists() {
                return Err(KeyFileError::Exists { path: existing }.into());
            }
        }
        file::make_directory(data_dir)?;
        let authority = Authority::create(trust_domain, now)?;
        let server = authority.issue_server(names, now, SERVER_DAYS)?;
        let admin =
            authority.issue_client(&Identity::new(Role::Admin, FIRST_ADMIN)?, now, CLIENT_DAYS)?;

        let keys = Beside::new(data_dir)?;
        file::write_new(
            &keys.path(CA_KEY),
            authority.key_pem().as_bytes(),
            Access::Owner,
        )?;
        write_certificate(&keys.path(CA_CERTIFICATE), authority.certificate_pem())?;
        file::write_new(
            &keys.path(TLS_KEY),
            server.key_pem().as_bytes(),
            Access::Owner,
        )?;
        write_certificate(&keys.path(TLS_CERTIFICATE), server.certificate_pem())?;
        let signer: Arc<dyn Signer> = match token {
            Some(token) => Arc::new(TokenSigner::create(token, random)?),
            None => Arc::new(FileSigner::create(&keys.path(SIGNING_KEY), random)?),
        };
        SecretKey32::create(&keys.path(PEPPER), random)?;
        SecretKey32::create(&keys.path(CODE_KEY), random)?;
        keys.rename(&keys_dir(data_dir))?;

        let carried = Beside::new(data_dir)?;
        admin.write(carried.directory(), FIRST_ADMIN)?;
        write_certificate(&carried.path(CA_CERTIFICATE), authority.certificate_pem())?;
        carried.rename(&admin_dir(data_dir))?;
        Self::with_signer(data_dir, trust_domain, signer, holder_of(data_dir, token))
    }

    /// Opens the keys of `data_dir`.
    ///
    /// # Errors
    /// [`KeysError`] names the file that is missing, may be read by others, or holds something else.
    pub fn open(data_dir: &Path, trust_domain: &TrustDomain) -> Result<Self, KeysError> {
        let signer = FileSigner::open(&keys_dir(data_dir).join(SIGNING_KEY))?;
        let holder = holder_of(data_dir, None);
        Self::with_signer(data_dir, trust_domain, Arc::new(signer), holder)
    }

    /// Opens the keys of the server of `settings`, the signing key in its token where those name one.
    ///
    /// # Errors
    /// As [`Self::open`]; [`KeysError::Token`].
    pub fn open_for(settings: &Settings) -> Result<Self, KeysError> {
        let (data_dir, trust_domain) = (&settings.data_dir, &settings.trust_domain);
        match &settings.signing {
            Some(token) => {
                let signer = TokenSigner::open(token)?;
                let holder = holder_of(data_dir, Some(token));
                Self::with_signer(data_dir, trust_domain, Arc::new(signer), holder)
            }
            None => Self::open(data_dir, trust_domain),
        }
    }

    fn with_signer(
        data_dir: &Path,
        trust_domain: &TrustDomain,
        signer: Arc<dyn Signer>,
        holder: Holder,
    ) -> Result<Self, KeysError> {
        let dir = keys_dir(data_dir);
        let ca_certificate = dir.join(CA_CERTIFICATE);
        let authority = Authority::open(
            trust_domain,
            &text(&ca_certificate, file::read_public(&ca_certificate)?)?,
            &secret_text(&dir.join(CA_KEY))?,
        )
        .map_err(|e| KeyFileError::malformed(&ca_certificate, e))?;
        let (tls_certificate_pem, tls_key_pem) = read_tls(data_dir)?;
        Ok(Self {
            authority,
            tls_certificate_pem,
            tls_key_pem,
            signer,
            holder,
            pepper: SecretKey32::open(&dir.join(PEPPER))?,
            code_key: SecretKey32::open(&dir.join(CODE_KEY))?,
        })
    }

    /// The CA that signs this server, its staff and its partners.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The server's certificate (chain), PEM.
    pub fn tls_certificate_pem(&self) -> &str {
        &self.tls_certificate_pem
    }

    /// The server's certificate and key, for the listeners.
    ///
    /// # Errors
    /// [`TlsError::Pem`].
    pub fn server_certificate(&self) -> Result<ServerCertificate, TlsError> {
        ServerCertificate::from_pem(&self.tls_certificate_pem, &self.tls_key_pem)
    }

    /// Whom the staff listener lets in: those who have a certificate of the server's own CA.
    pub fn client_trust(&self) -> ClientTrust {
        ClientTrust {
            ca_pem: self.authority.certificate_pem().to_owned(),
            trust_domain: self.authority.trust_domain().clone(),
        }
    }

    /// The issuing key that `init` made. Whether it still signs, the store says.
    pub fn signer(&self) -> Arc<dyn Signer> {
        Arc::clone(&self.signer)
    }

    /// Where issuing keys are kept.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// The key under which imported credentials are kept.
    pub fn pepper(&self) -> &SecretKey32 {
        &self.pepper
    }

    /// The key from which codes are derived.
    pub fn code_key(&self) -> &SecretKey32 {
        &self.code_key
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("key_id", &self.signer.key_id())
            .finish_non_exhaustive()
    }
}

/// 32 secret bytes, wiped when dropped and never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey32([u8; 32]);

impl SecretKey32 {
    /// Wraps bytes made elsewhere: a derived key, or one of a test.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for the keyed hash and nothing else.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    fn create(path: &Path, random: &dyn Random) -> Result<Self, KeyFileError> {
        let key = Self(bytes32(random));
        file::write_new(path, &key.0, Access::Owner)?;
        Ok(key)
    }

    fn open(path: &Path) -> Result<Self, KeyFileError> {
        <[u8; 32]>::try_from(file::read_secret(path)?.as_slice())
            .map(Self)
            .map_err(|_| KeyFileError::malformed(path, "it must be exactly 32 bytes"))
    }
}

impl fmt::Debug for SecretKey32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey32(***)")
    }
}

/// Why the keys were not made or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// One file is the reason, and the message names it.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The token that holds the signing key cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What stands at a place is another key than the one on record.
    #[error(
        "the key at {place:?} is not {kid}, which the server has on record; restore the keys and the store from copies of one day"
    )]
    WrongKey {
        /// The file or label.
        place: String,
        /// The key that belongs there.
        kid: Thumbprint,
    },
    /// Another server's keys.
    #[error(
        "the keys in {} are not those that this server's records were made with; put back the copy of keys/ that belongs to this data directory",
        .dir.display()
    )]
    Foreign {
        /// Where they are.
        dir: PathBuf,
    },
    /// A certificate was not issued.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A name in a certificate is wrong.
    #[error(transparent)]
    Identity(#[from] crate::pki::IdentityError),
}

/// Where the listeners' certificate and its key are.
pub fn tls_files(data_dir: &Path) -> (PathBuf, PathBuf) {
    let dir = keys_dir(data_dir);
    (dir.join(TLS_CERTIFICATE), dir.join(TLS_KEY))
}

/// The listeners' certificate chain and its key, PEM. Whether they are a pair is for [`ServerCertificate`] to say.
///
/// # Errors
/// [`KeysError::File`].
pub(crate) fn read_tls(data_dir: &Path) -> Result<(String, Zeroizing<String>), KeysError> {
    let (certificate, key) = tls_files(data_dir);
    Ok((
        text(&certificate, file::read_public(&certificate)?)?,
        secret_text(&key)?,
    ))
}

/// Replaces the listeners' certificate and its key. A server that runs takes them up by itself.
///
/// # Errors
/// [`KeyFileError::Io`]. The key is replaced first; should the machine stop between the two, the same command makes both good.
pub(crate) fn replace_tls(data_dir: &Path, issued: &Issued) -> Result<(), KeyFileError> {
    let (certificate, key) = tls_files(data_dir);
    file::replace(&key, issued.key_pem().as_bytes(), Access::Owner)?;
    file::replace(
        &certificate,
        issued.certificate_pem().as_bytes(),
        Access::Everyone,
    )
}

/// Where the keys of a data directory are.
pub fn keys_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("keys")
}

/// Where the first administrator's certificate is laid down.
pub fn admin_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("admin")
}

/// A directory that is filled beside its place and then renamed; removed again if that does not happen.
struct Beside {
    parent: PathBuf,
    directory: tempfile::TempDir,
}

impl Beside {
    fn new(parent: &Path) -> Result<Self, KeyFileError> {
        let directory = tempfile::Builder::new()
            .prefix(".new-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)
            .map_err(|e| file::unwritable(parent, e))?;
        Ok(Self {
            parent: parent.to_owned(),
            directory,
        })
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn rename(self, to: &Path) -> Result<(), KeyFileError> {
        fs::rename(self.directory(), to).map_err(|e| file::unwritable(to, e))?;
        // Renamed away: there is nothing left to remove.
        let _gone = self.directory.keep();
        file::sync_directory(&self.parent)
    }
}

fn holder_of(data_dir: &Path, token: Option<&TokenSettings>) -> Holder {
    match token {
        None => Holder::Files(keys_dir(data_dir)),
        Some(token) => Holder::Token(token.clone()),
    }
}

fn write_certificate(path: &Path, pem: &str) -> Result<(), KeyFileError> {
    file::write_new(path, pem.as_bytes(), Access::Everyone)
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, KeyFileError> {
    String::from_utf8(bytes).map_err(|_| KeyFileError::malformed(path, "it is not text"))
}

fn secret_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let bytes = file::read_secret(path)?;
    std::str::from_utf8(&bytes)
        .map(|text| Zeroizing::new(text.to_owned()))
        .map_err(|_| KeyFileError::malformed(path, "it is not text"))
}

/// How long a client certificate lasts unless told otherwise.
pub const CLIENT_DAYS: u16 = 365;
/// How long the server's own certificate lasts: under the 825 days that some clients insist on.
pub const SERVER_DAYS: u16 = 820;

const FIRST_ADMIN: &str = "admin";
const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const SIGNING_KEY: &str = "signing.key";
const PEPPER: &str = "pepper";
const CODE_KEY: &str = "code.key";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::random::SystemRandom;

    fn domain() -> TrustDomain {
        TrustDomain::parse("vendor.example").unwrap()
    }

    fn create(data_dir: &Path) -> Result<Keys, KeysError> {
        let names = ["localhost".to_owned()];
        Keys::create(data_dir, &domain(), &names, &SystemClock, &SystemRandom)
    }

    #[test]
    fn the_set_is_made_once_and_opens_again() {
        let data = tempfile::tempdir().unwrap();
        let made = create(data.path()).unwrap();
        let opened = Keys::open(data.path(), &domain()).unwrap();
        assert_eq!(made.signer().key_id(), opened.signer().key_id());
        assert_eq!(made.pepper().expose(), opened.pepper().expose());
        assert_ne!(made.pepper().expose(), made.code_key().expose());
        assert!(matches!(
            create(data.path()),
            Err(KeysError::File(KeyFileError::Exists { .. }))
        ));
        let mut names: Vec<_> = fs::read_dir(data.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["admin", "keys"], "no remains");
        for dir in [keys_dir(data.path()), admin_dir(data.path())] {
            let mode = fs::metadata(dir).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn every_secret_is_for_its_owner_and_every_file_is_needed() {
        let data = tempfile::tempdir().unwrap();
        create(data.path()).unwrap();
        for name in [CA_KEY, TLS_KEY, SIGNING_KEY, PEPPER, CODE_KEY] {
            let path = keys_dir(data.path()).join(name);
            let mode = |bits| fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            mode(0o644);
            let loose = Keys::open(data.path(), &domain()).unwrap_err().to_string();
            assert!(
                loose.contains(name) && loose.contains("chmod 600"),
                "{loose}"
            );
            mode(0o600);
        }
        for entry in fs::read_dir(keys_dir(data.path())).unwrap() {
            let path = entry.unwrap().path();
            let aside = path.with_extension("aside");
            fs::rename(&path, &aside).unwrap();
            let missing = Keys::open(data.path(), &domain()).unwrap_err().to_string();
            assert!(missing.contains(&*path.to_string_lossy()), "{missing}");
            fs::rename(&aside, &path).unwrap();
        }
        Keys::open(data.path(), &domain()).unwrap();
    }

    #[test]
    fn a_cut_pepper_is_refused() {
        let data = tempfile::tempdir().unwrap();
        create(data.path()).unwrap();
        let pepper = keys_dir(data.path()).join(PEPPER);
        fs::write(&pepper, [7; 31]).unwrap();
        let error = Keys::open(data.path(), &domain()).unwrap_err().to_string();
        assert!(error.contains("32 bytes"), "{error}");
    }

    #[test]
    fn nothing_secret_is_printed() {
        let key = SecretKey32::from_bytes([0x5a; 32]);
        assert_eq!(format!("{key:?}"), "SecretKey32(***)");
    }
}
