//! Tests of the checklist: `step_nn_...` fails when check nn is taken out.

mod chain;
mod counters;
mod credential;
mod dongle;
mod forge;
mod keys;
mod leaf;
mod outside;
mod scene;
mod statements;
mod whole;

use std::collections::BTreeSet;

use super::EvidenceError;

/// Every variant, kept complete by the compiler: a new one makes this match fail.
fn all() -> Vec<EvidenceError> {
    use EvidenceError::*;
    let first = NotPinned;
    let mut all = vec![first];
    loop {
        let next = match all[all.len() - 1] {
            NotPinned => CertificateForm,
            CertificateForm => CertificateCount,
            CertificateCount => Authority,
            Authority => PathLength,
            PathLength => Validity,
            Validity => CriticalExtension,
            CriticalExtension => EkPurpose,
            EkPurpose => EkIsAuthority,
            EkIsAuthority => EkKeyUsage,
            EkKeyUsage => EkKey,
            EkKey => EkIdentity,
            EkIdentity => EkDenied,
            EkDenied => AuthorityDenied,
            AuthorityDenied => FirmwareDenied,
            FirmwareDenied => WeakPrimes,
            WeakPrimes => Credential,
            Credential => AkForm,
            AkForm => AkAttributes,
            AkAttributes => AkScheme,
            AkScheme => AkKey,
            AkKey => AttestForm,
            AttestForm => Magic,
            Magic => Type,
            Type => QualifyingData,
            QualifyingData => SignatureForm,
            SignatureForm => SignatureScheme,
            SignatureScheme => Signature,
            Signature => CertifiedName,
            CertifiedName => DeviceForm,
            DeviceForm => DeviceAttributes,
            DeviceAttributes => DeviceKey,
            DeviceKey => DevicePolicy,
            DevicePolicy => DeviceUserWithAuth,
            DeviceUserWithAuth => NvForm,
            NvForm => NvName,
            NvName => NvAttributes,
            NvAttributes => NvContents,
            NvContents => CounterRelation,
            CounterRelation => PivForm,
            PivForm => PivNotPinned,
            PivNotPinned => PivSlot,
            PivSlot => PivValidity,
            PivValidity => PivExtension,
            PivExtension => PivFirmware,
            PivFirmware => PivPinPolicy,
            PivPinPolicy => PivKey,
            PivKey => PivSignature,
            PivSignature => PivDenied,
            PivDenied => return all,
        };
        all.push(next);
    }
}

#[test]
fn step_25_every_failure_has_its_step_and_its_own_text() {
    let all = all();
    let texts: BTreeSet<_> = all.iter().map(|error| error.as_str()).collect();
    assert_eq!(texts.len(), all.len());
    for pair in all.windows(2) {
        assert!(pair[0].step() <= pair[1].step(), "{pair:?}");
    }
    for error in all {
        assert!(matches!(error.step(), 1..=24 | 31..=40), "{error}");
        assert!(error.to_string().contains(error.as_str()));
    }
}
