//! The CAs of `certs/endorsements`, compiled in.

use crate::endorsement::EndorsementError;
use crate::endorsement::authority::{Authority, Origin};
use crate::endorsement::manifest;

/// Takes the built-in CAs.
pub(super) fn add_to(authorities: &mut Vec<Authority>, mistakes: &mut Vec<EndorsementError>) {
    let bytes_of = |file: &str| {
        let found = FILES.iter().find(|(name, _)| *name == file);
        found
            .map(|(_, pem)| pem.as_bytes().to_vec())
            .ok_or_else(|| EndorsementError::new(file, "is not built in"))
    };
    let place = "the built-in list";
    manifest::add(
        place,
        MANIFEST,
        Origin::BuiltIn,
        bytes_of,
        authorities,
        mistakes,
    );
}

macro_rules! files {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../certs/endorsements/", $name)))),*]
    };
}

const MANIFEST: &str = include_str!("../../../certs/endorsements/endorsements.toml");

/// Every PEM file, by name.
pub(super) const FILES: &[(&str, &str)] = files! {
    "amd-ftpm-ecc.pem"
    "amd-ftpm-rsa.pem"
    "azure-global-vtpm-ca-03.pem"
    "azure-vtpm-root-2023.pem"
    "google-ek-ak-intermediate-v3.pem"
    "google-ek-ak-root.pem"
    "google-vtpm-intermediate-2.pem"
    "google-vtpm-intermediate-3.pem"
    "google-vtpm-root-1.pem"
    "infineon-optiga-ecc-2.pem"
    "infineon-optiga-ecc.pem"
    "infineon-optiga-rsa-2.pem"
    "infineon-optiga-rsa.pem"
    "intel-ondie.pem"
    "intel-ptt-root.pem"
    "microsoft-pluton-2021.pem"
    "nations-ecc-001.pem"
    "nationz-root.pem"
    "nsing-ecc-001.pem"
    "nuvoton-1210.pem"
    "nuvoton-2210.pem"
    "nuvoton-2211.pem"
    "nuvoton-npctxxx-ecc521.pem"
    "st-globalsign-ecc.pem"
    "st-globalsign-rsa.pem"
    "st-stsafe-ecc-02.pem"
    "st-stsafe-rsa-02.pem"
    "st-tpm-ecc-root-01.pem"
    "st-tpm-ek-root.pem"
    "yubico-attestation-root-1.pem"
    "yubico-piv-263751.pem"
    "yubico-u2f-457200631.pem"
};
