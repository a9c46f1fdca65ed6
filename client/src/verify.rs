//! Verifying what the server signs, by the keys that are trusted here: signature first, then that the key still counts, then that it is
//! for this device. What is held already may outlive its key: it is read by signature alone, or, where nobody here knows the key any more,
//! without; [`crate::check()`] says that it counts no more.
//!
//! Trust of the keys is established at enrollment, over TLS to the pinned CA ([`crate::enroll`]).

use std::sync::Arc;

use upkeep::artefact::{
    ActivationCertificate, BoundTo, DeactivationReceipt, DeactivationTicket, UpgradeCode,
};
use upkeep::jws::{Claims, JwsError, SigningInput, Verified};
use upkeep::key::{self, Thumbprint};
use upkeep::trust::{Issued, TrustError, TrustedKeys};

use crate::device::Device;
use crate::error::ClientError;
use crate::store::{Journal, Kept};

/// An activation certificate for this device key, and for the counter that the key dies with.
pub(crate) fn certificate(
    text: &str,
    keys: &TrustedKeys,
    device: &Device,
) -> Result<Verified<ActivationCertificate>, ClientError> {
    let verified = signed::<ActivationCertificate>(CERTIFICATE, text, keys)?;
    for_device(verified.claims(), device)?;
    Ok(verified)
}

/// The same for a certificate that is held already.
pub(crate) fn held_certificate(
    text: &str,
    keys: &TrustedKeys,
    device: &Device,
) -> Result<Kept<ActivationCertificate>, ClientError> {
    let kept = held(CERTIFICATE, text, keys)?;
    for_device(kept.claims(), device)?;
    Ok(kept)
}

fn for_device(claims: &ActivationCertificate, device: &Device) -> Result<(), ClientError> {
    same_device(CERTIFICATE, &claims.cnf.jkt, &device.thumbprint())?;
    if claims.counter != device.counter() {
        return Err(ClientError::artefact(
            CERTIFICATE,
            "it names another counter than the one that the device key is bound to",
        ));
    }
    Ok(())
}

/// An upgrade code in its file form, for this device.
pub(crate) fn upgrade_code(
    text: &str,
    keys: &TrustedKeys,
    device: &Thumbprint,
) -> Result<Verified<UpgradeCode>, ClientError> {
    let verified = signed::<UpgradeCode>(UPGRADE, text, keys)?;
    for_key(verified.claims(), device)?;
    Ok(verified)
}

/// The same for a code that is held already.
pub(crate) fn held_upgrade_code(
    text: &str,
    keys: &TrustedKeys,
    device: &Thumbprint,
) -> Result<Kept<UpgradeCode>, ClientError> {
    let kept = held::<UpgradeCode>(UPGRADE, text, keys)?;
    for_key(kept.claims(), device)?;
    Ok(kept)
}

fn for_key(claims: &UpgradeCode, device: &Thumbprint) -> Result<(), ClientError> {
    match &claims.bound_to {
        BoundTo::DeviceKey(jkt) => same_device(UPGRADE, jkt, device),
        BoundTo::Dongle(number) => Err(ClientError::artefact(
            UPGRADE,
            format!("it is for the dongle {number}"),
        )),
    }
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
    let verified = keys.verify_signature(text, key::verify);
    let verified = verified.map_err(|error| refused(RECEIPT, keys, error.into()))?;
    of_return(verified, journal)
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

/// What is held already: by a key that has ended, or by one that is wholly unknown here. The latter is only read, so that its holder can
/// ask for another.
fn held<C: Issued>(
    what: &'static str,
    text: &str,
    keys: &TrustedKeys,
) -> Result<Kept<C>, ClientError> {
    match keys.verify_signature::<C>(text, key::verify) {
        Ok(verified) => Ok(verified.into()),
        Err(JwsError::UnknownKey) => match unverified(text) {
            Ok(claims) => Ok(Kept::KeyUnknown(Arc::new(claims))),
            Err(error) => Err(refused(what, keys, error.into())),
        },
        Err(error) => Err(refused(what, keys, error.into())),
    }
}

fn unverified<C: Claims>(text: &str) -> Result<C, JwsError> {
    let (signed, _) = text.rsplit_once('.').ok_or(JwsError::Parts)?;
    SigningInput::parse(signed)?.claims()
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
