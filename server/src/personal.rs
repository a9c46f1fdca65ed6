//! Personal data: names and addresses of customers, addresses of partners, sealed under a key of each one's own (DESIGN 6).
//!
//! The ledger never forgets, so nothing personal enters it in the clear. Each customer and partner has a key file outside the ledger;
//! deleting that file erases the data from every record, segment and backup at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use upkeep::id::{CustomerId, PartnerId};
use zeroize::Zeroizing;

use crate::keys::file::{self, Access, KeyFileError};
use crate::random::{Random, bytes32};

/// Seals and opens personal data.
pub(crate) struct Personal {
    directory: PathBuf,
    random: Arc<dyn Random>,
}

/// Whose data it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// A customer.
    Customer(&'a CustomerId),
    /// A partner.
    Partner(&'a PartnerId),
}

impl<'a> From<&'a CustomerId> for Owner<'a> {
    fn from(id: &'a CustomerId) -> Self {
        Self::Customer(id)
    }
}

impl<'a> From<&'a PartnerId> for Owner<'a> {
    fn from(id: &'a PartnerId) -> Self {
        Self::Partner(id)
    }
}

/// The name of the owner's key, and what binds sealed data to the owner. An id has no `@`, so no customer is taken for a partner.
impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Customer(id) => id.fmt(f),
            Self::Partner(id) => write!(f, "partner@{id}"),
        }
    }
}

/// The key of one owner.
pub(crate) struct OwnerKey(LessSafeKey);

/// An owner's key can't be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PersonalError {
    /// The key file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The cipher refused to seal.
    #[error("personal data could not be sealed; try again")]
    Seal,
}

impl Personal {
    pub(crate) fn new(directory: PathBuf, random: Arc<dyn Random>) -> Self {
        Self { directory, random }
    }

    /// Makes the owner's key, if there is none. Durable before the record that needs it.
    pub(crate) fn prepare<'a>(&self, owner: impl Into<Owner<'a>>) -> Result<(), PersonalError> {
        let path = self.path(owner.into());
        if path.exists() {
            return Ok(());
        }
        let key = Zeroizing::new(bytes32(&*self.random));
        match file::write_new(&path, &key[..], Access::Owner) {
            // Another request made it first: that one counts.
            Err(_) if path.exists() => Ok(()),
            done => Ok(done?),
        }
    }

    /// The keys of many owners at once, made where there are none, in their order. All are durable when it returns, for one sync.
    pub(crate) fn prepare_all(&self, owners: &[Owner<'_>]) -> Result<Vec<OwnerKey>, PersonalError> {
        let mut fresh = Vec::new();
        for owner in owners {
            let path = self.path(*owner);
            if !path.exists() {
                let key = Zeroizing::new(bytes32(&*self.random));
                fresh.push((path, key));
            }
        }
        let files: Vec<(&Path, &[u8])> = fresh
            .iter()
            .map(|(path, key)| (path.as_path(), &key[..]))
            .collect();
        file::write_new_all(&self.directory, &files, Access::Owner)?;
        owners
            .iter()
            .map(|owner| self.key(*owner).map(OwnerKey))
            .collect()
    }

    /// As [`Self::seal`], with a key of [`Self::prepare_all`].
    pub(crate) fn seal_with<'a>(
        &self,
        key: &OwnerKey,
        owner: impl Into<Owner<'a>>,
        field: &str,
        text: &str,
    ) -> Result<Vec<u8>, PersonalError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce);
        let mut sealed = text.as_bytes().to_vec();
        key.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad(owner.into(), field)),
                &mut sealed,
            )
            .map_err(|_| PersonalError::Seal)?;
        let mut out = nonce.to_vec();
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// Whether the owner's key is there: it is not once the data is erased.
    pub(crate) fn is_held<'a>(&self, owner: impl Into<Owner<'a>>) -> bool {
        self.path(owner.into()).exists()
    }

    /// Seals `text`; `field` says what it is, so that fields can't be exchanged.
    pub(crate) fn seal<'a>(
        &self,
        owner: impl Into<Owner<'a>>,
        field: &str,
        text: &str,
    ) -> Result<Vec<u8>, PersonalError> {
        let owner = owner.into();
        let key = OwnerKey(self.key(owner)?);
        self.seal_with(&key, owner, field, text)
    }

    /// The text, or `None` once the owner's key is deleted (erased data stays erased).
    pub(crate) fn open<'a>(
        &self,
        owner: impl Into<Owner<'a>>,
        field: &str,
        sealed: &[u8],
    ) -> Option<String> {
        let owner = owner.into();
        let key = self.key(owner).ok()?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let text = key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad(owner, field)),
                &mut bytes,
            )
            .ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    fn key(&self, owner: Owner<'_>) -> Result<LessSafeKey, PersonalError> {
        let bytes = file::read_secret(&self.path(owner))?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| PersonalError::Seal)?;
        Ok(LessSafeKey::new(key))
    }

    fn path(&self, owner: Owner<'_>) -> PathBuf {
        self.directory.join(format!("{owner}.key"))
    }
}

fn aad(owner: Owner<'_>, field: &str) -> Vec<u8> {
    format!("{owner}\0{field}").into_bytes()
}
