//! Credentials: which secret a serial takes, and the proof that it was shown (DESIGN 4, T-25 to T-28, A-20).

use upkeep::id::ActivationId;
use upkeep::serial::SerialNumber;

use crate::domain::programme::CredentialKind;

/// The caller knows the secret of this serial. Made only by [`crate::flow::authenticate`], after a comparison in constant time.
#[derive(Debug)]
pub struct Authenticated {
    serial: SerialNumber,
    generation: u32,
    kind: CredentialKind,
    named: Option<ActivationId>,
}

impl Authenticated {
    pub(crate) fn new(
        serial: SerialNumber,
        generation: u32,
        kind: CredentialKind,
        named: Option<ActivationId>,
    ) -> Self {
        Self {
            serial,
            generation,
            kind,
            named,
        }
    }

    /// The serial.
    pub fn serial(&self) -> &SerialNumber {
        &self.serial
    }

    /// The generation whose secret it is; an older one authorises nothing.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Which kind of secret it was.
    pub fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// The activation that a product code names.
    pub fn activation(&self) -> Option<ActivationId> {
        self.named
    }
}
