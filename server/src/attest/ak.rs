//! Attestation keys: restricted keys that sign only what their TPM made (steps 7 to 9).

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPssSaltLength,
    RsaPublicKeyComponents,
};
use upkeep::artefact::TpmName;
use upkeep::key::PublicKey;
use upkeep::tpm::{Attributes, Public, PublicKeyArea, Scheme, Signature, Symmetric, alg, name_of};

use super::error::EvidenceError;
use super::roca;
use crate::signer;

/// A key that may be an attestation key by its public area. Made only by [`ak_public`].
///
/// That it lives in a TPM is not known yet: credential activation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKey {
    name: TpmName,
    key: AkKey,
}

/// The key with the one scheme that it signs by, always with SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
enum AkKey {
    Ecdsa(PublicKey),
    /// The modulus, big-endian; the exponent is 65537.
    Rsassa(Vec<u8>),
    /// As above.
    Rsapss(Vec<u8>),
}

impl AttestationKey {
    /// Its Name, by which a credential is bound to it.
    pub fn name(&self) -> TpmName {
        self.name
    }

    /// Step 13: whether `signature` is this key's own, by its own scheme and hash, over `attest`.
    ///
    /// # Errors
    /// [`EvidenceError::SignatureForm`], [`EvidenceError::SignatureScheme`], [`EvidenceError::Signature`].
    pub(super) fn verify(&self, attest: &[u8], signature: &[u8]) -> Result<(), EvidenceError> {
        let signature = Signature::parse(signature).map_err(|_| EvidenceError::SignatureForm)?;
        let verified = match (&self.key, &signature) {
            (AkKey::Ecdsa(key), Signature::Ecdsa { hash, .. }) if *hash == alg::SHA256 => {
                signature.ecdsa_p1363().is_some_and(|signature| {
                    signer::verify_es256(key.sec1_bytes(), attest, &signature)
                })
            }
            (AkKey::Rsassa(modulus), Signature::Rsassa { hash, signature })
                if *hash == alg::SHA256 =>
            {
                verify_rsa(&RSA_PKCS1_2048_8192_SHA256, modulus, attest, signature)
            }
            (AkKey::Rsapss(modulus), Signature::Rsapss { hash, signature })
                if *hash == alg::SHA256 =>
            {
                // TPMs take a salt as long as the hash, older ones the longest that fits (TPM 2.0 Part 1 annex B.7).
                [&RSA_PSS_2048_8192_SHA256, &PSS_LONGEST_SALT]
                    .iter()
                    .any(|parameters| verify_rsa(parameters, modulus, attest, signature))
            }
            _ => return Err(EvidenceError::SignatureScheme),
        };
        if verified {
            Ok(())
        } else {
            Err(EvidenceError::Signature)
        }
    }
}

/// Appraises the public area of a key that is to be an attestation key.
///
/// * `tpmt_public` - TPMT_PUBLIC, untrusted, at most 8 KiB.
///
/// # Errors
/// [`EvidenceError::AkForm`], [`EvidenceError::AkAttributes`], [`EvidenceError::AkScheme`], [`EvidenceError::AkKey`].
///
/// Source: TPM 2.0 Part 1 section 31.3 (restricted signing keys); Part 2 section 8.3 (TPMA_OBJECT).
pub fn ak_public(tpmt_public: &[u8]) -> Result<AttestationKey, EvidenceError> {
    let public = Public::parse(tpmt_public).map_err(|_| EvidenceError::AkForm)?;
    // 7: an unrestricted key signs statements that no TPM made, and one from outside is in anybody's hands.
    if !public.attributes.has(MUST) || public.attributes.has(Attributes::DECRYPT) {
        return Err(EvidenceError::AkAttributes);
    }
    // 8
    if public.name_alg != alg::SHA256 {
        return Err(EvidenceError::AkScheme);
    }
    let key = match &public.key {
        PublicKeyArea::Ecc {
            symmetric, scheme, ..
        } => match (scheme, symmetric) {
            (Scheme::Ecdsa(alg::SHA256), Symmetric::Null) => public.p256().map(AkKey::Ecdsa),
            (Scheme::Ecdsa(alg::SHA256), _) => None,
            _ => return Err(EvidenceError::AkScheme),
        },
        PublicKeyArea::Rsa {
            scheme, modulus, ..
        } => {
            let modulus = is_sound(&public.key).then(|| modulus.clone());
            match scheme {
                Scheme::Rsassa(alg::SHA256) => modulus.map(AkKey::Rsassa),
                Scheme::Rsapss(alg::SHA256) => modulus.map(AkKey::Rsapss),
                _ => return Err(EvidenceError::AkScheme),
            }
        }
    };
    Ok(AttestationKey {
        key: key.ok_or(EvidenceError::AkKey)?,
        // 9: computed here from what was received, never taken from the client.
        name: name_of(tpmt_public),
    })
}

/// Whether an RSA key has 2048 bits or more, all that it says and no fewer, the exponent 65537, and no weak primes.
fn is_sound(key: &PublicKeyArea) -> bool {
    matches!(key, PublicKeyArea::Rsa { symmetric: Symmetric::Null, key_bits, exponent, modulus, .. }
        if *key_bits >= 2048
            && usize::from(*key_bits) == modulus.len() * 8
            && modulus.first().is_some_and(|first| *first >= 0x80)
            && [0, 65537].contains(exponent)
            && !roca::has_weak_primes(modulus))
}

fn verify_rsa(
    parameters: &'static RsaParameters,
    modulus: &[u8],
    message: &[u8],
    signature: &[u8],
) -> bool {
    let key = RsaPublicKeyComponents {
        n: modulus,
        e: &[1, 0, 1],
    };
    key.verify(parameters, message, signature).is_ok()
}

const MUST: Attributes = Attributes::FIXED_TPM
    .with(Attributes::FIXED_PARENT)
    .with(Attributes::SENSITIVE_DATA_ORIGIN)
    .with(Attributes::RESTRICTED)
    .with(Attributes::SIGN);

static PSS_LONGEST_SALT: RsaParameters =
    RSA_PSS_2048_8192_SHA256.with_pss_salt_length(RsaPssSaltLength::Max);
