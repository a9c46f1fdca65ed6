//! Which key an activation gets: the one that it has while it works, else a new one of the kind that the store asks for.
//!
//! A license that is in force keeps its kind of key: another kind is another device to the server, and would take a second seat.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use upkeep::id::ProductId;
use upkeep::serial::SerialNumber;

use crate::client::Client;
use crate::device::Device;
use crate::error::{ClientError, Unfinished};
use crate::hardware::{self, Step};
use crate::store::{LicenseStore, State, VirtualEnvironment};
use crate::tpm::TpmAddress;

/// Which kind of device key a new activation gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "a key is in a chip or in a file")]
pub enum Attester {
    /// A TPM's; where the machine has none that is fit for it, or the server does not accept it, a software key, with the reason.
    #[default]
    Auto,
    /// A TPM's, or none.
    Tpm,
    /// A software key.
    Software,
}

/// What the store remembers about attesters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AttesterChoice {
    pub(crate) attester: Attester,
    pub(crate) tpm: Option<TpmAddress>,
}

impl Attester {
    /// `auto`, `tpm` or `software`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Tpm => "tpm",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Attester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Attester {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Tpm, Self::Software]
            .into_iter()
            .find(|attester| attester.as_str() == text)
            .ok_or("an attester is auto, tpm or software")
    }
}

/// What a key is wanted for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) serial: &'a SerialNumber,
    /// The product; a TPM's enrollment names it.
    pub(crate) product: Option<&'a ProductId>,
    pub(crate) virtual_environment: VirtualEnvironment,
}

/// Which key to ask with.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    /// The one that the license has here, while it works; else a new one.
    Held,
    /// This one.
    This(Device),
    /// A new one of a TPM: the server does not take the last one.
    New(Step),
}

/// The key that this license has here already: of the request that waits, else of the activation in force. It may be a TPM's that is
/// dead.
pub(crate) fn held<'a>(state: &'a State, serial: &SerialNumber) -> Option<&'a Device> {
    match state {
        State::Active(held) if held.serial() == serial => Some(held.device()),
        State::Activating(pending) if pending.serial() == serial => Some(pending.device()),
        State::Redeeming(pending) if pending.serial() == serial => Some(pending.device()),
        _ => None,
    }
}

/// The key to ask with. Where it is a new one of a TPM, the chip's counter has moved and the server has enrolled it.
///
/// # Errors
/// [`ClientError::Unfinished`] when the license is in force with the other kind of key, or with one for another use; [`ClientError::Tpm`] when a TPM is wanted and
/// can't be had; as every call.
pub(crate) async fn device(
    store: &LicenseStore,
    client: &Client,
    wanted: Wanted<'_>,
    key: Key,
) -> Result<Device, ClientError> {
    let usable = match key {
        Key::Held => usable(store, wanted)?,
        Key::This(device) => return Ok(device),
        Key::New(step) => return hardware::enroll(store, client, wanted, step).await,
    };
    match usable {
        Usable::This(device) => Ok(device),
        Usable::None { was_tpm: true } => {
            hardware::enroll(store, client, wanted, Step::Beside).await
        }
        Usable::None { was_tpm: false } => new_device(store, client, wanted).await,
    }
}

/// The key for a request that is carried by hand. A TPM's enrollment takes two round trips, so only one that is enrolled will do.
///
/// # Errors
/// As [`device`].
pub(crate) fn device_by_hand(
    store: &LicenseStore,
    wanted: Wanted<'_>,
) -> Result<Device, ClientError> {
    match usable(store, wanted)? {
        Usable::This(device) => Ok(device),
        Usable::None { was_tpm } if was_tpm || store.attester() == Attester::Tpm => {
            Err(ClientError::Input(
                "a TPM's key is enrolled in two round trips with the server, which a request by hand has no room for: activate with a network, or choose the attester `software`"
                    .to_owned(),
            ))
        }
        Usable::None { .. } => Ok(store.software(
            (store.attester() == Attester::Auto)
                .then(|| "the request was carried by hand".to_owned()),
        )),
    }
}

enum Usable {
    This(Device),
    None {
        /// Whether the license has a TPM's key here, which is dead or was asked for something else and has no answer yet.
        was_tpm: bool,
    },
}

fn usable(store: &LicenseStore, wanted: Wanted<'_>) -> Result<Usable, ClientError> {
    let Some(device) = held(store.state(), wanted.serial) else {
        return Ok(Usable::None { was_tpm: false });
    };
    let other_kind = matches!(
        (store.attester(), device),
        (Attester::Tpm, Device::Software(_)) | (Attester::Software, Device::Tpm(_))
    );
    if other_kind {
        return Err(ClientError::Unfinished(Unfinished::OtherKey {
            serial: wanted.serial.clone(),
            kind: device.kind(),
        }));
    }
    if device.is_alive(store.tpm())? {
        if device.fits(wanted.product, wanted.virtual_environment) {
            return Ok(Usable::This(device.clone()));
        }
        // A new key would end this one, which works.
        if matches!(store.state(), State::Active(_)) {
            return Err(ClientError::Unfinished(Unfinished::OtherUse {
                serial: wanted.serial.clone(),
            }));
        }
    }
    Ok(Usable::None { was_tpm: true })
}

async fn new_device(
    store: &LicenseStore,
    client: &Client,
    wanted: Wanted<'_>,
) -> Result<Device, ClientError> {
    if store.attester() == Attester::Software {
        return Ok(store.software(None));
    }
    match hardware::enroll(store, client, wanted, Step::Beside).await {
        Err(error) if store.attester() == Attester::Auto => {
            let because = instead_of_tpm(&error).ok_or(error)?;
            Ok(store.software(Some(because)))
        }
        enrolled => enrolled,
    }
}

/// Why a software key will do instead; `None` where it would only hide what has to be seen to.
fn instead_of_tpm(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Tpm(error) if error.is_unfit() => Some(error.to_string()),
        ClientError::Refused(refusal)
            if refusal.reason.as_deref() == Some("ATTESTATION_FAILED") =>
        {
            Some(
                "the server does not accept this TPM; most often its maker is not among those that the vendor trusts"
                    .to_owned(),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::tpm::TpmError;

    #[test]
    fn only_a_tpm_that_is_unfit_is_stood_in_for() {
        let address = || "/dev/tpmrm0".to_owned();
        let unfit = [
            TpmError::Unavailable {
                address: address(),
                why: "it is off".to_owned(),
            },
            TpmError::Denied { address: address() },
            TpmError::NoEndorsement,
            TpmError::EndorsementMismatch,
            TpmError::Owned { command: "owner" },
            TpmError::NoSpace,
        ];
        for error in unfit {
            let said = error.to_string();
            assert_eq!(instead_of_tpm(&ClientError::Tpm(error)), Some(said));
        }
        let passing = [
            TpmError::Busy { address: address() },
            TpmError::Io(io::ErrorKind::TimedOut.into()),
            TpmError::Malformed {
                command: "TPM2_Create",
                why: "it is too short".to_owned(),
            },
            TpmError::Lockout,
            TpmError::IndexTaken { index: 1 },
        ];
        for error in passing {
            assert!(!error.next_step().is_empty());
            let error = ClientError::Tpm(error);
            assert_eq!(instead_of_tpm(&error), None, "{error}");
        }
    }
}
