//! Verifying what the server signs, by the pinned keys: signature first, then that it is for this device.
//!
//! Trust of the keys is established at enrollment, over TLS to the pinned CA ([`crate::enroll`]).

use upkeep::artefact::{
    ActivationCertificate, BoundTo, DeactivationReceipt, DeactivationTicket, UpgradeCode,
};
use upkeep::jwks::KeySet;
use upkeep::jws::{self, Claims, JwsError, Verified};
use upkeep::key::{self, Thumbprint};

use crate::device::Device;
use crate::error::ClientError;
use crate::store::Journal;

/// An activation certificate for this device key, and for the counter that the key dies with.
pub(crate) fn certificate(
    text: &str,
    keys: &KeySet,
    device: &Device,
) -> Result<Verified<ActivationCertificate>, ClientError> {
    let verified = signed::<ActivationCertificate>(CERTIFICATE, text, keys)?;
    same_device(
        CERTIFICATE,
        &verified.claims().cnf.jkt,
        &device.thumbprint(),
    )?;
    if verified.claims().counter != device.counter() {
        return Err(ClientError::artefact(
            CERTIFICATE,
            "it names another counter than the one that the device key is bound to",
        ));
    }
    Ok(verified)
}

/// An upgrade code in its file form, for this device.
pub(crate) fn upgrade_code(
    text: &str,
    keys: &KeySet,
    device: &Thumbprint,
) -> Result<Verified<UpgradeCode>, ClientError> {
    let verified = signed::<UpgradeCode>(UPGRADE, text, keys)?;
    match &verified.claims().bound_to {
        BoundTo::DeviceKey(jkt) => same_device(UPGRADE, jkt, device)?,
        BoundTo::Dongle(number) => {
            return Err(ClientError::artefact(
                UPGRADE,
                format!("it is for the dongle {number}"),
            ));
        }
    }
    Ok(verified)
}

/// A ticket that this device shall answer.
pub(crate) fn ticket(
    text: &str,
    keys: &KeySet,
    device: &Thumbprint,
) -> Result<Verified<DeactivationTicket>, ClientError> {
    let verified = signed::<DeactivationTicket>(TICKET, text, keys)?;
    same_device(TICKET, &verified.claims().cnf.jkt, device)?;
    Ok(verified)
}

/// The receipt of this very return.
pub(crate) fn receipt(
    text: &str,
    keys: &KeySet,
    journal: &Journal,
) -> Result<Verified<DeactivationReceipt>, ClientError> {
    let verified = signed::<DeactivationReceipt>(RECEIPT, text, keys)?;
    let said = verified.claims();
    same_device(RECEIPT, &said.cnf.jkt, &journal.device_thumbprint())?;
    if said.activation_id != journal.activation_id() || said.serial != *journal.serial() {
        return Err(ClientError::artefact(
            RECEIPT,
            "it is for another activation",
        ));
    }
    Ok(verified)
}

fn signed<C: Claims>(
    what: &'static str,
    text: &str,
    keys: &KeySet,
) -> Result<Verified<C>, ClientError> {
    jws::verify::<C>(text, |kid| keys.get(kid).cloned(), key::verify).map_err(|error| match error {
        JwsError::UnknownKey => ClientError::artefact(
            what,
            "it is signed by a key that is not pinned here; if the vendor has new keys, run `upkeep enroll` again",
        ),
        other => ClientError::artefact(what, other),
    })
}

fn same_device(
    what: &'static str,
    jkt: &Thumbprint,
    device: &Thumbprint,
) -> Result<(), ClientError> {
    if jkt == device {
        Ok(())
    } else {
        Err(ClientError::artefact(what, "it is for another device"))
    }
}

const CERTIFICATE: &str = "the activation certificate";
const UPGRADE: &str = "the upgrade code";
const TICKET: &str = "the deactivation ticket";
const RECEIPT: &str = "the deactivation receipt";
