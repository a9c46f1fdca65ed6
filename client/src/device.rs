//! The key that an activation is bound to: a software key in the store's directory, or a TPM's, which dies with its counter.
//!
//! It answers for itself; which key an activation gets is decided by [`crate::attester`], and who enrolls a TPM's key is
//! [`crate::hardware`]. Calls to a chip block the thread: most take tens of milliseconds, making a key seconds, and a chip that is busy is
//! asked again for about five seconds more.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use upkeep::artefact::Counter;
use upkeep::id::ProductId;
use upkeep::key::{PublicKey, SigningKey, Thumbprint};
use upkeep::rpc::v1;

use crate::error::ClientError;
use crate::store::VirtualEnvironment;
use crate::tpm::{Certified, Tpm, TpmAddress, TpmError, TpmKey};

/// The device key of an activation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// A key kept in the store's directory. Whoever copies the directory has it.
    Software(SoftwareDevice),
    /// A key in a TPM, which the chip refuses to use once its counter has moved on.
    Tpm(Arc<TpmDevice>),
}

/// A key kept in a file.
#[derive(Clone, Debug)]
pub struct SoftwareDevice {
    key: Arc<SigningKey>,
    because: Option<Arc<str>>,
}

/// A key in a TPM, as the server has enrolled it for one license, product and declaration. A copy is useless without the chip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmDevice {
    device_id: String,
    product: ProductId,
    virtual_environment: VirtualEnvironment,
    key: TpmKey,
    /// Whether the counter was defined for this key, by this process.
    #[serde(skip)]
    is_new_counter: bool,
}

impl Device {
    /// The store's own key.
    ///
    /// * `because` - why it is not a TPM's, where a TPM would have been better.
    pub(crate) fn software(key: Arc<SigningKey>, because: Option<Arc<str>>) -> Self {
        Self::Software(SoftwareDevice { key, because })
    }

    /// Its kind, for programs: `software` or `tpm`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Software(_) => "software",
            Self::Tpm(_) => "tpm",
        }
    }

    /// Why it is a software key although a TPM's was looked for.
    pub fn because(&self) -> Option<&str> {
        match self {
            Self::Software(software) => software.because.as_deref(),
            Self::Tpm(_) => None,
        }
    }

    /// The product that a TPM's key was enrolled for.
    pub fn product(&self) -> Option<&ProductId> {
        match self {
            Self::Software(_) => None,
            Self::Tpm(device) => Some(&device.product),
        }
    }

    /// The counter and the value that it dies with.
    pub fn counter(&self) -> Option<Counter> {
        match self {
            Self::Software(_) => None,
            Self::Tpm(device) => Some(Counter {
                name: device.key.counter().name(),
                value: device.key.value(),
            }),
        }
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        match self {
            Self::Software(software) => software.key.public_key(),
            Self::Tpm(device) => device.key.public_key(),
        }
    }

    /// Its name.
    pub fn thumbprint(&self) -> Thumbprint {
        self.public_key().thumbprint()
    }

    /// Signs these 32 bytes as the digest: `r || s`.
    ///
    /// * `tpm` - where the TPM is, if it was named.
    ///
    /// # Errors
    /// [`ClientError::NotActivated`] when the counter has moved on, [`ClientError::Tpm`]. A software key always signs.
    pub(crate) fn sign_digest(
        &self,
        tpm: Option<&TpmAddress>,
        digest: &[u8; 32],
    ) -> Result<[u8; 64], ClientError> {
        match self {
            Self::Software(software) => Ok(software.key.sign_digest(digest)),
            Self::Tpm(device) => Ok(open(tpm)?.sign(&device.key, digest)?),
        }
    }

    /// For a TPM: what it says about its counter, over `q`.
    ///
    /// # Errors
    /// As [`Device::sign_digest`].
    pub(crate) fn heartbeat(
        &self,
        tpm: Option<&TpmAddress>,
        q: &[u8; 32],
    ) -> Result<Option<v1::Certification>, ClientError> {
        match self {
            Self::Software(_) => Ok(None),
            Self::Tpm(device) => {
                let certified = open(tpm)?.heartbeat(&device.key, q)?;
                Ok(Some(certification(certified)))
            }
        }
    }

    /// Whether the key works. A software key always does.
    ///
    /// * `tpm` - where the TPM is, if it was named.
    ///
    /// # Errors
    /// [`ClientError::Tpm`] when the chip can't be asked.
    pub fn is_alive(&self, tpm: Option<&TpmAddress>) -> Result<bool, ClientError> {
        match self {
            Self::Software(_) => Ok(true),
            Self::Tpm(device) => Ok(open(tpm)?.is_alive(&device.key)?),
        }
    }

    /// Whether the key still works, as far as its return asks: a TPM's counter stands where it stood.
    ///
    /// * `tpm` - where the TPM is, if it was named.
    ///
    /// # Errors
    /// [`ClientError::Tpm`] when the chip can't be asked, or another made the key.
    pub(crate) fn stands(&self, tpm: Option<&TpmAddress>) -> Result<bool, ClientError> {
        match self {
            Self::Software(_) => Ok(true),
            Self::Tpm(device) => Ok(open(tpm)?.stands(&device.key)?),
        }
    }

    /// As messages name it.
    pub(crate) fn to_wire(&self) -> v1::DeviceKey {
        use v1::device_key::Key;
        let key = match self {
            Self::Software(software) => Key::SoftwareSpki(software.key.public_key().to_spki_der()),
            Self::Tpm(device) => Key::DeviceId(device.device_id.clone()),
        };
        v1::DeviceKey { key: Some(key) }
    }

    /// Whether it may be used for this product and declaration: the server holds a TPM's key to what it was enrolled for.
    ///
    /// * `product` - `None` where the caller does not know it.
    pub(crate) fn fits(
        &self,
        product: Option<&ProductId>,
        virtual_environment: VirtualEnvironment,
    ) -> bool {
        match self {
            Self::Software(_) => true,
            Self::Tpm(device) => {
                product.is_none_or(|product| device.product == *product)
                    && device.virtual_environment == virtual_environment
            }
        }
    }
}

impl SoftwareDevice {
    /// Signs the SHA-256 of `message`: `r || s`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message)
    }
}

impl TpmDevice {
    /// A key that the server has enrolled as `device_id`.
    pub(crate) fn new(
        device_id: String,
        product: ProductId,
        virtual_environment: VirtualEnvironment,
        key: TpmKey,
    ) -> Self {
        Self {
            device_id,
            product,
            virtual_environment,
            key,
            is_new_counter: false,
        }
    }

    /// The same, on a counter that was defined for it, if it was.
    pub(crate) fn on_new_counter(self, is_new_counter: bool) -> Self {
        Self {
            is_new_counter,
            ..self
        }
    }

    /// Whether the counter was defined for this key, as far as this process knows.
    pub(crate) fn is_new_counter(&self) -> bool {
        self.is_new_counter
    }

    /// The key in the chip.
    pub(crate) fn key(&self) -> &TpmKey {
        &self.key
    }

    /// Kills the key for good, and has the chip say so over `q`. Repeating it moves the counter no further.
    ///
    /// # Errors
    /// [`ClientError::Tpm`].
    pub(crate) fn retire(
        &self,
        tpm: Option<&TpmAddress>,
        q: &[u8; 32],
    ) -> Result<Certified, ClientError> {
        Ok(open(tpm)?.retire(&self.key, q)?)
    }

    /// Gives the chip the room of a counter that was defined for this key again, where no activation came of it.
    ///
    /// # Errors
    /// [`ClientError::Tpm`]; then the counter stays, and does no harm.
    pub(crate) fn give_up(&self, tpm: Option<&TpmAddress>) -> Result<(), ClientError> {
        if self.is_new_counter {
            open(tpm)?.give_up(&self.key)?;
        }
        Ok(())
    }

    /// Gives the chip the room of its counter again, once the return that ended the key is complete.
    ///
    /// # Errors
    /// [`ClientError::Tpm`]; then the counter stays, and does no harm.
    pub(crate) fn give_back(&self, tpm: Option<&TpmAddress>) -> Result<(), ClientError> {
        Ok(open(tpm)?.give_back(&self.key)?)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Software(SoftwareDevice { because: None, .. }) => f.write_str("software key"),
            Self::Software(SoftwareDevice {
                because: Some(because),
                ..
            }) => write!(f, "software key: {because}"),
            Self::Tpm(device) => {
                write!(f, "TPM key, counter value {}", device.key.value())
            }
        }
    }
}

/// The TPM at this address, else at the first of the usual places.
pub(crate) fn open(tpm: Option<&TpmAddress>) -> Result<Tpm, TpmError> {
    match tpm {
        Some(address) => Tpm::open(address),
        None => {
            let found = TpmAddress::default_address().ok_or_else(|| TpmError::Unavailable {
                address: "this machine".to_owned(),
                why: "neither /dev/tpmrm0 nor /dev/tpm0 is there".to_owned(),
            })?;
            Tpm::open(&found)
        }
    }
}

/// A statement as messages carry it.
pub(crate) fn certification(certified: Certified) -> v1::Certification {
    v1::Certification {
        attest: certified.attest,
        signature: certified.signature,
    }
}
