//! MakeCredential: a secret that only the TPM with a given endorsement key *and* attestation key can read.
//!
//! That a TPM gives the secret back is the proof that both keys live in it. Hash and cipher are those of the endorsement key's
//! template, which follows from the key in its certificate (step 6): nothing the client sent has a say.
//! The seed and the ephemeral key come from [`Random`]; the seed of OAEP is drawn by the cryptographic library.
//! Source: TPM 2.0 Part 1 sections 11.4.10 (KDFa, KDFe) and 24 (credential protection), annexes B.10.4 and C.6.4.

use std::fmt;

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, UnparsedPublicKey};
use aws_lc_rs::cipher::{
    self, AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OaepAlgorithm, OaepPublicEncryptingKey,
    PublicEncryptingKey,
};
use upkeep::artefact::TpmName;
use zeroize::Zeroizing;

use super::ek::{EkKey, EndorsedEk};
use super::error::EvidenceError;
use crate::random::Random;

/// What TPM2_ActivateCredential takes. Neither part is secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The content of TPM2B_ID_OBJECT: the HMAC as a TPM2B, then the encrypted secret.
    pub blob: Vec<u8>,
    /// The content of TPM2B_ENCRYPTED_SECRET.
    pub encrypted_secret: Vec<u8>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

/// Encrypts `secret` for the TPM that has `ek` and an attestation key named `ak_name`.
///
/// Trust of `ek` is established by [`super::ek_chain`]; `ak_name` is recomputed by the server from the received public area.
///
/// # Errors
/// [`EvidenceError::Credential`] for an RSA key that is of none of the templates' sizes: 2048, 3072 and 4096 bits.
pub fn make_credential(
    ek: &EndorsedEk,
    ak_name: &TpmName,
    secret: &[u8; 32],
    random: &dyn Random,
) -> Result<Credential, EvidenceError> {
    let suite = Suite::of(ek.key()).ok_or(EvidenceError::Credential)?;
    let sealed = match ek.key() {
        EkKey::Rsa(modulus) => suite.seal_to_rsa(modulus, random),
        EkKey::P256(point) => suite.seal_to_point(&ECDH_P256, point, random),
        EkKey::P384(point) => suite.seal_to_point(&ECDH_P384, point, random),
    };
    sealed
        .and_then(|(seed, encrypted_secret)| {
            Some(Credential {
                blob: suite.protect(&seed, ak_name.as_bytes(), secret)?,
                encrypted_secret,
            })
        })
        .ok_or(EvidenceError::Credential)
}

/// Hash and cipher of an endorsement key's template (TCG EK Credential Profile, annex B).
struct Suite {
    hmac: hmac::Algorithm,
    oaep: &'static OaepAlgorithm,
    cipher: &'static cipher::Algorithm,
    cipher_bits: u32,
}

impl Suite {
    fn of(key: &EkKey) -> Option<Self> {
        match key {
            EkKey::P256(_) => Some(Self::SHA256_AES128),
            EkKey::P384(_) => Some(Self::SHA384_AES256),
            EkKey::Rsa(modulus) => match modulus.len() {
                256 => Some(Self::SHA256_AES128),
                384 | 512 => Some(Self::SHA384_AES256),
                _ => None,
            },
        }
    }

    const SHA256_AES128: Self = Self {
        hmac: hmac::HMAC_SHA256,
        oaep: &OAEP_SHA256_MGF1SHA256,
        cipher: &AES_128,
        cipher_bits: 128,
    };

    const SHA384_AES256: Self = Self {
        hmac: hmac::HMAC_SHA384,
        oaep: &OAEP_SHA384_MGF1SHA384,
        cipher: &AES_256,
        cipher_bits: 256,
    };

    /// A fresh seed and its encryption by OAEP (Part 1 annex B.10.4). The seed is as long as the hash.
    fn seal_to_rsa(
        &self,
        modulus: &[u8],
        random: &dyn Random,
    ) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
        let mut seed = Zeroizing::new(vec![0; self.hmac.tag_len()]);
        random.fill(&mut seed);
        let key = PublicEncryptingKey::from_der(&rsa_spki(modulus)).ok()?;
        let key = OaepPublicEncryptingKey::new(key).ok()?;
        let mut encrypted = vec![0; key.ciphertext_size()];
        let length = key
            .encrypt(self.oaep, &seed, &mut encrypted, Some(IDENTITY))
            .ok()?
            .len();
        encrypted.truncate(length);
        Some((seed, encrypted))
    }

    /// A seed that both sides agree on, and the ephemeral point as TPMS_ECC_POINT (Part 1 annex C.6.4).
    fn seal_to_point(
        &self,
        curve: &'static agreement::Algorithm,
        point: &[u8],
        random: &dyn Random,
    ) -> Option<(Zeroizing<Vec<u8>>, Vec<u8>)> {
        let ephemeral = draw(curve, point.len() / 2, random)?;
        let own = ephemeral.compute_public_key().ok()?;
        let (own_x, own_y) = coordinates(own.as_ref())?;
        let (ek_x, _) = coordinates(point)?;
        let theirs = UnparsedPublicKey::new(curve, point);
        let seed = agreement::agree(&ephemeral, theirs, (), |z| {
            Ok(self.kdf_e(z, IDENTITY, own_x, ek_x))
        });
        let mut encrypted = Vec::with_capacity(own.as_ref().len() + 3);
        push_sized(&mut encrypted, own_x)?;
        push_sized(&mut encrypted, own_y)?;
        Some((seed.ok()?, encrypted))
    }

    /// The secret under the seed: encrypted, and bound to the attestation key's Name by an HMAC (Part 1 section 24.4 and 24.5).
    fn protect(&self, seed: &[u8], ak_name: &[u8], secret: &[u8]) -> Option<Vec<u8>> {
        let mut identity = Vec::with_capacity(secret.len() + 2);
        push_sized(&mut identity, secret)?;
        let key = self.kdf_a(seed, STORAGE, ak_name, self.cipher_bits);
        let key = UnboundCipherKey::new(self.cipher, &key).ok()?;
        // The key is used once, so the fixed IV of the specification does no harm.
        let iv = EncryptionContext::Iv128(FixedLength::from([0; 16]));
        let key = EncryptingKey::cfb128(key).ok()?;
        key.less_safe_encrypt(&mut identity, iv).ok()?;
        let bits = u32::try_from(self.hmac.tag_len() * 8).ok()?;
        let key = hmac::Key::new(self.hmac, &self.kdf_a(seed, INTEGRITY, &[], bits));
        let mut outer = hmac::Context::with_key(&key);
        outer.update(&identity);
        outer.update(ak_name);
        let mut blob = Vec::with_capacity(identity.len() + 2 + self.hmac.tag_len());
        push_sized(&mut blob, outer.sign().as_ref())?;
        blob.extend_from_slice(&identity);
        Some(blob)
    }

    /// KDFa: SP 800-108 in counter mode with HMAC. `label` ends with its NUL; contextV is empty in credentials.
    ///
    /// `bits` is at most the size of the hash, so that one block is all that is ever needed.
    fn kdf_a(&self, key: &[u8], label: &[u8], context_u: &[u8], bits: u32) -> Zeroizing<Vec<u8>> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.hmac, key));
        context.update(&1_u32.to_be_bytes());
        context.update(label);
        context.update(context_u);
        context.update(&bits.to_be_bytes());
        let block = context.sign();
        let length = (bits / 8) as usize;
        Zeroizing::new(block.as_ref().iter().take(length).copied().collect())
    }

    /// KDFe: SP 800-56A's concatenation with a hash, as many bits as the hash has: one block. `label` ends with its NUL.
    fn kdf_e(&self, z: &[u8], label: &[u8], party_u: &[u8], party_v: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut hash = digest::Context::new(self.hmac.digest_algorithm());
        hash.update(&1_u32.to_be_bytes());
        for part in [z, label, party_u, party_v] {
            hash.update(part);
        }
        Zeroizing::new(hash.finish().as_ref().to_vec())
    }
}

/// An ephemeral key: draws until the number is one of the curve, which is nearly always the first.
fn draw(
    curve: &'static agreement::Algorithm,
    length: usize,
    random: &dyn Random,
) -> Option<agreement::PrivateKey> {
    let mut scalar = Zeroizing::new(vec![0; length]);
    (0..DRAWS).find_map(|_| {
        random.fill(&mut scalar);
        agreement::PrivateKey::from_private_key(curve, &scalar).ok()
    })
}

/// x and y of an uncompressed point.
fn coordinates(point: &[u8]) -> Option<(&[u8], &[u8])> {
    let coordinates = point.strip_prefix(&[4])?;
    coordinates.split_at_checked(coordinates.len() / 2)
}

/// Appends bytes as a TPM2B: their length in 16 bits, then they.
fn push_sized(to: &mut Vec<u8>, bytes: &[u8]) -> Option<()> {
    to.extend_from_slice(&u16::try_from(bytes.len()).ok()?.to_be_bytes());
    to.extend_from_slice(bytes);
    Some(())
}

/// The SubjectPublicKeyInfo of an RSA key with the exponent 65537, whose modulus has 256 bytes or more and its top bit set.
fn rsa_spki(modulus: &[u8]) -> Vec<u8> {
    let integer = tlv(0x02, &[&[0], modulus]);
    let key = tlv(0x30, &[&integer, &[2, 3, 1, 0, 1]]);
    let bits = tlv(0x03, &[&[0], &key]);
    tlv(0x30, &[&RSA_ALGORITHM, &bits])
}

/// DER of 256 to 65535 bytes of content.
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    [&[tag, 0x82][..], &length.to_be_bytes(), &content].concat()
}

const IDENTITY: &[u8] = b"IDENTITY\0";
const STORAGE: &[u8] = b"STORAGE\0";
const INTEGRITY: &[u8] = b"INTEGRITY\0";

/// A draw fails with a chance below 2^-32, so that this many never do.
const DRAWS: usize = 8;

/// AlgorithmIdentifier of rsaEncryption (RFC 8017 appendix A.1).
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
