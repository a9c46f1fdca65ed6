//! The attester: a TPM 2.0 that vouches for a device key and ends it, in raw commands and without a C library.
//!
//! A device key signs only while a counter of the TPM stands where it stood at activation. Incrementing the counter ends the key for ever,
//! and the TPM signs where the counter stands: that is the proof of deactivation, and nobody but the TPM can make it. What
//! the server checks of all this is docs/protocol.md; here nothing is verified.
//!
//! All calls block: a chip takes tens of milliseconds for most, and seconds for an RSA endorsement key.
//!
//! Tested against `swtpm`, a software TPM, alone; no physical chip was at hand.

mod address;
mod channel;
mod code;
mod command;
mod endorsement;
mod error;
mod facts;
mod key;
mod life;
#[cfg(test)]
mod mangled;
mod nv;
mod scope;
mod transport;

pub use address::{InvalidTpmAddress, TpmAddress};
pub use code::ResponseCode;
pub use error::TpmError;
pub use facts::TpmFacts;
pub use key::{Certified, InvalidTpmKey, Prepared, TpmKey};

use channel::Channel;
use scope::Scope;

/// An open TPM. It is used by one thread at a time, and nothing stays loaded in it between two calls.
pub struct Tpm {
    channel: Channel,
}

impl Tpm {
    /// Opens the TPM at `address`.
    ///
    /// # Errors
    /// [`TpmError::Unavailable`], [`TpmError::Denied`], [`TpmError::Busy`], [`TpmError::Io`].
    pub fn open(address: &TpmAddress) -> Result<Self, TpmError> {
        Ok(Self {
            channel: Channel::new(transport::open(address)?),
        })
    }

    fn scope(&mut self) -> Scope<'_> {
        Scope::new(&mut self.channel)
    }
}

impl std::fmt::Debug for Tpm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tpm").finish_non_exhaustive()
    }
}
