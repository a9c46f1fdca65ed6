//! TPM2_Certify of a device key: it was made in this TPM, never leaves it, and signs only while a counter stands at one value
//! (steps 10 to 20).

use upkeep::artefact::TpmName;
use upkeep::key::PublicKey;
use upkeep::tpm::{
    Attested, Attributes, Public, PublicKeyArea, Scheme, Symmetric, alg, name_of, policy,
};

use super::ak::AttestationKey;
use super::counter;
use super::error::EvidenceError;
use super::statement::statement;

/// A device key that dies when its counter moves. Made only by [`key_certify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedKey {
    key: PublicKey,
    name: TpmName,
    nv_name: TpmName,
}

impl CertifiedKey {
    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its Name.
    pub fn name(&self) -> TpmName {
        self.name
    }

    /// The Name of its counter, as after the first increment.
    pub fn nv_name(&self) -> TpmName {
        self.nv_name
    }
}

/// Appraises a TPM2_Certify of `device` by `ak`.
///
/// Trust: `ak` is bound to an endorsed EK, or will be by credential activation; all other bytes are untrusted.
///
/// * `device` - TPMT_PUBLIC.   * `nv_public` - TPMS_NV_PUBLIC of the counter, with WRITTEN set.   * `attest`, `signature` -
///   TPMS_ATTEST and TPMT_SIGNATURE.   * `qualifying_data` - what extraData has to be, never empty.   * `value` - the counter's
///   value that the key is to be bound to.
///
/// # Errors
/// Any [`EvidenceError`] of steps 10 to 20.
///
/// Source: TPM 2.0 Part 3 sections 18.2 (TPM2_Certify) and 23.9 (TPM2_PolicyNV).
pub fn key_certify(
    ak: &AttestationKey,
    device: &[u8],
    nv_public: &[u8],
    attest: &[u8],
    signature: &[u8],
    qualifying_data: &[u8],
    value: u64,
) -> Result<CertifiedKey, EvidenceError> {
    // 10 to 14
    let statement = statement(ak, attest, signature, qualifying_data)?;
    let Attested::Certify { name, .. } = &statement.body else {
        return Err(EvidenceError::Type);
    };
    // 15
    let device_name = name_of(device);
    if name != device_name.as_bytes() {
        return Err(EvidenceError::CertifiedName);
    }
    // 16
    let public = Public::parse(device).map_err(|_| EvidenceError::DeviceForm)?;
    let signs_only = public.attributes.has(MUST)
        && !public.attributes.has(Attributes::RESTRICTED)
        && !public.attributes.has(Attributes::DECRYPT);
    if !signs_only {
        return Err(EvidenceError::DeviceAttributes);
    }
    let key = signing_key(&public).ok_or(EvidenceError::DeviceKey)?;
    // 17, with a counter that is one (19 and 20): a policy over an index that can go back would let the key wake up.
    let counter = counter::nv_public(nv_public)?;
    let nv_name = counter.name();
    if public.auth_policy != policy::nv_equal(value, &nv_name) {
        return Err(EvidenceError::DevicePolicy);
    }
    // 18
    if public.attributes.has(Attributes::USER_WITH_AUTH) {
        return Err(EvidenceError::DeviceUserWithAuth);
    }
    Ok(CertifiedKey {
        key,
        name: device_name,
        nv_name,
    })
}

/// A P-256 key whose Name is by SHA-256, and whose scheme is ECDSA with SHA-256 or left to the caller of the TPM.
fn signing_key(public: &Public) -> Option<PublicKey> {
    match public.key {
        PublicKeyArea::Ecc {
            symmetric: Symmetric::Null,
            scheme: Scheme::Null | Scheme::Ecdsa(alg::SHA256),
            ..
        } if public.name_alg == alg::SHA256 => public.p256(),
        _ => None,
    }
}

const MUST: Attributes = Attributes::FIXED_TPM
    .with(Attributes::FIXED_PARENT)
    .with(Attributes::SENSITIVE_DATA_ORIGIN)
    .with(Attributes::SIGN);
