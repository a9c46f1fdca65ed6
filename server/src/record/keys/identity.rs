//! Keys of what is known about the server's own keys and its callers' certificates.

use upkeep::key::Thumbprint;

use super::{Key, Range};
use crate::pki::Identity;

/// An issuing key, by its name.
pub(crate) fn issuing_key(kid: &Thumbprint) -> Vec<u8> {
    Key::table(b'Y').text("key").raw(kid.as_bytes()).done()
}

/// All issuing keys.
pub(crate) fn issuing_keys() -> Range {
    Range::of_prefix(Key::table(b'Y').text("key").done())
}

/// The newest certified key list.
pub(crate) fn certified_list() -> Vec<u8> {
    Key::table(b'Y').text("list").done()
}

/// A client certificate that was issued, by its holder and the SHA-256 of its DER.
pub(crate) fn client_certificate(holder: &Identity, sha256: &[u8; 32]) -> Vec<u8> {
    Key::table(b'V')
        .text("certificate")
        .text(&holder.to_string())
        .raw(sha256)
        .done()
}

/// The client certificates of one holder.
pub(crate) fn client_certificates_of(holder: &Identity) -> Range {
    let prefix = Key::table(b'V').text("certificate");
    Range::of_prefix(prefix.text(&holder.to_string()).done())
}

/// All client certificates that were issued.
pub(crate) fn client_certificates() -> Range {
    Range::of_prefix(Key::table(b'V').text("certificate").done())
}

/// What a holder of certificates was withdrawn.
pub(crate) fn withdrawn_holder(holder: &Identity) -> Vec<u8> {
    Key::table(b'V')
        .text("holder")
        .raw(holder.to_string().as_bytes())
        .done()
}

/// All holders that something was withdrawn from.
pub(crate) fn withdrawn_holders() -> Range {
    Range::of_prefix(Key::table(b'V').text("holder").done())
}
