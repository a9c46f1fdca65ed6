//! Why evidence is refused: one variant a check, for the log.
//!
//! The client sees none of it: whoever forges evidence is not told how far he came. Flows log the step and the text beside the
//! names of the keys, and answer with one reason.

/// The check that evidence did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("step {}: {}", self.step(), self.as_str())]
#[non_exhaustive]
pub enum EvidenceError {
    /// 1: No path of signatures leads to a pinned key.
    NotPinned,
    /// 2: A certificate is over 4 KiB, not exact DER, or says one thing twice.
    CertificateForm,
    /// 2: More than eight intermediates.
    CertificateCount,
    /// 2: An issuer is no CA, or may not issue certificates of this kind.
    Authority,
    /// 2: More certificates below an issuer than it allows.
    PathLength,
    /// 2: A certificate of the path is not yet or no longer valid.
    Validity,
    /// 2: A critical extension that is not known.
    CriticalExtension,
    /// 3: The extended key usage is not that of an endorsement key.
    EkPurpose,
    /// 3: The endorsement key's certificate is that of a CA.
    EkIsAuthority,
    /// 3: The key usage is not that of a key that decrypts.
    EkKeyUsage,
    /// 4: No RSA key of 2048 to 4096 bits with the exponent 65537, and no point of P-256 or P-384.
    EkKey,
    /// 4: No directory name with the TPM's manufacturer, model and version.
    EkIdentity,
    /// 5: The endorsement key is on the deny list.
    EkDenied,
    /// 5: An authority of the path is on the deny list.
    AuthorityDenied,
    /// 5: The TPM's firmware is on the deny list.
    FirmwareDenied,
    /// 5: The RSA key has the marks of CVE-2017-15361 (ROCA).
    WeakPrimes,
    /// 6: There is no template for a key of this kind, so no credential can be made for it.
    Credential,
    /// 7: The attestation key is no TPMT_PUBLIC.
    AkForm,
    /// 7: The attestation key is not restricted to signing inside this TPM.
    AkAttributes,
    /// 8: The attestation key signs by no scheme that is accepted, or its Name is not by SHA-256.
    AkScheme,
    /// 8: The attestation key is too small, or no point of P-256.
    AkKey,
    /// 10: The statement is no TPMS_ATTEST.
    AttestForm,
    /// 10: The statement does not begin with TPM_GENERATED: no TPM made it.
    Magic,
    /// 11: The statement is of another type.
    Type,
    /// 12: The statement answers another question.
    QualifyingData,
    /// 13: The signature is no TPMT_SIGNATURE.
    SignatureForm,
    /// 13: The signature is of another scheme or hash than the attestation key's own.
    SignatureScheme,
    /// 13: The attestation key did not sign this statement.
    Signature,
    /// 15: The statement is about another key.
    CertifiedName,
    /// 16: The device key is no TPMT_PUBLIC.
    DeviceForm,
    /// 16: The device key can leave the TPM, or does more than sign.
    DeviceAttributes,
    /// 16: The device key is no ECDSA key on P-256 with SHA-256.
    DeviceKey,
    /// 17: The device key's policy is not that of this counter at this value.
    DevicePolicy,
    /// 18: The empty password goes round the device key's policy.
    DeviceUserWithAuth,
    /// 19: The counter is no TPMS_NV_PUBLIC.
    NvForm,
    /// 19: The statement is about another index, or one that was never written.
    NvName,
    /// 20: The index is no counter that only counts up.
    NvAttributes,
    /// 21: The statement does not hold the whole counter.
    NvContents,
    /// 22: The counter's value does not stand as it has to.
    CounterRelation,
    /// 31: A dongle's certificate is over 4 KiB, not exact DER, or has a critical extension that is not known.
    PivForm,
    /// 32: No pinned key signed the dongle's certificate, nor one that a pinned key vouches for.
    PivNotPinned,
    /// 33: The dongle's attestation key did not sign the slot's certificate.
    PivSlot,
    /// 34: A certificate of the dongle is not yet or no longer valid.
    PivValidity,
    /// 35: The slot's certificate lacks firmware, policy or a serial number that is needed, or they are malformed.
    PivExtension,
    /// 36: The dongle's firmware is too old.
    PivFirmware,
    /// 37: The slot's key is used without its PIN too often.
    PivPinPolicy,
    /// 38: The slot's key is of no kind that is accepted, or weak.
    PivKey,
    /// 39: The slot's key did not sign the question.
    PivSignature,
    /// 40: An authority of the dongle is on the deny list.
    PivDenied,
}

impl EvidenceError {
    /// The number of the check: 1 to 25 are the steps of a TPM's appraisal, 31 and above those of a dongle's.
    pub fn step(self) -> u8 {
        match self {
            Self::NotPinned => 1,
            Self::CertificateForm
            | Self::CertificateCount
            | Self::Authority
            | Self::PathLength
            | Self::Validity
            | Self::CriticalExtension => 2,
            Self::EkPurpose | Self::EkIsAuthority | Self::EkKeyUsage => 3,
            Self::EkKey | Self::EkIdentity => 4,
            Self::EkDenied | Self::AuthorityDenied | Self::FirmwareDenied | Self::WeakPrimes => 5,
            Self::Credential => 6,
            Self::AkForm | Self::AkAttributes => 7,
            Self::AkScheme | Self::AkKey => 8,
            Self::AttestForm | Self::Magic => 10,
            Self::Type => 11,
            Self::QualifyingData => 12,
            Self::SignatureForm | Self::SignatureScheme | Self::Signature => 13,
            Self::CertifiedName => 15,
            Self::DeviceForm | Self::DeviceAttributes | Self::DeviceKey => 16,
            Self::DevicePolicy => 17,
            Self::DeviceUserWithAuth => 18,
            Self::NvForm | Self::NvName => 19,
            Self::NvAttributes => 20,
            Self::NvContents => 21,
            Self::CounterRelation => 22,
            Self::PivForm => 31,
            Self::PivNotPinned => 32,
            Self::PivSlot => 33,
            Self::PivValidity => 34,
            Self::PivExtension => 35,
            Self::PivFirmware => 36,
            Self::PivPinPolicy => 37,
            Self::PivKey => 38,
            Self::PivSignature => 39,
            Self::PivDenied => 40,
        }
    }

    /// The text for the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotPinned => "no path leads to a pinned key",
            Self::CertificateForm => "a certificate is too long or not exact DER",
            Self::CertificateCount => "too many intermediate certificates",
            Self::Authority => "an issuer may not issue this",
            Self::PathLength => "the path is longer than an issuer allows",
            Self::Validity => "a certificate is not valid at this time",
            Self::CriticalExtension => "an unknown extension is critical",
            Self::EkPurpose => "the extended key usage is not an endorsement key's",
            Self::EkIsAuthority => "the endorsement key's certificate is a CA's",
            Self::EkKeyUsage => "the endorsement key's usage is wrong",
            Self::EkKey => "the endorsement key is of no accepted kind",
            Self::EkIdentity => "the TPM's manufacturer, model or version is missing",
            Self::EkDenied => "the endorsement key is denied",
            Self::AuthorityDenied => "an authority of the endorsement key is denied",
            Self::FirmwareDenied => "the TPM's firmware is denied",
            Self::WeakPrimes => "the endorsement key has the weak primes of CVE-2017-15361",
            Self::Credential => "no credential can be made for this endorsement key",
            Self::AkForm => "the attestation key does not parse",
            Self::AkAttributes => "the attestation key's attributes are wrong",
            Self::AkScheme => "the attestation key's scheme is not accepted",
            Self::AkKey => "the attestation key is too small or no point",
            Self::AttestForm => "a statement does not parse",
            Self::Magic => "a statement is not made by a TPM",
            Self::Type => "a statement is of another type",
            Self::QualifyingData => "a statement answers another question",
            Self::SignatureForm => "a signature does not parse",
            Self::SignatureScheme => "a signature is of another scheme than its key",
            Self::Signature => "a signature is not the attestation key's",
            Self::CertifiedName => "another key was certified",
            Self::DeviceForm => "the device key does not parse",
            Self::DeviceAttributes => "the device key's attributes are wrong",
            Self::DeviceKey => "the device key is no P-256 signing key",
            Self::DevicePolicy => "the device key's policy is not this counter at this value",
            Self::DeviceUserWithAuth => "the device key can be used without its policy",
            Self::NvForm => "the counter does not parse",
            Self::NvName => "another index was certified",
            Self::NvAttributes => "the index is no counter that only counts up",
            Self::NvContents => "the statement does not hold the whole counter",
            Self::CounterRelation => "the counter's value is not as it has to be",
            Self::PivForm => {
                "a dongle's certificate is too long, not exact DER or has an unknown critical extension"
            }
            Self::PivNotPinned => "no pinned key signed the dongle's certificate",
            Self::PivSlot => "the dongle did not sign the slot's certificate",
            Self::PivValidity => "a dongle's certificate is not valid at this time",
            Self::PivExtension => "the slot's certificate lacks what the dongle states",
            Self::PivFirmware => "the dongle's firmware is too old",
            Self::PivPinPolicy => "the slot's key asks for its PIN too seldom",
            Self::PivKey => "the slot's key is of no accepted kind",
            Self::PivSignature => "the slot's key did not sign this call",
            Self::PivDenied => "an authority of the dongle is denied",
        }
    }
}
