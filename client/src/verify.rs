//! Verifying what the server signs, by the keys that are trusted here: signature first, then that the key still counts, then that it is
//! for this device. What is held already may outlive its key: it is read by signature alone, and [`crate::check()`] says that it counts
//! no more.
//!
//! Trust of the keys is established at enrollment, over TLS to the pinned CA ([`crate::enroll`]).

use upkeep::artefact::{
    ActivationCertificate, BoundTo, DeactivationReceipt, DeactivationTicket, UpgradeCode,
};
use upkeep::jws::{JwsError, Verified};
use upkeep::key::{self, Thumbprint};
use upkeep::trust::{Issued, TrustError, TrustedKeys};

use crate::device::Device;
use crate::error::ClientError;
use crate::store::Journal;

/// An activation certificate for this device key, and for the counter that the key dies with.
pub(crate) fn certificate(
    text: &str,
    keys: &TrustedKeys,
    device: &Device,
) -> Result<Verified<ActivationCertificate>, ClientError> {
    for_device(signed(CERTIFICATE, text, keys)?, device)
}

/// The same for a certificate that is held already.
pub(crate) fn held_certificate(
    text: &str,
    keys: &TrustedKeys,
    device: &Device,
) -> Result<Verified<ActivationCertificate>, ClientError> {
    for_device(held(CERTIFICATE, text, keys)?, device)
}

fn for_device(
    verified: Verified<ActivationCertificate>,
    device: &Device,
) -> Result<Verified<ActivationCertificate>, ClientError> {
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
    keys: &TrustedKeys,
    device: &Thumbprint,
) -> Result<Verified<UpgradeCode>, ClientError> {
    for_key(signed(UPGRADE, text, keys)?, device)
}

/// The same for a code that is held already.
pub(crate) fn held_upgrade_code(
    text: &str,
    keys: &TrustedKeys,
    device: &Thumbprint,
) -> Result<Verified<UpgradeCode>, ClientError> {
    for_key(held(UPGRADE, text, keys)?, device)
}

fn for_key(
    verified: Verified<UpgradeCode>,
    device: &Thumbprint,
) -> Result<Verified<UpgradeCode>, ClientError> {
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
    keys: &TrustedKeys,
    device: &Thumbprint,
) -> Result<Verified<DeactivationTicket>, ClientError> {
    let verified = signed::<DeactivationTicket>(TICKET, text, keys)?;
    same_device(TICKET, &verified.claims().cnf.jkt, device)?;
    Ok(verified)
}

/// The receipt of this very return.
pub(crate) fn receipt(
    text: &str,
    keys: &TrustedKeys,
    journal: &Journal,
) -> Result<Verified<DeactivationReceipt>, ClientError> {
    of_return(signed(RECEIPT, text, keys)?, journal)
}

/// The same for a receipt that is held already.
pub(crate) fn held_receipt(
    text: &str,
    keys: &TrustedKeys,
    journal: &Journal,
) -> Result<Verified<DeactivationReceipt>, ClientError> {
    of_return(held(RECEIPT, text, keys)?, journal)
}

fn of_return(
    verified: Verified<DeactivationReceipt>,
    journal: &Journal,
) -> Result<Verified<DeactivationReceipt>, ClientError> {
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

fn signed<C: Issued>(
    what: &'static str,
    text: &str,
    keys: &TrustedKeys,
) -> Result<Verified<C>, ClientError> {
    keys.verify(text, key::verify)
        .map_err(|error| refused(what, keys, error))
}

fn held<C: Issued>(
    what: &'static str,
    text: &str,
    keys: &TrustedKeys,
) -> Result<Verified<C>, ClientError> {
    keys.verify_signature(text, key::verify)
        .map_err(|error| refused(what, keys, error.into()))
}

fn refused(what: &'static str, keys: &TrustedKeys, error: TrustError) -> ClientError {
    match (error, keys.root()) {
        (TrustError::Artefact(JwsError::UnknownKey), None) => ClientError::artefact(
            what,
            "it is signed by a key that is not pinned here; if the vendor has new keys, run `upkeep enroll` again",
        ),
        (TrustError::Artefact(JwsError::UnknownKey), Some(_)) => ClientError::artefact(
            what,
            "it is signed by a key that no list known here has; get the vendor's newest with `upkeep refresh` or `upkeep keys import`",
        ),
        (other, _) => ClientError::artefact(what, other),
    }
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
