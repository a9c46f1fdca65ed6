//! B: the 32 bytes that bind a device's answer to one call, one challenge and the facts that it states.
//!
//! `B(tag, field...)` = SHA-256 of `"upkeep/v1\0"` and then, for the tag and each field, a u32 length (big-endian) and the bytes.
//! Strings are UTF-8, identifiers stand in their text form, flags are one byte. A device key signs B as the digest; a TPM carries
//! it as qualifyingData. Client and server share these functions, and vectors freeze them: a formula that drifts between both ends
//! is a class of holes. One function a call, so that no field can be forgotten.

use sha2::{Digest, Sha256};

use crate::artefact::TicketNonce;
use crate::id::{ActivationId, ProductId, RequestId};
use crate::serial::SerialNumber;
use crate::version::Version;

/// B over any tag and fields, 32 bytes. The typed functions below are what calls use.
pub fn b(tag: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    for field in [tag.as_bytes()].iter().chain(fields) {
        // No field comes near 4 GiB; one that did would get a length that is wrong at both ends alike.
        hash.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(field);
    }
    hash.finalize().into()
}

/// B of BeginEnrollment: the device's key is to be enrolled for this license.
///
/// * `virtual_environment` - what the customer declared; it is signed, so it cannot be denied later.
/// * `client_build` - the client's own build, free text.
pub fn enroll(
    challenge: &[u8],
    serial: &SerialNumber,
    product: &ProductId,
    virtual_environment: bool,
    client_build: &str,
) -> [u8; 32] {
    b(
        "enroll",
        &[
            challenge,
            serial.as_str().as_bytes(),
            product.as_str().as_bytes(),
            &[u8::from(virtual_environment)],
            client_build.as_bytes(),
        ],
    )
}

/// B of Activate: the device wants a seat of this license for this version.
pub fn activate(
    challenge: &[u8],
    request: &RequestId,
    serial: &SerialNumber,
    product: &ProductId,
    version: &Version,
    virtual_environment: bool,
) -> [u8; 32] {
    b(
        "activate",
        &[
            challenge,
            request.to_string().as_bytes(),
            serial.as_str().as_bytes(),
            product.as_str().as_bytes(),
            version.as_str().as_bytes(),
            &[u8::from(virtual_environment)],
        ],
    )
}

/// B of VerifyActivation. `subject` is the activation's id in its text form.
pub fn verify(challenge: &[u8], request: &RequestId, subject: &str) -> [u8; 32] {
    request_about("verify", challenge, request, subject)
}

/// B of BeginDeactivation. `subject` is the activation's id in its text form.
pub fn begin_deactivation(challenge: &[u8], request: &RequestId, subject: &str) -> [u8; 32] {
    request_about("begin-deactivation", challenge, request, subject)
}

/// B of RedeemUpgradeCode. `subject` is the upgrade's or the activation's id in its text form.
pub fn redeem(challenge: &[u8], request: &RequestId, subject: &str) -> [u8; 32] {
    request_about("redeem", challenge, request, subject)
}

/// B of a hardware proof of deactivation that answers a ticket.
pub fn deactivate(activation: &ActivationId, nonce: &TicketNonce) -> [u8; 32] {
    b(
        "deactivate",
        &[activation.to_string().as_bytes(), nonce.as_bytes()],
    )
}

/// B of a hardware proof of deactivation without a ticket: the counter alone makes it valid, once and for ever.
pub fn deactivate_offline(activation: &ActivationId) -> [u8; 32] {
    b("deactivate-offline", &[activation.to_string().as_bytes()])
}

fn request_about(tag: &str, challenge: &[u8], request: &RequestId, subject: &str) -> [u8; 32] {
    let request = request.to_string();
    b(tag, &[challenge, request.as_bytes(), subject.as_bytes()])
}

const DOMAIN: &[u8] = b"upkeep/v1\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b_is_the_hash_of_this_very_text() {
        let expected: [u8; 32] =
            Sha256::digest(b"upkeep/v1\0\0\0\0\x03tag\0\0\0\x02ab\0\0\0\0\0\0\0\x01c").into();
        assert_eq!(b("tag", &[b"ab", b"", b"c"]), expected);
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        assert_ne!(b("t", &[b"ab", b"c"]), b("t", &[b"a", b"bc"]));
        assert_ne!(b("t", &[b"a"]), b("ta", &[]));
        assert_ne!(b("t", &[b"a"]), b("t", &[b"a", b""]));
    }
}
