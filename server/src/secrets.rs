//! What is derived from the server's two secrets: codes from the code key, keyed digests from the pepper.
//!
//! Codes are derived, never stored, so a retry, a reissue and a mail all recompute the same text (DESIGN 4). Digests under the
//! pepper let the store compare secrets it does not hold.

use aws_lc_rs::hmac;
use upkeep::code::Code;
use upkeep::id::{ActivationId, UpgradeId};
use upkeep::serial::SerialNumber;

use crate::keys::SecretKey32;

/// Makes the codes that people type.
pub(crate) struct Codes(hmac::Key);

impl Codes {
    pub(crate) fn new(code_key: &SecretKey32) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, code_key.expose()))
    }

    /// Delivered with every license whose serial takes no password (T-27). Each generation has its own.
    pub(crate) fn activation(&self, serial: &SerialNumber, generation: u32) -> Code {
        self.derive("activation", serial.as_str().as_bytes(), generation)
    }

    /// Shown on the device where the product is activated (T-28).
    pub(crate) fn product(&self, activation: &ActivationId) -> Code {
        self.derive("product", activation.as_bytes(), 0)
    }

    /// The short form of an upgrade code (T-31); `number` counts the reissues.
    pub(crate) fn upgrade(&self, upgrade: &UpgradeId, number: u32) -> Code {
        self.derive("upgrade", upgrade.as_bytes(), number)
    }

    /// Stands for the code key where keys are told apart ([`Pepper::keys`]); the code of nothing.
    pub(crate) fn mark(&self) -> Code {
        self.derive("keys", &[], 0)
    }

    fn derive(&self, kind: &str, record: &[u8], generation: u32) -> Code {
        Code::from_mac(&mac(
            &self.0,
            &[kind.as_bytes(), record, &generation.to_be_bytes()],
        ))
    }
}

/// Keyed digests.
pub(crate) struct Pepper(hmac::Key);

impl Pepper {
    pub(crate) fn new(pepper: &SecretKey32) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, pepper.expose()))
    }

    /// What a password is kept as. The serial makes equal passwords differ.
    pub(crate) fn password(&self, serial: &SerialNumber, password: &str) -> [u8; 32] {
        mac(
            &self.0,
            &[b"password", serial.as_str().as_bytes(), password.as_bytes()],
        )
    }

    /// Finds the activation that a product code names, without keeping the code.
    pub(crate) fn product_code(&self, serial: &SerialNumber, code: &Code) -> [u8; 32] {
        mac(
            &self.0,
            &[
                b"product-code",
                serial.as_str().as_bytes(),
                code.canonical().as_bytes(),
            ],
        )
    }

    /// Finds the update request that an upgrade code belongs to, without keeping the code.
    pub(crate) fn upgrade_code(&self, serial: &SerialNumber, code: &Code) -> [u8; 32] {
        mac(
            &self.0,
            &[
                b"upgrade-code",
                serial.as_str().as_bytes(),
                code.canonical().as_bytes(),
            ],
        )
    }

    /// Tells whether a retried request is the same request. Keyed, because requests carry passwords.
    pub(crate) fn body(&self, method: &str, body: &[u8]) -> [u8; 32] {
        mac(&self.0, &[b"body", method.as_bytes(), body])
    }

    /// Tells keys apart: `code` stands for the code key, `first` is the id of the first issuing key.
    pub(crate) fn keys(&self, code: &Code, first: &str) -> [u8; 32] {
        mac(
            &self.0,
            &[b"keys", code.canonical().as_bytes(), first.as_bytes()],
        )
    }

    /// Authenticates a challenge.
    pub(crate) fn challenge(&self, fields: &[u8]) -> [u8; 32] {
        mac(&self.0, &[b"challenge", fields])
    }

    /// Authenticates a page token for one listing by one caller.
    pub(crate) fn page(&self, listing: &str, key: &[u8]) -> [u8; 32] {
        mac(&self.0, &[b"page", listing.as_bytes(), key])
    }
}

/// HMAC-SHA256 over length-prefixed fields.
fn mac(key: &hmac::Key, fields: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for field in fields {
        context.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(field);
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.sign().as_ref()) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_differ_by_kind_record_and_generation() {
        let codes = Codes::new(&SecretKey32::from_bytes([7; 32]));
        let serial = SerialNumber::parse("LS-1000").expect("serial");
        assert_eq!(codes.activation(&serial, 1), codes.activation(&serial, 1));
        assert_ne!(codes.activation(&serial, 1), codes.activation(&serial, 2));
        let other = SerialNumber::parse("LS-1001").expect("serial");
        assert_ne!(codes.activation(&serial, 1), codes.activation(&other, 1));
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]);
        assert_ne!(mac(&key, &[b"ab", b"c"]), mac(&key, &[b"a", b"bc"]));
    }
}
