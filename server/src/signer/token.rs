//! A signing key that never leaves a PKCS#11 token: an HSM, a smart card, SoftHSM.
//!
//! The token signs SHA-256 digests with CKM_ECDSA; the digest and the low-S form are made here. One session is kept, opened anew
//! when the token forgets it. The PIN is read from its file at each login and not kept, but a PIN that was refused is remembered by
//! its digest: a token counts wrong ones and locks, so each is tried once. Source: PKCS #11 v3.1, section 6.3.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use p256::ecdsa::Signature;
use sha2::{Digest, Sha256};
use tokio::runtime::{Handle, RuntimeFlavor};
use zeroize::Zeroizing;

use crate::keys::file::{self, KeyFileError};
use crate::random::{Random, bytes32};
use crate::signer::{SignError, Signer, thumbprint, verify_es256};

/// Where the key is: what `[signing]` in the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The maker's PKCS#11 module, a shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label in it; the public key has the same one.
    pub key: String,
    /// The file with the user's PIN: one line, mode 0600.
    pub pin_file: PathBuf,
}

/// Why a token cannot be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The module is missing or no PKCS#11 library.
    #[error("the PKCS#11 module {} cannot be loaded: {source}; name the maker's library with signing.module", .path.display())]
    Module {
        /// The module.
        path: PathBuf,
        /// What the loader said.
        source: Error,
    },
    /// No token, or more than one, has the label.
    #[error("{} tokens are labelled {label:?} (present: {}); correct signing.token, or plug the token in", .fitting, listed(.present))]
    Token {
        /// The label that was looked for.
        label: String,
        /// How many have it.
        fitting: usize,
        /// The labels of the tokens that are there.
        present: Vec<String>,
    },
    /// The PIN file cannot be used.
    #[error(transparent)]
    PinFile(#[from] KeyFileError),
    /// The PIN is wrong. The token counts such attempts and may lock.
    #[error("the token {token:?} refuses the PIN; correct {}, before the token locks", .file.display())]
    Pin {
        /// The token's label.
        token: String,
        /// The PIN file.
        file: PathBuf,
    },
    /// The token has locked the PIN.
    #[error(
        "the token {token:?} has locked the user's PIN; unlock it with its maker's tool and the security officer's PIN"
    )]
    Locked {
        /// The token's label.
        token: String,
    },
    /// No P-256 key, or more than one, has the label.
    #[error(
        "{fitting} {what} in the token {token:?} are labelled {label:?}; correct signing.key, or make the key with `upkeep-server init --pkcs11-module`"
    )]
    Key {
        /// The token's label.
        token: String,
        /// The label that was looked for.
        label: String,
        /// "private keys" or "public keys".
        what: &'static str,
        /// How many have it.
        fitting: usize,
    },
    /// The key is there already; nothing overwrites a key.
    #[error(
        "the token {token:?} has a key labelled {label:?} and keys are never overwritten; name another with --pkcs11-key"
    )]
    Exists {
        /// The token's label.
        token: String,
        /// The key's label.
        label: String,
    },
    /// The key is not P-256, or does not do what it should.
    #[error(
        "the key {label:?} in the token {token:?} is of no use: {reason}; a P-256 key pair that signs is needed"
    )]
    Unfit {
        /// The token's label.
        token: String,
        /// The key's label.
        label: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token refused something else.
    #[error(
        "the token {token:?} cannot be used: {source}; see that it is plugged in and reachable, then try again"
    )]
    Refused {
        /// The token's label.
        token: String,
        /// What the module said.
        source: Error,
    },
}

/// A P-256 key in a PKCS#11 token.
pub struct TokenSigner {
    module: Pkcs11,
    settings: TokenSettings,
    public: [u8; 65],
    key_id: String,
    session: Mutex<Option<Open>>,
    /// SHA-256 of the PIN that the token refused last. Held while a session is opened, so that calls do not try it side by side.
    refused_pin: Mutex<Option<[u8; 32]>>,
}

/// A session that is logged in, with the key in it.
struct Open {
    session: Session,
    key: ObjectHandle,
}

impl TokenSigner {
    /// Makes a new key pair in the token, not extractable, and opens it.
    ///
    /// * `random` - for the id that ties the two halves together; the key itself is drawn by the token.
    ///
    /// # Errors
    /// [`TokenError::Exists`]; as [`Self::open`].
    pub fn create(settings: &TokenSettings, random: &dyn Random) -> Result<Self, TokenError> {
        let module = load(&settings.module)?;
        let session = settings.log_in_for_new_key(&module)?;
        let label = Attribute::Label(settings.key.clone().into_bytes());
        let id = Attribute::Id(bytes32(random).to_vec());
        let public = [
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::EcParams(P256.to_vec()),
            label.clone(),
            id.clone(),
        ];
        let private = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
            label,
            id,
        ];
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private)
            .map_err(|e| settings.refused(e))?;
        drop(session);
        Self::open(settings)
    }

    /// Opens the key and tries it once.
    ///
    /// # Errors
    /// [`TokenError`] names what is missing, refused or unfit.
    pub fn open(settings: &TokenSettings) -> Result<Self, TokenError> {
        let module = load(&settings.module)?;
        let open = settings.connect(&module, &settings.pin()?)?;
        let public = settings.public_key(&open.session)?;
        let signer = Self {
            module,
            settings: settings.clone(),
            public,
            key_id: thumbprint(&public),
            session: Mutex::new(Some(open)),
            refused_pin: Mutex::new(None),
        };
        let probe = signer
            .sign_digest(&Sha256::digest(PROBE).into())
            .map_err(|e| settings.refused(e))?;
        if !verify_es256(&public, PROBE, &probe) {
            return Err(settings.unfit("its public key does not fit its private key"));
        }
        Ok(signer)
    }

    /// Signs a digest; the answer has s in its low half.
    fn sign_digest(&self, digest: &[u8; 32]) -> Result<[u8; 64], Error> {
        let mut held = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let open = held.take().ok_or(Error::InvalidValue)?;
        // Kept only when it worked: whatever else happened, the next call starts from a new session.
        let signed = open.session.sign(&Mechanism::Ecdsa, open.key, digest)?;
        let signature = Signature::from_slice(&signed).map_err(|_| Error::InvalidValue)?;
        *held = Some(open);
        Ok(signature.normalize_s().to_bytes().into())
    }

    /// As [`Self::sign_digest`], over a new session when the old one has gone.
    fn sign_again(&self, digest: &[u8; 32]) -> Result<[u8; 64], TokenError> {
        if let Ok(signature) = self.sign_digest(digest) {
            return Ok(signature);
        }
        let open = self.connect_again()?;
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        tracing::warn!(token = %self.settings.token, "the token had ended the session; a new one is open");
        self.sign_digest(digest)
            .map_err(|e| self.settings.refused(e))
    }
}

impl TokenSigner {
    /// A new session, unless the PIN file still has what the token refused: then it is not asked again before the file is corrected.
    /// A locked token counts no tries, so it is asked each time and works as soon as it is unlocked.
    fn connect_again(&self) -> Result<Open, TokenError> {
        let mut refused = self
            .refused_pin
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let pin = self.settings.pin()?;
        let digest = Sha256::digest(pin.as_bytes()).into();
        if *refused == Some(digest) {
            return Err(self.settings.wrong_pin());
        }
        let opened = self.settings.connect(&self.module, &pin);
        if let Err(TokenError::Pin { .. }) = &opened {
            *refused = Some(digest);
        }
        opened
    }
}

impl Signer for TokenSigner {
    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn public_key_sec1(&self) -> [u8; 65] {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let digest = Sha256::digest(message).into();
        apart(|| self.sign_again(&digest)).map_err(|error| {
            tracing::error!(%error, "the token did not sign");
            SignError {
                key: "in the token",
            }
        })
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner")
            .field("token", &self.settings.token)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Access {
    ReadOnly,
    ReadWrite,
}

impl TokenSettings {
    /// Checks that a new key can be made: module, token and PIN are good, and the label is free. Makes nothing.
    ///
    /// # Errors
    /// As [`TokenSigner::create`].
    pub fn check_free(&self) -> Result<(), TokenError> {
        self.log_in_for_new_key(&load(&self.module)?).map(drop)
    }

    fn log_in_for_new_key(&self, module: &Pkcs11) -> Result<Session, TokenError> {
        let session = self.log_in(module, Access::ReadWrite, &self.pin()?)?;
        let held = session.find_objects(&[Attribute::Label(self.key.clone().into_bytes())]);
        if held.map_err(|e| self.refused(e))?.is_empty() {
            Ok(session)
        } else {
            Err(TokenError::Exists {
                token: self.token.clone(),
                label: self.key.clone(),
            })
        }
    }

    /// A session in which the key is at hand.
    fn connect(&self, module: &Pkcs11, pin: &str) -> Result<Open, TokenError> {
        let session = self.log_in(module, Access::ReadOnly, pin)?;
        let key = self.find(&session, ObjectClass::PRIVATE_KEY, "private keys")?;
        Ok(Open { session, key })
    }

    fn log_in(&self, module: &Pkcs11, access: Access, pin: &str) -> Result<Session, TokenError> {
        start(module).map_err(|e| self.refused(e))?;
        let slot = self.slot(module)?;
        let session = match access {
            Access::ReadOnly => module.open_ro_session(slot),
            Access::ReadWrite => module.open_rw_session(slot),
        };
        let session = session.map_err(|e| self.refused(e))?;
        match session.login(UserType::User, Some(&AuthPin::from(pin))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            )) => Err(self.wrong_pin()),
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(TokenError::Locked {
                token: self.token.clone(),
            }),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn slot(&self, module: &Pkcs11) -> Result<Slot, TokenError> {
        let slots = module.get_slots_with_initialized_token();
        let mut present = Vec::new();
        let mut fitting = Vec::new();
        for slot in slots.map_err(|e| self.refused(e))? {
            let info = module.get_token_info(slot).map_err(|e| self.refused(e))?;
            present.push(info.label().to_owned());
            if info.label() == self.token {
                fitting.push(slot);
            }
        }
        match fitting.as_slice() {
            [slot] => Ok(*slot),
            others => Err(TokenError::Token {
                label: self.token.clone(),
                fitting: others.len(),
                present,
            }),
        }
    }

    fn pin(&self) -> Result<Zeroizing<String>, TokenError> {
        let bytes = file::read_secret(&self.pin_file)?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| KeyFileError::malformed(&self.pin_file, "the PIN is not text"))?;
        Ok(Zeroizing::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        ))
    }

    /// The one object of `class` that has the key's label.
    fn find(
        &self,
        session: &Session,
        class: ObjectClass,
        what: &'static str,
    ) -> Result<ObjectHandle, TokenError> {
        let template = [
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC),
            Attribute::Label(self.key.clone().into_bytes()),
        ];
        let found = session
            .find_objects(&template)
            .map_err(|e| self.refused(e))?;
        match found.as_slice() {
            [one] => Ok(*one),
            others => Err(TokenError::Key {
                token: self.token.clone(),
                label: self.key.clone(),
                what,
                fitting: others.len(),
            }),
        }
    }

    /// The public key: SEC1, uncompressed.
    fn public_key(&self, session: &Session) -> Result<[u8; 65], TokenError> {
        let handle = self.find(session, ObjectClass::PUBLIC_KEY, "public keys")?;
        let wanted = [AttributeType::EcParams, AttributeType::EcPoint];
        let attributes = session
            .get_attributes(handle, &wanted)
            .map_err(|e| self.refused(e))?;
        let mut point = None;
        for attribute in attributes {
            match attribute {
                Attribute::EcParams(curve) if curve != P256 => {
                    return Err(self.unfit("it is on another curve"));
                }
                Attribute::EcPoint(der) => point = Some(der),
                _ => {}
            }
        }
        // The point is a DER OCTET STRING; some modules give it bare.
        let point = point.unwrap_or_default();
        let sec1 = match point.as_slice() {
            [0x04, 65, sec1 @ ..] => sec1,
            bare => bare,
        };
        match <[u8; 65]>::try_from(sec1) {
            Ok(sec1) if sec1.starts_with(&[4]) => Ok(sec1),
            _ => Err(self.unfit("the token does not tell its public key")),
        }
    }

    fn wrong_pin(&self) -> TokenError {
        TokenError::Pin {
            token: self.token.clone(),
            file: self.pin_file.clone(),
        }
    }

    fn unfit(&self, reason: &'static str) -> TokenError {
        TokenError::Unfit {
            token: self.token.clone(),
            label: self.key.clone(),
            reason,
        }
    }

    fn refused(&self, source: Error) -> TokenError {
        TokenError::Refused {
            token: self.token.clone(),
            source,
        }
    }
}

fn load(path: &Path) -> Result<Pkcs11, TokenError> {
    let unusable = |source| TokenError::Module {
        path: path.to_owned(),
        source,
    };
    let module = Pkcs11::new(path).map_err(unusable)?;
    start(&module).map_err(unusable)?;
    Ok(module)
}

/// Starts the module, which is one for the whole process.
fn start(module: &Pkcs11) -> Result<(), Error> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        started => started,
    }
}

/// Runs what may take long where it holds up no other task: a token can be a network away.
fn apart<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

fn listed(labels: &[String]) -> String {
    match labels {
        [] => "none".to_owned(),
        labels => labels.join(", "),
    }
}

/// What a key is tried on when it is opened.
const PROBE: &[u8] = b"upkeep/v1 signing key probe";
/// The DER of the object identifier 1.2.840.10045.3.1.7.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
