//! Signatures: the server's own key behind a trait, and the check of anybody's ES256 signature.
//!
//! The key lives in a file, where signing and checking run in aws-lc and p256 makes keys, encodings and the low-S form, or in a
//! PKCS#11 token ([`token`]). What is signed, and when it may leave, is decided elsewhere.

pub mod token;

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom as LibraryRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::SecretKey;
use p256::ecdsa::Signature;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::keys::file::{self, Access, KeyFileError};
use crate::random::{Random, bytes32};

/// A holder of one P-256 key that signs with ES256 (RFC 7518 section 3.4).
pub trait Signer: Send + Sync {
    /// The `kid` of what this key signs: its RFC 7638 thumbprint, 43 characters of base64url.
    fn key_id(&self) -> &str;

    /// The public key: SEC1, uncompressed, 65 bytes.
    fn public_key_sec1(&self) -> [u8; 65];

    /// Signs SHA-256 of `message`; the answer is r and s, 32 bytes each, with s in its low half.
    ///
    /// # Errors
    /// [`SignError`] when the key cannot be used now; signing again may work.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// The key did not sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signing key {key} did not sign; check the key and try again")]
pub struct SignError {
    /// What holds the key.
    key: &'static str,
}

impl SignError {
    /// No issuing key's window is open now.
    pub(crate) const NO_KEY: Self = Self {
        key: "that is due now (none: run `upkeep-server keys list`)",
    };
}

/// Whether `signature` (r and s, 64 bytes) is the key's ES256 signature over `message`. High s is accepted.
///
/// Trust of `sec1` is established by the caller; all three are untrusted bytes here.
pub fn verify_es256(sec1: &[u8; 65], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1)
        .verify(message, signature)
        .is_ok()
}

/// As [`verify_es256`], for a key that was given the 32-byte SHA-256 digest itself, as device keys are.
pub fn verify_es256_digest(sec1: &[u8; 65], digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    digest::Digest::import_less_safe(digest, &digest::SHA256).is_ok_and(|digest| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, sec1)
            .verify_digest(&digest, signature)
            .is_ok()
    })
}

/// The RFC 7638 thumbprint of a P-256 key (SEC1, uncompressed), as 43 characters of base64url.
pub fn thumbprint(sec1: &[u8; 65]) -> String {
    let [_, coordinates @ ..] = sec1;
    let (x, y) = coordinates.split_at(32);
    // The members stand in lexicographic order and without spaces (section 3).
    let jwk = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(x),
        URL_SAFE_NO_PAD.encode(y),
    );
    URL_SAFE_NO_PAD.encode(Sha256::digest(jwk))
}

/// A key in a PKCS#8 PEM file of mode 0600.
pub struct FileSigner {
    pair: EcdsaKeyPair,
    public: [u8; 65],
    key_id: String,
    random: LibraryRandom,
}

impl FileSigner {
    /// Draws a new key from `random` and writes it to `path`, which must not exist.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::Io`].
    pub fn create(path: &Path, random: &dyn Random) -> Result<Self, KeyFileError> {
        let secret = draw(random);
        let pem = secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|e| KeyFileError::malformed(path, e))?;
        let signer = Self::from_secret(&secret).map_err(|e| KeyFileError::malformed(path, e))?;
        file::write_new(path, pem.as_bytes(), Access::Owner)?;
        Ok(signer)
    }

    /// Opens the key at `path`.
    ///
    /// # Errors
    /// Any [`KeyFileError`] but `Exists`; a file that others may read is refused.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        let bytes = file::read_secret(path)?;
        let secret = std::str::from_utf8(&bytes)
            .ok()
            .and_then(|pem| SecretKey::from_pkcs8_pem(pem).ok())
            .ok_or_else(|| KeyFileError::malformed(path, "it is no P-256 key in PKCS#8 PEM"))?;
        Self::from_secret(&secret).map_err(|e| KeyFileError::malformed(path, e))
    }

    fn from_secret(secret: &SecretKey) -> Result<Self, aws_lc_rs::error::KeyRejected> {
        let der = secret
            .to_pkcs8_der()
            .map_err(|_| aws_lc_rs::error::Unspecified)
            .map_err(aws_lc_rs::error::KeyRejected::from)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_bytes())?;
        let public = <[u8; 65]>::try_from(pair.public_key().as_ref())
            .map_err(|_| aws_lc_rs::error::Unspecified)
            .map_err(aws_lc_rs::error::KeyRejected::from)?;
        Ok(Self {
            pair,
            public,
            key_id: thumbprint(&public),
            random: LibraryRandom::new(),
        })
    }
}

impl Signer for FileSigner {
    fn key_id(&self) -> &str {
        &self.key_id
    }

    fn public_key_sec1(&self) -> [u8; 65] {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        let failed = SignError { key: "in the file" };
        let signed = self.pair.sign(&self.random, message).map_err(|_| failed)?;
        // Half of all signatures come with a high s, which some verifiers refuse.
        let low = Signature::from_slice(signed.as_ref())
            .map_err(|_| failed)?
            .normalize_s();
        Ok(low.to_bytes().into())
    }
}

impl fmt::Debug for FileSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSigner")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// A scalar between 1 and the order of the curve: draws until one fits, which is nearly always the first.
fn draw(random: &dyn Random) -> SecretKey {
    loop {
        let bytes = Zeroizing::new(bytes32(random));
        if let Ok(secret) = SecretKey::from_slice(bytes.as_slice()) {
            return secret;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use p256::ecdsa::VerifyingKey;
    use p256::ecdsa::signature::Verifier;
    use p256::ecdsa::signature::hazmat::PrehashVerifier;

    use super::*;
    use crate::random::SeededRandom;

    fn signer(seed: u64) -> FileSigner {
        FileSigner::from_secret(&draw(&SeededRandom::new(seed))).unwrap()
    }

    #[test]
    fn what_is_signed_has_low_s_and_both_libraries_accept_it() {
        let signer = signer(1);
        let public = signer.public_key_sec1();
        let p256 = VerifyingKey::from_sec1_bytes(&public).unwrap();
        for n in 0..32_u8 {
            let signature = signer.sign(&[n]).unwrap();
            let parsed = Signature::from_slice(&signature).unwrap();
            assert_eq!(parsed, parsed.normalize_s(), "low s");
            assert!(p256.verify(&[n], &parsed).is_ok());
            assert!(verify_es256(&public, &[n], &signature));
            let digest = Sha256::digest([n]).into();
            assert!(verify_es256_digest(&public, &digest, &signature));
            assert!(p256.verify_prehash(&digest, &parsed).is_ok());
        }
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let signer = signer(1);
        let (public, other) = (signer.public_key_sec1(), self::signer(2).public_key_sec1());
        let good = signer.sign(b"message").unwrap();
        assert!(!verify_es256(&public, b"massage", &good));
        assert!(!verify_es256(&other, b"message", &good));
        assert!(!verify_es256(&public, b"message", &[0; 64]));
        assert!(!verify_es256(&[4; 65], b"message", &good));
        for at in 0..64 {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(!verify_es256(&public, b"message", &bad), "byte {at}");
        }
        assert!(!verify_es256_digest(
            &public,
            b"not a digest of any message.....",
            &good
        ));
    }

    #[test]
    fn a_key_survives_its_file_and_no_second_one_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing.key");
        let made = FileSigner::create(&path, &SeededRandom::new(3)).unwrap();
        let opened = FileSigner::open(&path).unwrap();
        assert_eq!(made.key_id(), opened.key_id());
        assert_eq!(made.key_id(), signer(3).key_id(), "follows from the seed");
        assert!(verify_es256(
            &made.public_key_sec1(),
            b"m",
            &opened.sign(b"m").unwrap()
        ));
        assert!(matches!(
            FileSigner::create(&path, &SeededRandom::new(4)),
            Err(KeyFileError::Exists { .. })
        ));
        fs::write(&path, "no key").unwrap();
        assert!(matches!(
            FileSigner::open(&path),
            Err(KeyFileError::Malformed { .. })
        ));
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // The P-256 key of RFC 7515 appendix A.3; the thumbprint was computed with openssl and coreutils.
        let x = URL_SAFE_NO_PAD.decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
        let y = URL_SAFE_NO_PAD.decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let sec1: Vec<u8> = [vec![4], x.unwrap(), y.unwrap()].concat();
        assert_eq!(
            thumbprint(&sec1.try_into().unwrap()),
            "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
        );
    }
}
