//! Personal data of customers: names and e-mail addresses, sealed under a key of the customer's own (DESIGN 6).
//!
//! The ledger never forgets, so nothing personal enters it in the clear. Each customer has a key file outside the ledger;
//! deleting that file erases the data from every record, segment and backup at once.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use upkeep::id::CustomerId;
use zeroize::Zeroizing;

use crate::keys::file::{self, Access, KeyFileError};
use crate::random::{Random, bytes32};

/// Seals and opens personal data.
pub(crate) struct Personal {
    directory: PathBuf,
    random: Arc<dyn Random>,
}

/// A customer's key can't be made or read.
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

    /// Makes the customer's key, if there is none. Durable before the record that needs it.
    pub(crate) fn prepare(&self, customer: &CustomerId) -> Result<(), PersonalError> {
        let path = self.path(customer);
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

    /// Seals `text`; `field` says what it is, so that fields can't be exchanged.
    pub(crate) fn seal(
        &self,
        customer: &CustomerId,
        field: &str,
        text: &str,
    ) -> Result<Vec<u8>, PersonalError> {
        let key = self.key(customer)?;
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce);
        let mut sealed = text.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad(customer, field)),
            &mut sealed,
        )
        .map_err(|_| PersonalError::Seal)?;
        let mut out = nonce.to_vec();
        out.extend_from_slice(&sealed);
        Ok(out)
    }

    /// The text, or `None` once the customer's key is deleted (erased data stays erased).
    pub(crate) fn open(&self, customer: &CustomerId, field: &str, sealed: &[u8]) -> Option<String> {
        let key = self.key(customer).ok()?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = sealed.to_vec();
        let text = key
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad(customer, field)),
                &mut bytes,
            )
            .ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    fn key(&self, customer: &CustomerId) -> Result<LessSafeKey, PersonalError> {
        let bytes = file::read_secret(&self.path(customer))?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| PersonalError::Seal)?;
        Ok(LessSafeKey::new(key))
    }

    fn path(&self, customer: &CustomerId) -> PathBuf {
        self.directory.join(format!("{customer}.key"))
    }
}

fn aad(customer: &CustomerId, field: &str) -> Vec<u8> {
    format!("{customer}\0{field}").into_bytes()
}
