//! P-256 keys: what verifies an artefact and what signs one (ES256, RFC 7518 section 3.4).
//!
//! A public key has one inner form, the uncompressed point, and one name, its [`Thumbprint`]. Signatures are 64 bytes `r || s`,
//! never DER. What we sign has a low `s`; both are accepted, because a TPM and other libraries sign either.
//! The server verifies with its own library: functions that verify take a [`VerifyFn`]; [`verify`] is the one of this crate.
//! No randomness enters here: a new key is made from a seed that the caller drew.

use std::fmt;

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::encoding;

/// Verifies a signature (64 bytes, `r || s`) by a key over a message: SHA-256, then ECDSA. It answers and never fails.
pub type VerifyFn = fn(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool;

/// The [`VerifyFn`] of this crate: p256, in pure Rust.
pub fn verify(key: &PublicKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify(message, signature)
}

/// A P-256 public key: a point on the curve, never the identity.
#[derive(Clone)]
pub struct PublicKey {
    sec1: [u8; 65],
    point: VerifyingKey,
}

impl PublicKey {
    /// Reads the uncompressed point (SEC 1 section 2.3.4): `04 || x || y`, 65 bytes.
    ///
    /// # Errors
    /// [`KeyError::Form`] for another length or form (compressed, identity), [`KeyError::Curve`] for a point off the curve.
    pub fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        let sec1: [u8; 65] = bytes.try_into().map_err(|_| KeyError::Form)?;
        if sec1.first() != Some(&UNCOMPRESSED) {
            return Err(KeyError::Form);
        }
        let point = VerifyingKey::from_sec1_bytes(&sec1).map_err(|_| KeyError::Curve)?;
        Ok(Self { sec1, point })
    }

    /// Reads a DER SubjectPublicKeyInfo of an uncompressed P-256 point (RFC 5480), 91 bytes, as `openssl pkey -pubout` writes.
    ///
    /// # Errors
    /// [`KeyError::Form`] for any other key or encoding, [`KeyError::Curve`] for a point off the curve.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let sec1 = der.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::Form)?;
        Self::from_sec1(sec1)
    }

    /// Reads the coordinates of a JWK, 32 bytes each, as [`PublicKey::x`] and [`PublicKey::y`] give them (RFC 7518 section 6.2.1).
    ///
    /// # Errors
    /// [`KeyError::Curve`] for a point off the curve.
    pub fn from_coordinates(x: &[u8; 32], y: &[u8; 32]) -> Result<Self, KeyError> {
        let mut sec1 = Vec::with_capacity(65);
        sec1.push(UNCOMPRESSED);
        sec1.extend_from_slice(x);
        sec1.extend_from_slice(y);
        Self::from_sec1(&sec1)
    }

    /// The uncompressed point, `04 || x || y`.
    pub fn sec1_bytes(&self) -> &[u8; 65] {
        &self.sec1
    }

    /// The x coordinate, 32 bytes, big-endian.
    pub fn x(&self) -> &[u8] {
        self.sec1.get(1..33).unwrap_or_default()
    }

    /// The y coordinate, 32 bytes, big-endian.
    pub fn y(&self) -> &[u8] {
        self.sec1.get(33..65).unwrap_or_default()
    }

    /// The DER SubjectPublicKeyInfo (RFC 5480), 91 bytes.
    pub fn to_spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.sec1].concat()
    }

    /// The key's name: the SHA-256 thumbprint of its JWK (RFC 7638).
    pub fn thumbprint(&self) -> Thumbprint {
        let x = encoding::base64url(self.x());
        let y = encoding::base64url(self.y());
        let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Thumbprint(Sha256::digest(jwk).into())
    }

    /// Whether `signature` (`r || s`) is this key's over the SHA-256 of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.verify_digest(&Sha256::digest(message).into(), signature)
    }

    /// Whether `signature` (`r || s`) is this key's over these 32 bytes, taken as the digest.
    pub fn verify_digest(&self, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.point.verify_prehash(digest, &signature).is_ok())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.sec1 == other.sec1
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.thumbprint())
    }
}

/// The RFC 7638 thumbprint of a key: 32 bytes, written as 43 characters of base64url. It is the `kid` and the `cnf.jkt`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Parses 43 characters of canonical base64url.
    ///
    /// # Errors
    /// [`KeyError::Thumbprint`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        encoding::array_from_base64url(text)
            .map(Self)
            .ok_or(KeyError::Thumbprint)
    }

    /// Reads back what [`Self::as_bytes`] gave.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encoding::base64url(&self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.to_string()
    }
}

/// A P-256 secret key. Wiped from memory when dropped; `Debug` shows the public name only.
pub struct SigningKey {
    secret: p256::ecdsa::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// The key whose secret is this big-endian number: 32 bytes that the caller drew at random and then wipes.
    ///
    /// # Errors
    /// [`KeyError::Seed`] for zero or a number not below the curve's order (1 in 2^32): draw again.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        p256::ecdsa::SigningKey::from_slice(seed)
            .map_err(|_| KeyError::Seed)
            .and_then(Self::new)
    }

    /// Reads a PKCS#8 PEM file (RFC 5958), as `openssl genpkey` writes it.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] when it is no unencrypted P-256 key; nothing of the text is repeated.
    pub fn from_pkcs8_pem(pem: &str) -> Result<Self, KeyError> {
        p256::ecdsa::SigningKey::from_pkcs8_pem(pem)
            .map_err(|_| KeyError::Pkcs8)
            .and_then(Self::new)
    }

    /// The PKCS#8 PEM file with `\n` line ends, wiped when dropped.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`] when the encoder fails, which it does not for a valid key.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|_| KeyError::Pkcs8)
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs the SHA-256 of `message`: `r || s`, low `s`, deterministic (RFC 6979).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.sign_digest(&Sha256::digest(message).into())
    }

    /// Signs these 32 bytes as the digest: `r || s`, low `s`, deterministic (RFC 6979).
    pub fn sign_digest(&self, digest: &[u8; 32]) -> [u8; 64] {
        let signed: Result<Signature, _> = self.secret.sign_prehash(digest);
        // Only `r = 0` or `s = 0` fails (1 in 2^256); zeros verify under no key.
        signed.map_or([0; 64], |signature| {
            signature.normalize_s().to_bytes().into()
        })
    }

    fn new(secret: p256::ecdsa::SigningKey) -> Result<Self, KeyError> {
        let point = secret.verifying_key().to_sec1_point(false);
        let public = PublicKey::from_sec1(point.as_bytes())?;
        Ok(Self { secret, public })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, secret)", self.public.thumbprint())
    }
}

/// Why bytes or text are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not an uncompressed P-256 point, or not its SubjectPublicKeyInfo.
    #[error(
        "a public key is an uncompressed P-256 point of 65 bytes, or its SubjectPublicKeyInfo of 91 bytes"
    )]
    Form,
    /// The coordinates are no point of the curve.
    #[error("the point is not on the curve P-256")]
    Curve,
    /// Not a P-256 JWK.
    #[error(
        "a JWK needs kty \"EC\", crv \"P-256\", and x and y of 32 bytes in base64url without padding"
    )]
    Jwk,
    /// Not 32 bytes in base64url.
    #[error("a key thumbprint is 43 characters of base64url")]
    Thumbprint,
    /// Not a secret of the curve.
    #[error("this seed is no secret of P-256: draw another one")]
    Seed,
    /// Not an unencrypted PKCS#8 P-256 key.
    #[error("not an unencrypted PKCS#8 PEM file of a P-256 key")]
    Pkcs8,
}

const UNCOMPRESSED: u8 = 0x04;

/// SubjectPublicKeyInfo up to the point: id-ecPublicKey, prime256v1, BIT STRING of 66 bytes (RFC 5480 section 2).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "a test fails by panicking")]

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32]).expect("test key")
    }

    #[test]
    fn public_keys_survive_each_form() {
        let key = key();
        let public = key.public_key();
        let x: [u8; 32] = public.x().try_into().expect("x");
        let y: [u8; 32] = public.y().try_into().expect("y");
        for again in [
            PublicKey::from_sec1(public.sec1_bytes()),
            PublicKey::from_spki_der(&public.to_spki_der()),
            PublicKey::from_coordinates(&x, &y),
        ] {
            assert_eq!(again.as_ref(), Ok(public));
        }
        let pem = key.to_pkcs8_pem().expect("pem");
        let again = SigningKey::from_pkcs8_pem(&pem).expect("key");
        assert_eq!(again.public_key(), public);
    }

    #[test]
    fn bad_points_are_refused() {
        let mut off_curve = *key().public_key().sec1_bytes();
        off_curve[64] ^= 1;
        assert_eq!(PublicKey::from_sec1(&off_curve), Err(KeyError::Curve));
        let mut compressed = [2_u8; 33];
        compressed[1..].copy_from_slice(key().public_key().x());
        let mut zeros = [0_u8; 65];
        for form in [&[0_u8][..], &compressed, &zeros, &[], &off_curve[..64]] {
            assert_eq!(PublicKey::from_sec1(form), Err(KeyError::Form));
        }
        zeros[0] = 4;
        assert_eq!(PublicKey::from_sec1(&zeros), Err(KeyError::Curve));
        assert_eq!(PublicKey::from_sec1(&[4; 65]), Err(KeyError::Curve));
        let mut over = [0xff; 65];
        over[0] = 4; // coordinates above the field's prime
        assert_eq!(PublicKey::from_sec1(&over), Err(KeyError::Curve));
        let mut der = key().public_key().to_spki_der();
        der.push(0);
        assert_eq!(PublicKey::from_spki_der(&der), Err(KeyError::Form));
    }

    #[test]
    fn bad_seeds_are_refused() {
        for seed in [[0; 32], [0xff; 32]] {
            assert_eq!(SigningKey::from_seed(&seed).err(), Some(KeyError::Seed));
        }
    }

    #[test]
    fn what_we_sign_has_a_low_s() {
        let half = encoding::array_from_hex::<32>(
            "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8",
        )
        .expect("half of the order");
        let key = key();
        for message in 0_u8..32 {
            let signature = key.sign(&[message]);
            assert!(signature[32..] <= half[..], "{message}");
            assert!(verify(key.public_key(), &[message], &signature));
            assert!(!verify(key.public_key(), &[message, 0], &signature));
        }
    }

    #[test]
    fn zero_signatures_verify_nothing() {
        // The class of CVE-2022-21449.
        let key = key();
        let mut one_half = key.sign(b"message");
        one_half[32..].fill(0);
        for bad in [[0; 64], [0xff; 64], one_half] {
            assert!(!key.public_key().verify(b"message", &bad));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", key());
        assert!(shown.ends_with(", secret)") && !shown.contains("0707"));
    }
}
